package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
)

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
