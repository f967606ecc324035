package client

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// SessionConfig says which node a session goes to, and as whom.
type SessionConfig struct {
	URL   string             // "wss://HOST:PORT/tap" or "quic://HOST:PORT"
	TLS   *tls.Config        // what the node's certificate must chain to; nil = the system's roots
	KeyID string             // "TENANT/NAME"
	Key   ed25519.PrivateKey // the identity's key
	// Checkpoint is how often a session that sent something signs it; 0 = 1 s.
	// It also signs after as many frames as the node asks for.
	Checkpoint time.Duration
	Now        func() time.Time // stamps frames; nil = time.Now
}

// Session is an authenticated TAP connection. It is safe for concurrent use.
// When the connection ends every call fails with Unavailable, code
// CodeUnreachable, or with the reason that the node gave; a [Reconnector] opens
// the next one.
type Session struct {
	conn  tap.Conn
	key   ed25519.PrivateKey
	now   func() time.Time
	ready tap.Ready
	id    uuid.UUID
	done  chan struct{} // closed when the connection has ended
	heard atomic.Int64  // when the node last said something, Unix time in ns

	sendMu    sync.Mutex // guards what follows
	sealer    *tap.Sealer
	out       []byte // frames waiting for the sender that is writing
	spare     []byte
	sending   bool
	uncovered uint64 // frames since the last checkpoint

	mu    sync.Mutex // guards what follows
	calls map[uuid.UUID]chan answer
	subs  map[string]*Subscription
	err   error // why the connection ended
}

// answer is what came back for a request.
type answer struct {
	ack tap.Ack
	err error
}

// Dial connects and authenticates. The context bounds only that. A refusal is
// the node's own error, for instance Unauthenticated with code revoked.
func Dial(ctx context.Context, c SessionConfig) (*Session, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, tap.Wrap("client.dial", tap.Invalid, err, "the address is not a URL").WithCode("address")
	}
	var conn tap.Conn
	switch u.Scheme {
	case "wss", "ws":
		conn, err = dialWebSocket(ctx, u, c.TLS)
	case "quic":
		conn, err = dialQUIC(ctx, u, c.TLS)
	default:
		return nil, tap.E("client.dial", tap.Invalid, "the address must start with wss:// or quic://").WithCode("address")
	}
	if err != nil {
		return nil, err
	}
	return NewSession(ctx, conn, c)
}

// NewSession authenticates on a connection that exists and owns it from then
// on.
func NewSession(ctx context.Context, conn tap.Conn, c SessionConfig) (*Session, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Checkpoint == 0 {
		c.Checkpoint = time.Second
	}
	s := &Session{
		conn: conn, key: c.Key, now: c.Now, done: make(chan struct{}),
		calls: map[uuid.UUID]chan answer{}, subs: map[string]*Subscription{},
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(tap.CloseNormal, "") })
	err := s.handshake(c.KeyID)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close(tap.CloseNormal, "")
		if ctx.Err() != nil {
			return nil, tap.AsError(ctx.Err())
		}
		return nil, lost(err)
	}
	s.heard.Store(time.Now().UnixNano())
	go s.read()
	go s.checkpoints(c.Checkpoint)
	return s, nil
}

// lost names the end of a connection; what the node said stands as it is.
func lost(err error) error {
	if e := tap.AsError(err); e.Kind != tap.Internal || e.Code != "" {
		return e
	}
	return tap.Wrap("client.session", tap.Unavailable, err, "the connection ended").WithCode(CodeUnreachable)
}

func (s *Session) handshake(keyID string) error {
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	hs := tap.Handshake{Hello: tap.Hello{Version: tap.ProtocolVersion, KeyID: keyID, Ephemeral: own.PublicKey().Bytes()}}
	if err := s.exchange(tap.TypeHello, &hs.Hello, tap.TypeChallenge, &hs.Challenge); err != nil {
		return err
	}
	hs.Binding, _ = s.conn.ExportKeyingMaterial(tap.ExporterLabel, nil, tap.ExporterLen)
	proof := hs.Sign(s.key)
	if err := s.exchange(tap.TypeAuth, &proof, tap.TypeReady, &s.ready); err != nil {
		return err
	}
	if s.id, err = uuid.Parse(s.ready.Session); err != nil {
		return tap.Wrap("client.session", tap.Invalid, err, "the node's session id is not a UUID").WithCode(CodeReply)
	}
	key, err := hs.SessionKey(own, hs.Challenge.Ephemeral)
	if err != nil {
		return err
	}
	s.sealer = tap.NewSealer(key, hs.Transcript())
	s.conn.SetReadLimit(int(s.ready.Frame))
	return nil
}

