package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
	"tamv.internal/tamv/tap/quic"
	"tamv.internal/tamv/tap/ws"
)

var anaKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// site is everything around a hub that serves ana.
type site struct {
	hub *hub.Hub

	mu          sync.Mutex
	revoked     bool
	handshakes  int
	served      []uuid.UUID
	hold        chan struct{}
	busy        int // how many of the next requests are told to come back
	checkpoints []hub.SessionCheckpoint
	actions     uint64
}

func newSite(t testing.TB, limits hub.Limits) *site { return newSiteAt(t, limits, 1) }

func newSiteAt(t testing.TB, limits hub.Limits, epoch uint64) *site {
	s := &site{}
	s.hub = hub.New(hub.Config{
		Handler: s, Authenticator: s, Rooms: s, Recorder: s, Now: time.Now, Limits: limits, Node: "n1", Epoch: epoch,
	})
	t.Cleanup(func() {
		if err := s.hub.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) Key(_ context.Context, keyID string, _ netip.Addr, _ string) (ed25519.PublicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handshakes++
	if keyID != "main/ana" {
		return nil, tap.E("test", tap.Unauthenticated, "unknown").WithCode("unknown_identity")
	}
	return anaKey.Public().(ed25519.PublicKey), nil
}

func (s *site) Established(_ context.Context, keyID string, _ netip.Addr, _ string) (*tap.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revoked {
		return nil, tap.E("test", tap.Unauthenticated, "revoked").WithCode("revoked")
	}
	return &tap.Principal{Tenant: "main", Identity: "ana", Roles: []tap.Role{tap.Citizen}, KeyID: keyID}, nil
}

func (s *site) Closed(*tap.Principal) {}

func (s *site) Failed(context.Context, string, netip.Addr, string, string) {}

func (s *site) Active(*tap.Principal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.revoked
}

func (s *site) Serve(ctx context.Context, r *tap.Request) (*tap.Response, error) {
	s.mu.Lock()
	s.served = append(s.served, r.ID)
	hold, busy := s.hold, s.busy
	s.busy = max(0, busy-1)
	s.mu.Unlock()
	if busy > 0 {
		return nil, tap.E("test", tap.Limited, "later").WithCode("busy").WithRetryAfter(40 * time.Millisecond)
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch string(r.Body) {
	case "refuse":
		return nil, tap.E("test", tap.Refused, "no").WithCode("principle").WithDetail("principle", "dignity")
	case "text":
		return &tap.Response{Status: 201, ContentType: "text/plain", Body: []byte(r.Path)}, nil
	}
	return &tap.Response{Status: 200, Body: r.Body}, nil
}

func (s *site) Snapshot(_ context.Context, _ *tap.Principal, room string) (hub.RoomState, error) {
	if room != "plaza" {
		return hub.RoomState{}, tap.E("test", tap.NotFound, "no such room")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return hub.RoomState{Sequence: s.actions, State: fmt.Appendf(nil, "[%d]", s.actions)}, nil
}

func (s *site) Act(_ context.Context, _, _ string, actions []hub.Action) ([]hub.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []hub.Outcome
	for range actions {
		s.actions++
		out = append(out, hub.Outcome{Sequence: s.actions})
	}
	return out, nil
}

func (s *site) Checkpoint(_ context.Context, _ *tap.Principal, c hub.SessionCheckpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoints = append(s.checkpoints, c)
	return nil
}

func (s *site) covered() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var counts []uint64
	for _, c := range s.checkpoints {
		counts = append(counts, c.Count)
	}
	slices.Sort(counts) // they are recorded side by side
	return counts
}

// pipe opens an in-memory session; cut ends its connection.
func (s *site) pipe(ctx context.Context, c client.SessionConfig) (session *client.Session, cut func(), err error) {
	near, far := net.Pipe()
	go func() { _ = s.hub.ServeConn(context.Background(), pipeConn(far)) }()
	c.KeyID, c.Key = "main/ana", anaKey
	session, err = client.NewSession(ctx, pipeConn(near), c)
	return session, func() { _ = far.Close() }, err
}

func pipeConn(c net.Conn) tap.Conn {
	return tap.NewStreamConn(c, tap.StreamLink{
		Transport: "pipe", WriteTimeout: time.Second, Close: func(uint16, string) error { return c.Close() },
	})
}

func (s *site) dial(t *testing.T, c client.SessionConfig) (*client.Session, func()) {
	t.Helper()
	session, cut, err := s.pipe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return session, cut
}

// listen serves the site on loopback and returns both addresses.
func (s *site) listen(t *testing.T) (urls []string, config *tls.Config) {
	t.Helper()
	server := httptest.NewTLSServer(ws.Handler(s.hub, ws.Options{}))
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = quic.Serve(ctx, pc, server.TLS, s.hub, quic.Options{}) }()
	t.Cleanup(func() { cancel(); <-done; _ = pc.Close(); server.Close() })
	return []string{"wss://" + server.Listener.Addr().String() + "/tap", "quic://" + pc.LocalAddr().String()}, &tls.Config{RootCAs: roots}
}

func TestSessionOverBothTransports(t *testing.T) {
	s := newSite(t, hub.Limits{})
	urls, config := s.listen(t)
	for _, url := range urls {
		t.Run(url[:4], func(t *testing.T) {
			c, err := client.Dial(t.Context(), client.SessionConfig{URL: url, TLS: config, KeyID: "main/ana", Key: anaKey})
			if err != nil {
				t.Fatal(err)
			}
			if r := c.Ready(); r.Identity != "ana" || !slices.Equal(r.Roles, []string{"citizen"}) || c.ID().String() != r.Session {
				t.Errorf("ready %+v", r)
			}
			if err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			large := bytes.Repeat([]byte("x"), 900_000)
			for _, body := range [][]byte{[]byte(`{}`), large} {
				reply, err := c.Evidence(t.Context(), body)
				if err != nil || !bytes.Equal(reply, body) {
					t.Errorf("%d bytes, %v", len(reply), err)
				}
			}
			id := uuid.New()
			response, err := c.Request(t.Context(), &tap.Request{ID: id, Method: "GET", Path: "/v1/x", Body: []byte("text")})
			if err != nil || response.Status != 201 || response.ContentType != "text/plain" || string(response.Body) != "/v1/x" {
				t.Errorf("%+v, %v", response, err)
			}
			if response, err = c.Request(t.Context(), &tap.Request{Method: "GET", Path: "/v1/x"}); err != nil || response.ContentType != "application/json" {
				t.Errorf("%+v, %v", response, err)
			}
			_, err = c.Evidence(t.Context(), []byte("refuse"))
			if e := tap.AsError(err); e == nil || e.Kind != tap.Refused || e.Code != "principle" || e.Details["principle"] != "dignity" {
				t.Errorf("a refusal came as %v", err)
			}
			sub, err := c.Subscribe(t.Context(), "plaza")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Subscribe(t.Context(), "plaza"); !tap.IsKind(err, tap.Conflict) {
				t.Errorf("a second subscription: %v", err)
			}
			if _, err := c.Subscribe(t.Context(), "nowhere"); !tap.IsKind(err, tap.NotFound) {
				t.Errorf("an unknown room: %v", err)
			}
			if e, err := sub.Next(t.Context()); err != nil || e.Kind != client.Snapshot || e.Kind.String() != "snapshot" || sub.Room() != "plaza" {
				t.Errorf("%+v, %v", e, err)
			}
			if err := sub.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := sub.Next(t.Context()); !tap.IsKind(err, tap.Unavailable) {
				t.Errorf("after leaving: %v", err)
			}
			before := len(s.covered())
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if len(s.covered()) != before+1 {
				t.Error("the end of the session was not signed")
			}
			<-c.Done()
			if _, err := c.Evidence(t.Context(), []byte(`{}`)); !tap.IsKind(err, tap.Unavailable) || c.Err() == nil {
				t.Errorf("after the end: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("a second close: %v", err)
			}
		})
	}
}

func TestDialRefusals(t *testing.T) {
	s := newSite(t, hub.Limits{})
	urls, config := s.listen(t)
	for _, url := range urls {
		for name, c := range map[string]struct {
			config client.SessionConfig
			kind   tap.Kind
			code   string
		}{
			"unknown identity": {client.SessionConfig{URL: url, TLS: config, KeyID: "main/zoe", Key: anaKey}, tap.Unauthenticated, "unknown_identity"},
			"another's key": {
				client.SessionConfig{URL: url, TLS: config, KeyID: "main/ana", Key: ed25519.NewKeyFromSeed(make([]byte, 32))},
				tap.Unauthenticated, "bad_signature",
			},
		} {
			_, err := client.Dial(t.Context(), c.config)
			if e := tap.AsError(err); e == nil || e.Kind != c.kind || e.StableCode() != c.code {
				t.Errorf("%s over %s: %v", name, url[:4], err)
			}
		}
	}
	_, err := client.Dial(t.Context(), client.SessionConfig{URL: urls[0], KeyID: "main/ana", Key: anaKey})
	if e := tap.AsError(err); e == nil || e.Kind != tap.Unauthenticated || e.Code != client.CodeCertificate {
		t.Errorf("a certificate nobody vouches for: %v", err)
	}
	for _, url := range []string{"https://x", "::", ""} {
		if _, err := client.Dial(t.Context(), client.SessionConfig{URL: url}); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := client.Dial(t.Context(), client.SessionConfig{URL: "ws://127.0.0.1:1/tap"}); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, url := range urls {
		if _, err := client.Dial(ended, client.SessionConfig{URL: url, TLS: config}); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("an ended context: %v", err)
		}
	}
}

func TestBusyAndCancelledCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{Credit: 1})
		s.hold = make(chan struct{})
		c, _ := s.dial(t, client.SessionConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := c.Evidence(ctx, []byte(`{}`))
			first <- err
		}()
		synctest.Wait()
		_, err := c.Evidence(t.Context(), []byte(`{}`))
		if e := tap.AsError(err); e == nil || e.Kind != tap.Limited || e.Code != "busy" || e.RetryAfter == 0 {
			t.Errorf("busy came as %v", err)
		}
		cancel()
		if err := <-first; !tap.IsKind(err, tap.Unavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled call: %v", err)
		}
		close(s.hold)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What a session sends is signed within a second, or after as many frames as
// the node asks for; a silent session signs nothing.
func TestSessionsSignCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{Checkpoint: 10})
		c, _ := s.dial(t, client.SessionConfig{})
		record := func(n int) {
			for range n {
				if _, err := c.Evidence(t.Context(), []byte(`{}`)); err != nil {
					t.Fatal(err)
				}
			}
		}
		record(3)
		<-time.After(1500 * time.Millisecond)
		synctest.Wait()
		if got := s.covered(); !slices.Equal(got, []uint64{3}) {
			t.Errorf("after a second: %v", got)
		}
		record(25) // with the first checkpoint, frames 5 to 31
		synctest.Wait()
		if got := s.covered(); !slices.Equal(got, []uint64{3, 14, 25}) {
			t.Errorf("after 25 more: %v", got)
		}
		<-time.After(time.Minute)
		if got := s.covered(); !slices.Equal(got, []uint64{3, 14, 25, 31}) {
			t.Errorf("after a minute: %v", got)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil || len(s.covered()) != 4 {
			t.Errorf("%v; a ping was signed: %v", err, s.covered())
		}
	})
}

func TestSessionEndsWithTheReasonOfTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		c, _ := s.dial(t, client.SessionConfig{})
		sub, err := c.Subscribe(t.Context(), "plaza")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.revoked = true
		s.mu.Unlock()
		_, err = c.Evidence(t.Context(), []byte(`{}`))
		if e := tap.AsError(err); e == nil || e.Kind != tap.Unauthenticated || e.Code != "revoked" {
			t.Errorf("got %v", err)
		}
		<-c.Done()
		if _, err := sub.Next(t.Context()); err == nil {
			t.Error("the subscription goes on")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.revoked = false
		c, cut := s.dial(t, client.SessionConfig{})
		if sub, err = c.Subscribe(ctx, "plaza"); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Next(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Next(ctx); !tap.IsKind(err, tap.Timeout) {
			t.Errorf("a wait without an event: %v", err)
		}
		cut()
		<-c.Done()
		if e := tap.AsError(c.Err()); e.Kind != tap.Unavailable || e.Code != client.CodeUnreachable {
			t.Errorf("a cut ended with %v", c.Err())
		}
	})
}
