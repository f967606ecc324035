package hub

import (
	"container/list"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// Hub serves TAP connections. It is a [tap.ConnHandler].
type Hub struct {
	config  Config
	limits  Limits
	pending pending
	workers workers

	mu       sync.Mutex // guards what follows
	rooms    map[roomName]*room
	idle     list.List // of *room without users, oldest first
	created  uint64    // rooms made so far
	sessions map[*session]struct{}
	present  map[identity]int // sessions of each identity
	closed   bool
	serving  sync.WaitGroup
}

type roomName struct{ tenant, room string }

type identity struct{ tenant, name string }

// New makes a hub.
func New(c Config) *Hub {
	l := c.Limits.withDefaults()
	return &Hub{
		config: c, limits: l,
		pending:  pending{limit: l.Pending, perAddress: l.PendingPerAddress},
		workers:  workers{jobs: make(chan func()), quit: make(chan struct{})},
		rooms:    map[roomName]*room{},
		sessions: map[*session]struct{}{},
		present:  map[identity]int{},
	}
}

// ServeConn authenticates the connection and serves it until it ends. The error
// says why; an orderly end is nil.
func (h *Hub) ServeConn(ctx context.Context, c tap.Conn) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return c.Close(tap.CloseGoingAway, "the node is stopping")
	}
	h.serving.Add(1)
	h.mu.Unlock()
	defer h.serving.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close(tap.CloseGoingAway, "the node is stopping") })
	defer stop()

	s, err := h.admit(ctx, c)
	if err != nil {
		_ = c.Close(closeCode(err), tap.AsError(err).StableCode())
		return ended(err)
	}
	defer h.leave(s)
	return ended(s.run())
}

// enter counts a session that was authenticated, unless its identity has as
// many as it may.
func (h *Hub) enter(s *session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return tap.E("hub.handshake", tap.Unavailable, "the node is stopping").WithCode("stopping").WithRetryAfter(tap.DefaultRetryAfter)
	}
	who := s.identity()
	if h.present[who] >= h.limits.SessionsPerIdentity {
		return tap.E("hub.handshake", tap.Limited, "an identity has at most %d sessions on a node", h.limits.SessionsPerIdentity).
			WithCode("sessions").WithRetryAfter(tap.DefaultRetryAfter)
	}
	h.present[who]++
	h.sessions[s] = struct{}{}
	return nil
}

// leave ends a session that Established opened, whether or not it entered.
func (h *Hub) leave(s *session) {
	defer h.config.Authenticator.Closed(s.principal)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, entered := h.sessions[s]; !entered {
		return
	}
	delete(h.sessions, s)
	who := s.identity()
	if h.present[who]--; h.present[who] == 0 {
		delete(h.present, who)
	}
}

// ended is why a connection ended, nil when its peer said goodbye or vanished.
func ended(err error) error {
	if orderly(err) {
		return nil
	}
	return err
}

// orderly says whether an error of a connection means no more than that it is
// over. A refusal of ours never does, whatever caused it.
func orderly(err error) bool {
	var refusal *tap.Error
	if errors.As(err, &refusal) {
		return false
	}
	for _, end := range []error{
		nil, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func closeCode(err error) uint16 {
	switch e := tap.AsError(err); {
	case e.Code == "too_large":
		return tap.CloseTooBig
	case e.Kind == tap.Invalid:
		return tap.CloseProtocol
	case e.Kind == tap.Limited || e.Kind == tap.Unavailable:
		return tap.CloseUnavailable
	}
	return tap.ClosePolicy
}

// Sessions is the number of authenticated sessions.
func (h *Hub) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}

// Rooms is the number of rooms in memory, those kept for resumption included.
func (h *Hub) Rooms() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms)
}

// Committed tells the hub about a durable action that was committed, by whatever
// way it came in. Call it in commit order, before the commit is acknowledged:
// the hub drops what it already fanned out itself, and resynchronises the
// subscribers when it sees a hole. It does not block.
func (h *Hub) Committed(tenant, room, from string, id uuid.UUID, o Outcome) {
	h.mu.Lock()
	r := h.rooms[roomName{tenant, room}]
	h.mu.Unlock()
	if r != nil {
		r.deliver(id, from, o.Sequence, o.Data)
	}
}

// Replaced tells the hub that the whole replicated state was replaced by a newer
// one, as when a member that was away is given a snapshot: what was committed in
// between is not told one by one. Every subscriber gets a gap and a snapshot.
func (h *Hub) Replaced() {
	h.mu.Lock()
	rooms := slices.Collect(maps.Values(h.rooms))
	h.mu.Unlock()
	for _, r := range rooms {
		r.mu.Lock()
		if r.based {
			r.resynchronise(r.durable)
			r.based = false // the next snapshot says where the stream goes on
		}
		r.mu.Unlock()
	}
}

// Shutdown closes every session with CloseGoingAway and waits for them, at most
// until the context ends.
func (h *Hub) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.workers.quit)
	}
	for s := range h.sessions {
		go func() { _ = s.conn.Close(tap.CloseGoingAway, "the node is stopping") }()
	}
	h.mu.Unlock()
	done := make(chan struct{})
	go func() { h.serving.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return tap.AsError(ctx.Err())
	}
}

// use returns the room, made when it is not in memory, and keeps it there until
// release.
func (h *Hub) use(name roomName) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[name]
	if r == nil {
		h.created++
		// Two rooms never share an epoch, also not across restarts: fewer than
		// 1024 rooms are made per unit of the node's epoch.
		r = newRoom(h, name, h.config.Epoch<<10+h.created)
		h.rooms[name] = r
	}
	if r.idle != nil {
		h.idle.Remove(r.idle)
		r.idle = nil
	}
	r.users++
	return r
}

func (h *Hub) release(r *room) {
	opened := r.opened()
	h.mu.Lock()
	defer h.mu.Unlock()
	r.users--
	if r.users > 0 {
		return
	}
	if !opened { // nobody was ever let in: nothing to resume
		delete(h.rooms, r.name)
		return
	}
	r.idle = h.idle.PushBack(r)
	for h.idle.Len() > h.limits.IdleRooms {
		oldest := h.idle.Remove(h.idle.Front()).(*room)
		delete(h.rooms, oldest.name)
	}
}

// workers runs jobs on goroutines that are kept for the next job, because a
// warm stack is worth more than a new one.
type workers struct {
	jobs chan func()
	quit chan struct{}
	mu   sync.Mutex
	idle int // guarded by mu
}

// maxIdleWorkers bounds the goroutines that wait for a job.
const maxIdleWorkers = 256

func (w *workers) run(job func()) {
	select {
	case w.jobs <- job:
	default:
		go w.work(job)
	}
}

func (w *workers) work(job func()) {
	for {
		job()
		if !w.rest(1) {
			return
		}
		select {
		case job = <-w.jobs:
			w.rest(-1)
		case <-w.quit:
			return
		}
	}
}

func (w *workers) rest(delta int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delta > 0 && w.idle >= maxIdleWorkers {
		return false
	}
	w.idle += delta
	return true
}
