package anubis

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// maxRows is how many kinds of attempt are told apart in one interval.
const maxRows = 512

// attempt is one kind of attempt: who claimed to be whom, from where, and how
// it ended. others stands for all kinds beyond maxRows.
type attempt struct {
	claim
	outcome string
	others  bool
}

// tally is how often a kind of attempt happened; times in microseconds.
type tally struct{ count, first, last int64 }

// attempts counts successes and failures until the recorder takes them. What a
// blocked address sends is counted with the successes, which are written less
// often: that it is blocked has been told.
type attempts struct {
	mu        sync.Mutex
	successes map[attempt]tally // guarded by mu
	failures  map[attempt]tally // guarded by mu
}

func newAttempts() *attempts {
	return &attempts{successes: map[attempt]tally{}, failures: map[attempt]tally{}}
}

func (a *attempts) note(c claim, outcome string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rows := a.failures
	if outcome == codeOK || outcome == codeBlocked {
		rows = a.successes
	}
	kind := attempt{claim: c, outcome: outcome}
	t, known := rows[kind]
	if !known {
		// The names are parts of a request's header; the table must not
		// keep the whole header alive.
		kind.tenant, kind.identity = strings.Clone(c.tenant), strings.Clone(c.identity)
		if len(rows) >= maxRows {
			kind = attempt{claim: unclaimed(netip.Addr{}), outcome: outcome, others: true}
			if outcome != codeOK && outcome != codeBlocked {
				kind.outcome = "other"
			}
			t = rows[kind]
		}
	}
	at := now.UnixMicro()
	if t.count == 0 {
		t.first, t.last = at, at
	}
	t.count++
	t.first, t.last = min(t.first, at), max(t.last, at)
	rows[kind] = t
}

// take hands over what was counted: the failures, unless there are more than
// 64 kinds of them, and with all everything.
func (a *attempts) take(all bool) []map[attempt]tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	var taken []map[attempt]tally
	if n := len(a.failures); n > 0 && (all || n <= 64) {
		taken = append(taken, a.failures)
		a.failures = map[attempt]tally{}
	}
	if all && len(a.successes) > 0 {
		taken = append(taken, a.successes)
		a.successes = map[attempt]tally{}
	}
	return taken
}

// waiting is how many rows are not taken yet.
func (a *attempts) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.failures) + len(a.successes)
}
