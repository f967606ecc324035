package hub

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"tamv.internal/tamv/tap"
)

// session is one authenticated connection.
type session struct {
	hub       *Hub
	conn      tap.Conn
	id        uuid.UUID
	keyID     string
	key       ed25519.PublicKey
	principal *tap.Principal

	// Owned by the reading goroutine.
	opener    *tap.Opener
	uncovered int // frames since the last checkpoint
	pace      *rate.Limiter

	out      outbox
	inFlight atomic.Int64   // requests taken from the credit
	jobs     sync.WaitGroup // requests and the writer
	ctx      context.Context
	cancel   context.CancelFunc

	budgets budgets

	mu   sync.Mutex // guards subs; taken before a room's lock
	subs map[string]*subscription
}

func newSession(h *Hub, c tap.Conn, p *tap.Principal, keyID string, key ed25519.PublicKey) *session {
	s := &session{
		hub: h, conn: c, id: uuid.New(), keyID: keyID, key: key, principal: p,
		pace: rate.NewLimiter(rate.Limit(h.limits.PublishRate), int(2*h.limits.PublishRate)+1),
		subs: map[string]*subscription{},
	}
	s.out.idle.L = &s.out.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *session) identity() identity { return identity{s.principal.Tenant, s.principal.Identity} }

func (s *session) ready() *tap.Ready {
	l := &s.hub.limits
	r := &tap.Ready{
		Session: s.id.String(), Identity: s.principal.Identity,
		Frame: uint64(l.Frame), Credit: uint64(l.Credit), Checkpoint: uint64(l.Checkpoint),
	}
	for _, role := range s.principal.Roles {
		r.Roles = append(r.Roles, string(role))
	}
	return r
}

// run reads until the connection ends, then leaves every room and waits for
// what is still running.
func (s *session) run() error {
	err := s.read()
	if e := tap.AsError(err); !orderly(err) && (e.Kind == tap.Invalid || e.Kind == tap.Unauthenticated) {
		s.drain() // the client is told why before the door closes
		_ = s.conn.Close(closeCode(err), e.StableCode())
	}
	s.cancel()
	_ = s.conn.Close(tap.CloseNormal, "")
	s.shut()
	s.mu.Lock()
	subs := s.subs
	s.subs = nil
	s.mu.Unlock()
	for _, sub := range subs {
		sub.leave()
	}
	s.jobs.Wait()
	return err
}

// read serves frames until one ends the session.
func (s *session) read() error {
	for s.await(s.hub.limits.Backlog) {
		b, err := s.conn.ReadFrame()
		if err != nil {
			if tap.IsKind(err, tap.Invalid) {
				s.fail(uuid.Nil, err)
			}
			return err
		}
		e, err := tap.DecodeEnvelope(b)
		if err == nil {
			err = s.check(&e)
		}
		if err != nil {
			s.fail(e.ID, err)
			return err
		}
		if err := s.dispatch(&e); err != nil {
			s.fail(e.ID, err)
		}
	}
	return context.Canceled
}

// check authenticates a frame. A failure ends the session.
func (s *session) check(e *tap.Envelope) error {
	if err := s.opener.Open(e); err != nil {
		return err
	}
	if !s.hub.config.Authenticator.Active(s.principal) {
		return errRevoked()
	}
	switch e.Type {
	case tap.TypeCheckpoint:
		var c tap.Checkpoint
		if err := tap.DecodePayload(e.Payload, &c); err != nil {
			return err
		}
		if err := s.opener.VerifyCheckpoint(s.id, s.key, &c); err != nil {
			return err
		}
		if e.ID != uuid.Nil { // else it is refused, and still owed
			s.uncovered = 0
		}
	case tap.TypePing:
	default:
		if s.uncovered++; s.uncovered > 4*s.hub.limits.Checkpoint {
			return tap.E("hub.session", tap.Unauthenticated, "no checkpoint for %d frames", s.uncovered).WithCode("checkpoint_overdue")
		}
	}
	return nil
}

func errRevoked() error {
	return tap.E("hub.session", tap.Unauthenticated, "the identity was revoked").WithCode("revoked")
}

// dispatch starts what the frame asks for. An error is the answer.
func (s *session) dispatch(e *tap.Envelope) error {
	if e.ID == uuid.Nil {
		// All requests of an actor without an id would be one to the store.
		return tap.E("hub.session", tap.Invalid, "a frame that is to be answered needs an id").WithCode("request_id")
	}
	switch e.Type {
	case tap.TypePublish, tap.TypeXREvent, tap.TypeDreamSpaceSync:
		return s.publish(e)
	case tap.TypeEvidenceRecord:
		return s.spawn(e, 0, s.evidence)
	case tap.TypeIntentRequest:
		return s.spawn(e, 0, s.intent)
	case tap.TypeCheckpoint:
		return s.spawn(e, checkpointHeadroom, s.checkpoint)
	case tap.TypeSubscribe:
		return s.subscribe(e)
	case tap.TypeUnsubscribe:
		return s.unsubscribe(e)
	case tap.TypePing:
		s.send(&tap.Envelope{ID: e.ID, Type: tap.TypePong, Timestamp: s.hub.now()})
		return nil
	}
	return tap.E("hub.session", tap.Invalid, "clients do not send frames of type %q", e.Type).WithCode("unknown_type")
}

func (h *Hub) now() uint64 { return uint64(h.config.Now().UnixMilli()) }

