package appliance

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"tamv.internal/tamv/cluster"
)

// Silent sockets take neither the members' places nor all of the others', and
// those beyond are told at once.
func TestSilentSocketsLeavePlaces(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	alfa := netip.MustParseAddr("127.0.0.9")
	l := &connections{
		Listener: inner, log: slog.New(slog.NewTextHandler(&log, nil)),
		quota: cluster.NewQuota(cluster.Limits{Total: 4, PerSource: 2, Members: 1}, func(ip netip.Addr) bool { return ip == alfa }),
	}
	arrived := make(chan net.Conn, 16)
	go func() {
		defer close(arrived)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			arrived <- c
		}
	}()
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Skipf("this machine has no address %s: %v", from, err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	refused := func(from string) {
		t.Helper()
		if _, err := dial(from).Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: something was sent", from)
		}
	}
	var first net.Conn
	for i, from := range []string{"127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		dial(from)
		if c := <-arrived; i == 0 {
			first = c
		}
	}
	refused("127.0.0.2") // its share is taken
	refused("127.0.0.5") // all is taken
	dial("127.0.0.9")
	if c := <-arrived; c.RemoteAddr().(*net.TCPAddr).IP.String() != alfa.String() {
		t.Error("a member did not get in")
	}
	for range 2 { // what is closed twice was still one connection
		first.Close()
	}
	dial("127.0.0.5")
	<-arrived
	refused("127.0.0.6")
	if err := inner.Close(); err != nil {
		t.Fatal(err)
	}
	if c, open := <-arrived; open {
		t.Errorf("a connection from %s too many", c.RemoteAddr())
	}
	if n := strings.Count(log.String(), "too many connections"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
}
