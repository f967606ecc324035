package hub

import (
	"context"
	"crypto/ed25519"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// Authenticator knows the identities. All methods are called concurrently.
type Authenticator interface {
	// Key is the key that keyID ("TENANT/NAME") may prove. An error (Kind
	// Unauthenticated or Limited, with its stable code) refuses the handshake.
	Key(ctx context.Context, keyID string, remote netip.Addr, transport string) (ed25519.PublicKey, error)
	// Established turns a proven key into a principal and records the success.
	Established(ctx context.Context, keyID string, remote netip.Addr, transport string) (*tap.Principal, error)
	// Failed records a handshake that was refused between Key and Established,
	// with the code that the client saw. keyID is as claimed.
	Failed(ctx context.Context, keyID string, remote netip.Addr, transport, code string)
	// Active says whether the principal's identity still stands. It is asked
	// for every frame received and before room frames are sent, so it must not
	// block.
	Active(p *tap.Principal) bool
	// Closed is told once, for every principal that Established returned, that
	// its session has ended, or never began.
	Closed(p *tap.Principal)
}

// RoomState is the durable state of a room.
type RoomState struct {
	Sequence uint64 // durable actions it contains, counted from 1
	State    []byte // as clients read it; JSON
}

// Action is one durable action on its way to a room.
type Action struct {
	ID        uuid.UUID // of the frame; the same id is applied at most once
	Principal *tap.Principal
	Data      []byte // as published
	Remote    netip.Addr
	Transport string
}

// Outcome is what became of an Action.
type Outcome struct {
	Sequence uint64 // durable sequence; the room's actions count from 1 without gaps
	Data     []byte // what subscribers get; nil = the action's own
	Reply    []byte // body of the ack; may be nil
	Err      error  // refused: the action left no trace
}

// Rooms keeps the durable side of rooms. All methods are called concurrently,
// Act at most once at a time per room. Contexts end after Limits.Request.
type Rooms interface {
	// Snapshot checks that p may read the room and returns its state.
	Snapshot(ctx context.Context, p *tap.Principal, room string) (RoomState, error)
	// Act commits actions of one room, in order, together. It returns one
	// outcome per action; an error means that none was applied.
	Act(ctx context.Context, tenant, room string, actions []Action) ([]Outcome, error)
}

// SessionCheckpoint is a client's signature over everything it sent, verified
// against the frames that arrived.
type SessionCheckpoint struct {
	Session   uuid.UUID
	KeyID     string
	Count     uint64 // frames covered
	Head      []byte // hash chain head, 32 bytes
	Signature []byte // Ed25519 over tap.CheckpointMessage, 64 bytes
	Remote    netip.Addr
	Transport string
}

// Recorder makes checkpoints evidence. It is called concurrently, also for one
// session; Count gives the order.
type Recorder interface {
	Checkpoint(ctx context.Context, p *tap.Principal, c SessionCheckpoint) error
}

// Limits bounds what sessions and rooms may use. Zero fields take the value of
// [DefaultLimits].
type Limits struct {
	Handshake           time.Duration // from accepted to ready
	Pending             int           // handshakes at once
	PendingPerAddress   int
	SessionsPerIdentity int
	Request             time.Duration // for one call of the Handler, Rooms or the Recorder, less up to a thirtieth; what then becomes of it is unknown to the client
	Frame               int           // bytes
	Credit              int           // requests in flight per session
	Checkpoint          int           // frames after which a client owes a checkpoint; four times that ends the session
	PublishRate         float64       // state and event publications per second and session
	Subscriptions       int           // per session
	RingFrames          int           // per room
	RingBytes           int           // per room, of the ring; and as many of the state values kept for newcomers
	Keys                int           // state keys per room
	IdleRooms           int           // rooms without subscribers that stay resumable
	ActBatch            int           // durable actions per Act
	Backlog             int           // bytes of answers waiting for a slow client before its requests are no longer read
}

// DefaultLimits are the limits of an ordinary node.
func DefaultLimits() Limits {
	return Limits{
		Handshake:           5 * time.Second,
		Pending:             1024,
		PendingPerAddress:   128,
		SessionsPerIdentity: 64,
		Request:             30 * time.Second,
		Frame:               tap.DefaultFrameLimit,
		Credit:              256,
		Checkpoint:          256,
		PublishRate:         2000,
		Subscriptions:       64,
		RingFrames:          4096,
		RingBytes:           1 << 20,
		Keys:                4096,
		IdleRooms:           64,
		ActBatch:            256,
		Backlog:             1 << 20,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Handshake == 0 {
		l.Handshake = d.Handshake
	}
	if l.Request == 0 {
		l.Request = d.Request
	}
	if l.PublishRate == 0 {
		l.PublishRate = d.PublishRate
	}
	for _, f := range []struct{ value, def *int }{
		{&l.Pending, &d.Pending},
		{&l.PendingPerAddress, &d.PendingPerAddress},
		{&l.SessionsPerIdentity, &d.SessionsPerIdentity},
		{&l.Frame, &d.Frame},
		{&l.Credit, &d.Credit},
		{&l.Checkpoint, &d.Checkpoint},
		{&l.Subscriptions, &d.Subscriptions},
		{&l.RingFrames, &d.RingFrames},
		{&l.RingBytes, &d.RingBytes},
		{&l.Keys, &d.Keys},
		{&l.IdleRooms, &d.IdleRooms},
		{&l.ActBatch, &d.ActBatch},
		{&l.Backlog, &d.Backlog},
	} {
		if *f.value == 0 {
			*f.value = *f.def
		}
	}
	return l
}

// Config is what a hub joins. All fields but Limits are needed.
type Config struct {
	Handler       tap.Handler
	Authenticator Authenticator
	Rooms         Rooms
	Recorder      Recorder
	Now           func() time.Time
	Limits        Limits
	Node          string // the node's name, shown to clients
	Epoch         uint64 // grows with every start of the process and stays under 2^43: Unix milliseconds will do
}
