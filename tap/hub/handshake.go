package hub

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// pending counts handshakes, over all and per address, so that whoever is not
// yet known cannot hold more than a bounded part of the node.
type pending struct {
	limit, perAddress int

	mu      sync.Mutex // guards what follows
	total   int
	address map[netip.Addr]int
}

func (p *pending) acquire(a netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total >= p.limit || p.address[a] >= p.perAddress {
		return tap.E("hub.handshake", tap.Limited, "too many connections are waiting to be authenticated").
			WithCode("handshakes").WithRetryAfter(tap.DefaultRetryAfter)
	}
	if p.address == nil {
		p.address = map[netip.Addr]int{}
	}
	p.total++
	p.address[a]++
	return nil
}

func (p *pending) release(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.address[a]--; p.address[a] == 0 {
		delete(p.address, a)
	}
}

// admit leads a connection through the handshake; its session has entered the
// hub. A refusal is sent to the client and recorded.
func (h *Hub) admit(ctx context.Context, c tap.Conn) (*session, error) {
	if err := h.pending.acquire(c.Remote()); err != nil {
		return nil, h.refuse(c, uuid.Nil, err)
	}
	defer h.pending.release(c.Remote())
	ctx, cancel := context.WithTimeout(ctx, h.limits.Handshake)
	defer cancel()
	if err := c.SetReadDeadline(time.Now().Add(h.limits.Handshake)); err != nil {
		return nil, err
	}
	a := admission{hub: h, conn: c}
	s, err := a.run(ctx)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err == nil {
		c.SetReadLimit(h.limits.Frame)
		return s, nil
	}
	if s != nil {
		h.leave(s)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = tap.Wrap("hub.handshake", tap.Timeout, err, "the handshake took longer than %s", h.limits.Handshake).
			WithCode("handshake_timeout")
	} else if orderly(err) { // the peer went away; there is nobody to tell
		return nil, err
	}
	if !a.decided {
		h.config.Authenticator.Failed(context.WithoutCancel(ctx), a.keyID, c.Remote(), c.Transport(), tap.AsError(err).StableCode())
	}
	return nil, h.refuse(c, a.id, err)
}

func (h *Hub) refuse(c tap.Conn, id uuid.UUID, err error) error {
	e := tap.ErrorEnvelope(id, err, h.config.Now(), tap.English)
	_ = c.WriteFrames(e.AppendFrame(nil)) // the refusal stands whether or not it arrives
	return err
}

// admission is one handshake under way.
type admission struct {
	hub     *Hub
	conn    tap.Conn
	id      uuid.UUID // of the frame being answered
	keyID   string    // as claimed
	decided bool      // the authenticator knows the result and recorded it
}

func (a *admission) run(ctx context.Context) (*session, error) {
	var hs tap.Handshake
	if err := a.read(tap.TypeHello, &hs.Hello); err != nil {
		return nil, err
	}
	a.keyID = hs.Hello.KeyID
	if hs.Hello.Version != tap.ProtocolVersion {
		return nil, tap.E("hub.handshake", tap.Invalid, "this node speaks version %d of TAP", tap.ProtocolVersion).WithCode("version")
	}
	auth, remote, transport := a.hub.config.Authenticator, a.conn.Remote(), a.conn.Transport()
	pub, err := auth.Key(ctx, a.keyID, remote, transport)
	if err != nil {
		a.decided = true
		return nil, err
	}
	own, err := a.challenge(&hs)
	if err != nil {
		return nil, err
	}
	var proof tap.Auth
	if err := a.read(tap.TypeAuth, &proof); err != nil {
		return nil, err
	}
	if proof.Bound {
		binding, ok := a.conn.ExportKeyingMaterial(tap.ExporterLabel, nil, tap.ExporterLen)
		if !ok {
			return nil, tap.E("hub.handshake", tap.Unauthenticated, "this connection cannot be bound").WithCode("binding")
		}
		hs.Binding = binding
	}
	if !hs.Verify(pub, &proof) {
		return nil, tap.E("hub.handshake", tap.Unauthenticated, "the signature does not match").WithCode("bad_signature")
	}
	key, err := hs.SessionKey(own, hs.Hello.Ephemeral)
	if err != nil {
		return nil, err
	}
	principal, err := auth.Established(ctx, a.keyID, remote, transport)
	a.decided = true
	if err != nil {
		return nil, err
	}
	s := newSession(a.hub, a.conn, principal, a.keyID, pub)
	s.opener = tap.NewOpener(key, hs.Transcript())
	if err := a.hub.enter(s); err != nil {
		return s, err
	}
	return s, a.write(tap.TypeReady, s.ready())
}

// challenge answers the hello and returns the node's half of the key exchange.
func (a *admission) challenge(hs *tap.Handshake) (*ecdh.PrivateKey, error) {
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	hs.Challenge = tap.Challenge{
		Nonce: nonce, Node: a.hub.config.Node, Epoch: a.hub.config.Epoch, Ephemeral: own.PublicKey().Bytes(),
	}
	return own, a.write(tap.TypeChallenge, &hs.Challenge)
}

// read takes the next frame, which must be of the given type. Everything else
// is refused, because nobody is authenticated yet.
func (a *admission) read(typ string, into tap.Payload) error {
	b, err := a.conn.ReadFrame()
	if err != nil {
		return err
	}
	e, err := tap.DecodeEnvelope(b)
	if err != nil {
		return err
	}
	a.id = e.ID
	if e.Type != typ {
		return tap.E("hub.handshake", tap.Unauthenticated, "the session is not authenticated: a frame of type %s is due", typ).
			WithCode("unauthenticated")
	}
	// The payload outlives the connection's read buffer.
	return tap.DecodePayload(append([]byte(nil), e.Payload...), into)
}

func (a *admission) write(typ string, p tap.Payload) error {
	e := tap.Envelope{ID: a.id, Type: typ, Timestamp: uint64(a.hub.config.Now().UnixMilli()), Payload: tap.AppendPayload(nil, p)}
	return a.conn.WriteFrames(e.AppendFrame(nil))
}
