package client

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// EventKind says what an Event is.
type EventKind uint8

// The kinds of events.
const (
	Published EventKind = iota // somebody published
	Snapshot                   // the room's durable state; what follows is newer
	Gap                        // events from Sequence to To were lost; a snapshot follows
)

func (k EventKind) String() string { return [...]string{"published", "snapshot", "gap"}[k] }

// Event is something that happened in a room.
type Event struct {
	Kind     EventKind
	ID       uuid.UUID // of the publication
	Time     time.Time // the node's clock, in milliseconds
	Room     string
	Epoch    uint64 // of the room, with Snapshot and Gap
	Sequence uint64 // place in the room's stream
	To       uint64 // last sequence lost, with Gap
	Durable  uint64 // durable sequence of a committed action, or of a snapshot
	Class    string // tap.ClassState, ClassEvent or ClassDurable, with Published
	Key      string // of a state
	From     string // identity of the publisher
	Data     []byte // the publication, or the room's state; empty for a state whose publisher left
}

// maxQueue bounds the events that wait for their reader.
const maxQueue = 1 << 16

// Subscription is a room's stream of events. One goroutine at a time calls
// Next; any may call Close.
type Subscription struct {
	room string

	mu      sync.Mutex // guards what follows
	session *Session   // nil while disconnected
	lasting bool       // a Reconnector keeps it alive
	queue   []Event
	more    chan struct{} // holds a token while there is something new
	err     error
	partial []byte // state of a snapshot whose last part has not come
	epoch   uint64 // of the room, as last heard
	last    uint64 // sequence last heard
}

func newSubscription(room string) *Subscription {
	return &Subscription{room: room, more: make(chan struct{}, 1)}
}

// Subscribe enters a room. The first event is its snapshot.
func (s *Session) Subscribe(ctx context.Context, room string) (*Subscription, error) {
	sub := newSubscription(room)
	return sub, s.attach(ctx, sub)
}

// attach subscribes, from where the subscription stands.
func (s *Session) attach(ctx context.Context, sub *Subscription) error {
	s.mu.Lock()
	if s.subs[sub.room] != nil {
		s.mu.Unlock()
		return tap.E("client.subscribe", tap.Conflict, "this session already subscribes to room %s", sub.room).WithCode("subscribed")
	}
	s.subs[sub.room] = sub
	s.mu.Unlock()
	sub.mu.Lock()
	sub.session = s
	p := tap.Subscribe{Room: sub.room, Epoch: sub.epoch, After: sub.last}
	sub.mu.Unlock()
	ack, err := s.call(ctx, s.envelope(tap.TypeSubscribe, &p))
	if err != nil {
		s.forget(sub)
		return err
	}
	sub.mu.Lock()
	sub.epoch = ack.Epoch
	sub.mu.Unlock()
	return nil
}

func (s *Session) forget(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[sub.room] == sub {
		delete(s.subs, sub.room)
	}
}

// Room is the room's name.
func (sub *Subscription) Room() string { return sub.room }

// Next returns the next event. It fails when the context ends, when the
// subscription was closed or the connection ended, and with Limited, code
// slow_reader, when more events waited than the client holds.
func (sub *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		sub.mu.Lock()
		if len(sub.queue) > 0 {
			e := sub.queue[0]
			sub.queue[0] = Event{}
			if sub.queue = sub.queue[1:]; len(sub.queue) == 0 {
				sub.queue = nil
			}
			sub.mu.Unlock()
			return e, nil
		}
		err := sub.err
		sub.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		select {
		case <-sub.more:
		case <-ctx.Done():
			return Event{}, tap.AsError(ctx.Err())
		}
	}
}

// Close leaves the room.
func (sub *Subscription) Close(ctx context.Context) error {
	sub.mu.Lock()
	s := sub.session
	sub.session, sub.lasting = nil, false
	sub.mu.Unlock()
	sub.end(tap.E("client.subscription", tap.Unavailable, "the subscription was closed").WithCode("closed"))
	if s == nil {
		return nil
	}
	_, err := s.call(ctx, s.envelope(tap.TypeUnsubscribe, &tap.Unsubscribe{Room: sub.room}))
	s.forget(sub)
	return err
}

func (sub *Subscription) signal() {
	select {
	case sub.more <- struct{}{}:
	default:
	}
}

// end makes Next fail once the queue is empty.
func (sub *Subscription) end(err error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.err == nil {
		sub.err = err
	}
	sub.signal()
}

// detach notes that the session ended. A lasting subscription waits for the
// next one.
func (sub *Subscription) detach(s *Session, err error) {
	sub.mu.Lock()
	if sub.session == s {
		sub.session, sub.partial = nil, nil
	}
	lasting := sub.lasting
	sub.mu.Unlock()
	if !lasting {
		sub.end(err)
	}
}

// deliver hands a frame of a room to its subscription.
func (s *Session) deliver(e *tap.Envelope, payload []byte) error {
	out := Event{ID: e.ID, Time: time.UnixMilli(int64(e.Timestamp))}
	partial := false
	switch e.Type {
	case tap.TypeSnapshot:
		var p tap.Snapshot
		if err := tap.DecodePayload(payload, &p); err != nil {
			return err
		}
		out.Kind, out.Room, out.Epoch, out.Sequence, out.Durable, out.Data = Snapshot, p.Room, p.Epoch, p.Sequence, p.Durable, p.State
		partial = p.More
	case tap.TypeGap:
		var p tap.Gap
		if err := tap.DecodePayload(payload, &p); err != nil {
			return err
		}
		out.Kind, out.Room, out.Epoch, out.Sequence, out.To = Gap, p.Room, p.Epoch, p.From, p.To
	default:
		var p tap.Event
		if err := tap.DecodePayload(payload, &p); err != nil {
			return err
		}
		out.Room, out.Sequence, out.Durable, out.Class = p.Room, p.Sequence, p.Durable, p.Class
		out.Key, out.From, out.Data = p.Key, p.From, p.Data
	}
	s.mu.Lock()
	sub := s.subs[out.Room]
	s.mu.Unlock()
	if sub != nil {
		sub.push(&out, partial)
	}
	return nil
}

func (sub *Subscription) push(e *Event, partial bool) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if e.Kind == Snapshot {
		sub.partial = append(sub.partial, e.Data...)
		if partial {
			return
		}
		e.Data, sub.partial = sub.partial, nil
		sub.epoch = e.Epoch
	}
	sub.last = max(sub.last, e.Sequence, e.To)
	if e.Kind == Snapshot {
		sub.last = e.Sequence // a new epoch counts from the start
	}
	if sub.err != nil {
		return
	}
	if len(sub.queue) >= maxQueue {
		sub.queue = nil
		sub.err = tap.E("client.subscription", tap.Limited, "%d events waited for their reader", maxQueue).WithCode("slow_reader")
	} else {
		sub.queue = append(sub.queue, *e)
	}
	sub.signal()
}
