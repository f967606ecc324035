package clock

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

var start = time.Date(2031, 5, 4, 12, 0, 0, 0, time.UTC)

// machine is a clock's machine: time passes when the test says so, and the wall
// can be set.
type machine struct {
	elapsed, jump time.Duration
	*Clock
}

func newMachine(ahead time.Duration) *machine {
	m := &machine{jump: ahead}
	m.Clock = New(Config{
		Wall:    func() time.Time { return start.Add(m.elapsed + m.jump) },
		Elapsed: func() time.Duration { return m.elapsed },
	})
	return m
}

// now is the clock's reading, error how far it is from true time; both count
// from the start.
func (m *machine) now() time.Duration   { return m.Now().Sub(start) }
func (m *machine) error() time.Duration { return m.now() - m.elapsed }

// second lets a second pass and reports offsets from true time, as members
// measure them: against Local.
func (m *machine) second(members ...time.Duration) {
	m.elapsed += time.Second
	local := m.Local().Sub(start) - m.elapsed
	offsets := make([]time.Duration, len(members))
	for i, o := range members {
		offsets[i] = o - local
	}
	m.Offsets(offsets)
}

func TestTimePasses(t *testing.T) {
	m := newMachine(0)
	for i := range 10 {
		if got := m.now(); got != time.Duration(i)*time.Second {
			t.Fatalf("%s after %d s", got, i)
		}
		m.second()
	}
	if m.Health() != nil || m.Skew() != 0 || m.State() != (State{Clocks: 1}) {
		t.Errorf("%v, %+v", m.Health(), m.State())
	}
}

// A node that starts with a wrong clock is right before it serves, in either
// direction, if there are enough clocks; what follows goes on from there.
func TestSetBeforeServing(t *testing.T) {
	for _, wrong := range []time.Duration{24 * time.Hour, -24 * time.Hour, 100 * time.Millisecond} {
		m := newMachine(wrong)
		if m.Set([]time.Duration{-wrong}) || m.error() != wrong {
			t.Errorf("two clocks set it from %s to %s", wrong, m.error())
		}
		if !m.Set([]time.Duration{-wrong, -wrong}) || m.error() != 0 || m.Skew() != wrong || (m.State() != State{3, wrong, -wrong, 0}) {
			t.Errorf("%s: error %s, %+v", wrong, m.error(), m.State())
		}
		for range 10 {
			m.second(0, 0)
		}
		if m.error() != 0 {
			t.Errorf("%s: error %s after ten seconds", wrong, m.error())
		}
	}
}

// With one other clock, that of a member which serves is followed.
func TestFollowBeforeServing(t *testing.T) {
	for wrong, want := range map[time.Duration]time.Duration{25 * time.Hour: 0, -25 * time.Hour: 0, time.Second: time.Second} {
		m := newMachine(wrong)
		if m.Follow(-wrong); m.error() != want {
			t.Errorf("%s: error %s, want %s", wrong, m.error(), want)
		}
	}
}

// A jump of the wall is told at once and leaves no trace when it is undone.
func TestShortJumpsDoNotMoveTheClock(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 40 * 365 * 24 * time.Hour} {
		m := newMachine(0)
		m.jump = jump
		for range 9 * 60 {
			m.second()
		}
		if m.error() != 0 || m.Skew() != jump || !tap.IsKind(m.Health(), tap.Unavailable) || tap.AsError(m.Health()).Code != "clock_skew" {
			t.Errorf("wall %s away: error %s, skew %s, %v", jump, m.error(), m.Skew(), m.Health())
		}
		m.jump = 0
		for range 20 * 60 {
			m.second()
		}
		if m.error() != 0 || m.Health() != nil {
			t.Errorf("afterwards: error %s, %v", m.error(), m.Health())
		}
	}
}

