package clock

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	// SlewRate is how much a second of a small correction may differ from a
	// second.
	SlewRate = 10 * time.Millisecond
	// StepLimit is where small corrections end.
	StepLimit = 500 * time.Millisecond
	// AdoptAfter is how long a jump of the wall must stand to be meant.
	AdoptAfter = 10 * time.Minute
	// SkewLimit is how far the wall may be from the cluster's time before
	// [Clock.Health] complains.
	SkewLimit = 2 * time.Second

	slewPace  = int64(time.Second / SlewRate)
	brakePace = 2 // of a large correction backwards
	sightings = 3 // reports that must agree before a large correction
	quorum    = 3 // clocks that make a median
	adoptable = 10 * time.Millisecond
	farthest  = time.Duration(1) << 61 // bound of an offset, so that sums do not overflow
)

// Config says where a clock takes its time from; the zero value is right
// outside of tests.
type Config struct {
	Wall    func() time.Time     // the machine's clock; nil = time.Now
	Elapsed func() time.Duration // never goes back, whatever Wall does; nil = Go's monotonic clock
}

// Clock is a node's time of day. It is safe for concurrent use.
type Clock struct {
	wall    func() time.Time
	elapsed func() time.Duration
	anchor  time.Time // the wall when elapsed was 0, without a monotonic reading

	course atomic.Pointer[course] // nil while it is being changed
	skew   atomic.Int64           // the wall minus the cluster's time, ns, at the last report
	local  atomic.Int64           // local minus anchor minus elapsed, ns: the adopted jumps of the wall

	mu      sync.Mutex    // guards what follows
	median  time.Duration // of the members' local times, minus ours, as last known
	target  sighting      // where now should go
	jump    sighting      // of the wall, from local
	members int           // clocks in the last report, ours included
}

// course is how now minus anchor minus elapsed moves: from a value at a time of
// elapsed, by a nanosecond each pace nanoseconds, to an end.
type course struct {
	at, from, to time.Duration
	pace         int64
}

// value is where the course is at a time of elapsed.
func (c *course) value(elapsed time.Duration) time.Duration {
	if c.from == c.to {
		return c.to
	}
	moved := (elapsed - c.at) / time.Duration(c.pace)
	if c.from < c.to {
		return min(c.from+moved, c.to)
	}
	return max(c.from-moved, c.to)
}

// sighting is a value that reports in a row agree on.
type sighting struct {
	value time.Duration
	since time.Duration // elapsed at the first of them
	seen  int
}

// see counts a report. One that differs from the first by StepLimit or more
// starts over.
func (c *sighting) see(value, elapsed time.Duration) {
	if c.seen == 0 || (value-c.value).Abs() >= StepLimit {
		*c = sighting{value: value, since: elapsed}
	}
	c.seen++
}

// New starts a clock at the machine's time.
func New(c Config) *Clock {
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Elapsed == nil {
		start := time.Now()
		c.Elapsed = func() time.Duration { return time.Since(start) }
	}
	clock := &Clock{wall: c.Wall, elapsed: c.Elapsed, members: 1}
	clock.anchor = c.Wall().Round(0).Add(-c.Elapsed())
	clock.course.Store(&course{})
	return clock
}

// Now is the node's time of day. It never goes back and has no monotonic
// reading.
func (c *Clock) Now() time.Time {
	for {
		// Whoever changes the course takes it away first. The same course
		// before and after: it was in force when elapsed was read.
		course := c.course.Load()
		if course != nil {
			elapsed := c.elapsed()
			if c.course.Load() == course {
				return c.anchor.Add(elapsed + course.value(elapsed))
			}
		}
		runtime.Gosched()
	}
}

// Local is the time that members compare: what this machine would say without
// the others.
func (c *Clock) Local() time.Time {
	return c.anchor.Add(c.elapsed() + time.Duration(c.local.Load()))
}

// Skew is how far the machine's clock was ahead of the cluster's time at the
// last report; of the node's own time while there are fewer than three clocks.
func (c *Clock) Skew() time.Duration { return time.Duration(c.skew.Load()) }

