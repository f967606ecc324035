package faults

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The tests' two ends: a dials from its own address and b echoes what it hears,
// with every letter in upper case.
const (
	hostA = "127.0.0.21"
	hostB = "127.0.0.22"
)

// patience bounds every wait of these tests; quiet is how long nothing must come.
const (
	patience = 10 * time.Second
	quiet    = 100 * time.Millisecond
)

// pairOf is a network with nodes a and b, and what dials b as a.
func pairOf(t *testing.T) (*Network, func() (net.Conn, error)) {
	t.Helper()
	b, err := net.Listen("tcp", hostB+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	go func() {
		for {
			conn, err := b.Accept()
			if err != nil {
				return
			}
			go shout(conn)
		}
	}()
	n := NewNetwork()
	t.Cleanup(n.Close)
	if err := n.Attach("a", hostA+":1", hostA+":0"); err != nil {
		t.Fatal(err)
	}
	if err := n.Attach("b", b.Addr().String(), hostB+":0"); err != nil {
		t.Fatal(err)
	}
	advertised := n.listeners["b"].Addr().String()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(hostA)}, Timeout: patience}
	return n, func() (net.Conn, error) { return dialer.Dial("tcp", advertised) }
}

func shout(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if _, failed := conn.Write(bytes.ToUpper(buf[:n])); failed != nil || err != nil {
			return
		}
	}
}

func dialed(t *testing.T, dial func() (net.Conn, error)) net.Conn {
	t.Helper()
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// send writes a word; heard reads one of the same length, or gives up.
func send(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	if _, err := io.WriteString(conn, word); err != nil {
		t.Fatal(err)
	}
}

func heard(conn net.Conn, word string, within time.Duration) error {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, len(word))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return err
	}
	if string(buf) != word {
		return errors.New("heard " + string(buf))
	}
	return nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestNetworkPasses(t *testing.T) {
	_, dial := pairOf(t)
	conn := dialed(t, dial)
	long := strings.Repeat("passes ", 20_000)
	go func() {
		_, _ = io.WriteString(conn, long)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != strings.ToUpper(long) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(long), err)
	}
}

func TestNetworkHoldsOneWay(t *testing.T) {
	for _, c := range []struct{ from, to string }{{"a", "b"}, {"b", "a"}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			n, dial := pairOf(t)
			conn := dialed(t, dial)
			send(t, conn, "one")
			if err := heard(conn, "ONE", patience); err != nil {
				t.Fatal(err)
			}
			n.Set(c.from, c.to, Rule{Hold: true})
			send(t, conn, "two")
			if err := heard(conn, "TWO", quiet); !isTimeout(err) {
				t.Fatalf("held bytes: %v", err)
			}
			late := dialed(t, dial) // a new connection is accepted, and mute
			send(t, late, "three")
			if err := heard(late, "THREE", quiet); !isTimeout(err) {
				t.Fatalf("a held connection: %v", err)
			}
			n.Heal()
			if err := errors.Join(heard(conn, "TWO", patience), heard(late, "THREE", patience)); err != nil {
				t.Fatalf("after healing: %v", err)
			}
		})
	}
}

// A rule for one direction leaves what travels in the other alone.
func TestNetworkHoldIsOneDirection(t *testing.T) {
	b, err := net.Listen("tcp", hostB+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := NewNetwork()
	defer n.Close()
	if err := errors.Join(n.Attach("a", hostA+":1", hostA+":0"), n.Attach("b", b.Addr().String(), hostB+":0")); err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(hostA)}}
	near, err := dialer.Dial("tcp", n.listeners["b"].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	n.Set("a", "b", Rule{Hold: true})
	send(t, near, "there")
	send(t, far, "back")
	if err := heard(near, "back", patience); err != nil {
		t.Fatalf("the open direction: %v", err)
	}
	if err := heard(far, "there", quiet); !isTimeout(err) {
		t.Fatalf("the held direction: %v", err)
	}
}

func TestNetworkCuts(t *testing.T) {
	n, dial := pairOf(t)
	conn := dialed(t, dial)
	send(t, conn, "one")
	if err := heard(conn, "ONE", patience); err != nil {
		t.Fatal(err)
	}
	n.Set("b", "a", Rule{Cut: true}) // the other direction's connections stay
	send(t, conn, "two")
	if err := heard(conn, "TWO", patience); err != nil {
		t.Fatal(err)
	}
	n.Set("a", "b", Rule{Cut: true})
	if err := heard(conn, "X", patience); err == nil || isTimeout(err) {
		t.Fatalf("a cut connection: %v", err)
	}
	if late, err := dial(); err == nil { // accepted by the kernel, then reset
		defer late.Close()
		if err := heard(late, "X", patience); err == nil || isTimeout(err) {
			t.Fatalf("a connection while cut: %v", err)
		}
	}
	n.Heal()
	healed := dialed(t, dial)
	send(t, healed, "again")
	if err := heard(healed, "AGAIN", patience); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkDelaysInOrder(t *testing.T) {
	n, dial := pairOf(t)
	const delay = 60 * time.Millisecond
	n.Set("a", "b", Rule{Delay: delay, Jitter: 20 * time.Millisecond})
	n.Set("b", "a", Rule{Delay: delay})
	conn := dialed(t, dial)
	began := time.Now()
	for _, word := range []string{"one", "two", "six"} {
		send(t, conn, word)
	}
	if err := heard(conn, "ONETWOSIX", patience); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back in %s, with %s each way", took, delay)
	}
}

func TestNetworkWithoutTheOther(t *testing.T) {
	n := NewNetwork()
	defer n.Close()
	if err := n.Attach("b", hostB+":1", hostB+":0"); err != nil { // nobody listens on port 1
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", n.listeners["b"].Addr().String()); err == nil { // or reset already
		defer conn.Close()
		if err := heard(conn, "X", patience); err == nil || isTimeout(err) {
			t.Errorf("a connection to nobody: %v", err)
		}
	}
	for _, c := range []struct{ name, listen, advertised string }{
		{"b", hostB + ":2", hostB + ":0"},
		{"c", "nonsense", hostB + ":0"},
		{"d", hostB + ":2", "nonsense"},
	} {
		if err := n.Attach(c.name, c.listen, c.advertised); err == nil {
			t.Errorf("attached %+v", c)
		}
	}
}
