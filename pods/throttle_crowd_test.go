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
		pass(12 * time.Second) // the first second is forgotten
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
