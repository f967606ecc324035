package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

func snapshotConfig(t *testing.T) Config {
	cfg := testConfig(t, t.TempDir())
	cfg.TrailingLogs = 3
	return cfg
}

func (n *Node) firstIndex(t *testing.T) uint64 {
	t.Helper()
	first, err := n.store.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func TestSnapshotTrimsTheLogAndIsNotRestoredNeedlessly(t *testing.T) {
	cfg, disk := snapshotConfig(t), &chainDisk{}
	c := openChain(disk)
	n := openLeader(t, cfg, c)
	for i := range 30 {
		mustPropose(t, n, fmt.Sprint(i))
	}
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first := n.firstIndex(t); first < 25 {
		t.Errorf("the log still begins at %d", first)
	}
	mustPropose(t, n, "tail")
	want := c.read()
	mustClose(t, n)

	// The state is flushed up to the snapshot, so nothing is restored; what follows the snapshot is replayed.
	again := openChain(disk)
	n = openLeader(t, cfg, again)
	if got := again.read(); got.Head != want.Head || disk.restores != 0 {
		t.Errorf("count %d of %d, %d restores", got.Count, want.Count, disk.restores)
	}
	// Elections add entries that no state machine sees. A snapshot on top of them is still covered by the state.
	mustClose(t, n)
	again.flush()
	for range 2 {
		again = openChain(disk)
		n = openLeader(t, cfg, again)
		if err := n.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, n)
	}
	if disk.restores != 0 {
		t.Errorf("%d restores of a state that lacked nothing", disk.restores)
	}
}

func TestStateBehindTheSnapshotIsRestored(t *testing.T) {
	cfg, disk := snapshotConfig(t), &chainDisk{}
	c := openChain(disk)
	n := openLeader(t, cfg, c)
	for i := range 10 {
		mustPropose(t, n, fmt.Sprint(i))
	}
	c.flush()
	old := disk.state
	for i := range 20 {
		mustPropose(t, n, fmt.Sprint(i))
	}
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustPropose(t, n, "tail")
	want := c.read()
	mustClose(t, n)

	for name, state := range map[string]chainState{"older": old, "empty": {}} {
		lost := &chainDisk{state: state}
		again := openChain(lost)
		n = openLeader(t, cfg, again)
		if got := again.read(); got.Head != want.Head || lost.restores != 1 {
			t.Errorf("%s state: count %d of %d after %d restores", name, got.Count, want.Count, lost.restores)
		}
		mustClose(t, n)
	}

	broken := openChain(&chainDisk{})
	broken.restoreErr = errors.New("disk full")
	if _, err := Open(cfg, broken); err == nil {
		t.Error("a node whose state could not be restored was opened")
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg, openChain(&chainDisk{})); !errors.Is(err, ErrDamaged) || !errors.Is(err, ErrMismatch) {
		t.Errorf("a trimmed log without its snapshot: error %v", err)
	}
}

func TestFailedSnapshotKeepsTheLog(t *testing.T) {
	cfg := snapshotConfig(t)
	c := openChain(&chainDisk{})
	n := openLeader(t, cfg, c)
	for i := range 10 {
		mustPropose(t, n, fmt.Sprint(i))
	}
	c.snapshotErr = errors.New("flush failed")
	if err := n.Snapshot(t.Context()); err == nil {
		t.Error("no error though the state was not captured")
	}
	if first := n.firstIndex(t); first != 1 {
		t.Errorf("the log begins at %d", first)
	}
	if got := mustPropose(t, n, "on"); got != "11:on" {
		t.Errorf("outcome %q: a failed snapshot must not stop the node", got)
	}
	mustClose(t, n)

	n = openLeader(t, cfg, cutter{openChain(&chainDisk{})})
	if err := n.Snapshot(t.Context()); err == nil {
		t.Error("no error though the snapshot was cut off")
	}
	list, err := os.ReadDir(filepath.Join(cfg.Dir, "snapshots"))
	if err != nil || len(list) != 0 || n.firstIndex(t) != 1 {
		t.Errorf("half a snapshot was left: %v, %v", list, err)
	}
}

func TestLargeLogIsTrimmedByItsSize(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	cfg.SnapshotBytes, cfg.CompressAbove = 64<<10, 0
	c := openChain(&chainDisk{})
	n := openLeader(t, cfg, c)
	command := string(make([]byte, 1<<10))
	for i := 0; n.firstIndex(t) == 1; i++ {
		if i == 10_000 {
			t.Fatal("the log was never trimmed")
		}
		mustPropose(t, n, command)
	}
	// A quarter of 64 KiB is kept: less than the 2,000 entries that TrailingLogs allows.
	if kept := n.raft.ReloadableConfig().TrailingLogs; kept < 10 || kept > 16 {
		t.Errorf("%d entries of 1 KiB are kept", kept)
	}
	if c.disk.state.Count == 0 {
		t.Error("the log was trimmed before the state was durable")
	}
}