// Health is nil while the machine's clock is within SkewLimit of the cluster's
// time, else an Unavailable error, code clock_skew, for a condition.
func (c *Clock) Health() error {
	skew := c.Skew()
	if skew.Abs() <= SkewLimit {
		return nil
	}
	way := "ahead of"
	if skew < 0 {
		way = "behind"
	}
	return tap.E("clock.health", tap.Unavailable, "this machine's clock is %s %s the cluster's: set it", skew.Abs().Round(time.Millisecond), way).
		WithCode("clock_skew")
}

// State is what a clock knows about itself.
type State struct {
	Clocks     int           // in the last report, this one included
	Skew       time.Duration // the machine's clock minus the cluster's
	Correction time.Duration // Now minus Local
	Remaining  time.Duration // what Now still has to gain (positive) or lose
}

// State is the clock's state now.
func (c *Clock) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	value := c.course.Load().value(c.elapsed()) // mu keeps the course in place
	local := time.Duration(c.local.Load())
	return State{c.members, c.Skew(), value - local, local + c.median - value}
}

// Offsets reports the members' local times minus this node's, of the members
// heard lately, this one left out; none is a report, too. It is called each
// second. The slice is not kept.
func (c *Clock) Offsets(offsets []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := c.elapsed()
	if c.members = 1 + len(offsets); c.members >= quorum {
		c.median = median(offsets)
	}
	wall := c.wall().Round(0).Sub(c.anchor.Add(elapsed))
	c.watchWall(wall, elapsed)
	target := time.Duration(c.local.Load()) + c.median
	c.skew.Store(int64(wall - target))
	c.steer(target, elapsed)
}

// Set sets the clock by the members' local times, at once and in either
// direction, and says whether there are enough of them; offsets are those of
// [Clock.Offsets]. It is for a node that has not told anybody the time yet:
// with it, Now may go back.
func (c *Clock) Set(offsets []time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members = 1 + len(offsets); c.members < quorum {
		return false
	}
	c.set(median(offsets))
	return true
}

// Follow is Set by one clock alone, when it differs by more than SkewLimit: that
// of a member which serves while this one starts. Of two clocks nobody can say
// which is wrong, but only one of them has dated what is stored.
func (c *Clock) Follow(offset time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if offset.Abs() > SkewLimit {
		c.set(min(max(offset, -farthest), farthest))
	}
}

// set steps to what the others' local times say; mu is held.
func (c *Clock) set(offset time.Duration) {
	c.median = offset
	elapsed := c.elapsed()
	target := time.Duration(c.local.Load()) + c.median
	c.skew.Store(int64(c.wall().Round(0).Sub(c.anchor.Add(elapsed + target))))
	c.target = sighting{value: target, since: elapsed, seen: 1}
	c.course.Store(&course{at: elapsed, from: target, to: target})
}

// watchWall adopts a jump of the wall that has stood for AdoptAfter. The target
// does not move with it when the cluster sets it: the offsets known so far count
// from the old local time.
func (c *Clock) watchWall(wall, elapsed time.Duration) {
	local := time.Duration(c.local.Load())
	jump := min(max(wall-local, -farthest), farthest)
	if jump.Abs() < adoptable {
		c.jump = sighting{}
		return
	}
	if c.jump.see(jump, elapsed); elapsed-c.jump.since < AdoptAfter {
		return
	}
	c.jump = sighting{}
	c.local.Store(int64(local + jump))
	if c.members >= quorum {
		c.median -= jump
	}
}

// steer sets the course to the target when it is near, or agreed on.
func (c *Clock) steer(target, elapsed time.Duration) {
	c.target.see(target, elapsed)
	if (target-c.course.Load().value(elapsed)).Abs() >= StepLimit && c.target.seen < sightings {
		return
	}
	next := &course{to: target, pace: slewPace}
	old := c.course.Swap(nil) // Now waits from here on,
	next.at = c.elapsed()     // so nobody followed the old course beyond this
	next.from = old.value(next.at)
	switch {
	case target-next.from >= StepLimit:
		next.from = target
	case next.from-target >= StepLimit:
		next.pace = brakePace
	}
	c.course.Store(next)
}

// median is the median of the offsets and of this clock's own, zero.
func median(offsets []time.Duration) time.Duration {
	all := make([]time.Duration, 1, 1+len(offsets))
	for _, o := range offsets {
		all = append(all, min(max(o, -farthest), farthest))
	}
	slices.Sort(all)
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	return low + (high-low)/2
}
