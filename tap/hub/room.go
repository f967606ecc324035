package hub

import (
	"container/list"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// room is an ordered ring of encoded frames, the latest value per state key and
// the cursors of its subscribers.
type room struct {
	hub   *Hub
	name  roomName
	epoch uint64

	users int           // guarded by hub.mu: subscriptions and durable work
	idle  *list.Element // guarded by hub.mu: place among the idle rooms

	mu      sync.Mutex // guards what follows
	ring    []entry    // sequences first, first+1, ..., next-1
	first   uint64
	next    uint64
	bytes   int               // of the frames in the ring
	lost    uint64            // highest sequence no longer in the ring that a subscriber must not miss
	latest  map[string]*value // by state key
	kept    int               // bytes of the frames in latest, at most Limits.RingBytes
	subs    []*subscription
	payload []byte // scratch

	based   bool   // a snapshot fixed durable
	base    uint64 // snapshots must contain at least this many durable actions
	durable uint64 // durable sequence that the stream has reached, once based

	waiting []waitingAction
	acting  bool // a worker is committing
}

// entry is one frame of the ring.
type entry struct {
	frame      []byte // with its length prefix; shared by every subscriber, never changed
	durable    uint64 // durable sequence; 0 = not durable
	state      bool   // may be skipped once a newer value of its key exists
	superseded bool   // a newer value exists
}

// value is the latest value of a state key.
type value struct {
	sequence uint64
	frame    []byte
	owner    *subscription
}

func newRoom(h *Hub, name roomName, epoch uint64) *room {
	return &room{hub: h, name: name, epoch: epoch, first: 1, next: 1, latest: map[string]*value{}}
}

func (r *room) opened() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.based
}

// publish appends a state or event publication of a subscriber that the room let
// in, and returns its sequence.
func (r *room) publish(sub *subscription, id uuid.UUID, p *tap.Publish) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !sub.admitted {
		return 0, errNotSubscribed(r.name.room)
	}
	if p.Class != tap.ClassState {
		return r.append(id, entry{}, &tap.Event{Class: tap.ClassEvent, From: sub.session.principal.Identity, Data: p.Data}), nil
	}
	v := r.latest[p.Key]
	if v == nil && len(r.latest) >= r.hub.limits.Keys {
		return 0, tap.E("hub.publish", tap.Limited, "the room already holds %d keys", len(r.latest)).WithCode("keys")
	}
	frame := r.encode(id, tap.TypeXREvent, &tap.Event{
		Class: tap.ClassState, Key: p.Key, From: sub.session.principal.Identity, Data: p.Data,
	})
	kept := r.kept + len(frame)
	if v != nil {
		kept -= len(v.frame)
	}
	if kept > r.hub.limits.RingBytes {
		return 0, tap.E("hub.publish", tap.Limited, "a room keeps at most %d bytes of state values", r.hub.limits.RingBytes).WithCode("keys")
	}
	r.supersede(v)
	sequence := r.push(entry{frame: frame, state: true})
	if v != nil {
		delete(v.owner.keys, p.Key)
	}
	r.latest[p.Key] = &value{sequence, frame, sub}
	r.kept = kept
	sub.keys[p.Key] = struct{}{}
	return sequence, nil
}

func (r *room) supersede(v *value) {
	if v != nil && v.sequence >= r.first {
		r.ring[v.sequence-r.first].superseded = true
	}
}

// append encodes the event and pushes it. The room is locked.
func (r *room) append(id uuid.UUID, e entry, event *tap.Event) uint64 {
	typ := tap.TypeXREvent
	if e.durable != 0 {
		typ = tap.TypeDreamSpaceSync
	}
	e.frame = r.encode(id, typ, event)
	return r.push(e)
}

// encode makes the frame of an event that is to have the next sequence. The room
// is locked.
func (r *room) encode(id uuid.UUID, typ string, event *tap.Event) []byte {
	event.Room, event.Sequence = r.name.room, r.next
	r.payload = tap.AppendPayload(r.payload[:0], event)
	frame := tap.Envelope{ID: id, Type: typ, Timestamp: r.hub.now(), Payload: r.payload}
	return frame.AppendFrame(make([]byte, 0, frame.Size()+4))
}

// push adds an encoded entry to the ring, notifies the subscribers and returns
// its sequence. The room is locked.
func (r *room) push(e entry) uint64 {
	r.ring = append(r.ring, e)
	r.bytes += len(e.frame)
	r.next++
	for len(r.ring) > 1 && (len(r.ring) > r.hub.limits.RingFrames || r.bytes > r.hub.limits.RingBytes) {
		r.evict()
	}
	for _, sub := range r.subs {
		sub.session.moved(sub)
	}
	return r.next - 1
}

func (r *room) evict() {
	e := r.ring[0]
	r.ring[0] = entry{} // let the frame go before the slice is reallocated
	r.ring = r.ring[1:]
	r.bytes -= len(e.frame)
	if !e.state {
		r.lost = r.first
	}
	r.first++
}

// deliver fans out a committed durable action. Sequences that the stream has
// reached are dropped; a hole resynchronises every subscriber.
func (r *room) deliver(id uuid.UUID, from string, durable uint64, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.based:
		// Nobody has a snapshot yet; whoever is about to get one must find this
		// action in it.
		r.base = max(r.base, durable)
	case durable <= r.durable:
	case durable > r.durable+1:
		r.resynchronise(durable)
	default:
		r.durable = durable
		r.append(id, entry{durable: durable}, &tap.Event{Class: tap.ClassDurable, From: from, Durable: durable, Data: data})
	}
}

// resynchronise puts every subscriber behind a loss, so that each gets a gap
// and a snapshot that contains the durable sequence.
func (r *room) resynchronise(durable uint64) {
	r.durable, r.base = durable, durable
	for len(r.ring) > 0 {
		r.evict()
	}
	r.lost = r.next // a sequence that no frame will ever have
	r.next++
	r.first = r.next
	for _, sub := range r.subs {
		sub.session.moved(sub)
	}
}

// states adds the latest values with a sequence in (after, upTo] to frames, in
// order. The room is locked.
func (r *room) states(frames [][]byte, after, upTo uint64) [][]byte {
	var some []*value
	for v := range maps.Values(r.latest) {
		if v.sequence > after && v.sequence <= upTo {
			some = append(some, v)
		}
	}
	slices.SortFunc(some, func(a, b *value) int { return int(int64(a.sequence - b.sequence)) })
	for _, v := range some {
		frames = append(frames, v.frame)
	}
	return frames
}

// withdraw publishes an empty value for every key the subscription owns. The
// room is locked.
func (r *room) withdraw(sub *subscription) {
	for _, key := range slices.Sorted(maps.Keys(sub.keys)) {
		v := r.latest[key]
		r.supersede(v)
		r.kept -= len(v.frame)
		delete(r.latest, key)
		r.append(uuid.Nil, entry{}, &tap.Event{Class: tap.ClassState, Key: key, From: sub.session.principal.Identity})
	}
	clear(sub.keys)
}
