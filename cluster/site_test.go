package cluster

import (
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// roster is what a test says about the members.
type roster struct {
	mu        sync.Mutex // guards all below
	pins      map[string]Pin
	addresses map[string]string
	removed   map[string]bool
	revoked   map[Pin]bool
	strangers map[string]bool // nodes that are not expected
}

func newRoster() *roster {
	return &roster{pins: map[string]Pin{}, addresses: map[string]string{}, removed: map[string]bool{}, revoked: map[Pin]bool{}, strangers: map[string]bool{}}
}

func (r *roster) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *roster) Pin(node string) ([32]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pins[node]
	return p, ok
}

func (r *roster) NodeAt(address string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.addresses[address]
	return n, ok
}

func (r *roster) Removed(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.removed[node]
}

func (r *roster) RevokedKey(pin [32]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revoked[pin]
}

func (r *roster) Expected(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.strangers[node]
}

// member is a node of a test's site with an open port.
type member struct {
	link         *Link
	certificates *Certificates
	roster       *roster
	clock        *clock
	address      string
	https        net.Listener // what is not for the link
	refusals     chan Refusal
}

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := OpenAuthority(t.TempDir(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newMember(t testing.TB, a *Authority, node string) *member {
	t.Helper()
	m := &member{roster: newRoster(), clock: &clock{now: epoch}, refusals: make(chan Refusal, 16)}
	var err error
	m.certificates, err = OpenCertificates(CertificateConfig{
		Authority: a, Dir: filepath.Join(t.TempDir(), "ca"), Node: node, Names: ServerNames("127.0.0.1"),
		Now: m.clock.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = inner.Addr().String()
	m.link = NewLink(LinkConfig{
		Authority: a, Certificates: m.certificates, Roster: m.roster, Address: m.address, Now: m.clock.Now,
		Refused: func(r Refusal) { m.refusals <- r },
	})
	m.https = m.link.Split(inner, &tls.Config{GetCertificate: m.certificates.Get, NextProtos: []string{"h2", "http/1.1"}})
	t.Cleanup(func() { m.https.Close(); m.link.Close() })
	return m
}

// use replaces the certificate that the member shows.
func (m *member) use(c *tls.Certificate) { m.certificates.current.Store(c) }
