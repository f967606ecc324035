package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
)

const patience = 5 * time.Second

// connect dials from one member to another and returns both ends.
func connect(t *testing.T, from, to *member) (net.Conn, net.Conn) {
	t.Helper()
	ours, err := from.link.Dial(to.address, patience)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := to.link.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func exchange(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		if _, err := way[0].Write([]byte("pose")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, []byte("pose")) {
			t.Fatalf("%q %v", got, err)
		}
	}
}

func TestMembersConnect(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	one.roster.pins["n2"], one.roster.addresses[two.address] = two.certificates.Pin(), "n2"
	two.roster.pins["n1"] = one.certificates.Pin()
	ours, theirs := connect(t, one, two)
	exchange(t, ours, theirs)
	for c, want := range map[net.Conn]string{ours: "n2", theirs: "n1"} {
		if named, ok := c.(interface{ Peer() string }); !ok || named.Peer() != want {
			t.Errorf("a connection to %s does not say so", want)
		}
	}
	if one.link.Addr().String() != one.address || one.link.Addr().Network() != "tcp" {
		t.Errorf("address %v", one.link.Addr())
	}
}

// What a listener, or a dialer, must refuse, and the reason that it records.
func TestRefusals(t *testing.T) {
	a := newAuthority(t)
	// issue makes a certificate for n2 that differs from a proper one.
	issue := func(by *Authority, change func(*x509.Certificate)) *tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := nodeTemplate("n2", []string{"127.0.0.1"}, epoch)
		change(template)
		leaf, err := by.issue(template, &key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw, by.certificate.Raw}, PrivateKey: key, Leaf: leaf}
	}
	proper := func(*x509.Certificate) {}
	for name, c := range map[string]struct {
		certificate       *tls.Certificate // of n2; nil = its own
		roster            func(r *roster, two *member)
		listens, connects Reason // when n2 is dialed, and when n2 dials
	}{
		"foreign":         {certificate: issue(newAuthority(t), proper), listens: ReasonForeign, connects: ReasonForeign},
		"foreign and old": {certificate: issue(newAuthority(t), func(c *x509.Certificate) { c.NotAfter = epoch.Add(-1) }), listens: ReasonForeign, connects: ReasonForeign},
		"expired":         {certificate: issue(a, func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) }), listens: ReasonExpired, connects: ReasonExpired},
		"not begun":       {certificate: issue(a, func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Minute) }), listens: ReasonExpired, connects: ReasonExpired},
		"server only": {certificate: issue(a, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), connects: ReasonWrongUse},
		"client only": {certificate: issue(a, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), listens: ReasonWrongUse},
		"nameless": {certificate: issue(a, func(c *x509.Certificate) { c.URIs = nil }), listens: ReasonWrongName, connects: ReasonWrongName},
		"odd name": {certificate: issue(a, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "other", Path: "/node/n2"}}
		}), listens: ReasonWrongName, connects: ReasonWrongName},
		"another resident": {roster: func(r *roster, two *member) { r.addresses[two.address] = "n3" }, listens: ReasonWrongName},
		"removed":          {roster: func(r *roster, _ *member) { r.removed["n2"] = true }, listens: ReasonRemoved, connects: ReasonRemoved},
		"revoked key": {
			roster:  func(r *roster, two *member) { r.revoked[two.certificates.Pin()] = true },
			listens: ReasonRevokedKey, connects: ReasonRevokedKey,
		},
		"wrong pin":    {roster: func(r *roster, _ *member) { r.pins["n2"] = Pin{1} }, listens: ReasonWrongKey, connects: ReasonWrongKey},
		"right pin":    {roster: func(r *roster, two *member) { r.pins["n2"] = two.certificates.Pin() }},
		"a new node":   {certificate: issue(a, proper)},
		"unknown node": {roster: func(r *roster, _ *member) { r.strangers["n2"] = true }, connects: ReasonUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
			if c.certificate != nil {
				two.use(c.certificate)
			}
			if c.roster != nil {
				c.roster(one.roster, two)
			}
			conn, err := one.link.Dial(two.address, patience)
			checkOutcome(t, one, conn, err, c.listens, true)
			conn, err = two.link.Dial(one.address, patience)
			checkOutcome(t, one, conn, err, c.connects, false)
		})
	}
}

