package hub_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

// enter subscribes a raw client and returns its ack.
func (r *raw) enter(p tap.Subscribe) (tap.Ack, tap.Snapshot) {
	r.t.Helper()
	var ack tap.Ack
	var snapshot tap.Snapshot
	r.send(tap.TypeSubscribe, pack(&p))
	r.expect(tap.TypeAck, &ack)
	if !ack.Resumed {
		r.expect(tap.TypeSnapshot, &snapshot)
	}
	return ack, snapshot
}

// say publishes and returns the ack; frames of the room that come before it are
// dropped.
func (r *raw) say(p tap.Publish) tap.Ack {
	r.t.Helper()
	id := r.send(tap.TypePublish, pack(&p))
	for {
		e := r.next()
		if e.ID != id || e.Type == tap.TypeXREvent || e.Type == tap.TypeDreamSpaceSync {
			continue
		}
		var ack tap.Ack
		if e.Type != tap.TypeAck {
			r.t.Fatalf("%s %s", e.Type, e.Payload)
		}
		if err := tap.DecodePayload(e.Payload, &ack); err != nil {
			r.t.Fatal(err)
		}
		return ack
	}
}

func event(data string) tap.Publish {
	return tap.Publish{Room: "plaza", Class: tap.ClassEvent, Data: []byte(data)}
}

func state(key, data string) tap.Publish {
	return tap.Publish{Room: "plaza", Class: tap.ClassState, Key: key, Data: []byte(data)}
}

func durable(data string) tap.Publish {
	return tap.Publish{Room: "plaza", Class: tap.ClassDurable, Data: []byte(data)}
}

func TestEventsReachTheRoomInOrder(t *testing.T) {
	n := newNode(t, hub.Limits{})
	listener, _ := n.rawDial(t, "ana")
	ack, snapshot := listener.enter(tap.Subscribe{Room: "plaza"})
	if ack.Room != "plaza" || ack.Epoch == 0 || snapshot.Epoch != ack.Epoch || string(snapshot.State) != "[]" {
		t.Fatalf("ack %+v, snapshot %+v", ack, snapshot)
	}
	speaker, _ := n.rawDial(t, "beto")
	speaker.enter(tap.Subscribe{Room: "plaza"})
	sent := speaker.send(tap.TypeXREvent, pack(&tap.Publish{Room: "plaza", Data: []byte("wave")}))
	var e tap.Event
	if id := listener.expect(tap.TypeXREvent, &e); id != sent {
		t.Errorf("id %s, want %s", id, sent)
	}
	if e.Room != "plaza" || e.From != "beto" || e.Class != tap.ClassEvent || string(e.Data) != "wave" || e.Sequence != snapshot.Sequence+1 {
		t.Errorf("event %+v", e)
	}
	other, _ := n.rawDial(t, "caro")
	other.refused(other.send(tap.TypePublish, pack(&tap.Publish{Room: "plaza"})), tap.Conflict, "not_subscribed")
	other.refused(other.send(tap.TypeUnsubscribe, pack(&tap.Unsubscribe{Room: "plaza"})), tap.Conflict, "not_subscribed")
	other.refused(other.send(tap.TypeXREvent, pack(&tap.Publish{Room: "plaza", Class: tap.ClassDurable})), tap.Invalid, "class")
	other.refused(other.send(tap.TypeDreamSpaceSync, pack(&tap.Publish{Room: "plaza", Class: tap.ClassEvent})), tap.Invalid, "class")
	other.refused(other.send(tap.TypePublish, pack(&tap.Publish{Room: "plaza", Data: make([]byte, tap.DefaultFrameLimit/2+1)})), tap.Invalid, "too_large")
}

func TestUnsubscribeEndsTheStream(t *testing.T) {
	n := newNode(t, hub.Limits{})
	r, _ := n.rawDial(t, "ana")
	r.enter(tap.Subscribe{Room: "plaza"})
	r.refused(r.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "plaza"})), tap.Conflict, "subscribed")
	r.send(tap.TypeUnsubscribe, pack(&tap.Unsubscribe{Room: "plaza"}))
	r.expect(tap.TypeAck, nil)
	n.Committed("main", "plaza", "beto", uuid.New(), hub.Outcome{Sequence: 1, Data: []byte("[]")})
	r.send(tap.TypePing, nil)
	r.expect(tap.TypePong, nil)
}

// A subscription that was given up while its snapshot was read does not take
// the one that came after it along.
func TestSubscribeAgainWhileTheFirstIsUnderWay(t *testing.T) {
	n := newNode(t, hub.Limits{})
	reading, gate := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	n.ledger.snapshot = func() {
		if calls.Add(1) == 1 {
			close(reading)
			<-gate
		}
	}
	r, _ := n.rawDial(t, "ana")
	first := r.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "plaza"}))
	<-reading
	r.send(tap.TypeUnsubscribe, pack(&tap.Unsubscribe{Room: "plaza"}))
	r.expect(tap.TypeAck, nil)
	r.enter(tap.Subscribe{Room: "plaza"})
	close(gate)
	r.refused(first, tap.Conflict, "not_subscribed")
	speaker, _ := n.rawDial(t, "beto")
	speaker.enter(tap.Subscribe{Room: "plaza"})
	speaker.say(event("are you there?"))
	var e tap.Event
	if r.expect(tap.TypeXREvent, &e); string(e.Data) != "are you there?" {
		t.Errorf("got %+v", e)
	}
	r.say(event("still here"))
}

func TestSubscriptionLimitsAndUnknownRooms(t *testing.T) {
	n := newNode(t, hub.Limits{Subscriptions: 1})
	r, _ := n.rawDial(t, "ana")
	r.refused(r.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "nowhere"})), tap.NotFound, "not_found")
	if n.Rooms() != 0 {
		t.Errorf("%d rooms remain of one that does not exist", n.Rooms())
	}
	r.enter(tap.Subscribe{Room: "plaza"})
	r.refused(r.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "patio"})), tap.Limited, "subscriptions")
}

// A state that is replaced as a whole is told once, with all that it holds.
func TestReplacedState(t *testing.T) {
	n := newNode(t, hub.Limits{})
	r, _ := n.rawDial(t, "ana")
	r.enter(tap.Subscribe{Room: "plaza"})
	n.ledger.mu.Lock()
	n.ledger.rooms["plaza"] = []json.RawMessage{[]byte("1"), []byte("2"), []byte("3")}
	n.ledger.mu.Unlock()
	n.Replaced()
	r.expect(tap.TypeGap, nil)
	var s tap.Snapshot
	r.expect(tap.TypeSnapshot, &s)
	if s.Durable != 3 || string(s.State) != "[1,2,3]" {
		t.Errorf("snapshot %+v", s)
	}
	n.Committed("main", "plaza", "beto", uuid.New(), hub.Outcome{Sequence: 4, Data: []byte("4")})
	var e tap.Event
	r.expect(tap.TypeDreamSpaceSync, &e)
	if e.Durable != 4 {
		t.Errorf("got %+v", e)
	}
}