// ahead is a chain that can be made durable while it is applied to. It counts the snapshots that nothing of that came before.
type ahead struct {
	*chain
	err        error // of Flush
	flushes    atomic.Int64
	unprepared atomic.Int64
}

func (a *ahead) Flush() error {
	a.flushes.Add(1)
	if a.err == nil {
		a.flush()
	}
	return a.err
}

func (a *ahead) Snapshot() (Snapshot, error) {
	if a.flushes.Swap(0) == 0 {
		a.unprepared.Add(1)
	}
	return a.chain.Snapshot()
}

// What a snapshot has to write is written before it holds proposals up. That it failed is for Snapshot to find and report.
func TestStateIsFlushedBeforeTheLogIsTrimmed(t *testing.T) {
	for _, failure := range []error{nil, errPoison} {
		cfg := testConfig(t, t.TempDir())
		cfg.SnapshotBytes, cfg.CompressAbove = 64<<10, 0
		a := &ahead{chain: openChain(&chainDisk{}), err: failure}
		n := openLeader(t, cfg, a)
		command := string(make([]byte, 1<<10))
		for i := 0; n.firstIndex(t) == 1; i++ {
			if i == 10_000 {
				t.Fatal("the log was never trimmed")
			}
			mustPropose(t, n, command)
		}
		if left := a.unprepared.Load(); left > 0 {
			t.Errorf("%d snapshots had everything left to write", left)
		}
	}
}

func TestSnapshotWithNothingApplied(t *testing.T) {
	cfg := snapshotConfig(t)
	cfg.Joining = true
	n := openNode(t, cfg, openChain(&chainDisk{}))
	if err := n.Snapshot(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRestoreInARunningNode(t *testing.T) {
	snapshots, err := snapshot.OpenStore(t.TempDir(), 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sink, err := snapshots.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := snapshot.Manifest{}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(manifest); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	source := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(manifest)) }
	f, err := newFSM(&chain{disk: &chainDisk{}, restoreErr: errors.New("disk full")}, snapshots, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(source()); err == nil || f.err() != nil {
		t.Errorf("on start: error %v, halted %v", err, f.err())
	}
	f.running.Store(true)
	if err := f.Restore(source()); !errors.Is(err, ErrHalted) || !errors.Is(f.err(), ErrHalted) {
		t.Errorf("while running: error %v, halted %v", err, f.err())
	}
	if err := f.Restore(source()); !errors.Is(err, ErrHalted) {
		t.Errorf("after halting: error %v", err)
	}
	if r := f.Apply(&raft.Log{Type: raft.LogCommand, Index: 9}).(applyResult); !errors.Is(r.err, ErrHalted) {
		t.Errorf("apply after halting: %v", r.err)
	}
}

func TestLogTrim(t *testing.T) {
	log, err := openLog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const (
		trimStep = 512
		total    = 3*trimStep + 10
	)
	entries := make([]*raft.Log, total)
	for i := range entries {
		entries[i] = &raft.Log{Index: uint64(i + 1), Type: raft.LogNoop}
	}
	entries[total-2].Type = raft.LogCommand
	bounds := func() [2]uint64 {
		first, err1 := log.FirstIndex()
		last, err2 := log.LastIndex()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return [2]uint64{first, last}
	}
	if err := log.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
	if err := log.DeleteRange(1, 2*trimStep+5); err != nil {
		t.Fatal(err)
	}
	if got := bounds(); got != [2]uint64{2*trimStep + 6, total} {
		t.Fatalf("log from %d to %d after trimming its head", got[0], got[1])
	}
	for _, test := range []struct {
		applied, index uint64
		want           bool
	}{
		{total, total, true},                 // nothing in between
		{total - 1, total, true},             // a no-op
		{total - 2, total, false},            // a command
		{2*trimStep + 4, total, false},       // entries that are gone
		{2*trimStep + 5, 3 * trimStep, true}, // no-ops from the first entry on
	} {
		if got, err := covers(log, test.applied, test.index); got != test.want || err != nil {
			t.Errorf("covers(%d, %d) = %v, %v", test.applied, test.index, got, err)
		}
	}
	if err := log.DeleteRange(total-5, total); err != nil {
		t.Fatal(err)
	}
	if got := bounds(); got != [2]uint64{2*trimStep + 6, total - 6} {
		t.Fatalf("log from %d to %d after removing its tail", got[0], got[1])
	}
}
