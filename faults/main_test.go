package faults

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"testing"
	"time"

	"tamv.internal/tamv/appliance"
)

// The flags of the cluster test; see TestCluster.
var (
	form    = flag.String("form", "smoke", "how much of the cluster test runs: smoke, short or long")
	only    = flag.String("only", "", "run the scenarios whose name contains this")
	seed    = flag.Uint64("seed", 0, "of the scenarios' choices; 0 = a random one, which is printed")
	results = flag.String("results", "", "file for the result table as JSON")
)

func TestMain(m *testing.M) {
	if IsChild() {
		os.Exit(ServeChild(runNode))
	}
	os.Exit(m.Run())
}

// runNode is a node process.
func runNode(ctx context.Context, s Spec, now func() time.Time, ready func()) error {
	if ok, err := runPuppet(ctx, s, ready); ok {
		return err
	}
	cfg := appliance.Config{
		Data: s.Data, Node: s.Node, Listen: s.Listen, Advertise: s.Advertise, SnapshotBytes: snapshotBytes, Now: now,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Ready:  func(appliance.Running) { ready() },
	}
	if s.Action == Join && !appliance.FoundedAt(s.Data) {
		if err := appliance.Join(ctx, cfg, s.Token); err != nil {
			return err
		}
	}
	return appliance.Run(ctx, cfg)
}

// snapshotBytes of log call for a snapshot: few, so that snapshots are taken and
// installed in every run.
const snapshotBytes = 1 << 20
