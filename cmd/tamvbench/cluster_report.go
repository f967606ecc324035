package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"tamv.internal/tamv/cmd/tamvbench/load"
)

// clusterReport is what the cluster command found.
type clusterReport struct {
	CPUs    int       `json:"cpus"` // shared by servers and clients
	Rows    []row     `json:"rows"`
	Skipped []skipped `json:"skipped"`
	Runs    []loadRun `json:"runs"` // in the order in which they were made
}

// row sums the runs of one system at one size up: medians, unless said
// otherwise.
type row struct {
	System     string  `json:"system"`
	Nodes      int     `json:"nodes"`
	Setting    string  `json:"setting"`
	Runs       int     `json:"runs"`
	Rate       float64 `json:"rate"` // records per second
	Best       float64 `json:"best_rate"`
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	Errors     int     `json:"errors"` // of all runs together
	Fsyncs     float64 `json:"fsync_per_s"`
	PerFsync   float64 `json:"records_per_fsync"`
	ServerCost float64 `json:"server_cpu_us_per_record"`
	ClientCost float64 `json:"client_cpu_us_per_record"`
	// Of a peer: our rate over its, and our p95 over its. Each of its runs is
	// set against the runs of ours directly before and after it.
	Speedup  float64 `json:"ours_over_it,omitempty"`
	P95Ratio float64 `json:"our_p95_over_its,omitempty"`
}

// rows sums up, in the order in which the systems first came.
func rows(runs []loadRun) []row {
	type key struct {
		system string
		nodes  int
	}
	var order []key
	indexes := map[key][]int{}
	for i, r := range runs {
		k := key{r.System, r.Nodes}
		if indexes[k] == nil {
			order = append(order, k)
		}
		indexes[k] = append(indexes[k], i)
	}
	var all []row
	for _, k := range order {
		all = append(all, sumUp(runs, indexes[k]))
	}
	return all
}

func sumUp(runs []loadRun, indexes []int) row {
	first := runs[indexes[0]]
	r := row{System: first.System, Nodes: first.Nodes, Setting: first.Setting, Runs: len(indexes)}
	median := func(of func(i int) float64) float64 {
		var values []float64
		for _, i := range indexes {
			values = append(values, of(i))
		}
		return load.Median(values)
	}
	for _, i := range indexes {
		r.Best = max(r.Best, runs[i].Rate)
		r.Errors += runs[i].Errors
	}
	r.Rate = median(func(i int) float64 { return runs[i].Rate })
	r.P50 = median(func(i int) float64 { return runs[i].P50 })
	r.P95 = median(func(i int) float64 { return runs[i].P95 })
	r.P99 = median(func(i int) float64 { return runs[i].P99 })
	r.Fsyncs = median(func(i int) float64 { return runs[i].Fsyncs })
	r.PerFsync = median(func(i int) float64 { return ratio(runs[i].Rate, runs[i].Fsyncs) })
	r.ServerCost = median(func(i int) float64 { return ratio(runs[i].ServerCPU*1e6, float64(runs[i].Operations)) })
	r.ClientCost = median(func(i int) float64 { return ratio(runs[i].ClientCPU*1e6, float64(runs[i].Operations)) })
	if first.System != ours {
		isOurs := func(run loadRun) bool { return run.System == ours && run.Nodes == first.Nodes }
		r.Speedup = against(runs, indexes, isOurs, func(run loadRun) float64 { return run.Rate })
		r.P95Ratio = against(runs, indexes, isOurs, func(run loadRun) float64 { return run.P95 })
	}
	return r
}

// against is the median of what our figure around each of the runs is, as a multiple
// of the run's own.
func against[R any](runs []R, indexes []int, isOurs func(R) bool, figure func(R) float64) float64 {
	var ratios []float64
	for _, i := range indexes {
		ratios = append(ratios, ratio(around(runs, i, isOurs, figure), figure(runs[i])))
	}
	return load.Median(ratios)
}

// around is a figure of ours near the run at an index: the mean of the nearest
// runs of ours, before and after it; 0 when there is none.
func around[R any](runs []R, at int, isOurs func(R) bool, figure func(R) float64) float64 {
	var near []float64
	for i := at - 1; i >= 0 && len(near) == 0; i-- {
		if isOurs(runs[i]) {
			near = append(near, figure(runs[i]))
		}
	}
	if after := slices.IndexFunc(runs[at:], isOurs); after >= 0 {
		near = append(near, figure(runs[at+after]))
	}
	sum := 0.0
	for _, v := range near {
		sum += v / float64(len(near))
	}
	return sum
}

// table writes the report for people.
func (c clusterReport) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "system\tnodes\trecords/s\tbest\tp50 ms\tp95 ms\tp99 ms\terrors\tfsync/s\trecords/fsync\tserver µs/record\tclient µs/record\tours/it\tour p95/its\t")
	for _, r := range c.Rows {
		speedup, p95 := "", ""
		if r.System != ours {
			speedup, p95 = fmt.Sprintf("%.2f", r.Speedup), fmt.Sprintf("%.2f", r.P95Ratio)
		}
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%d\t%.0f\t%.2f\t%.1f\t%.1f\t%s\t%s\t\n",
			r.System, r.Nodes, r.Rate, r.Best, r.P50, r.P95, r.P99, r.Errors, r.Fsyncs, r.PerFsync, r.ServerCost, r.ClientCost, speedup, p95)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nmedians; %d CPUs shared by servers and clients; fsync/s: 4 KiB written and synced, one at a time, before each run\n", c.CPUs)
	for _, r := range c.Rows {
		if r.System != ours || r.Nodes == c.Rows[0].Nodes {
			fmt.Fprintf(w, "%s, %d nodes: %s\n", r.System, r.Nodes, r.Setting)
		}
	}
	return writeSkipped(w, c.Skipped)
}

func writeSkipped(w io.Writer, all []skipped) error {
	for _, s := range all {
		if _, err := fmt.Fprintf(w, "skipped: %s: %s\n", s.System, s.Why); err != nil {
			return err
		}
	}
	return nil
}
