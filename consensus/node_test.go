package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func testConfig(t testing.TB, dir string) Config {
	cfg := DefaultConfig()
	cfg.ID = "n1"
	cfg.Dir = dir
	if testing.Verbose() && os.Getenv("TAMV_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return cfg
}

// openNode opens a node that is closed with the test, and waits until it leads.
func openNode(t testing.TB, cfg Config, machine StateMachine) *Node {
	t.Helper()
	n, err := Open(cfg, machine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close %s: %v", cfg.ID, err)
		}
	})
	return n
}

func openLeader(t testing.TB, cfg Config, machine StateMachine) *Node {
	t.Helper()
	n := openNode(t, cfg, machine)
	if err := n.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func mustPropose(t testing.TB, n *Node, command string) string {
	t.Helper()
	outcome, err := n.Propose(t.Context(), []byte(command))
	if err != nil {
		t.Fatalf("propose %q: %v", command, err)
	}
	return outcome.(string)
}

func mustClose(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// A cluster of one has nobody to wait for: it does not sit out an election timeout.
func TestAClusterOfOneLeadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, begin := testConfig(t, t.TempDir()), time.Now()
		openLeader(t, cfg, openChain(&chainDisk{}))
		if took := time.Since(begin); took >= cfg.HeartbeatTimeout {
			t.Errorf("it led after %v", took)
		}
	})
}

func TestProposeReopenReplay(t *testing.T) {
	cfg, disk := testConfig(t, t.TempDir()), &chainDisk{}
	c := openChain(disk)
	n := openLeader(t, cfg, c)
	for i := 1; i <= 20; i++ {
		if got, want := mustPropose(t, n, fmt.Sprint("c", i)), fmt.Sprintf("%d:c%d", i, i); got != want {
			t.Fatalf("outcome %q, want %q", got, want)
		}
		if i == 12 {
			c.flush()
		}
	}
	want := c.read()
	mustClose(t, n)

	// The process died with only twelve commands on disk: the rest comes from the log, the twelve are not applied again.
	again := openChain(disk)
	if again.read().Count != 12 {
		t.Fatalf("disk holds %d commands", again.read().Count)
	}
	n = openLeader(t, cfg, again)
	if got := again.read(); got.Head != want.Head || got.Count != 20 {
		t.Fatalf("after replay: %d commands, head %x; want %x", got.Count, got.Head[:4], want.Head[:4])
	}
	if !slices.Equal(again.commands, []string{"c13", "c14", "c15", "c16", "c17", "c18", "c19", "c20"}) {
		t.Fatalf("replayed %v", again.commands)
	}
	if got := mustPropose(t, n, "next"); got != "21:next" {
		t.Fatalf("outcome %q", got)
	}
	if s := n.State(); s.Role != RoleLeader || s.LeaderID != "n1" || s.AppliedIndex != again.read().Applied || len(s.Members) != 1 || s.Halted {
		t.Fatalf("status %+v", s)
	}
}

func TestConcurrentProposersGetTheirOwnOutcome(t *testing.T) {
	c := openChain(&chainDisk{})
	cfg := testConfig(t, t.TempDir())
	cfg.MaxPackBytes = 2048
	cfg.MaxPackCommands = 20 // so that packs reach each limit
	n := openLeader(t, cfg, c)
	const proposers, each = 64, 20
	var wg sync.WaitGroup
	var positions sync.Map
	for p := range proposers {
		wg.Go(func() {
			for i := range each {
				command := fmt.Sprintf("%d/%d/%s", p, i, string(make([]byte, (p*31+i*17)%300)))
				outcome, err := n.Propose(t.Context(), []byte(command))
				if err != nil {
					t.Errorf("propose: %v", err)
					return
				}
				var seq int
				if _, err := fmt.Sscanf(outcome.(string), "%d:", &seq); err != nil || outcome != fmt.Sprintf("%d:%s", seq, command) {
					t.Errorf("outcome %q for %q", outcome, command)
					return
				}
				if _, taken := positions.LoadOrStore(seq, true); taken {
					t.Errorf("position %d given twice", seq)
				}
			}
		})
	}
	wg.Wait()
	if got := c.read().Count; got != proposers*each {
		t.Fatalf("%d commands applied, want %d", got, proposers*each)
	}
	counters := n.Counters()
	if counters.Commands != proposers*each || counters.Packs >= proposers*each {
		t.Fatalf("counters %+v: commands were not packed", counters)
	}
}

