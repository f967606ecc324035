package pods

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// throttle bounds how many requests that may write a node has in flight, so that those it
// takes are answered in time and the others hear at once when to come back.
//
// The bound is Little's law, L = λW: where λ requests a second are served, and the mean
// shall take no longer than W, no more than L may be under way.
//
// λ is learned: it is the most that this node served in any of the last ten seconds. A
// maximum, and not a mean, because a disk that stands still for a second makes
// everything late and says nothing about how much fits; and because it grows by
// itself: as long as a full house is served faster than in W, λW is more than the house.
// It shrinks when for ten seconds less was served, in a full house or not.
//
// W is throttleTarget, or twice what a request takes in a nearly empty house where that
// is longer: a disk that syncs in 10 ms serves many requests with one sync, and to let
// in fewer would make none of them faster. What it takes in a nearly empty house is the
// shortest time, in ten seconds, of a request that found fewer than throttleFew. In a
// full house nobody does, and what the quickest take there is mostly waiting for each
// other: to believe it would let in more, who wait longer, and so on. A house that
// stays full is therefore let run nearly empty once a second, for some milliseconds.
//
// However little λW is, those who want in are taken as long as there are not more than
// throttleSmall of them, those told to come back included. So the clients of a small
// site are never refused, on no disk, and a crowd does not leave a node behind that
// still refuses when they are few again.
//
// The refused form a queue that exists only as the time of its end: every one of them
// is told a time of his own, and the times are as far apart as throttleShare requests
// need to be served. Who comes back under the same request id when he was told finds a
// place, beyond the limit if need be, unless the house is being emptied or the disk
// stands still: he waits once, and nobody waits again and again because others are
// luckier. Who comes too early is told the rest of his time. The places between these
// times are for those who come for the first time.
type throttle struct {
	mu       sync.Mutex // guards what follows
	inside   int
	began    time.Time                      // of the first second; zero before the first request
	second   int64                          // the running one, counted from began
	served   [throttleSeconds]int           // in the running second and those before it, by second modulo their number
	quick    [throttleSeconds]time.Duration // the shortest that found few inside; zero = none did
	most     int                            // served in one of the seconds before the running one
	bare     time.Duration                  // the shortest of quick; zero = unknown
	emptying bool                           // until fewer than throttleFew are inside
	turn     time.Time                      // when the last in the queue is to come back
	promised promises
	refused  uint64
}

const (
	// throttleTarget is the least W. It is a quarter of what clients are promised for 95
	// of a hundred requests: these take twice the mean, and the way to the node, through
	// its sockets and back is as long again where a crowd keeps all processors busy.
	throttleTarget = 12 * time.Millisecond
	// throttleSlowest is the longest W: above it the disk stands still rather than syncs.
	throttleSlowest = 100 * time.Millisecond
	throttleSeconds = 10
	// throttleSmall is how many may always want in.
	throttleSmall = 64
	// throttleLeast is let in of more, however slow the disk: so many share its syncs.
	throttleLeast = 32
	// throttleFew make a house nearly empty: together they are one small write.
	throttleFew = 8
	// throttleShare is how many requests are expected to be served for each of the
	// refused that returns: the places are also for those who come for the first time.
	throttleShare = 2
	throttleWait  = time.Second // the longest that the refused are told
	// throttleEarly is how much too early is in time: they are told whole milliseconds,
	// and a node whose clock is being set right may be a hundredth slow.
	throttleEarly = throttleWait / 100
)

// throttled says whether the row's requests may write and come from many. What only
// operators, auditors and guardians do is never refused for the sake of the others.
func (r *Row) throttled() bool {
	return r.Method != http.MethodGet && slices.ContainsFunc(r.Roles, func(role tap.Role) bool {
		return role == tap.Device || role == tap.Citizen || role == tap.Curator
	})
}

// place is what who is inside holds.
type place struct {
	since time.Time
	few   bool // were inside when he came
}

