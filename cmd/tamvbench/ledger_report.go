package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"tamv.internal/tamv/cmd/tamvbench/load"
)

// ledgerRun is one system in one test, once. A load has Figures and the fields
// down to AcceptedP95; a verification and a proving have those from Entries on.
type ledgerRun struct {
	Test    string `json:"test"`
	System  string `json:"system"`
	Version string `json:"version"`
	Setting string `json:"setting"`
	Nodes   int    `json:"nodes,omitempty"`
	Clients int    `json:"clients,omitempty"`
	Record  int    `json:"record_bytes,omitempty"`
	load.Figures
	ServerCPU float64 `json:"server_cpu_s"`
	ClientCPU float64 `json:"client_cpu_s"`
	crowdFigures

	Entries uint64  `json:"entries,omitempty"`
	CPU     float64 `json:"cpu_s,omitempty"`
	PerCPU  float64 `json:"operations_per_cpu_s,omitempty"`
	SHA256  float64 `json:"sha256_mb_per_s,omitempty"`

	Round       int     `json:"round"`
	Fsyncs      float64 `json:"fsync_per_s"`  // of the same disk, directly before
	LoadAverage float64 `json:"load_average"` // of this machine, directly before
}

// rate is operations per second: of wall time under load, else of CPU time.
func (r ledgerRun) rate() float64 {
	if r.Clients > 0 {
		return r.Rate
	}
	return r.PerCPU
}

// cost is CPU microseconds an operation, of servers and clients together.
func (r ledgerRun) cost() float64 {
	return ratio((r.ServerCPU+r.ClientCPU+r.CPU)*1e6, float64(r.Operations))
}

// ledgerReport is what the ledger command found.
type ledgerReport struct {
	CPUs    int            `json:"cpus"` // shared by servers, clients and whatever else runs
	Rows    []ledgerRow    `json:"rows"`
	Targets []ledgerTarget `json:"targets"`
	Skipped []skipped      `json:"skipped"`
	Runs    []ledgerRun    `json:"runs"` // in the order in which they were made
}

// ledgerRow sums the runs of one system in one test up: medians, unless said
// otherwise.
type ledgerRow struct {
	Test        string  `json:"test"`
	System      string  `json:"system"`
	Version     string  `json:"version"`
	Setting     string  `json:"setting"`
	Nodes       int     `json:"nodes,omitempty"`
	Clients     int     `json:"clients,omitempty"`
	Runs        int     `json:"runs"`
	Rate        float64 `json:"rate"`
	Best        float64 `json:"best_rate"`
	Worst       float64 `json:"worst_rate"`
	P50         float64 `json:"p50_ms,omitempty"`
	P95         float64 `json:"p95_ms,omitempty"`
	BestP95     float64 `json:"best_p95_ms,omitempty"`
	AcceptedP95 float64 `json:"accepted_p95_ms,omitempty"`
	Busy        int     `json:"busy,omitempty"`   // of all runs together
	Fewest      float64 `json:"fewest,omitempty"` // records of the client with the fewest
	Errors      int     `json:"errors,omitempty"` // of all runs together
	Cost        float64 `json:"cpu_us_per_operation"`
	Fsyncs      float64 `json:"fsync_per_s"`
	PerFsync    float64 `json:"operations_per_fsync,omitempty"`
	SHA256      float64 `json:"sha256_mb_per_s,omitempty"`
	LoadAverage float64 `json:"load_average"`
	// Of another: our rate over its, and our p95 over its. Each of its runs is
	// set against the runs of ours directly before and after it.
	Speedup  float64 `json:"ours_over_it,omitempty"`
	P95Ratio float64 `json:"our_p95_over_its,omitempty"`
}

// ledgerRows sums up, in the order in which the systems first came.
func ledgerRows(runs []ledgerRun) []ledgerRow {
	type key struct{ test, system string }
	var order []key
	indexes := map[key][]int{}
	for i, r := range runs {
		k := key{r.Test, r.System}
		if indexes[k] == nil {
			order = append(order, k)
		}
		indexes[k] = append(indexes[k], i)
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return slices.Index(ledgerTests, a.test) - slices.Index(ledgerTests, b.test)
	})
	var rows []ledgerRow
	for _, k := range order {
		rows = append(rows, ledgerRowOf(runs, indexes[k]))
	}
	return rows
}

func ledgerRowOf(runs []ledgerRun, indexes []int) ledgerRow {
	first := runs[indexes[0]]
	r := ledgerRow{
		Test: first.Test, System: first.System, Version: first.Version, Setting: first.Setting,
		Nodes: first.Nodes, Clients: first.Clients, Runs: len(indexes), Worst: first.rate(), BestP95: first.P95,
	}
	median := func(of func(run ledgerRun) float64) float64 {
		var values []float64
		for _, i := range indexes {
			values = append(values, of(runs[i]))
		}
		return load.Median(values)
	}
	for _, i := range indexes {
		r.Best, r.Worst = max(r.Best, runs[i].rate()), min(r.Worst, runs[i].rate())
		r.BestP95 = min(r.BestP95, runs[i].P95)
		r.Busy += runs[i].Busy
		r.Errors += runs[i].Errors
	}
	r.Rate = median(ledgerRun.rate)
	r.P50 = median(func(run ledgerRun) float64 { return run.P50 })
	r.P95 = median(func(run ledgerRun) float64 { return run.P95 })
	r.AcceptedP95 = median(func(run ledgerRun) float64 { return run.AcceptedP95 })
	r.Fewest = median(func(run ledgerRun) float64 { return float64(run.Fewest) })
	r.Cost = median(ledgerRun.cost)
	r.Fsyncs = median(func(run ledgerRun) float64 { return run.Fsyncs })
	r.SHA256 = median(func(run ledgerRun) float64 { return run.SHA256 })
	r.LoadAverage = median(func(run ledgerRun) float64 { return run.LoadAverage })
	if first.Clients > 0 {
		r.PerFsync = median(func(run ledgerRun) float64 { return ratio(run.Rate, run.Fsyncs) })
	}
	if first.System != ours {
		isOurs := func(run ledgerRun) bool { return run.System == ours && run.Test == first.Test }
		r.Speedup = against(runs, indexes, isOurs, ledgerRun.rate)
		r.P95Ratio = against(runs, indexes, isOurs, func(run ledgerRun) float64 { return run.P95 })
	}
	return r
}