// fail answers with an error.
func (s *session) fail(id uuid.UUID, err error) {
	s.reply(s.answer(id, nil, err))
}

func (s *session) busy(id uuid.UUID, retry time.Duration) {
	s.reply(tap.Envelope{ID: id, Type: tap.TypeBusy, Timestamp: s.hub.now()}, &tap.Busy{RetryMs: uint64(retry.Milliseconds())})
}

func (s *session) ack(id uuid.UUID, a *tap.Ack) {
	s.reply(s.answer(id, a, nil))
}

// checkpointHeadroom lets checkpoints through when the credit is used up: a
// signature that is refused would be lost to the ledger.
const checkpointHeadroom = 16

// take counts a request against the credit and so much beyond it.
func (s *session) take(id uuid.UUID, headroom int) bool {
	if s.inFlight.Add(1) > int64(s.hub.limits.Credit+headroom) {
		s.inFlight.Add(-1)
		s.busy(id, busyRetry)
		return false
	}
	return true
}

// busyRetry is how long a client with too much in flight is asked to wait.
const busyRetry = 50 * time.Millisecond

// spawn runs a request beside the others of the session. The payload is copied:
// what serves the request may keep it.
func (s *session) spawn(e *tap.Envelope, headroom int, serve func(id uuid.UUID, payload []byte) (*tap.Ack, error)) error {
	if !s.take(e.ID, headroom) {
		return nil
	}
	id, payload := e.ID, bytes.Clone(e.Payload)
	s.jobs.Add(1)
	s.hub.workers.run(func() {
		defer s.jobs.Done()
		ack, err := guarded(func() (*tap.Ack, error) { return serve(id, payload) })
		s.inFlight.Add(-1) // before the client can know
		if s.queue(s.answer(id, ack, err)) {
			s.write() // the goroutine is free: no other needs to be woken
		}
	})
	return nil
}

// answer is the frame that says how a request ended.
func (s *session) answer(id uuid.UUID, ack *tap.Ack, err error) (tap.Envelope, tap.Payload) {
	if err != nil {
		return tap.ErrorEnvelope(id, err, s.hub.config.Now(), tap.English), nil
	}
	return tap.Envelope{ID: id, Type: tap.TypeAck, Timestamp: s.hub.now()}, ack
}

// guarded keeps a panic of what serves a request from ending the process.
func guarded[T any](serve func() (T, error)) (out T, err error) {
	defer func() {
		if recover() != nil {
			err = tap.E("hub.serve", tap.Internal, "the request failed")
		}
	}()
	return serve()
}

// evidence serves an evidence_record: the session authorises it, the payload is
// the body.
func (s *session) evidence(id uuid.UUID, payload []byte) (*tap.Ack, error) {
	return s.serve(&tap.Request{
		ID: id, Method: http.MethodPost, Path: "/v1/evidence", Body: payload, Session: s.principal,
	})
}

// intent serves a virtual HTTP request. It carries its own signature, so the
// session lends it nothing.
func (s *session) intent(id uuid.UUID, payload []byte) (*tap.Ack, error) {
	var v tap.VirtualRequest
	if err := tap.DecodePayload(payload, &v); err != nil {
		return nil, err
	}
	if key, ok := v.Header[tap.HeaderRequestID]; ok {
		parsed, err := uuid.Parse(key)
		if err != nil || parsed == uuid.Nil || len(key) != 36 {
			return nil, tap.E("hub.intent", tap.Invalid, "idempotency-key must be one UUID, in its form of 36 characters").WithCode("idempotency_key")
		}
		id = parsed
	}
	return s.serve(&tap.Request{
		ID: id, Method: v.Method, Path: v.Path, RawQuery: v.Query, Header: v.Header, Body: v.Body,
		Lang: tap.ParseLang(v.Header["accept-language"]),
	})
}

// serve passes a request to the handler and turns the response into an ack.
func (s *session) serve(r *tap.Request) (*tap.Ack, error) {
	r.Remote, r.Transport, r.Received = s.conn.Remote(), s.conn.Transport(), s.hub.config.Now()
	budget := s.budget()
	defer s.release(budget)
	response, err := s.hub.config.Handler.Serve(budget.Context, r)
	if err != nil {
		return nil, err
	}
	// Room for the envelope and the ack's other fields.
	if len(response.Body) > s.hub.limits.Frame-512 {
		return nil, tap.E("hub.serve", tap.Limited, "the reply has %d bytes, more than a frame holds; use HTTPS", len(response.Body)).
			WithCode("reply_too_large")
	}
	ack := &tap.Ack{Status: uint64(response.Status), Body: response.Body}
	if response.ContentType != "application/json" && response.ContentType != "" {
		ack.Type = response.ContentType
	}
	return ack, nil
}

// checkpoint records a checkpoint that check has verified.
func (s *session) checkpoint(_ uuid.UUID, payload []byte) (*tap.Ack, error) {
	var c tap.Checkpoint
	if err := tap.DecodePayload(payload, &c); err != nil {
		return nil, err
	}
	budget := s.budget()
	defer s.release(budget)
	return &tap.Ack{}, s.hub.config.Recorder.Checkpoint(budget.Context, s.principal, SessionCheckpoint{
		Session: s.id, KeyID: s.keyID, Count: c.Count, Head: c.Head, Signature: c.Signature,
		Remote: s.conn.Remote(), Transport: s.conn.Transport(),
	})
}
