package cluster

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever comes and goes, no limit is passed, nobody is refused while his
// limit leaves a place, and what was given back is free.
func TestQuotaKeepsItsLimits(t *testing.T) {
	limits := Limits{Total: 5, PerSource: 3, Members: 2}
	sources := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1"}
	names := map[string]string{"2001:db8::2": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1"} // the same source
	rapid.Check(t, func(t *rapid.T) {
		q := NewQuota(limits, func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.3") })
		type held struct {
			release func()
			source  string
			member  bool
		}
		var open []held
		count := func(of func(held) bool) (n int) {
			for _, h := range open {
				if of(h) {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				ip := rapid.SampledFrom(sources).Draw(t, "ip")
				from := ip
				if same, ok := names[ip]; ok {
					from = same
				}
				member := from == "192.0.2.3" && count(func(h held) bool { return h.member }) < limits.Members
				free := member || count(func(h held) bool { return !h.member }) < limits.Total &&
					count(func(h held) bool { return !h.member && h.source == from }) < limits.PerSource
				release, ok := q.Take(&net.TCPAddr{IP: net.ParseIP(ip), Port: 4000})
				if ok != free {
					t.Fatalf("%s got a place: %v; %+v", ip, ok, open)
				}
				if ok {
					open = append(open, held{release, from, member})
				}
			},
			"leave": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nobody is there")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "who")
				open[i].release()
				open = append(open[:i], open[i+1:]...)
			},
			"": func(t *rapid.T) {
				if len(open) == 0 && len(q.sources)+q.taken+q.members != 0 {
					t.Fatalf("something is kept of those who left: %+v", q)
				}
			},
		})
	})
}

func TestQuotaOfOtherAddresses(t *testing.T) {
	q := NewQuota(Limits{Total: 1, PerSource: 1}, nil)
	if _, ok := q.Take(advertised("somewhere")); !ok {
		t.Error("an address that is no IP address gets no place")
	}
}

// Sockets that say nothing hold the handshakes of their own address, and of
// strangers, but not the members'.
func TestSilentSocketsHoldUpNoMember(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	at := netip.MustParseAddr
	q := one.link.handshakes
	q.mu.Lock()
	q.limits, q.member = Limits{Total: 3, PerSource: 2, Members: 1}, func(ip netip.Addr) bool { return ip == at("127.0.0.1") }
	q.mu.Unlock()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
		c, err := d.Dial("tcp", one.address)
		if err != nil {
			t.Skipf("this machine has no address %s: %v", from, err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	closed := func(c net.Conn) bool {
		if err := c.SetReadDeadline(time.Now().Add(handshakeTimeout - time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		var timeout net.Error
		return err != nil && (!errors.As(err, &timeout) || !timeout.Timeout())
	}
	silent := []net.Conn{dial("127.0.0.2"), dial("127.0.0.2")}
	if !closed(dial("127.0.0.2")) {
		t.Error("one address has more handshakes than its share")
	}
	silent = append(silent, dial("127.0.0.3"))
	if !closed(dial("127.0.0.4")) {
		t.Error("there are more handshakes than there may be")
	}
	ours, theirs := connect(t, two, one) // from 127.0.0.1
	exchange(t, ours, theirs)
	for _, c := range silent {
		c.Close()
	}
	// A place is free again when the handshake is over, also after success.
	for range 4 {
		ours, theirs := connect(t, two, one)
		exchange(t, ours, theirs)
	}
	client := tls.Client(dial("127.0.0.2"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	served := make(chan error, 1)
	go func() {
		c, err := one.https.Accept()
		if err == nil {
			_, err = c.Write([]byte("ok"))
		}
		served <- err
	}()
	got := make([]byte, 2)
	if _, err := io.ReadFull(client, got); err != nil {
		t.Errorf("a client after the silent ones have left: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