// ledgerTarget is something this command was written to show.
type ledgerTarget struct {
	Text  string  `json:"target"`
	Value float64 `json:"measured"`
	Met   bool    `json:"met"`
}

// ledgerTargets compares with what the ledger is meant to reach; a system that
// was not measured has none.
func ledgerTargets(rows []ledgerRow) (targets []ledgerTarget) {
	add := func(test, system, text string, value func(ledgerRow) float64, met func(v float64) bool) {
		for _, r := range rows {
			if r.Test == test && r.System == system {
				targets = append(targets, ledgerTarget{text, value(r), met(value(r))})
			}
		}
	}
	atLeast := func(least float64) func(float64) bool { return func(v float64) bool { return v >= least } }
	below := func(limit float64) func(float64) bool { return func(v float64) bool { return v < limit } }
	speedup := func(r ledgerRow) float64 { return r.Speedup }
	add(testAppend, "tessera", "append: records/s over Tessera's, at least 4", speedup, atLeast(4))
	add(testAppend, "tessera", "append: p95 over Tessera's, at most 1/3", func(r ledgerRow) float64 { return r.P95Ratio }, below(1./3))
	add(testSite, "postgres-chain", "site: records/s over the Postgres trigger's, at least 5", speedup, atLeast(5))
	add(testSite, ours, "site: p95 below 50 ms", func(r ledgerRow) float64 { return r.P95 }, below(50))
	add(testSite, siteSigned.name, "site, signed requests: p95 below 50 ms", func(r ledgerRow) float64 { return r.P95 }, below(50))
	add(testSite, siteCrowd.name, "site, crowd: p95 of the accepted below 50 ms", func(r ledgerRow) float64 { return r.AcceptedP95 }, below(50))
	rate := func(r ledgerRow) float64 { return r.Rate }
	add(testVerify, ours, "verify: entries per second of one core, at least 1,000,000", rate, atLeast(1e6))
	add(testProve, ours, "prove: proofs per second of one core, at least 200,000", rate, atLeast(200e3))
	return targets
}

// table writes the report for people.
func (l ledgerReport) table(w io.Writer) error {
	for _, test := range ledgerTests {
		rows := slices.DeleteFunc(slices.Clone(l.Rows), func(r ledgerRow) bool { return r.Test != test })
		if len(rows) == 0 {
			continue
		}
		write := writeWork
		if rows[0].Clients > 0 {
			write = writeLoad
		}
		if err := write(w, rows); err != nil {
			return err
		}
		for _, r := range rows {
			fmt.Fprintf(w, "  %s %s: %s\n", r.System, r.Version, r.Setting)
		}
		fmt.Fprintln(w)
	}
	for _, t := range l.Targets {
		verdict := "missed"
		if t.Met {
			verdict = "met"
		}
		fmt.Fprintf(w, "%s: %.4g, %s\n", t.Text, t.Value, verdict)
	}
	fmt.Fprintf(w, "medians; CPU is of servers and clients together; %d CPUs; fsync/s: 4 KiB written and synced, one at a time, before each run; load: the kernel's average before each run\n", l.CPUs)
	fmt.Fprintln(w, "p50, p95: from the first time of asking to the acknowledgement, waits after busy included; p95 accepted: of the time of asking that was accepted, alone; fewest: records of the client that had the fewest")
	return writeSkipped(w, l.Skipped)
}

func writeLoad(w io.Writer, rows []ledgerRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tnodes\tclients\trecords/s\tworst\tbest\tp50 ms\tp95 ms\tbest p95\tp95 accepted\tbusy\tfewest\terrors\tCPU µs/record\tfsync/s\trecords/fsync\tload\tours/it\tour p95/its\t\n", rows[0].Test)
	for _, r := range rows {
		accepted, fewest, speedup, p95 := "", "", "", ""
		if r.AcceptedP95 > 0 {
			accepted, fewest = fmt.Sprintf("%.2f", r.AcceptedP95), fmt.Sprintf("%.0f", r.Fewest)
		}
		if r.System != ours {
			speedup, p95 = fmt.Sprintf("%.2f", r.Speedup), fmt.Sprintf("%.2f", r.P95Ratio)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%s\t%d\t%s\t%d\t%.1f\t%.0f\t%.2f\t%.1f\t%s\t%s\t\n",
			r.System, r.Nodes, r.Clients, r.Rate, r.Worst, r.Best, r.P50, r.P95, r.BestP95, accepted, r.Busy, fewest, r.Errors,
			r.Cost, r.Fsyncs, r.PerFsync, r.LoadAverage, speedup, p95)
	}
	return t.Flush()
}

func writeWork(w io.Writer, rows []ledgerRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tper CPU-second\tworst\tbest\tCPU µs each\tSHA-256 MB/s\tload\tours/it\t\n", rows[0].Test)
	for _, r := range rows {
		speedup := ""
		if r.System != ours {
			speedup = fmt.Sprintf("%.2f", r.Speedup)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.0f\t%.1f\t%s\t\n", r.System, r.Rate, r.Worst, r.Best, r.Cost, r.SHA256, r.LoadAverage, speedup)
	}
	return t.Flush()
}
