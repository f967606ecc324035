package hub_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
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

// Whoever leaves while a resumption is under way hears nothing of the room.
func TestResumeAfterLeaving(t *testing.T) {
	n := newNode(t, hub.Limits{})
	speaker, _ := n.rawDial(t, "beto")
	ack, _ := speaker.enter(tap.Subscribe{Room: "plaza"})
	gate := make(chan struct{})
	n.ledger.snapshot = func() { <-gate }
	r, _ := n.rawDial(t, "ana")
	resume := r.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "plaza", Epoch: ack.Epoch, After: ack.Sequence}))
	left := r.send(tap.TypeUnsubscribe, pack(&tap.Unsubscribe{Room: "plaza"}))
	if id := r.expect(tap.TypeAck, nil); id != left {
		t.Errorf("an ack for %s, want %s", id, left)
	}
	speaker.say(event("among us"))
	close(gate)
	if e := r.next(); e.ID != resume || e.Type != tap.TypeError {
		t.Errorf("got %s %s, want the subscribe's refusal", e.Type, e.Payload)
	}
	r.send(tap.TypePing, nil)
	r.expect(tap.TypePong, nil)
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

// A subscriber that fell out of the ring learns what it lost, then has a
// snapshot and the stream.
func TestOverrunGivesGapAndSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{RingFrames: 10})
		slow, _ := n.rawDial(t, "ana")
		_, first := slow.enter(tap.Subscribe{Room: "plaza"})
		speaker, _ := n.rawDial(t, "beto")
		speaker.enter(tap.Subscribe{Room: "plaza"})
		speaker.say(state("beto/head", "here"))
		for i := range 50 {
			if i%2 == 0 {
				speaker.say(event(fmt.Sprint(i)))
			} else {
				speaker.say(durable(fmt.Sprint(i)))
			}
		}
		synctest.Wait()
		last := first.Sequence
		var gap tap.Gap
		for gap.To == 0 {
			e := slow.next()
			if e.Type == tap.TypeGap {
				if err := tap.DecodePayload(e.Payload, &gap); err != nil {
					t.Fatal(err)
				}
				break
			}
			var p tap.Event
			if err := tap.DecodePayload(e.Payload, &p); err != nil || p.Sequence != last+1 {
				t.Fatalf("%+v, %v after %d", p, err, last)
			}
			last = p.Sequence
		}
		if gap.From != last+1 || gap.To < gap.From {
			t.Errorf("gap %+v after %d", gap, last)
		}
		var s tap.Snapshot
		slow.expect(tap.TypeSnapshot, &s)
		if s.Durable != 25 || s.Sequence != gap.To || strings.Count(string(s.State), ",") != 24 {
			t.Errorf("snapshot %+v", s)
		}
		var e tap.Event
		slow.expect(tap.TypeXREvent, &e)
		if e.Key != "beto/head" || string(e.Data) != "here" {
			t.Errorf("got %+v, want the state", e)
		}
		speaker.say(event("after"))
		slow.expect(tap.TypeXREvent, &e)
		if string(e.Data) != "after" || e.Sequence != gap.To+1 {
			t.Errorf("got %+v after the gap %+v", e, gap)
		}
		_ = slow.conn.Close(tap.CloseNormal, "")
		_ = speaker.conn.Close(tap.CloseNormal, "")
	})
}

func TestResume(t *testing.T) {
	n := newNode(t, hub.Limits{RingFrames: 10})
	speaker, _ := n.rawDial(t, "beto")
	speaker.enter(tap.Subscribe{Room: "plaza"})
	first := speaker.say(event("1"))
	speaker.say(event("2"))
	speaker.say(durable("3"))

	r, _ := n.rawDial(t, "ana")
	ack, _ := r.enter(tap.Subscribe{Room: "plaza", Epoch: first.Epoch, After: first.Sequence})
	if !ack.Resumed || ack.Sequence != first.Sequence {
		t.Fatalf("ack %+v", ack)
	}
	var e tap.Event
	r.expect(tap.TypeXREvent, &e)
	if string(e.Data) != "2" {
		t.Errorf("resumed with %+v", e)
	}
	r.expect(tap.TypeDreamSpaceSync, &e)
	if string(e.Data) != "3" || e.Durable != 1 {
		t.Errorf("then %+v", e)
	}

	for name, p := range map[string]tap.Subscribe{
		"another epoch": {Room: "plaza", Epoch: first.Epoch + 1, After: first.Sequence},
		"the future":    {Room: "plaza", Epoch: first.Epoch, After: 1000},
	} {
		other, _ := n.rawDial(t, "caro")
		if ack, snapshot := other.enter(p); ack.Resumed || snapshot.Durable != 1 {
			t.Errorf("%s: %+v, %+v", name, ack, snapshot)
		}
	}
	for range 20 {
		speaker.say(event("x"))
	}
	late, _ := n.rawDial(t, "caro")
	if ack, _ := late.enter(tap.Subscribe{Room: "plaza", Epoch: first.Epoch, After: first.Sequence}); ack.Resumed {
		t.Error("resumed from what the ring no longer holds")
	}
}