func TestStampsIncreaseWhateverTheWallClockDoes(t *testing.T) {
	cfg, disk := testConfig(t, t.TempDir()), &chainDisk{}
	wall := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	var offset atomic.Int64
	cfg.Clock = func() time.Time { return wall.Add(time.Duration(offset.Load())) }
	c := openChain(disk)
	n := openLeader(t, cfg, c)
	for _, jump := range []time.Duration{0, time.Second, 24 * time.Hour, -24 * time.Hour, -24 * time.Hour, 0, 48 * time.Hour} {
		offset.Store(int64(jump))
		mustPropose(t, n, "x")
	}
	if got, want := c.read().Clock, wall.Add(48*time.Hour).UnixMicro(); got != want {
		t.Errorf("clock %d after a jump forward, want the wall's %d", got, want)
	}
	mustClose(t, n)

	// After a restart the clock goes on from the state, not from the wall.
	offset.Store(int64(-24 * time.Hour))
	c.flush()
	again := openChain(disk)
	n = openLeader(t, cfg, again)
	before := again.read().Clock
	if err := n.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := again.read().Clock; got != before+1 {
		t.Errorf("clock went from %d to %d, want one microsecond", before, got)
	}
	stamps := append(c.stamps, again.stamps...)
	for i := 1; i < len(stamps); i++ {
		if stamps[i] <= stamps[i-1] {
			t.Fatalf("stamp %d: %d after %d", i, stamps[i], stamps[i-1])
		}
	}
}

func TestTickAdvancesTheClockAlone(t *testing.T) {
	c := openChain(&chainDisk{})
	n := openLeader(t, testConfig(t, t.TempDir()), c)
	before := c.read()
	if err := n.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := c.read()
	if after.Clock <= before.Clock || after.Count != before.Count || after.Applied <= before.Applied {
		t.Fatalf("tick went from %+v to %+v", before, after)
	}
}

