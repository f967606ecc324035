package hub_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
)

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
