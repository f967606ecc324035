package pods

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

// throttle bounds how many requests that may write a node has in flight, so that those it
// takes are answered in time and the others hear at once when to come back.
//
// The bound is Little's law, L = λW: where λ requests a second are served, and none
// shall take longer than W, no more than L may be under way. λ is learned: it is the
// most that this node served in any of the last ten seconds. A maximum, and not a
// mean of what took how long, because a disk that stands still for a second makes
// everything late and says nothing about how much fits; and because it grows by
// itself: as long as a full house is served faster than in W, λW is more than the
// house. It shrinks when for ten seconds less was served, in a full house or not.
//
// It is the same law that tells the refused when to come back: whoever has n before
// him and λ a second are served waits n/λ. Each of them gets the next place in a
// queue that exists only as the time of its end, so they do not come back at once.
type throttle struct {
	mu      sync.Mutex // guards what follows
	inside  int
	began   time.Time            // of the first second; zero before the first request
	second  int64                // the running one, counted from began
	served  [throttleSeconds]int // in the running second and those before it, by second modulo their number
	most    int                  // of the seconds before the running one
	turn    time.Time            // when the last in the queue is to come back
	refused uint64
}

const (
	// throttleTarget is W. It is half of what clients are promised for 95 of a
	// hundred requests: they wait for the network too, and not all take the mean.
	throttleTarget  = 25 * time.Millisecond
	throttleSeconds = 10
	// throttleLeast is always let in, however slow the disk: so many share its syncs.
	throttleLeast = 64
	// throttleFirst is let in while nothing is known, in the first second.
	throttleFirst = 512
	// throttleShare is how many requests are expected to be served for each of the
	// refused that returns: the places are also for those who come for the first time.
	throttleShare = 2
	throttleWait  = time.Second // the longest that the refused are told
)

// throttled says whether the row's requests may write and come from many. What only
// operators, auditors and guardians do is never refused for the sake of the others.
func (r *Row) throttled() bool {
	return r.Method != http.MethodGet && slices.ContainsFunc(r.Roles, func(role tap.Role) bool {
		return role == tap.Device || role == tap.Citizen || role == tap.Curator
	})
}

// enter takes a place, or says how long to wait before asking again. Whoever got a
// place leaves it.
func (t *throttle) enter(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began.IsZero() {
		t.began = now
	}
	t.advance(now)
	limit := t.limit()
	if t.inside < limit {
		t.inside++
		return nil
	}
	t.refused++
	gap := throttleTarget / time.Duration(limit)
	if t.most > 0 {
		gap = time.Second / time.Duration(t.most)
	}
	wait := min(max(t.turn.Sub(now), throttleTarget)+throttleShare*gap, throttleWait)
	t.turn = now.Add(wait)
	return tap.E("pods.serve", tap.Limited, "this node has as many requests in flight as it can serve in time").
		WithCode("busy").WithRetryAfter(wait)
}

// leave gives a place back and counts what was served there: failures and refusals
// teach nothing about the rate.
func (t *throttle) leave(now time.Time, served bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	if served {
		t.advance(now)
		t.served[t.second%throttleSeconds]++
	}
}

// advance makes the second that now is in the running one. A clock that was set back
// leaves it as it is.
func (t *throttle) advance(now time.Time) {
	second := int64(now.Sub(t.began) / time.Second)
	if second <= t.second {
		return
	}
	for s := max(t.second+1, second-throttleSeconds+1); s <= second; s++ {
		t.served[s%throttleSeconds] = 0
	}
	t.second = second
	t.most = slices.Max(t.served[:])
}

// limit is how many may be inside now.
func (t *throttle) limit() int {
	rate := max(t.most, t.served[t.second%throttleSeconds])
	least := throttleLeast
	if t.second == 0 {
		least = throttleFirst
	}
	return max(least, int(time.Duration(rate)*throttleTarget/time.Second))
}

// state is how many may be inside now and how many were refused so far.
func (t *throttle) state(now time.Time) (limit int, refused uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.began.IsZero() {
		t.advance(now)
	}
	return t.limit(), t.refused
}
