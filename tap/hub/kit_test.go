package hub_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
	"tamv.internal/tamv/tap/quic"
	"tamv.internal/tamv/tap/ws"
)

// directory is an Authenticator over a map of keys.
type directory struct {
	mu      sync.Mutex
	keys    map[string]ed25519.PrivateKey
	revoked map[string]bool
	left    []*tap.Principal
	entered []*tap.Principal
	failed  []string // codes
	proven  func()   // called at the start of Established, unlocked; may be nil
}

func newDirectory(names ...string) *directory {
	d := &directory{keys: map[string]ed25519.PrivateKey{}, revoked: map[string]bool{}}
	for i, n := range names {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = byte(i + 1)
		d.keys["main/"+n] = ed25519.NewKeyFromSeed(seed)
	}
	return d
}

func (d *directory) Key(_ context.Context, keyID string, _ netip.Addr, _ string) (ed25519.PublicKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, ok := d.keys[keyID]
	if !ok {
		d.failed = append(d.failed, "unknown_identity")
		return nil, tap.E("test", tap.Unauthenticated, "nobody enrolled this key").WithCode("unknown_identity")
	}
	return key.Public().(ed25519.PublicKey), nil
}

func (d *directory) Established(_ context.Context, keyID string, _ netip.Addr, _ string) (*tap.Principal, error) {
	if d.proven != nil {
		d.proven()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.revoked[keyID] {
		d.failed = append(d.failed, "revoked")
		return nil, tap.E("test", tap.Unauthenticated, "this identity was revoked").WithCode("revoked")
	}
	p := &tap.Principal{Tenant: "main", Identity: keyID[len("main/"):], Roles: []tap.Role{tap.Citizen, tap.Device}, KeyID: keyID}
	d.entered = append(d.entered, p)
	return p, nil
}

func (d *directory) Failed(_ context.Context, _ string, _ netip.Addr, _, code string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, code)
}

func (d *directory) Active(p *tap.Principal) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.revoked[p.KeyID]
}

func (d *directory) Closed(p *tap.Principal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = append(d.left, p)
}

func (d *directory) revoke(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked["main/"+name] = true
}

func (d *directory) failures() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.failed...)
}

// ledger is Rooms and Recorder in memory: a room's state is the JSON array of
// its actions.
type ledger struct {
	mu          sync.Mutex
	rooms       map[string][]json.RawMessage
	batches     []int
	checkpoints []hub.SessionCheckpoint
	snapshots   int
	act         func() // called at the start of Act, unlocked; may be nil
	snapshot    func() // called at the start of Snapshot, unlocked; may be nil
	refuse      error  // what Act answers
	stalled     bool   // all calls wait until their context ends
}

func newLedger(rooms ...string) *ledger {
	l := &ledger{rooms: map[string][]json.RawMessage{}}
	for _, r := range rooms {
		l.rooms[r] = []json.RawMessage{}
	}
	return l
}

