package consensus

import (
	"slices"
	"sync"
)

// waits hands the outcomes of the entries that this node applies to those who know the index of theirs. The leader's answer
// with the index may come after the entry was applied, so outcomes are kept while an answer is expected, within a bound.
type waits struct {
	mu       sync.Mutex
	expected int                       // commands sent whose outcome was not taken yet
	applied  uint64                    // last entry whose outcomes were told
	lost     uint64                    // the outcomes of the entries up to this one come no more
	recent   map[uint64][]any          // outcomes after lost, kept while expected > 0
	order    []uint64                  // the keys of recent, ascending
	kept     int                       // outcomes in recent
	waiting  map[uint64][]chan<- []any // by index; a closed channel says that the outcomes are lost
}

const (
	// maxKeptEntries and maxKeptOutcomes bound what waits keeps: an answer is seldom more than one entry late.
	maxKeptEntries  = 1024
	maxKeptOutcomes = 1 << 16
)

func newWaits() *waits {
	return &waits{recent: map[uint64][]any{}, waiting: map[uint64][]chan<- []any{}}
}

// expect must be called before commands are sent to the leader; done when their outcome is no longer needed.
func (w *waits) expect() (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expected == 0 {
		w.lost = max(w.lost, w.applied) // what is sent from now on gets a later index
	}
	w.expected++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.expected--
		if w.expected == 0 {
			clear(w.recent)
			w.order, w.kept = w.order[:0], 0
		}
	}
}

// outcomes is called after each applied pack, in order.
func (w *waits) outcomes(index uint64, outcomes []any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = index
	for _, c := range w.waiting[index] {
		c <- outcomes
	}
	delete(w.waiting, index)
	if w.expected == 0 {
		return
	}
	w.recent[index] = outcomes
	w.order = append(w.order, index)
	w.kept += len(outcomes)
	for len(w.order) > maxKeptEntries || w.kept > maxKeptOutcomes {
		oldest := w.order[0]
		w.lost = max(w.lost, oldest)
		w.kept -= len(w.recent[oldest])
		delete(w.recent, oldest)
		w.order = slices.Delete(w.order, 0, 1)
	}
}

// restored is called when a snapshot has replaced the state up to the entry applied.
func (w *waits) restored(applied uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = max(w.applied, applied)
	for index, waiting := range w.waiting {
		if index > applied {
			continue
		}
		for _, c := range waiting {
			close(c)
		}
		delete(w.waiting, index)
	}
	if _, known := w.recent[applied]; !known {
		w.lost = max(w.lost, applied)
	}
}

// wait returns a channel that brings the outcomes of an entry, or is closed when they do not come. cancel frees it.
func (w *waits) wait(index uint64) (c <-chan []any, cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := make(chan []any, 1)
	outcomes, known := w.recent[index]
	switch {
	case known:
		answer <- outcomes
	case index <= w.lost:
		close(answer)
	default:
		w.waiting[index] = append(w.waiting[index], answer)
	}
	return answer, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		rest := slices.DeleteFunc(w.waiting[index], func(other chan<- []any) bool { return other == answer })
		if len(rest) == 0 {
			delete(w.waiting, index)
		} else {
			w.waiting[index] = rest
		}
	}
}
