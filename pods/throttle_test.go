package pods

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// disk commits in rounds: what waits when a round begins is committed when it ends,
// at most so many. It stands still until the time that a test sets.
type disk struct {
	round time.Duration
	most  int

	mu    sync.Mutex // guards what follows
	queue []chan struct{}
	still time.Time
}

func (d *disk) Commit(_ context.Context, _ store.Batch) (store.Receipt, error) {
	done := make(chan struct{})
	d.mu.Lock()
	d.queue = append(d.queue, done)
	d.mu.Unlock()
	<-done
	return store.Receipt{}, nil
}

// run serves rounds until the context ends, and then whoever waits.
func (d *disk) run(ctx context.Context) {
	for {
		d.mu.Lock()
		n := min(d.most, len(d.queue))
		d.mu.Unlock()
		timer := time.NewTimer(d.round)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		d.mu.Lock()
		switch {
		case ctx.Err() != nil:
			n = len(d.queue)
		case time.Now().Before(d.still):
			n = 0
		}
		for _, done := range d.queue[:n] {
			close(done)
		}
		d.queue = d.queue[n:]
		rest := len(d.queue)
		d.mu.Unlock()
		if ctx.Err() != nil && rest == 0 {
			return
		}
	}
}

// stop makes nothing be committed for so long.
func (d *disk) stop(span time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.still = time.Now().Add(span)
}

// seen is what a crowd of clients saw.
type seen struct {
	mu       sync.Mutex // guards what follows
	accepted []time.Duration
	refused  int
	waits    []time.Duration
	served   []int // by client
}

// client is the number of the next client.
func (s *seen) client() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = append(s.served, 0)
	return len(s.served) - 1
}

func (s *seen) reset() (accepted []time.Duration, refused int, waits []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted, refused, waits = s.accepted, s.refused, s.waits
	s.accepted, s.refused, s.waits = nil, 0, nil
	clear(s.served)
	return accepted, refused, waits
}