// stall waits until the context ends, when the ledger is stalled.
func (l *ledger) stall(ctx context.Context) error {
	l.mu.Lock()
	stalled := l.stalled
	l.mu.Unlock()
	if stalled {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (l *ledger) Snapshot(ctx context.Context, _ *tap.Principal, room string) (hub.RoomState, error) {
	if l.snapshot != nil {
		l.snapshot()
	}
	if err := l.stall(ctx); err != nil {
		return hub.RoomState{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshots++
	actions, ok := l.rooms[room]
	if !ok {
		return hub.RoomState{}, tap.E("test", tap.NotFound, "no room %s", room)
	}
	b, err := json.Marshal(actions)
	return hub.RoomState{Sequence: uint64(len(actions)), State: b}, err
}

var errAction = tap.E("test", tap.Invalid, "the action is not JSON").WithCode("action")

func (l *ledger) Act(ctx context.Context, _, room string, actions []hub.Action) ([]hub.Outcome, error) {
	if l.act != nil {
		l.act()
	}
	if err := l.stall(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.batches = append(l.batches, len(actions))
	if _, ok := l.rooms[room]; !ok {
		return nil, tap.E("test", tap.NotFound, "no room %s", room)
	}
	var out []hub.Outcome
	for _, a := range actions {
		if !json.Valid(a.Data) {
			out = append(out, hub.Outcome{Err: errAction})
			continue
		}
		l.rooms[room] = append(l.rooms[room], json.RawMessage(a.Data))
		out = append(out, hub.Outcome{Sequence: uint64(len(l.rooms[room])), Reply: []byte(`{"ok":true}`)})
	}
	return out, nil
}

func (l *ledger) Checkpoint(ctx context.Context, _ *tap.Principal, c hub.SessionCheckpoint) error {
	if err := l.stall(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkpoints = append(l.checkpoints, c)
	return nil
}

// echo answers every request with its body and remembers the last.
type echo struct {
	served atomic.Int64
	last   atomic.Pointer[tap.Request]
	hold   chan struct{} // when set, requests wait for it
}

func (h *echo) Serve(ctx context.Context, r *tap.Request) (*tap.Response, error) {
	h.served.Add(1)
	h.last.Store(r)
	if h.hold != nil {
		select {
		case <-h.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch string(r.Body) {
	case "refuse":
		return nil, tap.E("test", tap.Refused, "no").WithCode("principle").WithDetail("principle", "dignity")
	case "panic":
		panic("a defect")
	case "fail":
		return nil, errors.New("an internal secret")
	}
	return &tap.Response{Status: http.StatusOK, Body: r.Body}, nil
}

// node is a hub with its surroundings.
type node struct {
	*hub.Hub
	directory *directory
	ledger    *ledger
	handler   *echo
}

func newNode(t testing.TB, limits hub.Limits) *node {
	n := &node{directory: newDirectory("ana", "beto", "caro"), ledger: newLedger("plaza", "patio"), handler: &echo{}}
	n.Hub = hub.New(hub.Config{
		Handler: n.handler, Authenticator: n.directory, Rooms: n.ledger, Recorder: n.ledger,
		Now: time.Now, Limits: limits, Node: "n1", Epoch: 1_767_225_600_000,
	})
	t.Cleanup(func() {
		if err := n.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return n
}

// listen serves the node over TLS WebSocket and QUIC on loopback.
func (n *node) listen(t testing.TB) (wss, quicURL string, roots *x509.CertPool) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/tap", ws.Handler(n.Hub, ws.Options{}))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = false
	server.StartTLS()
	roots = x509.NewCertPool()
	roots.AddCert(server.Certificate())
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- quic.Serve(ctx, pc, server.TLS, n.Hub, quic.Options{}) }()
	t.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		if err := n.Shutdown(stop); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("quic: %v", err)
		}
		_ = pc.Close()
		server.Close()
	})
	return "wss" + server.URL[len("https"):] + "/tap", "quic://" + pc.LocalAddr().String(), roots
}

// pipe connects a raw client to the hub in memory; the connection ends with the
// test.
func (n *node) pipe(t testing.TB) (tap.Conn, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- n.ServeConn(context.Background(), pipeConn(far)) }()
	t.Cleanup(func() { _ = near.Close() })
	return pipeConn(near), served
}

func pipeConn(c net.Conn) tap.Conn {
	return tap.NewStreamConn(c, tap.StreamLink{
		Transport: "pipe", Remote: netip.MustParseAddr("192.0.2.7"), WriteTimeout: time.Second,
		Close: func(uint16, string) error { return c.Close() },
	})
}

// dial opens a client session in memory.
func (n *node) dial(t testing.TB, name string) *client.Session {
	t.Helper()
	conn, _ := n.pipe(t)
	s, err := client.NewSession(t.Context(), conn, client.SessionConfig{KeyID: "main/" + name, Key: n.directory.keys["main/"+name]})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw is a client that does exactly what a test tells it to.
type raw struct {
	t    testing.TB
	conn tap.Conn
	*tap.Sealer
	ready tap.Ready
}

// rawDial leads a raw client through the handshake.
func (n *node) rawDial(t testing.TB, name string) (*raw, <-chan error) {
	t.Helper()
	conn, served := n.pipe(t)
	r, _ := n.prove(t, conn, name)
	r.expect(tap.TypeReady, &r.ready)
	conn.SetReadLimit(tap.DefaultFrameLimit)
	return r, served
}

// prove leads a raw client through the handshake up to its proof, whose id it
// returns; the node's answer is not read.
func (n *node) prove(t testing.TB, conn tap.Conn, name string) (*raw, uuid.UUID) {
	t.Helper()
	r := &raw{t: t, conn: conn}
	key := newEphemeral(t)
	hs := tap.Handshake{Hello: tap.Hello{Version: tap.ProtocolVersion, KeyID: "main/" + name, Ephemeral: key.PublicKey().Bytes()}}
	r.plain(tap.TypeHello, &hs.Hello)
	r.expect(tap.TypeChallenge, &hs.Challenge)
	proof := hs.Sign(n.directory.keys["main/"+name])
	id := r.plain(tap.TypeAuth, &proof)
	secret, err := hs.SessionKey(key, hs.Challenge.Ephemeral)
	if err != nil {
		t.Fatal(err)
	}
	r.Sealer = tap.NewSealer(secret, hs.Transcript())
	return r, id
}

// plain sends a frame without a tag.
func (r *raw) plain(typ string, p tap.Payload) uuid.UUID {
	r.t.Helper()
	e := tap.Envelope{ID: uuid.New(), Type: typ, Payload: tap.AppendPayload(nil, p)}
	r.write(e.AppendFrame(nil))
	return e.ID
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if err := r.conn.WriteFrames(b); err != nil {
		r.t.Fatal(err)
	}
}

// send sends a sealed frame.
func (r *raw) send(typ string, payload []byte) uuid.UUID {
	r.t.Helper()
	e := tap.Envelope{ID: uuid.New(), Type: typ, Payload: payload}
	r.write(r.Seal(nil, &e))
	return e.ID
}

// next reads one frame.
func (r *raw) next() tap.Envelope {
	r.t.Helper()
	b, err := r.conn.ReadFrame()
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := tap.DecodeEnvelope(append([]byte(nil), b...))
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// expect reads one frame of the given type.
func (r *raw) expect(typ string, into tap.Payload) uuid.UUID {
	r.t.Helper()
	e := r.next()
	if e.Type != typ {
		r.t.Fatalf("got %s %s, want %s", e.Type, e.Payload, typ)
	}
	if into != nil {
		if err := tap.DecodePayload(e.Payload, into); err != nil {
			r.t.Fatal(err)
		}
	}
	return e.ID
}

// refused reads an error frame that answers id, with the given kind and code.
// Events of a room may come before it.
func (r *raw) refused(id uuid.UUID, kind tap.Kind, code string) {
	r.t.Helper()
	e := r.next()
	for e.Type == tap.TypeXREvent {
		e = r.next()
	}
	if e.Type != tap.TypeError || e.ID != id {
		r.t.Fatalf("got %s for %s, want an error for %s", e.Type, e.ID, id)
	}
	err, parseErr := tap.ParseErrorFrame(e.Payload)
	if parseErr != nil {
		r.t.Fatal(parseErr)
	}
	if err.Kind != kind || err.StableCode() != code {
		r.t.Fatalf("got %v (%s, %s), want %s, %s", err, err.Kind, err.StableCode(), kind, code)
	}
}