// exchange sends one frame of the handshake and reads the answer.
func (s *Session) exchange(typ string, p tap.Payload, want string, into tap.Payload) error {
	e := s.envelope(typ, p)
	if err := s.conn.WriteFrames(e.AppendFrame(nil)); err != nil {
		return err
	}
	b, err := s.conn.ReadFrame()
	if err != nil {
		return err
	}
	got, err := tap.DecodeEnvelope(b)
	if err != nil {
		return err
	}
	payload := bytes.Clone(got.Payload)
	switch got.Type {
	case want:
		return tap.DecodePayload(payload, into)
	case tap.TypeError:
		return refusal(payload)
	}
	return tap.E("client.session", tap.Invalid, "the node answered %s with %s", typ, got.Type).WithCode(CodeReply)
}

// refusal is the error in an error frame.
func refusal(payload []byte) error {
	e, err := tap.ParseErrorFrame(payload)
	if err != nil {
		return err
	}
	return e
}

func (s *Session) envelope(typ string, p tap.Payload) tap.Envelope {
	e := tap.Envelope{ID: newID(), Type: typ, Timestamp: uint64(s.now().UnixMilli())}
	if p != nil {
		e.Payload = tap.AppendPayload(nil, p)
	}
	return e
}

// newID is a UUIDv7; its only error is that of the system's random source,
// which crypto/rand does not report.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// ID is the session's id, as in the node's checkpoints.
func (s *Session) ID() uuid.UUID { return s.id }

// Ready is what the node granted: identity, roles and limits.
func (s *Session) Ready() tap.Ready { return s.ready }

// Done is closed when the connection has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the connection ended; nil while it stands.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// silence is how long the node has said nothing.
func (s *Session) silence() time.Duration {
	return time.Duration(time.Now().UnixNano() - s.heard.Load())
}

// Close signs what was sent since the last checkpoint, waits up to a second
// for the node to take note, and ends the connection.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.sign(ctx)
	if tap.IsKind(err, tap.Unavailable) { // it had ended before
		err = nil
	}
	_ = s.conn.Close(tap.CloseNormal, "")
	<-s.done
	return err
}

// Evidence appends one record, the JSON body of POST /v1/evidence, and returns
// the reply's body once the record is durable.
func (s *Session) Evidence(ctx context.Context, body []byte) ([]byte, error) {
	return s.EvidenceAs(ctx, newID(), body)
}

// EvidenceAs is Evidence under a request id of the caller's, who repeats a record
// under the same id: it is appended once, whatever became of the first try, and a
// node that was busy keeps a place for it at the time that it told.
func (s *Session) EvidenceAs(ctx context.Context, id uuid.UUID, body []byte) ([]byte, error) {
	ack, err := s.call(ctx, tap.Envelope{ID: id, Type: tap.TypeEvidenceRecord, Payload: body})
	return ack.Body, err
}

// Request sends a request that its maker signed ([Client.Sign] or
// tap.SignRequest) through the node's route table.
func (s *Session) Request(ctx context.Context, r *tap.Request) (*tap.Response, error) {
	e := s.envelope(tap.TypeIntentRequest, &tap.VirtualRequest{
		Method: r.Method, Path: r.Path, Query: r.RawQuery, Header: r.Header, Body: r.Body,
	})
	if r.ID != uuid.Nil {
		e.ID = r.ID
	}
	ack, err := s.call(ctx, e)
	if err != nil {
		return nil, err
	}
	response := &tap.Response{Status: int(ack.Status), ContentType: ack.Type, Body: ack.Body}
	if response.ContentType == "" {
		response.ContentType = "application/json"
	}
	if response.Status == 0 {
		response.Status = http.StatusOK
	}
	return response, nil
}

// Publish says something to a room. State and events need a subscription to
// it. The ack names the publication's place: Sequence in the room's stream, or
// Durable for a committed action.
func (s *Session) Publish(ctx context.Context, p tap.Publish) (tap.Ack, error) {
	return s.call(ctx, s.envelope(tap.TypePublish, &p))
}

// Ping makes a round trip.
func (s *Session) Ping(ctx context.Context) error {
	_, err := s.call(ctx, s.envelope(tap.TypePing, nil))
	return err
}