// Alone, a jump that stands was meant: forward in one step, a small one by
// running faster, backward by running at half speed.
func TestStandingJumpsAreAdopted(t *testing.T) {
	adopted := func(jump time.Duration) *machine {
		m := newMachine(0)
		m.jump = jump
		for range int(AdoptAfter/time.Second) + 4 {
			m.second()
		}
		return m
	}
	if m := adopted(time.Hour); m.error() != time.Hour || m.Skew() != 0 || m.State().Correction != 0 {
		t.Errorf("an hour forward: error %s, %+v", m.error(), m.State())
	}
	m := adopted(300 * time.Millisecond)
	if m.error() == 0 || m.error() > 40*time.Millisecond {
		t.Errorf("0.3 s forward began with %s", m.error())
	}
	for range 30 {
		m.second()
	}
	if m.error() != 300*time.Millisecond {
		t.Errorf("0.3 s forward: %s", m.error())
	}
	m = adopted(-time.Hour)
	before := m.now()
	m.elapsed += 10 * time.Second
	if ran := m.now() - before; ran != 5*time.Second {
		t.Errorf("ahead, it ran %s in 10 s", ran)
	}
	for range 2*3600 + 100 {
		m.second()
	}
	if m.error() != -time.Hour {
		t.Errorf("an hour back: %s", m.error())
	}
}

// Whoever is wrong, a member of three ends at the median; its own wall does not
// matter.
func TestMembersFollowTheMedian(t *testing.T) {
	for name, c := range map[string]struct {
		own     time.Duration
		members []time.Duration
		want    time.Duration
		seconds int
	}{
		"an hour behind":        {-time.Hour, []time.Duration{0, 5 * time.Millisecond}, 0, 3},
		"an hour ahead":         {time.Hour, []time.Duration{0, 0}, 0, 2*3600 + 60},
		"a little behind":       {-200 * time.Millisecond, []time.Duration{0, 0}, 0, 22},
		"a little ahead":        {200 * time.Millisecond, []time.Duration{0, 0}, 0, 22},
		"one member lies":       {0, []time.Duration{math.MaxInt64 / 4, time.Millisecond}, time.Millisecond, 3},
		"two members of five":   {0, []time.Duration{-time.Hour, time.Hour, 2, 1}, 1, 3},
		"four: the two between": {0, []time.Duration{-time.Hour, 100, 10000 * time.Hour}, 50, 3},
	} {
		m := newMachine(c.own)
		for range c.seconds + 1 {
			m.second(c.members...)
		}
		if got := m.error(); got != c.want {
			t.Errorf("%s: ended %s from the truth, not %s", name, got, c.want)
		}
	}
}

// One or two reports of a far median are not believed.
func TestFarMediansMustBeSeenThreeTimes(t *testing.T) {
	m := newMachine(0)
	for range 20 {
		m.second(time.Hour, time.Hour)
		m.second(time.Hour, time.Hour)
		m.second(0, 0)
	}
	if m.error() != 0 {
		t.Errorf("moved by %s", m.error())
	}
}

// While too few members are heard the last correction stays, and a member that
// adopts its own jump does not leave the cluster's time.
func TestCorrectionsOutliveMembers(t *testing.T) {
	m := newMachine(-time.Minute)
	for range 5 {
		m.second(0, 0)
	}
	for range 100 {
		m.second(0)
		m.second()
	}
	if m.error() != 0 || m.State().Clocks != 1 {
		t.Errorf("alone: %s, %+v", m.error(), m.State())
	}
	m.jump = time.Hour
	for range int(AdoptAfter/time.Second) + 10 {
		m.second(0, 0)
		if m.error() != 0 {
			t.Fatalf("error %s, %+v", m.error(), m.State())
		}
	}
	if s := m.State(); s.Correction != -time.Hour || s.Skew != time.Hour || s.Clocks != 3 || s.Remaining != 0 {
		t.Errorf("after the adoption: %+v", s)
	}
}

// An operator who sets most clocks moves the cluster, each member by its own
// median.
func TestTheMajorityIsMeant(t *testing.T) {
	nodes := []*machine{newMachine(0), newMachine(0), newMachine(0)}
	nodes[0].jump, nodes[2].jump = time.Hour, time.Hour
	for range int(AdoptAfter/time.Second) + 10 {
		local := make([]time.Duration, len(nodes))
		for i, n := range nodes {
			local[i] = n.Local().Sub(start) - n.elapsed
		}
		for i, n := range nodes {
			n.second(slices.Delete(slices.Clone(local), i, i+1)...)
		}
	}
	for i, n := range nodes {
		if n.error() != time.Hour {
			t.Errorf("node %d is at %s", i, n.error())
		}
	}
}

