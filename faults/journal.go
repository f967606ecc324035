package faults

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Outcome is how an operation ended for its client.
type Outcome int

// The outcomes; see the package comment.
const (
	Acknowledged Outcome = iota
	Refused
	Unknown
)

// Counts are operations by outcome, reads included.
type Counts struct {
	Acknowledged int `json:"acknowledged"`
	Refused      int `json:"refused"`
	Unknown      int `json:"unknown"`
}

// Span is when an operation began and ended, since its journal began. An unknown
// operation has no end: it may still take effect.
type Span struct{ Start, End time.Duration }

// Journal is the timeline of a scenario: what was broken when, and when writes were
// acknowledged. It is safe for concurrent use.
type Journal struct {
	began time.Time

	mu       sync.Mutex // guards all below
	counts   Counts
	writes   []Span // that were acknowledged
	faults   []string
	expected []mark // from when on a write must get through
	ended    time.Duration
}

// mark is a moment with its name.
type mark struct {
	what string
	at   time.Duration
}

// NewJournal begins a timeline now.
func NewJournal() *Journal { return &Journal{began: time.Now()} }

// Now is the time since the journal began.
func (j *Journal) Now() time.Duration { return time.Since(j.began) }

// Note counts an operation; acknowledged writes also show that service is there.
func (j *Journal) Note(o Outcome, s Span, write bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch o {
	case Acknowledged:
		j.counts.Acknowledged++
		if write {
			j.writes = append(j.writes, s)
		}
	case Refused:
		j.counts.Refused++
	case Unknown:
		j.counts.Unknown++
	}
}

// Fault says that something was broken.
func (j *Journal) Fault(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults = append(j.faults, fmt.Sprintf(format, args...))
}

// Expect says that from now on the cluster must serve again: a majority runs and
// is connected.
func (j *Journal) Expect(format string, args ...any) {
	now := j.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.expected = append(j.expected, mark{fmt.Sprintf(format, args...), now})
}

// WrittenSince says whether a write that began after the moment was acknowledged.
func (j *Journal) WrittenSince(moment time.Duration) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.writes) - 1; i >= 0; i-- {
		if j.writes[i].Start >= moment {
			return true
		}
	}
	return false
}

// Finish ends the timeline: the clients are about to stop.
func (j *Journal) Finish() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = time.Since(j.began)
}

// Counts are the operations so far.
func (j *Journal) Counts() Counts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts
}

// Faults are what was broken so far, in order.
func (j *Journal) Faults() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.faults...)
}

// Interruption is the longest time without an acknowledged write, up to the
// finish, and when it began.
func (j *Journal) Interruption() (longest time.Duration, began time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	longest, since := longestGap(j.writes, j.ended)
	return longest, j.began.Add(since)
}

// Recovery is the longest time from a moment of [Journal.Expect] until a write that
// began after it was acknowledged, and the name of that moment. It counts up to
// the finish when there is none.
func (j *Journal) Recovery() (longest time.Duration, after string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range j.expected {
		first := j.ended
		for _, w := range j.writes {
			if w.Start >= m.at {
				first = min(first, w.End)
			}
		}
		if took := first - m.at; took >= longest {
			longest, after = took, m.what
		}
	}
	return longest, after
}

// longestGap is the longest time between two ends, from 0 to the finish, and the
// first of the two.
func longestGap(writes []Span, finish time.Duration) (longest, since time.Duration) {
	ends := make([]time.Duration, 0, len(writes)+1)
	for _, w := range writes {
		ends = append(ends, min(w.End, finish))
	}
	slices.Sort(ends)
	var last time.Duration
	for _, end := range append(ends, finish) {
		if end-last > longest {
			longest, since = end-last, last
		}
		last = end
	}
	return longest, since
}