func TestRefusals(t *testing.T) {
	c := openChain(&chainDisk{})
	cfg := testConfig(t, t.TempDir())
	cfg.MaxPackBytes = 1024
	n := openLeader(t, cfg, c)
	applied := c.read().Applied
	if _, err := n.Propose(t.Context(), make([]byte, 1023)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1,023 bytes and their length: error %v", err)
	}
	if got := c.read().Applied; got != applied {
		t.Error("a refused command reached the log")
	}
	if _, err := n.Propose(t.Context(), make([]byte, 1022)); err != nil {
		t.Errorf("the largest command: %v", err)
	}
	if outcome, err := n.Propose(t.Context(), nil); err != nil || outcome != "2:" {
		t.Errorf("an empty command: %v, %v", outcome, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Propose(cancelled, []byte("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if err := n.Read(t.Context(), Consistency(9)); err == nil {
		t.Error("an unknown consistency was accepted")
	}
	if err := n.Transfer(t.Context(), ""); !errors.Is(err, ErrNoPeer) {
		t.Errorf("transfer in a cluster of one: error %v", err)
	}
	if err := n.Add(t.Context(), "n2", ""); err == nil {
		t.Error("a member without an address was accepted")
	}
	for _, c := range []Consistency{Local, Leader, Linearizable} {
		if err := n.Read(t.Context(), c); err != nil {
			t.Errorf("%v read: %v", c, err)
		}
	}

	mustClose(t, n)
	mustClose(t, n)
	if _, err := n.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("propose after close: %v", err)
	}
	for name, err := range map[string]error{
		"tick":              n.Tick(t.Context()),
		"wait":              n.WaitLeader(t.Context()),
		"read":              n.Read(t.Context(), Local),
		"linearizable read": n.linearizable.read(t.Context()),
		"snapshot":          n.Snapshot(t.Context()),
		"patient proposal":  n.packer.propose(&proposal{ctx: t.Context(), tick: true}, true).err,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: error %v", name, err)
		}
	}
	if s := n.State(); s.Role != RoleStopped {
		t.Errorf("role %q after close", s.Role)
	}
}

// gate is a chain that applies only when let through.
type gate struct {
	*chain
	entered chan struct{}
	leave   chan struct{}
}

func (g gate) Apply(index uint64, stamp int64, commands [][]byte) ([]any, error) {
	if len(commands) > 0 {
		g.entered <- struct{}{}
		<-g.leave
	}
	return g.chain.Apply(index, stamp, commands)
}

func TestBackPressureCancelAndDrain(t *testing.T) {
	g := gate{openChain(&chainDisk{}), make(chan struct{}), make(chan struct{})}
	cfg := testConfig(t, t.TempDir())
	cfg.QueueLength = 2
	n := openLeader(t, cfg, g)
	var wg sync.WaitGroup
	results := make([]error, 3)
	cancelled, cancel := context.WithCancel(t.Context())
	propose := func(ctx context.Context, i int) {
		_, results[i] = n.Propose(ctx, []byte(fmt.Sprint("c", i)))
	}
	wg.Go(func() { propose(t.Context(), 0) })
	<-g.entered // the first pack is in flight and stays there
	wg.Go(func() { propose(cancelled, 1) })
	wg.Go(func() { propose(t.Context(), 2) })
	for n.Counters().Queue < 2 {
		runtime.Gosched()
	}
	if _, err := n.Propose(t.Context(), []byte("one too many")); !errors.Is(err, ErrBusy) {
		t.Errorf("a full queue: error %v", err)
	}
	cancel()
	g.leave <- struct{}{}
	<-g.entered // c2, without c1 which nobody waits for
	closed := make(chan error)
	go func() { closed <- n.Close() }()
	<-n.stopping
	g.leave <- struct{}{}
	wg.Wait()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if results[0] != nil || !errors.Is(results[1], context.Canceled) || results[2] != nil {
		t.Errorf("results %v", results)
	}
	if got := g.commands; !slices.Equal(got, []string{"c0", "c2"}) {
		t.Errorf("applied %v", got)
	}
}

func TestOpenRefusesWhatDoesNotBelongTogether(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(t, dir)
	if _, err := Open(cfg, openChain(&chainDisk{state: chainState{Applied: 7}})); !errors.Is(err, ErrMismatch) {
		t.Errorf("a state without its log: error %v", err)
	}
	n := openLeader(t, cfg, openChain(&chainDisk{}))
	mustPropose(t, n, "x")
	if _, err := Open(cfg, openChain(&chainDisk{})); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: error %v", err)
	}
	mustClose(t, n)

	log, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.DeleteRange(1, 1), log.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg, openChain(&chainDisk{})); !errors.Is(err, ErrMismatch) {
		t.Errorf("a log without its beginning: error %v", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(file, "raft")
	if _, err := Open(cfg, openChain(&chainDisk{})); err == nil {
		t.Error("a folder below a file was accepted")
	}
	cfg.ID = ""
	if _, err := Open(cfg, openChain(&chainDisk{})); err == nil {
		t.Error("a node without an id was accepted")
	}
}

func TestFoundingContinuesAfterACrash(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	log, err := openLog(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.SetUint64(keyTerm, 1), log.Close()); err != nil { // what BootstrapCluster writes first
		t.Fatal(err)
	}
	n := openLeader(t, cfg, openChain(&chainDisk{}))
	if got := mustPropose(t, n, "x"); got != "1:x" {
		t.Fatalf("outcome %q", got)
	}
}

func TestJoiningNodeWaits(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	cfg.Joining = true
	n := openNode(t, cfg, openChain(&chainDisk{}))
	if _, err := n.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("propose: %v", err)
	}
	for _, c := range []Consistency{Leader, Linearizable} {
		if err := n.Read(t.Context(), c); !errors.Is(err, ErrNotLeader) {
			t.Errorf("%v read: %v", c, err)
		}
	}
	if err := n.Transfer(t.Context(), ""); !errors.Is(err, ErrNotLeader) {
		t.Errorf("transfer: %v", err)
	}
	if err := n.Add(t.Context(), "n2", "elsewhere"); !errors.Is(err, ErrNotLeader) {
		t.Errorf("join: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := n.WaitLeader(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	if len(n.State().Members) != 0 {
		t.Errorf("members %v", n.State().Members)
	}
}