func TestRoomsStayResumableForAWhile(t *testing.T) {
	n := newNode(t, hub.Limits{IdleRooms: 1})
	visit := func(room string, p tap.Subscribe) tap.Ack {
		p.Room = room
		r, served := n.rawDial(t, "ana")
		ack, _ := r.enter(p)
		_ = r.conn.Close(tap.CloseNormal, "")
		<-served
		return ack
	}
	plaza := visit("plaza", tap.Subscribe{})
	if again := visit("plaza", tap.Subscribe{Epoch: plaza.Epoch, After: plaza.Sequence}); !again.Resumed {
		t.Error("the room was forgotten at once")
	}
	visit("patio", tap.Subscribe{}) // takes the only idle place
	if n.Rooms() != 1 {
		t.Errorf("%d rooms", n.Rooms())
	}
	if again := visit("plaza", tap.Subscribe{Epoch: plaza.Epoch, After: plaza.Sequence}); again.Resumed || again.Epoch == plaza.Epoch {
		t.Errorf("a new room resumes the old one: %+v", again)
	}
}

// What waits together is committed together, and fanned out in order.
func TestDurableActionsAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{ActBatch: 16})
		gate := make(chan struct{})
		n.ledger.act = func() { <-gate }
		s := n.dial(t, "ana")
		sub, err := s.Subscribe(t.Context(), "plaza")
		if err != nil {
			t.Fatal(err)
		}
		const actions = 40
		results := make(chan error, actions)
		for i := range actions {
			go func() {
				ack, err := s.Publish(t.Context(), durable(fmt.Sprint(i)))
				if err == nil && (ack.Durable == 0 || string(ack.Body) != `{"ok":true}`) {
					err = fmt.Errorf("ack %+v", ack)
				}
				results <- err
			}()
		}
		synctest.Wait()
		close(gate)
		for range actions {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if len(n.ledger.batches) > 5 || n.ledger.batches[1] != 16 {
			t.Errorf("batches of %v", n.ledger.batches)
		}
		for want := uint64(0); want < actions; {
			e, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == client.Published {
				if want++; e.Durable != want {
					t.Fatalf("durable %d, want %d", e.Durable, want)
				}
			}
		}
		if _, err := s.Publish(t.Context(), durable("{broken")); tap.KindOf(err) != tap.Invalid || tap.AsError(err).Code != "action" {
			t.Errorf("a refused action: %v", err)
		}
		n.ledger.refuse = tap.E("test", tap.Unavailable, "no leader")
		if _, err := s.Publish(t.Context(), durable("1")); tap.KindOf(err) != tap.Unavailable {
			t.Errorf("a refused batch: %v", err)
		}
		n.ledger.act = func() { panic("a defect") }
		if _, err := s.Publish(t.Context(), durable("1")); tap.KindOf(err) != tap.Internal {
			t.Errorf("a panic: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Actions that were committed elsewhere are fanned out once; a hole gives
// everybody a gap and a snapshot.
func TestCommittedElsewhere(t *testing.T) {
	n := newNode(t, hub.Limits{})
	r, _ := n.rawDial(t, "ana")
	r.enter(tap.Subscribe{Room: "plaza"})
	commit := func(data string) uint64 {
		n.ledger.mu.Lock()
		defer n.ledger.mu.Unlock()
		n.ledger.rooms["plaza"] = append(n.ledger.rooms["plaza"], []byte(data))
		return uint64(len(n.ledger.rooms["plaza"]))
	}
	tell := func(sequence uint64, data string) {
		n.Committed("main", "plaza", "beto", uuid.New(), hub.Outcome{Sequence: sequence, Data: []byte(data)})
	}
	tell(commit("1"), "1")
	tell(1, "1") // known
	tell(commit("2"), "2")
	for _, want := range []string{"1", "2"} {
		var e tap.Event
		r.expect(tap.TypeDreamSpaceSync, &e)
		if string(e.Data) != want || e.From != "beto" {
			t.Errorf("got %+v, want %s", e, want)
		}
	}
	commit("3") // nobody tells
	tell(commit("4"), "4")
	r.expect(tap.TypeGap, nil)
	var s tap.Snapshot
	r.expect(tap.TypeSnapshot, &s)
	if s.Durable != 4 || string(s.State) != "[1,2,3,4]" {
		t.Errorf("snapshot %+v", s)
	}
	tell(commit("5"), "5")
	var e tap.Event
	r.expect(tap.TypeDreamSpaceSync, &e)
	if e.Durable != 5 {
		t.Errorf("got %+v", e)
	}
	n.Committed("main", "an-empty-room", "beto", uuid.New(), hub.Outcome{Sequence: 1})
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

// Whenever a subscription begins while actions are committed, its snapshot and
// its stream together hold each action exactly once, in order.
func TestSnapshotAndStreamMeet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := newNode(t, hub.Limits{RingFrames: rapid.IntRange(2, 50).Draw(rt, "ring")})
		total := rapid.IntRange(1, 60).Draw(rt, "actions")
		during := rapid.IntRange(0, 10).Draw(rt, "during the snapshot")
		speaker := n.dial(t, "beto")
		act := func(k int) {
			if _, err := speaker.Publish(t.Context(), durable(fmt.Sprint(k))); err != nil {
				rt.Fatal(err)
			}
		}
		next := rapid.IntRange(0, total).Draw(rt, "before")
		for k := range next {
			act(k)
		}
		var entering atomic.Bool // later snapshots, after an overrun, meet the actions below
		entering.Store(true)
		n.ledger.snapshot = func() {
			for i := 0; i < during && next < total && entering.Load(); i++ {
				k := next
				next++
				act(k)
			}
		}
		listener := n.dial(t, "ana")
		sub, err := listener.Subscribe(t.Context(), "plaza")
		if err != nil {
			rt.Fatal(err)
		}
		entering.Store(false)
		for k := next; k < total; k++ {
			act(k)
		}
		var known uint64
		for known < uint64(total) {
			e, err := sub.Next(t.Context())
			switch {
			case err != nil:
				rt.Fatal(err)
			case e.Kind == client.Snapshot:
				if e.Durable < known {
					rt.Fatalf("a snapshot of %d after %d", e.Durable, known)
				}
				known = e.Durable
			case e.Kind == client.Published:
				if known++; e.Durable != known || string(e.Data) != fmt.Sprint(known-1) {
					rt.Fatalf("action %d %s, want %d", e.Durable, e.Data, known)
				}
			}
		}
		_ = speaker.Close()
		_ = listener.Close()
	})
}

func TestLargeSnapshotsComeInParts(t *testing.T) {
	n := newNode(t, hub.Limits{Frame: 4096})
	n.ledger.rooms["plaza"] = append(n.ledger.rooms["plaza"], []byte(`"`+strings.Repeat("x", 20_000)+`"`))
	s := n.dial(t, "ana")
	sub, err := s.Subscribe(t.Context(), "plaza")
	if err != nil {
		t.Fatal(err)
	}
	e, err := sub.Next(t.Context())
	if err != nil || e.Kind != client.Snapshot || len(e.Data) != 20_004 {
		t.Errorf("%s of %d bytes, %v", e.Kind, len(e.Data), err)
	}
	if _, err := s.Evidence(t.Context(), make([]byte, 4096)); tap.KindOf(err) != tap.Invalid {
		t.Errorf("a frame over the limit: %v", err)
	}
}

func TestPublishersArePaced(t *testing.T) {
	n := newNode(t, hub.Limits{PublishRate: 5})
	s := n.dial(t, "ana")
	if _, err := s.Subscribe(t.Context(), "plaza"); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		_, err := s.Publish(t.Context(), event("x"))
		if err == nil {
			continue
		}
		if e := tap.AsError(err); e.Kind != tap.Limited || e.Code != "busy" || e.RetryAfter == 0 {
			t.Errorf("publication %d: %v", i, err)
		}
		return
	}
	t.Error("100 publications in a moment at 5 a second")
}