// checkOutcome holds that a refusal, if there should be one, was told to the
// dialer as such and was recorded by m.
func checkOutcome(t *testing.T, m *member, conn net.Conn, err error, want Reason, dialed bool) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatalf("dialed by m %v: %v", dialed, err)
		}
		conn.Close()
		return
	}
	if e := tap.AsError(err); err == nil || e.Kind != tap.Forbidden || e.Code != codeRefused {
		t.Fatalf("dialed by m %v: %v", dialed, err)
	}
	if r := <-m.refusals; r.Reason != want || r.Dialed != dialed || r.Address == "" {
		t.Errorf("%+v, want %s", r, want)
	}
	if len(m.refusals) > 0 {
		t.Errorf("recorded twice: %+v", <-m.refusals)
	}
}

func TestNoCertificateIsRefusedAndRecorded(t *testing.T) {
	one := newMember(t, newAuthority(t), "n1")
	conn, err := tls.Dial("tcp", one.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{Protocol}})
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if err == nil {
		t.Error("a stranger without a certificate was let in")
	}
	if r := <-one.refusals; r.Reason != ReasonNoCertificate || r.Error() == "" {
		t.Errorf("%+v", r)
	}
}

// The port goes on serving HTTPS, with HTTP/2, to clients without certificate.
func TestOnePortServesBoth(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	release := make(chan bool)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			release <- true
			<-release
		}
		if r.TLS == nil || len(r.TLS.PeerCertificates) > 0 {
			t.Error("not TLS without a client certificate")
		}
		io.WriteString(w, r.Proto)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(one.https) }()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: a.roots, Time: one.clock.Now}, ForceAttemptHTTP2: true,
	}}
	get := func(path string) string {
		response, err := client.Get("https://" + one.address + path)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	if got := get("/"); got != "HTTP/2.0" {
		t.Errorf("served by %q", got)
	}
	ours, theirs := connect(t, two, one)

	// A stop finishes the request in flight, does not wait for the links and
	// leaves them open.
	slow := make(chan string, 1)
	go func() { slow <- get("/slow") }()
	<-release
	stopped := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { stopped <- server.Shutdown(ctx) }()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	release <- true
	if got := <-slow; got != "HTTP/2.0" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("the stop: %v", err)
	}
	exchange(t, ours, theirs)
	if _, err := one.https.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
	if _, err := two.link.Dial(one.address, patience); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a closed port: %v", err)
	}
}

func TestRecheckCutsTheRemoved(t *testing.T) {
	a := newAuthority(t)
	one, two, three := newMember(t, a, "n1"), newMember(t, a, "n2"), newMember(t, a, "n3")
	in, theirs := connect(t, two, one)
	out, _ := connect(t, one, two)
	kept, other := connect(t, three, one)
	if n := one.link.Recheck(); n != 0 {
		t.Fatalf("%d cut without a reason", n)
	}
	one.roster.change(func() { one.roster.removed["n2"] = true })
	if n := one.link.Recheck(); n != 2 {
		t.Errorf("%d cut", n)
	}
	for _, c := range []net.Conn{in, theirs, out} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection of a removed node goes on")
		}
	}
	exchange(t, kept, other)
	for range 2 {
		if r := <-one.refusals; r.Reason != ReasonRemoved || r.Node != "n2" {
			t.Errorf("%+v", r)
		}
	}
	// A node that turns out to be unknown loses the connections that it made.
	in, _ = connect(t, two, three)
	kept, other = connect(t, three, two)
	three.roster.change(func() { three.roster.strangers["n2"] = true })
	if n := three.link.Recheck(); n != 1 {
		t.Errorf("%d cut for a node that is not expected", n)
	}
	if _, err := in.Read(make([]byte, 1)); err == nil {
		t.Error("the connection of an unknown node goes on")
	}
	exchange(t, kept, other)
	three.roster.change(func() { three.roster.pins["n1"] = Pin{9} })
	if n := three.link.Recheck(); n != 1 {
		t.Errorf("%d cut for a key that is not the pinned one", n)
	}
}

