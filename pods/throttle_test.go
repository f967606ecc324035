package pods

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
		timer := time.NewTimer(d.round)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		d.mu.Lock()
		n := min(d.most, len(d.queue))
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
}

func (s *seen) reset() (accepted []time.Duration, refused int, waits []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted, refused, waits = s.accepted, s.refused, s.waits
	s.accepted, s.refused, s.waits = nil, 0, nil
	return accepted, refused, waits
}

// ask sends one request after the other until the context ends, and waits as told,
// plus what the network takes.
func (s *seen) ask(ctx context.Context, t *testing.T, b *bench) {
	for ctx.Err() == nil {
		began := time.Now()
		_, err := b.Serve(ctx, request("POST", "/p/1", "", ""))
		pause := time.Millisecond
		s.mu.Lock()
		var e *tap.Error
		switch {
		case err == nil:
			s.accepted = append(s.accepted, time.Since(began))
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

// crowded runs clients against a server with a disk in virtual time.
func crowded(t *testing.T, clients int, d *disk, test func(t *testing.T, b *bench, s *seen)) {
	synctest.Test(t, func(t *testing.T) {
		route := Route{Method: "POST", Pattern: "/p/{id}", Roles: []tap.Role{tap.Citizen}, Run: committing, Brief: true}
		b := newBench(t, pod{Name: "p", Routes: []Route{route}})
		b.Server.writer, b.Server.watch = d, func(*Row, string, time.Duration) {}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var s seen
		all.Go(func() { d.run(ctx) })
		for range clients {
			all.Go(func() { s.ask(ctx, t, b) })
		}
		test(t, b, &s)
		cancel()
		all.Wait()
	})
}

// pass lets virtual time go by.
func pass(span time.Duration) { <-time.After(span) }

// Little's law holds in the end: the node is full, what it takes is served in the
// target, and the refused keep it full. 80 each 5 ms are 16,000 a second: 400 in flight.
func TestThrottleConverges(t *testing.T) {
	crowded(t, 1024, &disk{round: 5 * time.Millisecond, most: 80}, func(t *testing.T, b *bench, s *seen) {
		pass(12 * time.Second) // the first second is forgotten
		s.reset()
		pass(2 * time.Second)
		accepted, refused, _ := s.reset()
		if limit := b.AdmissionLimit(); limit < 380 || limit > 400 {
			t.Errorf("%d may be in flight", limit)
		}
		if len(accepted) < 2*15_000 {
			t.Errorf("%d of 32,000 were served", len(accepted))
		}
		if refused == 0 || refused > len(accepted) {
			t.Errorf("%d refused beside %d accepted", refused, len(accepted))
		}
		for _, took := range accepted {
			if took > 2*throttleTarget {
				t.Fatalf("an accepted request took %v", took)
			}
		}
	})
}

// A disk that stands still for a second fills the node and changes nothing of what
// it takes afterwards.
func TestThrottleOutlivesAStall(t *testing.T) {
	d := &disk{round: 5 * time.Millisecond, most: 80}
	crowded(t, 1024, d, func(t *testing.T, b *bench, s *seen) {
		pass(3500 * time.Millisecond) // the stall ends in another second than it begins
		before := b.AdmissionLimit()
		s.reset()
		d.stop(time.Second)
		pass(990 * time.Millisecond)
		b.throttle.mu.Lock()
		inside := b.throttle.inside
		b.throttle.mu.Unlock()
		if inside != before {
			t.Errorf("%d are in flight of %d", inside, before)
		}
		if limit := b.AdmissionLimit(); limit != before {
			t.Errorf("the limit went from %d to %d", before, limit)
		}
		_, refused, waits := s.reset()
		if refused == 0 {
			t.Error("nobody was refused")
		}
		for _, wait := range waits {
			if wait < throttleTarget || wait > time.Second {
				t.Fatalf("told to wait %v", wait)
			}
		}
		pass(2 * time.Second)
		s.reset()
		pass(time.Second)
		if accepted, _, _ := s.reset(); len(accepted) < 14_000 {
			t.Errorf("%d of 16,000 were served after the stall", len(accepted))
		}
	})
}

func TestThrottleNeverRefusesTheFew(t *testing.T) {
	d := &disk{round: 100 * time.Millisecond, most: 3} // far slower than 64 are served in time
	crowded(t, 64, d, func(t *testing.T, b *bench, s *seen) {
		pass(30 * time.Second)
		if accepted, refused, _ := s.reset(); refused > 0 || len(accepted) == 0 {
			t.Errorf("%d refused, %d accepted", refused, len(accepted))
		}
		if limit := b.AdmissionLimit(); limit != throttleLeast {
			t.Errorf("%d may be in flight", limit)
		}
	})
}

func TestThrottleForgets(t *testing.T) {
	var th throttle
	now := testClock()
	fill := func(n int) {
		for range n {
			if err := th.enter(now); err != nil {
				t.Fatal(err)
			}
			th.leave(now, true)
		}
	}
	limit := func() int { limit, _ := th.state(now); return limit }
	fill(8000)
	if got := limit(); got != throttleFirst {
		t.Errorf("in the first second %d may be in flight", got)
	}
	now = now.Add(9 * time.Second)
	if got := limit(); got != 200 {
		t.Errorf("of 8,000 a second %d may be in flight", got)
	}
	if now = now.Add(-time.Minute); limit() != 200 {
		t.Error("a clock that was set back changes the limit")
	}
	if now = now.Add(time.Minute + time.Second); limit() != throttleLeast {
		t.Errorf("after ten quiet seconds %d may be in flight", limit())
	}
	fill(4000)
	if got := limit(); got != 100 {
		t.Errorf("while a second of 4,000 runs %d may be in flight", got)
	}
	if now = now.Add(1000 * time.Hour); limit() != throttleLeast {
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
	for range throttleFirst {
		if err := b.throttle.enter(b.now()); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 { // more than opens a breaker
		_, err := b.Serve(t.Context(), request("POST", "/write", "", ""))
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
	b.throttle.leave(b.now(), false)
	if _, err := b.Serve(t.Context(), request("POST", "/write", "", "")); err != nil {
		t.Errorf("a place that was left is not given away: %v", err)
	}
}

func TestThrottleStaysWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var th throttle
		now, inside := testClock(), 0
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, time.Second, -time.Second, time.Minute}).Draw(t, "later"))
			if inside > 0 && rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
				th.leave(now, rapid.Bool().Draw(t, "served"))
				inside--
				continue
			}
			err := th.enter(now)
			if err == nil {
				inside++
			} else if wait := tap.AsError(err).RetryAfter; inside < throttleLeast || wait < throttleTarget || wait > time.Second {
				t.Fatalf("refused with %d in flight and told to wait %v", inside, wait)
			}
			if limit, _ := th.state(now); th.inside != inside || limit < throttleLeast {
				t.Fatalf("%d in flight, limit %d: %+v", inside, limit, &th)
			}
		}
	})
}

func BenchmarkThrottle(b *testing.B) {
	var th throttle
	now := testClock()
	b.ReportAllocs()
	for b.Loop() {
		if err := th.enter(now); err != nil {
			b.Fatal(err)
		}
		th.leave(now, true)
	}
}