// enter takes a place for the request with this id, or says how long to wait before
// asking again. Whoever got a place leaves it.
func (t *throttle) enter(id uuid.UUID, now time.Time) (place, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began.IsZero() {
		t.began = now
	}
	t.advance(now)
	due, known := t.promised.due(id)
	wait := due.Sub(now)
	known = known && wait <= throttleWait // else the clock was set back
	waited := known && wait <= throttleEarly
	limit := t.limit()
	switch {
	case t.emptying:
		limit = throttleFew
	case waited:
		limit += limit / 2
	}
	if t.inside < limit || t.inside+t.waiting(now) < throttleSmall {
		t.promised.drop(id)
		p := place{now, t.inside < throttleFew}
		t.emptying = t.emptying && !p.few
		t.inside++
		return p, nil
	}
	t.refused++
	if !known || waited {
		wait = t.queue(now)
		t.promised.add(id, now.Add(wait), now)
	}
	return place{}, tap.E("pods.serve", tap.Limited, "this node has as many requests in flight as it can serve in time").
		WithCode("busy").WithRetryAfter(wait)
}

// leave gives a place back and notes what was served there: failures and refusals
// teach nothing about how much fits.
func (t *throttle) leave(p place, now time.Time, served bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	if !served {
		return
	}
	t.advance(now)
	i := t.second % throttleSeconds
	t.served[i]++
	if took := now.Sub(p.since); p.few && took > 0 && (t.quick[i] == 0 || took < t.quick[i]) {
		t.quick[i] = took
		if t.bare == 0 || took < t.bare {
			t.bare = took
		}
	}
}

// advance makes the second that now is in the running one. A clock that was set back
// leaves it as it is.
func (t *throttle) advance(now time.Time) {
	second := int64(now.Sub(t.began) / time.Second)
	if second <= t.second {
		return
	}
	t.emptying = t.quick[t.second%throttleSeconds] == 0
	for s := max(t.second+1, second-throttleSeconds+1); s <= second; s++ {
		t.served[s%throttleSeconds], t.quick[s%throttleSeconds] = 0, 0
	}
	t.second = second
	t.most = slices.Max(t.served[:])
	t.bare = 0
	for _, q := range t.quick {
		if q > 0 && (t.bare == 0 || q < t.bare) {
			t.bare = q
		}
	}
}

// rate is λ, requests a second; zero before anything was served.
func (t *throttle) rate() int { return max(t.most, t.served[t.second%throttleSeconds]) }

// limit is how many may be inside now, when more want to be.
func (t *throttle) limit() int {
	least := throttleLeast
	if t.most == 0 { // nothing is known of a whole second
		least = throttleSmall
	}
	target := min(max(throttleTarget, 2*t.bare), throttleSlowest)
	return max(least, int(time.Duration(t.rate())*target/time.Second))
}

// step is the time between two in the queue.
func (t *throttle) step() time.Duration {
	if rate := t.rate(); rate > 0 {
		return throttleShare * time.Second / time.Duration(rate)
	}
	return throttleShare * throttleTarget / throttleSmall
}

// waiting is how many at least were told to come back and are not due yet. What even
// the first in the queue waits is none of it, or few who wait would look like many.
func (t *throttle) waiting(now time.Time) int {
	ahead := t.turn.Sub(now.Add(throttleTarget))
	if ahead <= 0 {
		return 0
	}
	return int(ahead/t.step()) + 1
}

// queue gives away the next time to come back.
func (t *throttle) queue(now time.Time) (wait time.Duration) {
	wait = min(max(t.turn.Sub(now), throttleTarget)+t.step(), throttleWait)
	t.turn = now.Add(wait)
	return wait
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

// promises are the times that refused requests were told, by request id. They are kept
// between one and two throttleKept long, and are too many to note for an attacker only:
// whose time was not noted may come back as if for the first time.
type promises struct {
	latest, before map[uuid.UUID]time.Time
	turned         time.Time // when latest was begun
}

const (
	throttleKept    = 3 * time.Second // longer than throttleWait, and clients come late
	throttlePromise = 1 << 13         // the most in each of the two
)

func (p *promises) due(id uuid.UUID) (due time.Time, ok bool) {
	if due, ok = p.latest[id]; !ok {
		due, ok = p.before[id]
	}
	return due, ok
}

func (p *promises) drop(id uuid.UUID) {
	delete(p.latest, id)
	delete(p.before, id)
}

func (p *promises) add(id uuid.UUID, due, now time.Time) {
	if since := now.Sub(p.turned); since >= throttleKept || since < 0 {
		p.before, p.latest = p.latest, map[uuid.UUID]time.Time{}
		if since >= 2*throttleKept || since < 0 {
			p.before = nil
		}
		p.turned = now
	}
	if delete(p.before, id); len(p.latest) < throttlePromise {
		p.latest[id] = due
	}
}
