package main

import (
	"context"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/tap"
)

// report is the result of a load.
type report struct {
	Bench     string `json:"bench"`
	Transport string `json:"transport"`
	Clients   int    `json:"clients"`
	Pipeline  int    `json:"pipeline"`
	Record    int    `json:"record_bytes,omitempty"`
	load.Figures
	ServerCPU       float64 `json:"server_cpu_s"`
	ClientCPU       float64 `json:"client_cpu_s"`
	PerServerCPU    float64 `json:"operations_per_server_cpu_s"`
	ServerRSS       float64 `json:"server_rss_mb"`
	Fsyncs          float64 `json:"fsync_per_s"` // this machine, 4 KiB written and synced, one at a time
	FsyncP50        float64 `json:"fsync_p50_ms"`
	OperationsFsync float64 `json:"operations_per_fsync"` // rate divided by fsync_per_s
}

// measure runs a load and puts the machine's own figures beside it.
func measure(ctx context.Context, name string, s settings, prepare preparation) (report, error) {
	fsyncs, fsyncP50, err := fsyncRate(s.fsyncDir, min(fsyncSpan, s.duration))
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
		load.Run(ctx, workers, s.warmup)
	}
	before, err := site.usage(ctx)
	if err != nil {
		return report{}, err
	}
	ownBefore := load.OwnCPU()
	figures := load.Run(ctx, workers, s.duration)
	own := load.OwnCPU() - ownBefore
	after, err := site.usage(ctx)
	if err != nil {
		return report{}, err
	}
	r := report{
		Bench: name, Transport: s.transport, Clients: s.clients, Pipeline: s.pipeline, Figures: figures,
		ServerCPU: load.Round(after.cpu - before.cpu), ClientCPU: load.Round(own), ServerRSS: load.Round(after.rss / (1 << 20)),
		Fsyncs: load.Round(fsyncs), FsyncP50: load.Millis(fsyncP50), OperationsFsync: ratio(figures.Rate, fsyncs),
	}
	switch name {
	case "evidence":
		r.Record = s.record
	default:
		r.Transport = "https"
	}
	r.PerServerCPU = ratio(float64(figures.Operations), r.ServerCPU)
	if ctx.Err() != nil {
		return r, tap.AsError(ctx.Err())
	}
	return r, nil
}

// ratio is a/b, or 0 where b says nothing.
func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return load.Round(a / b)
}
