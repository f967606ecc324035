package pods

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

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
