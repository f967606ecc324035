package consensus

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// took returns what a wait brought: the outcomes, "lost", or "open" when nothing came yet.
func took(c <-chan []any) string {
	select {
	case outcomes, ok := <-c:
		if !ok {
			return "lost"
		}
		return fmt.Sprint(outcomes...)
	default:
		return "open"
	}
}

func TestWaitsBeforeAndAfterTheEntry(t *testing.T) {
	w := newWaits()
	w.outcomes(6, []any{"six"}) // nobody expects anything: not kept
	done := w.expect()
	late, _ := w.wait(6)
	if got := took(late); got != "lost" {
		t.Errorf("an entry from before: %s", got)
	}
	early, cancel := w.wait(7)
	given, drop := w.wait(7)
	drop()
	w.outcomes(7, []any{"seven"})
	if got := took(early); got != "seven" {
		t.Errorf("waiting when the entry was applied: %s", got)
	}
	if got := took(given); got != "open" {
		t.Errorf("given up: %s", got)
	}
	cancel()
	shared, _ := w.wait(7) // another frame in the same pack
	if got := took(shared); got != "seven" {
		t.Errorf("waiting after the entry was applied: %s", got)
	}
	done()
	if len(w.recent) != 0 || len(w.waiting) != 0 || w.kept != 0 {
		t.Errorf("left behind: %+v", w)
	}
}

func TestWaitsEndWithASnapshot(t *testing.T) {
	w := newWaits()
	defer w.expect()()
	w.outcomes(5, []any{"five"})
	covered, _ := w.wait(8)
	beyond, _ := w.wait(12)
	w.restored(10)
	if got := took(covered); got != "lost" {
		t.Errorf("an entry that the snapshot covers: %s", got)
	}
	known, _ := w.wait(5)
	after, _ := w.wait(9)
	if a, b := took(known), took(after); a != "five" || b != "lost" {
		t.Errorf("after the snapshot: %s, %s", a, b)
	}
	w.outcomes(12, []any{"twelve"})
	if got := took(beyond); got != "twelve" {
		t.Errorf("an entry after the snapshot: %s", got)
	}
}

// TestWaitsGiveTheRightOutcomesOrNone drives waits at random: whatever the order of events and whatever was dropped for
// want of room, what is brought for an index is what was applied there, and nobody waits for what was applied already.
func TestWaitsGiveTheRightOutcomesOrNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWaits()
		var done []func()
		applied := uint64(rapid.IntRange(0, 9).Draw(t, "applied"))
		w.restored(applied)
		waiting := map[uint64][]<-chan []any{}
		check := func(index uint64, c <-chan []any) {
			switch got := took(c); got {
			case fmt.Sprint(index), "lost":
			case "open":
				if index <= applied {
					t.Fatalf("still waiting for %d, applied up to %d", index, applied)
				}
				waiting[index] = append(waiting[index], c)
			default:
				t.Fatalf("%d brought %s", index, got)
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				done = append(done, w.expect())
			case 1:
				if len(done) > 0 {
					done[0]()
					done = done[1:]
				}
			case 2:
				applied += uint64(rapid.IntRange(1, 50).Draw(t, "gap")) // a snapshot
				w.restored(applied)
			case 3:
				if len(done) > 0 {
					index := applied - min(applied, 3) + uint64(rapid.IntRange(0, 6).Draw(t, "index"))
					c, _ := w.wait(index)
					check(index, c)
				}
			default:
				for range rapid.SampledFrom([]int{1, 3, maxKeptEntries + 1}).Draw(t, "entries") {
					applied++
					w.outcomes(applied, []any{applied})
				}
			}
			for index, channels := range waiting {
				delete(waiting, index)
				for _, c := range channels {
					check(index, c)
				}
			}
		}
		if len(w.recent) > maxKeptEntries || len(w.order) != len(w.recent) {
			t.Fatalf("%d entries kept, %d in order", len(w.recent), len(w.order))
		}
	})
}
