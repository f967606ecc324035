package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"

	"tamv.internal/tamv/tap"
)

// report is the result of a load.
type report struct {
	Bench           string  `json:"bench"`
	Transport       string  `json:"transport"`
	Clients         int     `json:"clients"`
	Pipeline        int     `json:"pipeline"`
	Seconds         float64 `json:"seconds"`
	Operations      int     `json:"operations"`
	Rate            float64 `json:"rate"` // operations per second of wall time
	P50             float64 `json:"p50_ms"`
	P95             float64 `json:"p95_ms"`
	P99             float64 `json:"p99_ms"`
	Max             float64 `json:"max_ms"`
	Errors          int     `json:"errors"`
	FirstError      string  `json:"first_error,omitempty"`
	ServerCPU       float64 `json:"server_cpu_s"`
	ClientCPU       float64 `json:"client_cpu_s"`
	PerServerCPU    float64 `json:"operations_per_server_cpu_s"`
	ServerRSS       float64 `json:"server_rss_mb"`
	Fsyncs          float64 `json:"fsync_per_s"` // this machine, 4 KiB written and synced, one at a time
	FsyncP50        float64 `json:"fsync_p50_ms"`
	OperationsFsync float64 `json:"operations_per_fsync"` // rate divided by fsync_per_s
}

// tally is what one worker saw.
type tally struct {
	latencies []time.Duration
	failures  int
	first     error
}

// measure runs a load and puts the machine's own figures beside it.
func measure(ctx context.Context, name string, s settings, prepare load) (report, error) {
	fsyncs, fsyncP50, err := fsyncRate(s.fsyncDir, time.Second)
	if err != nil {
		return report{}, err
	}
	site, err := openSite(ctx, s)
	if err != nil {
		return report{}, err
	}
	defer site.close()
	workers, stop, err := prepare(ctx, s, site)
	if err != nil {
		return report{}, err
	}
	defer stop()
	if s.warmup > 0 {
		drive(ctx, workers, s.warmup)
	}
	before, err := site.usage(ctx)
	if err != nil {
		return report{}, err
	}
	ownBefore := ownCPU()
	began := time.Now()
	tallies := drive(ctx, workers, s.duration)
	took := time.Since(began).Seconds()
	own := ownCPU() - ownBefore
	after, err := site.usage(ctx)
	if err != nil {
		return report{}, err
	}
	r := report{
		Bench: name, Transport: s.transport, Clients: s.clients, Pipeline: s.pipeline, Seconds: round(took),
		ServerCPU: round(after.cpu - before.cpu), ClientCPU: round(own), ServerRSS: round(after.rss / (1 << 20)),
		Fsyncs: round(fsyncs), FsyncP50: round(fsyncP50.Seconds() * 1e3),
	}
	if name == "intent" {
		r.Transport = "https"
	}
	r.add(tallies, took)
	if ctx.Err() != nil {
		return r, tap.AsError(ctx.Err())
	}
	return r, nil
}

// drive runs all workers for the given time. A worker that failed goes on: an
// appliance that refuses is measured as one.
func drive(ctx context.Context, workers []worker, d time.Duration) []tally {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tallies := make([]tally, len(workers))
	var wg sync.WaitGroup
	for i, work := range workers {
		wg.Go(func() {
			t := &tallies[i]
			for ctx.Err() == nil {
				began := time.Now()
				err := work(ctx)
				switch {
				case err == nil:
					t.latencies = append(t.latencies, time.Since(began))
				case ctx.Err() != nil: // the measurement ended under the request
				default:
					t.failures++
					if t.first == nil {
						t.first = err
					}
				}
			}
		})
	}
	wg.Wait()
	return tallies
}

// add sums the tallies up.
func (r *report) add(tallies []tally, seconds float64) {
	var all []time.Duration
	for _, t := range tallies {
		all = append(all, t.latencies...)
		r.Errors += t.failures
		if r.FirstError == "" && t.first != nil {
			r.FirstError = t.first.Error()
		}
	}
	slices.Sort(all)
	r.Operations = len(all)
	r.Rate = round(float64(len(all)) / seconds)
	r.P50, r.P95, r.P99, r.Max = percentile(all, .5), percentile(all, .95), percentile(all, .99), percentile(all, 1)
	if r.ServerCPU > 0 {
		r.PerServerCPU = round(float64(len(all)) / r.ServerCPU)
	}
	if r.Fsyncs > 0 {
		r.OperationsFsync = round(r.Rate / r.Fsyncs)
	}
}

// percentile is the q-quantile (nearest rank) in milliseconds.
func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return round(float64(sorted[max(rank, 0)]) / float64(time.Millisecond))
}

// round keeps three decimals: no figure here is worth more.
func round(f float64) float64 { return math.Round(f*1000) / 1000 }

// ownCPU is this process's CPU time in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