// A renewed certificate has the same key, old connections go on, and new ones
// work although the old certificate has ended.
func TestRenewalKeepsKeyAndConnections(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	one.roster.pins["n2"], two.roster.pins["n1"] = two.certificates.Pin(), one.certificates.Pin()
	ours, theirs := connect(t, one, two)
	first := two.certificates.current.Load().Leaf
	for _, m := range []*member{one, two} {
		m.clock.pass(certificateLife)
	}
	if _, err := one.link.Dial(two.address, patience); !tap.IsKind(err, tap.Forbidden) {
		t.Fatalf("an ended certificate: %v", err)
	}
	for _, m := range []*member{one, two} {
		if err := m.certificates.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	if now := two.certificates.current.Load().Leaf; now.Equal(first) || PinOf(now) != PinOf(first) {
		t.Error("not renewed, or with another key")
	}
	exchange(t, ours, theirs)
	if one.link.Recheck()+two.link.Recheck() != 0 {
		t.Error("a renewal cut a connection")
	}
	again, back := connect(t, one, two)
	exchange(t, again, back)
}

func TestDialWhoDoesNotAnswer(t *testing.T) {
	one := newMember(t, newAuthority(t), "n1")
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if _, err := one.link.Dial(deaf.Addr().String(), 50*time.Millisecond); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a machine that does not answer: %v", err)
	}
	// A server of the site that speaks another protocol.
	if _, err := tls.Dial("tcp", one.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"other"}}); err == nil {
		t.Error("an unknown protocol was negotiated")
	}
}

// mute shakes hands as a member and then says something else than "admitted".
func TestDialWithoutAdmission(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	for name, say := range map[string][]byte{"another byte": {2}, "nothing": {}} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: two.certificates.Get, NextProtos: []string{Protocol}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				c.Write(say)
				c.(*tls.Conn).Handshake()
				c.Close()
			}
			l.Close()
		}()
		if _, err := one.link.Dial(l.Addr().String(), patience); tap.AsError(err) == nil || tap.AsError(err).Code != codeRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	ours, theirs := connect(t, one, two)
	ended := make(chan error)
	go func() { _, err := one.link.Accept(); ended <- err }()
	for range 2 {
		if err := one.link.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	for _, c := range []net.Conn{ours, theirs} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection outlived its link")
		}
	}
	if c, err := one.link.Dial(two.address, patience); err == nil {
		c.Close()
		t.Error("a closed link dials")
	}
	if _, err := two.link.Dial(one.address, patience); !tap.IsKind(err, tap.Forbidden) {
		t.Errorf("a closed link admits: %v", err)
	}
	if one.link.Recheck() != 0 {
		t.Error("a closed link has connections")
	}
}

// When nobody accepts, one connection beyond the queue is closed, and only one.
func TestAcceptQueueIsBounded(t *testing.T) {
	a := newAuthority(t)
	one, two := newMember(t, a, "n1"), newMember(t, a, "n2")
	ended := make(chan error, acceptQueue+1)
	for range acceptQueue + 1 {
		c, err := two.link.Dial(one.address, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("beyond the queue: %v", err)
	}
	for range acceptQueue {
		c, err := one.link.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if len(ended) > 0 {
		t.Error("one within the queue was closed")
	}
}

// BenchmarkDial is one connection between members: TCP, TLS 1.3 with two
// certificates, and the admission byte.
func BenchmarkDial(b *testing.B) {
	a := newAuthority(b)
	one, two := newMember(b, a, "n1"), newMember(b, a, "n2")
	b.ReportAllocs()
	for b.Loop() {
		ours, err := one.link.Dial(two.address, patience)
		if err != nil {
			b.Fatal(err)
		}
		theirs, err := two.link.Accept()
		if err != nil {
			b.Fatal(err)
		}
		ours.Close()
		theirs.Close()
	}
}
