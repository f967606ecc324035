package load

import (
	"context"
	"sync"
	"time"
)

// A failover is measured in three spans: writes run undisturbed, the leader is
// killed, and writes are watched until they have run again for a while.
const (
	undisturbed = 2 * time.Second  // before the kill
	settled     = 1 * time.Second  // of writes after the interruption
	giveUp      = 30 * time.Second // without any acknowledged write
	// tryLimit bounds one attempt of a writer: what hangs at a dead leader is tried
	// again, as an impatient client would.
	tryLimit = 250 * time.Millisecond
	// again keeps writers that are refused from taking the CPU that an
	// election needs.
	again = 10 * time.Millisecond
)

// Failover is one kill of the leader.
type Failover struct {
	// Before is the longest time without an acknowledged write while all nodes
	// ran, in milliseconds: the noise in Gap.
	Before float64 `json:"before_ms"`
	// Gap is the longest time without an acknowledged write, by any writer,
	// from the kill on.
	Gap     float64 `json:"gap_ms"`
	Writes  int     `json:"writes"` // acknowledged, before and after
	Resumed bool    `json:"resumed"`
}

// pulse notes when writes are acknowledged. It is safe for concurrent use.
type pulse struct {
	mu      sync.Mutex // guards what follows
	last    time.Time
	longest time.Duration
	beats   int
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note()
	p.beats++
}

func (p *pulse) note() {
	now := time.Now()
	p.longest = max(p.longest, now.Sub(p.last))
	p.last = now
}

// begin starts a new span and returns the longest gap of the one before, the
// time since its last beat included.
func (p *pulse) begin() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := max(p.longest, time.Since(p.last))
	p.longest = 0
	return longest
}

func (p *pulse) state() (beats int, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.beats, p.last
}

// MeasureFailover lets the writers run, calls kill and watches. A writer must
// go to another node by itself after an error. An error of kill is returned;
// writes that never resume are a result.
func MeasureFailover(ctx context.Context, writers []Worker, kill func() error) (Failover, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	p := &pulse{last: time.Now()}
	for _, write := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				try, end := context.WithTimeout(ctx, tryLimit)
				err := write(try)
				end()
				if err == nil {
					p.beat()
				} else if pause(ctx, again) != nil {
					return
				}
			}
		})
	}
	if err := pause(ctx, undisturbed); err != nil {
		return Failover{}, err
	}
	f := Failover{Before: Millis(p.begin())}
	if err := kill(); err != nil {
		return f, err
	}
	killed := time.Now()
	f.Resumed = p.settle(ctx, killed)
	f.Writes, _ = p.state()
	f.Gap = Millis(p.begin())
	return f, ctx.Err()
}

// settle waits until writes have run again for a while: no beat is older than
// half of settled during the whole of it.
func (p *pulse) settle(ctx context.Context, killed time.Time) bool {
	tick := time.NewTicker(settled / 20)
	defer tick.Stop()
	since := killed // no silence since then
	for time.Since(killed) < giveUp {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		_, last := p.state()
		if last.Before(killed) || time.Since(last) > settled/2 {
			since = time.Now()
		}
		// Answers in flight may still come after the kill; the silence begins
		// behind them, within an election time-out.
		if time.Since(since) > settled && time.Since(killed) > 3*settled {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