// ask sends one request after the other until the context ends, and waits as told,
// plus what the network takes.
func (s *seen) ask(ctx context.Context, t *testing.T, b *bench) {
	r := request("POST", "/p/1", "", "")
	r.ID = uuid.New()
	served := s.client()
	for ctx.Err() == nil {
		began := time.Now()
		_, err := b.Serve(ctx, r)
		pause := time.Millisecond
		s.mu.Lock()
		var e *tap.Error
		switch {
		case err == nil:
			s.accepted = append(s.accepted, time.Since(began))
			s.served[served]++
			r.ID = uuid.New()
		case errors.As(err, &e) && e.Kind == tap.Limited && e.Code == "busy" && time.Since(began) == 0:
			s.refused++
			s.waits = append(s.waits, e.RetryAfter)
			pause = e.RetryAfter
		default:
			t.Errorf("%v", err)
		}
		s.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// crowd is a server with a disk and clients, in virtual time.
type crowd struct {
	*bench
	*seen
	t   *testing.T
	all sync.WaitGroup
}

// join has so many more clients ask, until leave.
func (c *crowd) join(clients int) (leave func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	for range clients {
		c.all.Go(func() { c.ask(ctx, c.t, c.bench) })
	}
	return cancel
}

// crowded runs clients against a server with a disk in virtual time.
func crowded(t *testing.T, clients int, d *disk, test func(t *testing.T, c *crowd)) {
	synctest.Test(t, func(t *testing.T) {
		route := Route{Method: "POST", Pattern: "/p/{id}", Roles: []tap.Role{tap.Citizen}, Run: committing, Brief: true}
		c := &crowd{bench: newBench(t, pod{Name: "p", Routes: []Route{route}}), seen: &seen{}, t: t}
		c.Server.writer, c.Server.watch = d, func(*Row, string, time.Duration) {}
		ctx, cancel := context.WithCancel(t.Context())
		var disk sync.WaitGroup
		disk.Go(func() { d.run(ctx) })
		leave := c.join(clients)
		test(t, c)
		leave()
		c.all.Wait()
		cancel()
		disk.Wait()
	})
}

// inFlight is how many are inside now.
func (c *crowd) inFlight() int {
	c.throttle.mu.Lock()
	defer c.throttle.mu.Unlock()
	return c.throttle.inside
}

// pass lets virtual time go by.
func pass(span time.Duration) { <-time.After(span) }

// Little's law holds in the end: the node is full, what it takes is served in the
// target, and the refused keep it full. 32 each 2 ms are 16,000 a second: 192 in flight.
// Each waits for those before him, so that nobody in a full house is quick; that must
// not be taken for a slow disk.
func TestThrottleConverges(t *testing.T) {
	const perSecond, span = 16_000, 2
	crowded(t, 1024, &disk{round: 2 * time.Millisecond, most: 32}, func(t *testing.T, c *crowd) {
		pass(20 * time.Second)
		c.reset()
		pass(span * time.Second)
		if limit := c.AdmissionLimit(); limit < 180 || limit > 192 {
			t.Errorf("%d may be in flight", limit)
		}
		slowest := slices.Min(c.served)
		accepted, refused, _ := c.reset()
		if len(accepted) < span*perSecond*95/100 {
			t.Errorf("%d of %d were served", len(accepted), span*perSecond)
		}
		if refused == 0 || refused > len(accepted) {
			t.Errorf("%d refused beside %d accepted", refused, len(accepted))
		}
		slices.Sort(accepted)
		if p95 := accepted[len(accepted)*95/100]; p95 > 2*throttleTarget {
			t.Errorf("95 of a hundred took up to %v", p95)
		}
		// Nobody waits again and again: the luckiest are served a few times without
		// waiting, the others each time they come back.
		if mean := span * perSecond / 1024; slowest < mean/2 {
			t.Errorf("one was served %d times, all %d times in the mean", slowest, mean)
		}
	})
}

// A disk that stands still for a second fills the node and changes nothing of what
// it takes afterwards.
func TestThrottleOutlivesAStall(t *testing.T) {
	d := &disk{round: 5 * time.Millisecond, most: 80}
	crowded(t, 1024, d, func(t *testing.T, c *crowd) {
		pass(3500 * time.Millisecond) // the stall ends in another second than it begins
		before := c.AdmissionLimit()
		c.reset()
		d.stop(time.Second)
		pass(990 * time.Millisecond)
		if inside := c.inFlight(); inside < before || inside > before+before/2 {
			t.Errorf("%d are in flight of %d", inside, before)
		}
		if limit := c.AdmissionLimit(); limit != before {
			t.Errorf("the limit went from %d to %d", before, limit)
		}
		_, refused, waits := c.reset()
		if refused == 0 {
			t.Error("nobody was refused")
		}
		for _, wait := range waits {
			if wait < throttleEarly || wait > time.Second {
				t.Fatalf("told to wait %v", wait)
			}
		}
		pass(2 * time.Second)
		c.reset()
		pass(time.Second)
		if accepted, _, _ := c.reset(); len(accepted) < 15_000 {
			t.Errorf("%d of 16,000 were served after the stall", len(accepted))
		}
	})
}

func TestThrottleNeverRefusesTheFew(t *testing.T) {
	for name, d := range map[string]*disk{
		"slow":      {round: 10 * time.Millisecond, most: 1000},
		"very slow": {round: 100 * time.Millisecond, most: 3},
	} {
		t.Run(name, func(t *testing.T) {
			crowded(t, throttleSmall, d, func(t *testing.T, c *crowd) {
				pass(30 * time.Second)
				if accepted, refused, _ := c.reset(); refused > 0 || len(accepted) == 0 {
					t.Errorf("%d refused, %d accepted", refused, len(accepted))
				}
			})
		})
	}
}

// A sync of 10 ms that serves all who wait is no reason to let few wait for it: the
// limit grows until they are all inside, and none takes longer for that.
func TestThrottleSharesSlowSyncs(t *testing.T) {
	crowded(t, 512, &disk{round: 10 * time.Millisecond, most: 10_000}, func(t *testing.T, c *crowd) {
		pass(20 * time.Second)
		c.reset()
		pass(time.Second)
		accepted, refused, _ := c.reset()
		if refused > 0 {
			t.Errorf("%d refused of %d, limit %d", refused, len(accepted), c.AdmissionLimit())
		}
		if took := slices.Max(accepted); took > 20*time.Millisecond {
			t.Errorf("one took %v", took)
		}
	})
}

// A site that is small again is one again: where 40 at most would be in time and 64 ask, all
// are taken, whoever asked before.
func TestThrottleForgetsTheCrowd(t *testing.T) {
	crowded(t, throttleSmall, &disk{round: 5 * time.Millisecond, most: 10}, func(t *testing.T, c *crowd) {
		leave := c.join(1000)
		pass(5 * time.Second)
		if limit := c.AdmissionLimit(); limit >= throttleSmall {
			t.Errorf("%d may be in flight", limit)
		}
		if _, refused, _ := c.reset(); refused == 0 {
			t.Error("nobody was refused")
		}
		leave()
		pass(throttleWait + time.Second)
		c.reset()
		pass(10 * time.Second)
		if accepted, refused, _ := c.reset(); refused > 0 || len(accepted) < 19_000 {
			t.Errorf("%d refused and %d accepted of the few who stayed", refused, len(accepted))
		}
	})
}

// A crowd that comes to a quiet node is served from the first moment.
func TestThrottleTakesABurst(t *testing.T) {
	crowded(t, 0, &disk{round: 5 * time.Millisecond, most: 80}, func(t *testing.T, c *crowd) {
		pass(time.Minute)
		defer c.join(1024)()
		pass(time.Second)
		accepted, _, _ := c.reset()
		if len(accepted) < 5000 {
			t.Errorf("%d were served in the first second", len(accepted))
		}
		slices.Sort(accepted)
		if p95 := accepted[len(accepted)*95/100]; p95 > 2*throttleTarget {
			t.Errorf("95 of a hundred took up to %v", p95)
		}
		pass(2 * time.Second)
		c.reset()
		pass(time.Second)
		if accepted, _, _ := c.reset(); len(accepted) < 15_000 {
			t.Errorf("%d were served in the fourth second", len(accepted))
		}
	})
}

// full is a throttle with as many inside as may be, and nothing known.
func full(t *testing.T, now time.Time) *throttle {
	t.Helper()
	var th throttle
	for range throttleSmall {
		if _, err := th.enter(uuid.New(), now); err != nil {
			t.Fatal(err)
		}
	}
	return &th
}

// Who comes back when he was told finds a place, who comes too early is told the rest,
// and neither goes to the end of the queue.
func TestThrottleKeepsItsPromise(t *testing.T) {
	now := testClock()
	th := full(t, now)
	told := func(id uuid.UUID) time.Duration {
		t.Helper()
		_, err := th.enter(id, now)
		if e := tap.AsError(err); e == nil || e.Kind != tap.Limited || e.Code != "busy" {
			t.Fatalf("got %v", err)
		}
		return tap.AsError(err).RetryAfter
	}
	first, second, third := uuid.New(), uuid.New(), uuid.New()
	wait := told(first)
	if wait < throttleTarget {
		t.Errorf("the first is told to wait %v", wait)
	}
	if longer := told(second); longer <= wait {
		t.Errorf("the first waits %v and the second %v", wait, longer)
	}
	if now = now.Add(time.Millisecond); told(first) != wait-time.Millisecond {
		t.Errorf("a millisecond later the first is told to wait %v, not %v", told(first), wait-time.Millisecond)
	}
	now = now.Add(wait)
	if _, err := th.enter(first, now); err != nil {
		t.Errorf("the first came back: %v", err)
	}
	now = now.Add(time.Second / 2)
	for range throttleLeast / 2 { // others take what is free
		_, _ = th.enter(uuid.New(), now)
	}
	told(third)
	if _, err := th.enter(second, now); err != nil {
		t.Errorf("the second came late: %v", err)
	}
	told(first)                   // its place was for once
	for range 2 * throttleSmall { // who were all promised a place
		id := uuid.New()
		if _, err := th.enter(id, now); err != nil {
			now = now.Add(tap.AsError(err).RetryAfter)
			_, _ = th.enter(id, now)
		}
	}
	if most := throttleSmall + throttleSmall/2; th.inside > most {
		t.Errorf("%d inside of %d at most", th.inside, most)
	}
}

func TestThrottlePromisesAreBounded(t *testing.T) {
	var p promises
	now := testClock()
	first := uuid.New()
	p.add(first, now, now)
	for range 3 * throttlePromise {
		p.add(uuid.New(), now, now)
	}
	if len(p.latest) != throttlePromise {
		t.Errorf("%d are kept", len(p.latest))
	}
	p.add(uuid.New(), now, now.Add(throttleKept))
	if _, ok := p.due(first); !ok || len(p.latest) != 1 {
		t.Errorf("kept %v, latest %d", ok, len(p.latest))
	}
	if p.drop(first); len(p.before) != throttlePromise-1 {
		t.Errorf("%d are left", len(p.before))
	}
	p.add(uuid.New(), now, now.Add(3*throttleKept))
	if len(p.before) != 0 {
		t.Errorf("%d are kept for too long", len(p.before))
	}
	p.add(uuid.New(), now, now.Add(-time.Hour)) // the clock was set back
	if len(p.before)+len(p.latest) != 1 {
		t.Errorf("%d and %d are kept", len(p.before), len(p.latest))
	}
}

func TestThrottleForgets(t *testing.T) {
	var th throttle
	now := testClock()
	fill := func(n int, took time.Duration) {
		for range n {
			p, err := th.enter(uuid.New(), now)
			if err != nil {
				t.Fatal(err)
			}
			th.leave(p, now.Add(took), true)
		}
	}
	limit := func() int { limit, _ := th.state(now); return limit }
	if limit() != throttleSmall {
		t.Errorf("when nothing is known %d may be in flight", limit())
	}
	fill(10_000, 0)
	if got := limit(); got != 120 {
		t.Errorf("in the first second %d may be in flight", got)
	}
	now = now.Add(9 * time.Second)
	if got := limit(); got != 120 {
		t.Errorf("of 10,000 a second %d may be in flight", got)
	}
	fill(1, 10*time.Millisecond)
	if got := limit(); got != 200 {
		t.Errorf("where one takes 10 ms %d may be in flight", got)
	}
	if now = now.Add(-time.Minute); limit() != 200 {
		t.Error("a clock that was set back changes the limit")
	}
	if now = now.Add(time.Minute + time.Second); limit() != throttleLeast {
		t.Errorf("after nine quiet seconds %d may be in flight", limit())
	}
	fill(5000, time.Second) // the disk stood still
	if got := limit(); got != 100 {
		t.Errorf("while a second of 5,000 runs %d may be in flight", got)
	}
	if now = now.Add(1000 * time.Hour); limit() != throttleSmall {
		t.Errorf("after weeks %d may be in flight", limit())
	}
}

// What fails is given its place back and teaches nothing about the rate.
func TestThrottleCountsWhatIsServed(t *testing.T) {
	b := newBench(t, single(committing))
	serve := func(path, body string) error {
		_, err := b.Serve(t.Context(), request("POST", path, "", body))
		return err
	}
	if err := serve("/p/1", ""); err != nil {
		t.Fatal(err)
	}
	if err := serve("/p/1", "{}"); codeOf(err) != "schema" {
		t.Errorf("got %v", err)
	}
	b.writer.outcomes = []error{nil, tap.E("x", tap.Unavailable, "no leader")}
	if err := serve("/p/1", ""); codeOf(err) != "unavailable" {
		t.Errorf("got %v", err)
	}
	b.gate.as = nil
	if err := serve("/p/1", ""); codeOf(err) != "unsigned" {
		t.Errorf("got %v", err)
	}
	if b.throttle.served[0] != 1 || b.throttle.inside != 0 {
		t.Errorf("%d served, %d in flight", b.throttle.served[0], b.throttle.inside)
	}
}

// countingGate counts what it is asked.
type countingGate struct {
	Gate
	asked int
}

func (g *countingGate) Admit(ctx context.Context, r *tap.Request, row *Row) (*Admission, error) {
	g.asked++
	return g.Gate.Admit(ctx, r, row)
}

func TestBusyTouchesNothingAndSparesSome(t *testing.T) {
	b := newBench(t, pod{Name: "p", Routes: []Route{
		{Method: "POST", Pattern: "/write", Roles: []tap.Role{tap.Citizen, tap.Operator}, Run: committing},
		{Method: "GET", Pattern: "/read", Roles: []tap.Role{tap.Citizen}, Run: echo},
		{Method: "POST", Pattern: "/operate", Roles: []tap.Role{tap.Operator}, Run: committing},
	}})
	b.gate.as = &tap.Principal{Tenant: "main", Identity: "root", Roles: []tap.Role{tap.Citizen, tap.Operator}}
	counting := &countingGate{Gate: b.gate}
	b.Server.gate = counting
	b.throttle = *full(t, b.now())
	for range 5 { // more than opens a breaker
		r := request("POST", "/write", "", "")
		r.ID = uuid.New()
		_, err := b.Serve(t.Context(), r)
		if e := tap.AsError(err); e.Kind != tap.Limited || e.Code != "busy" || e.RetryAfter < throttleTarget || e.RetryAfter > time.Second {
			t.Fatalf("got %+v", e)
		}
	}
	if counting.asked != 0 || len(b.writer.batches) != 0 || b.guards["p"].Open() || b.AdmissionsRefused() != 5 {
		t.Errorf("the gate was asked %d times, %d commits, refused %d", counting.asked, len(b.writer.batches), b.AdmissionsRefused())
	}
	for _, r := range []*tap.Request{request("GET", "/read", "", ""), request("POST", "/operate", "", "")} {
		if _, err := b.Serve(t.Context(), r); err != nil {
			t.Errorf("%s: %v", r.Path, err)
		}
	}
	b.throttle.leave(place{}, b.now(), false)
	if _, err := b.Serve(t.Context(), request("POST", "/write", "", "")); err != nil {
		t.Errorf("a place that was left is not given away: %v", err)
	}
}

func TestThrottleStaysWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var th throttle
		now := testClock()
		var inside []place
		ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, time.Second, -time.Second, time.Minute}).Draw(t, "later"))
			if len(inside) > 0 && rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
				th.leave(inside[0], now, rapid.Bool().Draw(t, "served"))
				inside = inside[1:]
				continue
			}
			id := uuid.New()
			if known := rapid.IntRange(0, 5).Draw(t, "id"); known < len(ids) {
				id = ids[known]
			}
			most, _ := th.state(now)
			most = max(most+most/2, throttleSmall)
			p, err := th.enter(id, now)
			if err == nil {
				inside = append(inside, p)
			} else if wait := tap.AsError(err).RetryAfter; wait <= throttleEarly || wait > throttleWait {
				t.Fatalf("refused with %d in flight and told to wait %v", len(inside), wait)
			}
			if limit, _ := th.state(now); th.inside != len(inside) || limit < throttleLeast || err == nil && len(inside) > most {
				t.Fatalf("%d in flight, limit %d: %+v", len(inside), limit, &th)
			}
		}
	})
}

func BenchmarkThrottle(b *testing.B) {
	var th throttle
	now := testClock()
	id := uuid.New()
	b.ReportAllocs()
	for b.Loop() {
		p, err := th.enter(id, now)
		if err != nil {
			b.Fatal(err)
		}
		th.leave(p, now, true)
	}
}