func TestOffsetsBeyondAllMeasure(t *testing.T) {
	m := newMachine(0)
	far := []time.Duration{math.MaxInt64, math.MinInt64, math.MinInt64}
	for range 100 {
		before := m.Now()
		m.elapsed += time.Second
		m.Offsets(far)
		if m.Now().Before(before) {
			t.Fatalf("%s after %s", m.Now(), before)
		}
	}
	m.jump = math.MinInt64 / 2
	for range 700 {
		before := m.Now()
		m.second(0, 0)
		if m.Now().Before(before) {
			t.Fatalf("%s after %s", m.Now(), before)
		}
	}
}

// Whatever the wall does and the members report, in whatever order, a later
// reading is not before an earlier one, and runs at half speed at least.
func TestPropertyMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(0)
		span := rapid.OneOf(rapid.Int64Range(-int64(time.Second), int64(time.Second)), rapid.Int64Range(math.MinInt64/2, math.MaxInt64/2))
		last := m.now()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "set") {
				m.jump = time.Duration(span.Draw(t, "jump"))
			}
			var offsets []time.Duration
			for range rapid.IntRange(0, 4).Draw(t, "members") {
				offsets = append(offsets, time.Duration(span.Draw(t, "offset")))
			}
			for range rapid.IntRange(1, 4).Draw(t, "again") {
				passed := time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "passed"))
				m.elapsed += passed
				for _, offsets := range [][]time.Duration{nil, offsets} {
					if offsets != nil {
						m.Offsets(offsets)
					}
					if now := m.now(); now-last < passed/2 {
						t.Fatalf("%s passed, the clock ran %s", passed, now-last)
					} else {
						last, passed = now, 0
					}
				}
			}
		}
	})
}

// With fewer than half of three to seven clocks wrong by any amount, every right
// clock ends within the spread of the right ones, and every clock at the median.
func TestPropertyConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 7).Draw(t, "clocks")
		wrong := rapid.IntRange(0, (n-1)/2).Draw(t, "wrong")
		var clocks []time.Duration
		for i := range n {
			spread := int64(200 * time.Millisecond)
			if i < wrong {
				spread = int64(3 * time.Hour)
			}
			clocks = append(clocks, time.Duration(rapid.Int64Range(-spread, spread).Draw(t, "clock")))
		}
		sorted := slices.Sorted(slices.Values(clocks))
		want := sorted[(n-1)/2] + (sorted[n/2]-sorted[(n-1)/2])/2
		for i, own := range clocks {
			m := newMachine(own)
			members := slices.Delete(slices.Clone(clocks), i, i+1)
			for m.elapsed < 7*time.Hour && (m.elapsed < 5*time.Second || m.State().Remaining != 0) {
				m.second(members...)
			}
			if off := (m.error() - want).Abs(); off > time.Nanosecond {
				t.Fatalf("clock %d of %v ended at %s, not %s", i, clocks, m.error(), want)
			}
			if i >= wrong && m.error().Abs() > 200*time.Millisecond {
				t.Fatalf("a right clock ended at %s", m.error())
			}
		}
	})
}

// Readers on every core see time go forward while corrections come and go.
func TestConcurrentReaders(t *testing.T) {
	var jump atomic.Int64
	c := New(Config{Wall: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
	var done atomic.Bool
	var latest atomic.Int64 // ns since start of what some reader saw
	var readers sync.WaitGroup
	origin := c.Now()
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				floor := latest.Load()
				now := int64(c.Now().Sub(origin))
				if now < floor {
					t.Errorf("%d ns after %d", now, floor)
					return
				}
				for seen := floor; now > seen && !latest.CompareAndSwap(seen, now); seen = latest.Load() {
				}
			}
		})
	}
	for i := range 5_000 {
		away := time.Duration(i%7-3) * 400 * time.Millisecond
		jump.Store(int64(-away))
		c.Offsets([]time.Duration{away, away})
		if i%100 == 0 {
			runtime.Gosched()
		}
	}
	done.Store(true)
	readers.Wait()
}

func BenchmarkNow(b *testing.B) {
	for name, offset := range map[string]time.Duration{"steady": 0, "slewing": -400 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			c := New(Config{})
			c.Offsets([]time.Duration{offset, offset})
			for b.Loop() {
				c.Now()
			}
		})
	}
}
