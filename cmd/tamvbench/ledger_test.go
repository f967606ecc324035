package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/tap"
)

// someLedgerRuns is a round and a half of two tests: the second run of the peer
// has ours on one side only.
func someLedgerRuns() []ledgerRun {
	appending := func(system string, rate, p95 float64) ledgerRun {
		return ledgerRun{
			Test: testAppend, System: system, Setting: system + "'s setting", Nodes: 1, Clients: 64, Fsyncs: 100, ServerCPU: 1, ClientCPU: 1,
			Figures: load.Figures{Rate: rate, P95: p95, Operations: 1000, Errors: 1},
		}
	}
	verify := func(system string, rate float64) ledgerRun {
		return ledgerRun{Test: testVerify, System: system, PerCPU: rate, CPU: 2, SHA256: 1700, Figures: load.Figures{Operations: 1000}}
	}
	return []ledgerRun{
		verify(ours, 900), verify("tessera", 300), verify(ours, 1500),
		appending(ours, 3000, 10), appending("tessera", 1000, 100), appending(ours, 5000, 30),
		appending("tessera", 1250, 60),
	}
}

func TestLedgerRows(t *testing.T) {
	rows := ledgerRows(someLedgerRuns())
	if len(rows) != 4 || rows[0].Test != testAppend || rows[3].Test != testVerify {
		t.Fatalf("%+v", rows)
	}
	mine, peer, judge := rows[0], rows[1], rows[3]
	if mine.Runs != 2 || mine.Rate != 4000 || mine.Best != 5000 || mine.Worst != 3000 || mine.P95 != 20 || mine.BestP95 != 10 || mine.Errors != 2 {
		t.Errorf("%+v", mine)
	}
	if mine.Speedup != 0 || mine.PerFsync != 40 || mine.Cost != 2000 {
		t.Errorf("%+v", mine)
	}
	// 4000/1000 and 5000/1250; 20/100 and 30/60.
	if peer.Speedup != 4 || peer.P95Ratio != .35 {
		t.Errorf("%+v", peer)
	}
	if judge.Speedup != 4 || judge.Rate != 300 || judge.Cost != 2000 || judge.PerFsync != 0 || judge.P95Ratio != 0 {
		t.Errorf("%+v", judge)
	}
}

func TestLedgerTargets(t *testing.T) {
	targets := ledgerTargets(ledgerRows(someLedgerRuns()))
	if len(targets) != 3 { // two of Tessera's, one of verification
		t.Fatalf("%+v", targets)
	}
	if !targets[0].Met || targets[0].Value != 4 || targets[1].Met || targets[2].Met {
		t.Errorf("%+v", targets)
	}
}

func TestLedgerTable(t *testing.T) {
	runs := someLedgerRuns()
	r := ledgerReport{CPUs: 2, Rows: ledgerRows(runs), Runs: runs, Skipped: []skipped{{"immudb", "not here"}}}
	r.Targets = ledgerTargets(r.Rows)
	var out strings.Builder
	if err := r.table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"records/s", "per CPU-second", "tessera's setting", "at least 4: 4, met", "at most 1/3: 0.35, missed", "2 CPUs", "skipped: immudb: not here",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if err := r.table(failingWriter{}); err == nil {
		t.Error("a table that cannot be written is no error")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func busy(d time.Duration) error {
	return tap.E("test", tap.Unavailable, "busy").WithCode("busy").WithRetryAfter(d)
}

func TestPatienceWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p patience
		p.reset(2)
		asked := 0
		work := p.polite(1, func(context.Context) error {
			<-time.After(time.Millisecond)
			if asked++; asked <= 3 {
				return busy(100 * time.Millisecond)
			}
			return nil
		})
		began := time.Now()
		if err := work(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 304*time.Millisecond {
			t.Errorf("it waited %v", waited)
		}
		if got := p.seen(); got != (crowdFigures{AcceptedP50: 1, AcceptedP95: 1, AcceptedP99: 1, Busy: 3}) {
			t.Errorf("%+v", got) // the other client had nothing
		}
		p.reset(2)
		if got := p.seen(); got != (crowdFigures{}) {
			t.Errorf("%+v after a reset", got)
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	var p patience
	p.reset(1)
	broken := tap.E("test", tap.Invalid, "wrong")
	if err := p.polite(0, func(context.Context) error { return broken })(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := p.polite(0, func(context.Context) error { cancel(); return busy(time.Hour) })(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestPatienceTakesTheRank(t *testing.T) {
	var p patience
	p.reset(3)
	for i := range 100 {
		p.note(i%3, time.Duration(100-i)*time.Millisecond, nil)
	}
	if got := p.seen(); got != (crowdFigures{AcceptedP50: 50, AcceptedP95: 95, AcceptedP99: 99, Fewest: 33}) {
		t.Errorf("of 1..100 ms and three clients: %+v", got)
	}
}

func TestContestants(t *testing.T) {
	s := ledgerSettings{crowd: 10, rivals: []string{"all"}, knownRivals: []ledgerListing{
		{Name: ours, Test: testAppend},
		{Name: "tessera", Test: testAppend},
		{Name: "chain", Test: testAppend, Server: true},
		{Name: "gone", Test: testAppend, Missing: "not installed"},
		{Name: "tlog", Test: testProve},
	}}
	names := func(test string) (all []string) {
		first, rivals := s.contestants(test)
		for _, c := range append([]contestant{first}, rivals...) {
			all = append(all, c.name)
		}
		return all
	}
	for test, want := range map[string][]string{
		testAppend: {ours, "tessera"}, testSite: {ours, siteSigned.name, siteCrowd.name, "chain"}, testProve: {ours, "tlog"}, testVerify: {ours},
	} {
		if got := names(test); !slices.Equal(got, want) {
			t.Errorf("%s: %v", test, got)
		}
	}
	s.rivals, s.crowd = []string{"tlog"}, 0
	if got := names(testSite); !slices.Equal(got, []string{ours, siteSigned.name}) {
		t.Errorf("%v", got)
	}
}
