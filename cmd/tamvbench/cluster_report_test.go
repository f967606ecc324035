package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"tamv.internal/tamv/cmd/tamvbench/load"
)

// someRuns is a round and a half: the second measurement of the peer has ours
// on one side only.
func someRuns() []loadRun {
	run := func(system string, nodes int, rate, p95 float64) loadRun {
		return loadRun{
			Result: load.Result{
				System: system, Nodes: nodes, Setting: system + "'s setting", Figures: load.Figures{Operations: int(rate), Rate: rate, P95: p95, Errors: 1},
				ServerCPU: 1, ClientCPU: .5,
			},
			Fsyncs: 1000,
		}
	}
	return []loadRun{
		run(ours, 1, 3000, 10), run("peer", 1, 1000, 20), run(ours, 1, 5000, 30),
		run(ours, 3, 50, 1), run("peer", 3, 100, 2), run(ours, 3, 50, 1),
		run(ours, 1, 6000, 8), run("peer", 1, 2000, 4),
	}
}

func TestRows(t *testing.T) {
	got := rows(someRuns())
	if len(got) != 4 {
		t.Fatalf("%d rows", len(got))
	}
	mine, peer, small := got[0], got[1], got[3]
	if mine.System != ours || mine.Runs != 3 || mine.Rate != 5000 || mine.Best != 6000 || mine.P95 != 10 || mine.Errors != 3 || mine.Speedup != 0 || mine.PerFsync != 5 {
		t.Errorf("%+v", mine)
	}
	if mine.ServerCost != 200 || mine.ClientCost != 100 {
		t.Errorf("%v and %v µs", mine.ServerCost, mine.ClientCost)
	}
	// (3000+5000)/2 over 1000, 6000 over 2000: 4 and 3; 20 over 20, 8 over 4: 1 and 2.
	if peer.System != "peer" || peer.Nodes != 1 || peer.Rate != 1500 || peer.Speedup != 3.5 || peer.P95Ratio != 1.5 {
		t.Errorf("%+v", peer)
	}
	if small.Nodes != 3 || small.Speedup != .5 {
		t.Errorf("%+v", small)
	}
	if rows(nil) != nil {
		t.Error("rows of nothing")
	}
	alone := rows([]loadRun{{Result: load.Result{System: "peer", Nodes: 1, Figures: load.Figures{Rate: 5}}}})
	if alone[0].Speedup != 0 {
		t.Errorf("a peer without ours: %+v", alone[0])
	}
}

func TestTables(t *testing.T) {
	var out bytes.Buffer
	r := clusterReport{CPUs: 2, Rows: rows(someRuns()), Skipped: []skipped{{"other", "it is not installed"}}}
	if err := r.table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ours/it", "peer      1       1500  2000", "3.50", "2 CPUs", "skipped: other: it is not installed", "peer, 3 nodes: peer's setting"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	f := failoverReport{Rows: failoverRows([]kill{
		{System: ours, Nodes: 3, Failover: load.Failover{Before: 1, Gap: 900, Resumed: true}},
		{System: "peer", Nodes: 3, Failover: load.Failover{Before: 2, Gap: 30000}},
		{System: ours, Nodes: 3, Failover: load.Failover{Before: 3, Gap: 1100, Resumed: true}},
	})}
	if f.Rows[0] != (failoverRow{ours, 3, 2, 2, 900, 1000, 1100, 2}) || f.Rows[1] != (failoverRow{"peer", 3, 1, 0, 30000, 30000, 30000, 2}) {
		t.Errorf("%+v", f.Rows)
	}
	out.Reset()
	if err := f.table(&out); err != nil || !strings.Contains(out.String(), "1000") {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, write := range []func() error{func() error { return r.table(full{}) }, func() error { return f.table(full{}) }} {
		if write() == nil {
			t.Error("a table that could not be written is no error")
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestRecordsHaveTheirSize(t *testing.T) {
	for _, size := range []int{minRecord, 256, 512, 513, maxRecord} {
		next := records(1<<30, size)
		first, second := next(), next()
		if len(first) != size || len(second) != size || bytes.Equal(first, second) {
			t.Errorf("%d and %d bytes instead of %d", len(first), len(second), size)
		}
		if !json.Valid(first) {
			t.Errorf("no JSON: %s", first)
		}
	}
}
