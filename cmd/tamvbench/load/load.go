// Package load drives a system under test and says what it did: the same code
// measures the appliance and the systems beside it, so that their figures mean
// the same.
//
// A load is a closed loop: every worker waits for its answer before it asks
// again, so the rate is what the system gives, not what it is offered. Latency
// is the time from asking to the answer, as the client sees it. CPU seconds are
// those of whole process trees, from /proc (Linux). The package imports nothing
// of the appliance and holds no state.
package load

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// Worker sends one request and waits for its answer. It is called by one
// goroutine, again and again.
type Worker func(ctx context.Context) error

// Figures is what a load saw. Times are milliseconds.
type Figures struct {
	Seconds    float64 `json:"seconds"`
	Operations int     `json:"operations"`
	Rate       float64 `json:"rate"` // operations per second of wall time
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
}

// Result is one system under one load, as the programs that measure print it.
type Result struct {
	System  string `json:"system"`
	Version string `json:"version"`
	Setting string `json:"setting"` // what one operation is, and what its answer promises
	Nodes   int    `json:"nodes"`
	Clients int    `json:"clients"`
	Record  int    `json:"record_bytes"`
	Figures
	ServerCPU float64 `json:"server_cpu_s"`
	ClientCPU float64 `json:"client_cpu_s"`
}

// tally is what one worker saw.
type tally struct {
	latencies []time.Duration
	failures  int
	first     error
}

// grace is how long a request may go on after the end of a run before it is cut
// off. Cutting off at once would break the connections of some client libraries.
const grace = 10 * time.Second

// Run lets all workers run for d, or until ctx ends. A worker that failed goes
// on: a system that refuses is measured as one. Requests that are unanswered at
// the end of d are waited for, and count neither as operations nor as errors.
func Run(ctx context.Context, workers []Worker, d time.Duration) Figures {
	began := time.Now()
	end := began.Add(d)
	ctx, cancel := context.WithDeadline(ctx, end.Add(grace))
	defer cancel()
	tallies := make([]tally, len(workers))
	var wg sync.WaitGroup
	for i, work := range workers {
		wg.Go(func() { tallies[i].loop(ctx, work, end) })
	}
	wg.Wait()
	return sum(tallies, min(time.Since(began), d).Seconds())
}

func (t *tally) loop(ctx context.Context, work Worker, end time.Time) {
	for began := time.Now(); ctx.Err() == nil && began.Before(end); {
		err := work(ctx)
		now := time.Now()
		switch {
		case now.After(end) || ctx.Err() != nil: // unanswered when the run ended
		case err == nil:
			t.latencies = append(t.latencies, now.Sub(began))
		default:
			t.failures++
			if t.first == nil {
				t.first = err
			}
		}
		began = now
	}
}

func sum(tallies []tally, seconds float64) Figures {
	f := Figures{Seconds: Round(seconds)}
	var all []time.Duration
	for _, t := range tallies {
		all = append(all, t.latencies...)
		f.Errors += t.failures
		if f.FirstError == "" && t.first != nil {
			f.FirstError = t.first.Error()
		}
	}
	slices.Sort(all)
	f.Operations = len(all)
	f.Rate = Round(float64(len(all)) / seconds)
	f.P50, f.P95, f.P99, f.Max = percentile(all, .5), percentile(all, .95), percentile(all, .99), percentile(all, 1)
	return f
}

// percentile is the q-quantile (nearest rank) in milliseconds.
func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return Millis(sorted[max(rank, 0)])
}

// Median is the middle value, or the mean of the two in the middle; 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return Round((s[(n-1)/2] + s[n/2]) / 2)
}

// Millis is d in milliseconds, rounded like every figure.
func Millis(d time.Duration) float64 { return Round(float64(d) / float64(time.Millisecond)) }

// Round keeps three decimals: no figure here is worth more.
func Round(f float64) float64 { return math.Round(f*1000) / 1000 }
