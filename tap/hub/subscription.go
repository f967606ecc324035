package hub

import (
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// subscription is a session's cursor in a room.
type subscription struct {
	session *session
	room    *room
	marked  atomic.Bool // queued in the session's outbox
	left    atomic.Bool // unsubscribed; written under room.mu

	// Guarded by room.mu.
	cursor   uint64              // the last sequence seen
	live     bool                // the stream flows; false while a snapshot is on its way
	admitted bool                // the room let the principal in
	contains uint64              // durable actions in the client's snapshot
	keys     map[string]struct{} // state keys whose latest value is this subscriber's
}

// subscribe registers a cursor at once and fetches the snapshot beside.
func (s *session) subscribe(e *tap.Envelope) error {
	var p tap.Subscribe
	if err := tap.DecodePayload(e.Payload, &p); err != nil {
		return err
	}
	sub, err := s.register(p.Room)
	if err != nil {
		return err
	}
	started := s.spawnQuiet(e.ID, func(id uuid.UUID) {
		if err := sub.open(id, &p); err != nil {
			s.drop(sub)
			s.fail(id, err)
		}
	})
	if !started {
		s.drop(sub)
	}
	return nil
}

// spawnQuiet runs a request that answers by itself.
func (s *session) spawnQuiet(id uuid.UUID, serve func(uuid.UUID)) bool {
	if !s.take(id, 0) {
		return false
	}
	s.jobs.Add(1)
	s.hub.workers.run(func() {
		defer s.jobs.Done()
		defer s.inFlight.Add(-1)
		serve(id)
	})
	return true
}

func (s *session) register(name string) (*subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[name] != nil {
		return nil, tap.E("hub.subscribe", tap.Conflict, "this session already subscribes to room %s", name).WithCode("subscribed")
	}
	if len(s.subs) >= s.hub.limits.Subscriptions {
		return nil, tap.E("hub.subscribe", tap.Limited, "a session subscribes to at most %d rooms", s.hub.limits.Subscriptions).WithCode("subscriptions")
	}
	r := s.hub.use(roomName{s.principal.Tenant, name})
	sub := &subscription{session: s, room: r, keys: map[string]struct{}{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	sub.cursor = r.next - 1
	r.subs = append(r.subs, sub)
	s.subs[name] = sub
	return sub, nil
}

// subscription finds the session's cursor in a room; nil when there is none.
func (s *session) subscription(room string) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs[room]
}

// drop ends a subscription; false when it ended before. Another subscription of
// the same room, which the session may have meanwhile, is left alone.
func (s *session) drop(sub *subscription) bool {
	name := sub.room.name.room
	s.mu.Lock()
	held := s.subs[name] == sub
	if held {
		delete(s.subs, name)
	}
	s.mu.Unlock()
	if held {
		sub.leave()
	}
	return held
}

func (s *session) unsubscribe(e *tap.Envelope) error {
	var p tap.Unsubscribe
	if err := tap.DecodePayload(e.Payload, &p); err != nil {
		return err
	}
	if sub := s.subscription(p.Room); sub == nil || !s.drop(sub) {
		return errNotSubscribed(p.Room)
	}
	s.ack(e.ID, &tap.Ack{Room: p.Room})
	return nil
}

func errNotSubscribed(room string) error {
	return tap.E("hub.session", tap.Conflict, "this session does not subscribe to room %s", room).WithCode("not_subscribed")
}

// leave takes the cursor out of the room.
func (sub *subscription) leave() {
	r := sub.room
	r.mu.Lock()
	sub.live, sub.admitted = false, false
	sub.left.Store(true)
	if i := slices.Index(r.subs, sub); i >= 0 {
		r.subs = slices.Delete(r.subs, i, i+1)
	}
	r.withdraw(sub)
	r.mu.Unlock()
	r.hub.release(r)
}

// open answers a subscribe: it resumes, or sends the snapshot, and lets the
// stream flow.
func (sub *subscription) open(id uuid.UUID, p *tap.Subscribe) error {
	// The snapshot is also the permission to read the room.
	state, err := sub.snapshot()
	if err != nil {
		return err
	}
	r := sub.room
	r.mu.Lock()
	if sub.left.Load() { // while the snapshot was read
		r.mu.Unlock()
		return errNotSubscribed(p.Room)
	}
	sub.admitted = true
	if p.Epoch == r.epoch && p.After >= r.lost && p.After < r.next && r.based {
		defer r.mu.Unlock()
		sub.session.ack(id, &tap.Ack{Room: p.Room, Epoch: r.epoch, Sequence: p.After, Resumed: true})
		sub.cursor, sub.live = p.After, true
		sub.session.moved(sub)
		return nil
	}
	r.mu.Unlock()
	return sub.synchronise(state, func(start uint64) {
		sub.session.ack(id, &tap.Ack{Room: p.Room, Epoch: r.epoch, Sequence: start})
	})
}

// recover sends a gap and a snapshot to a subscriber that fell out of the ring.
func (sub *subscription) recover(missed uint64) {
	r, s := sub.room, sub.session
	state, err := sub.snapshot()
	if err == nil {
		err = sub.synchronise(state, func(start uint64) {
			s.reply(tap.Envelope{Type: tap.TypeGap, Timestamp: r.hub.now()},
				&tap.Gap{Room: r.name.room, Epoch: r.epoch, From: missed, To: start})
		})
	}
	// Whoever left meanwhile knows that the stream ended.
	if err != nil && s.drop(sub) {
		s.fail(uuid.Nil, err)
	}
}

// snapshot reads the room's durable state until it is as new as what the room
// has already seen committed.
func (sub *subscription) snapshot() (RoomState, error) {
	r, s := sub.room, sub.session
	budget := s.budget()
	defer s.release(budget)
	for range 3 {
		state, err := guarded(func() (RoomState, error) {
			return r.hub.config.Rooms.Snapshot(budget.Context, s.principal, r.name.room)
		})
		if err != nil {
			return state, err
		}
		r.mu.Lock()
		fresh := state.Sequence >= r.base
		if fresh && !r.based {
			r.based, r.durable, r.base = true, state.Sequence, state.Sequence
		}
		r.mu.Unlock()
		if fresh {
			return state, nil
		}
	}
	return RoomState{}, tap.E("hub.subscribe", tap.Unavailable, "this node is behind the room's state").WithRetryAfter(tap.DefaultRetryAfter)
}

// synchronise sends what announce says, the snapshot and the state values of
// before, then opens the stream.
func (sub *subscription) synchronise(state RoomState, announce func(start uint64)) error {
	r, s := sub.room, sub.session
	r.mu.Lock()
	defer r.mu.Unlock()
	if sub.left.Load() {
		return errNotSubscribed(r.name.room)
	}
	if sub.cursor < r.lost {
		// The room moved on by a whole ring while the snapshot was read. Frames
		// before the cursor that the snapshot does not contain are events, which
		// a newcomer is not owed.
		sub.cursor = r.next - 1
		if state.Sequence < r.durable {
			return tap.E("hub.subscribe", tap.Unavailable, "the room moves faster than its snapshots").WithRetryAfter(tap.DefaultRetryAfter)
		}
	}
	announce(sub.cursor)
	frames := snapshotFrames(&tap.Snapshot{
		Room: r.name.room, Epoch: r.epoch, Sequence: sub.cursor, Durable: state.Sequence, State: state.State,
	}, r.hub)
	for _, f := range r.states(nil, 0, sub.cursor) {
		frames = append(frames, f...)
	}
	s.sendFrames(frames)
	sub.contains, sub.live = state.Sequence, true
	s.moved(sub)
	return nil
}

// snapshotFrames cuts a snapshot into frames of at most half the frame limit.
func snapshotFrames(p *tap.Snapshot, h *Hub) []byte {
	var frames []byte
	state := p.State
	for {
		n := min(len(state), h.limits.Frame/2)
		p.State, state = state[:n], state[n:]
		p.More = len(state) > 0
		e := tap.Envelope{Type: tap.TypeSnapshot, Timestamp: h.now(), Payload: tap.AppendPayload(nil, p)}
		frames = e.AppendFrame(frames)
		if !p.More {
			return frames
		}
	}
}

// collect adds the frames after the cursor to frames, within the budget in
// bytes, and moves the cursor.
func (sub *subscription) collect(frames [][]byte, budget int) ([][]byte, int) {
	r := sub.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if !sub.live {
		return frames, budget
	}
	if sub.cursor < r.lost {
		missed := sub.cursor + 1
		sub.live, sub.cursor = false, r.next-1
		s := sub.session
		s.jobs.Add(1) // the writer, which holds one, is running
		r.hub.workers.run(func() {
			defer s.jobs.Done()
			sub.recover(missed)
		})
		return frames, budget
	}
	if sub.cursor+1 < r.first { // only superseded state was lost
		frames = r.states(frames, sub.cursor, r.first-1)
		sub.cursor = r.first - 1
	}
	for sub.cursor+1 < r.next {
		if budget <= 0 {
			sub.session.moved(sub)
			break
		}
		sub.cursor++
		e := &r.ring[sub.cursor-r.first]
		if e.superseded || e.durable != 0 && e.durable <= sub.contains {
			continue
		}
		frames = append(frames, e.frame)
		budget -= len(e.frame)
	}
	return frames, budget
}
