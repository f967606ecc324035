package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Node is one member of a cluster. Its methods are safe for concurrent use.
type Node struct {
	cfg      Config
	log      *slog.Logger
	calls    *calls // and the streams beneath
	raft     *raft.Raft
	trans    *transport
	installs *installs // snapshots for and from the others
	store    LogStore
	fsm      *fsm
	packer   *packer // on the leader
	hints    *hints
	peers    *peers

	forwarder    *forwarder // to the leader
	upToDate     *reader    // reads of consistency Leader on the other members
	linearizable *reader

	metrics *metrics
	changes broadcast              // wakes when the leader or the tenure changes
	tenure  atomic.Pointer[tenure] // the last one; see currentTenure

	mu       sync.Mutex
	stopped  bool           // guarded by mu: no operation begins any more
	ops      sync.WaitGroup // operations that wait for Raft; Add under mu while not stopped
	stopping chan struct{}  // closed with stopped
	stopOnce sync.Once
	end      sync.Once
	endErr   error

	cancel context.CancelFunc // ends the background goroutines
	work   sync.WaitGroup     // the background goroutines
	guard  chan struct{}      // closed when the one that waits for a halt has ended
}

// Open starts a member. With an empty Dir it founds a cluster of one, or waits to be added when cfg.Joining. Otherwise
// it continues where it was: it restores the newest snapshot if machine lacks something of it, and applies what the log
// holds beyond machine.Applied as soon as a leader confirms it. A member that is its cluster's only voter elects itself
// at once, without waiting for a timeout.
//
// It returns ErrLocked if another process uses Dir, ErrMismatch if machine, log and snapshots contradict each other, and
// ErrDamaged if Repair can help; then cfg.Stream was not used and stays open. The caller closes machine's own resources after Close.
func Open(cfg Config, machine StateMachine) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("consensus: %w", err)
	}
	store, err := cfg.OpenLog(cfg.Dir)
	if err != nil {
		return nil, err
	}
	h, err := openHistory(cfg, store, machine)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	c := newCalls(newStreams(cfg.Stream, cfg.Logger), cfg.Logger)
	c.streams.serveFor(cfg.Purposes)
	n, err := start(cfg, machine, h, c)
	if err != nil {
		return nil, errors.Join(err, c.close(), store.Close())
	}
	return n, nil
}

// start runs Raft over a history.
func start(cfg Config, machine StateMachine, h history, c *calls) (*Node, error) {
	logger := newHCLogger(cfg.Logger)
	store, snapshots := h.store, h.snapshots
	f, err := newFSM(machine, snapshots, cfg.SnapshotBytes)
	if err != nil {
		return nil, err
	}
	f.hooks.configured = rememberMembers(cfg)
	held := newHeldLog(store)
	cache, err := raft.NewLogCache(cachedEntries, held)
	if err != nil {
		return nil, err
	}
	entries := &announcedLog{LogCache: cache}
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(cfg.ID)
	rc.Logger = logger
	rc.MaxAppendEntries = maxAppendEntries
	rc.SnapshotInterval = cfg.SnapshotInterval
	rc.SnapshotThreshold = cfg.SnapshotThreshold
	rc.TrailingLogs = cfg.TrailingLogs
	rc.HeartbeatTimeout = cfg.HeartbeatTimeout
	rc.ElectionTimeout = cfg.ElectionTimeout
	rc.LeaderLeaseTimeout = cfg.LeaderLeaseTimeout
	rc.CommitTimeout = commitTimeout
	rc.NoSnapshotRestoreOnStart = h.current
	rc.NoLegacyTelemetry = true
	// A removed member must keep answering, with ErrNotLeader: the packer relies on Raft outliving it.
	rc.ShutdownOnRemove = false

	trans := newTransport(cfg, c.streams, logger)
	installs := newInstalls(cfg, trans, c, snapshots, held, f)
	if err := found(cfg, rc, entries, store, snapshots, trans); err != nil {
		return nil, errors.Join(err, installs.Close())
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, calls: c, trans: trans, installs: installs, store: store, fsm: f,
		metrics: newMetrics(), stopping: make(chan struct{}), guard: make(chan struct{}),
	}
	n.forwarder = newForwarder(n)
	f.hooks.outcomes = n.forwarder.waits.outcomes
	f.hooks.restored = func() { n.forwarder.waits.restored(f.applied.Load()) }
	if n.raft, err = raft.NewRaft(rc, f, entries, store, snapshots, installs); err != nil {
		return nil, errors.Join(fmt.Errorf("consensus: start raft: %w", err), installs.Close())
	}
	f.running.Store(true)
	installs.raft.Store(n.raft)
	if n.packer, err = newPacker(cfg, n.raft, f, n.metrics, n.stopping); err != nil {
		return nil, errors.Join(err, n.raft.Shutdown().Error())
	}
	n.hints = &hints{trans: trans, raft: n.raft, log: entries}
	n.peers = newPeers(n)
	n.upToDate, n.linearizable = newReader(n, Leader), newReader(n, Linearizable)
	n.run()
	return n, nil
}

// answerCalls makes this node answer what the other members ask.
func (n *Node) answerCalls() {
	n.calls.handle(callForward, n.forwarded)
	n.calls.handle(callReadIndex, n.tellReadPoint)
	n.calls.handle(callConfirm, n.tellTerm)
	n.calls.handle(callStatus, n.tellStatus)
	n.calls.handle(callTransfer, n.transferred)
}

// maxAppendEntries bounds the entries sent to a follower, or applied, at once. Entries are packs already, so a few are
// enough, and sixteen of the largest are 16 MiB of memory.
const maxAppendEntries = 16

// commitTimeout is how soon, within a factor of two, a follower that waits for nothing learns that the last entry is
// committed when no other follows. One that waits for an outcome or is to be read learns it at once (see hints): a forwarded
// command, alone, took 0.6 ms with hints, and without them 9.6, 18.7 and 33.6 ms at 5, 10 and 20 ms here. An idle member of
// three used 3.0, 1.6, 1.3 and 0.9 % of a core at 5, 10, 20 and 50 ms (BenchmarkCluster, BenchmarkIdleCluster).
const commitTimeout = 20 * time.Millisecond

// run starts the background goroutines and, in a cluster of one, the election.
func (n *Node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	events := make(chan raft.Observation, 1)
	n.raft.RegisterObserver(raft.NewObserver(events, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	go n.packer.run()
	go n.forwarder.run()
	n.work.Go(func() { n.hints.run(ctx) })
	n.work.Go(func() { n.upToDate.run(ctx) })
	n.work.Go(func() { n.linearizable.run(ctx) })
	n.work.Go(func() { n.peers.run(ctx) })
	n.work.Go(func() { n.watch(ctx, events) })
	n.work.Go(func() { n.trim(ctx) })
	go func() {
		defer close(n.guard)
		select {
		case <-n.fsm.halted:
			n.log.Error("the state machine cannot continue; this node stops applying and leads no more", "error", n.fsm.err())
			n.stopOnce.Do(n.stop)
		case <-n.stopping:
		}
	}()
	n.answerCalls()
	if n.soleVoter() {
		n.work.Go(n.elect)
	}
}

// elect makes the only voter stand for election now instead of after HeartbeatTimeout. It gives itself the message with
// which a leader hands over; its own vote is the majority, so nobody can be disturbed. If it fails the timeout remains.
func (n *Node) elect() {
	_, err := n.trans.tell(&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}})
	if err != nil {
		n.log.Debug("no early election", "error", err)
	}
}

// watch follows changes of leadership. A dropped event is no loss: one more is waiting, and the state is read anew.
func (n *Node) watch(ctx context.Context, events <-chan raft.Observation) {
	for {
		select {
		case <-events:
		case <-ctx.Done():
			return
		}
		n.changes.wake()
		n.openTerm(ctx)
	}
}

// trim takes a snapshot whenever the log has grown large. Raft itself counts entries, and a pack may be a hundred bytes or a megabyte.
func (n *Node) trim(ctx context.Context) {
	for {
		select {
		case mean := <-n.fsm.tailFull:
			settings := n.raft.ReloadableConfig()
			settings.TrailingLogs = min(n.cfg.TrailingLogs, max(1, uint64(n.cfg.SnapshotBytes/4)/max(1, mean)))
			err := n.raft.ReloadConfig(settings)
			if err == nil {
				n.fsm.flush()
				err = n.raft.Snapshot().Error()
			}
			if err != nil && n.fsm.err() == nil {
				n.log.Warn("no snapshot was taken; the log keeps growing", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// retryTerm is the pause before another try to open a term, after an attempt to hand it over came in between.
const retryTerm = 20 * time.Millisecond

// openTerm is a new leader's first act: it commits an empty pack. Once that is applied, so is everything acknowledged in
// earlier terms, which the reads rely on.
func (n *Node) openTerm(ctx context.Context) {
	for n.raft.State() == raft.Leader {
		term := n.raft.CurrentTerm()
		if t := n.tenure.Load(); t != nil && t.term == term {
			return
		}
		r := n.packer.propose(&proposal{ctx: ctx, tick: true}, true)
		if r.err == nil && n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term {
			n.tenure.Store(&tenure{term, r.entry.index})
			n.changes.wake()
			n.log.Info("leading", "term", term, "index", r.entry.index)
			n.updateAddress()
			return
		}
		select {
		case <-time.After(retryTerm):
		case <-n.stopping:
			return
		}
	}
}

// Propose replicates one command and returns what StateMachine.Apply answered to it on this node, after it is committed and
// applied in memory here. It works on every member: another than the leader passes the command on. command must not be
// modified afterwards, even if Propose returned early. See the package comment for what each error says about the outcome.
func (n *Node) Propose(ctx context.Context, command []byte) (any, error) {
	if commandSize(len(command)) > n.cfg.MaxPackBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d fit", ErrTooLarge, len(command), n.cfg.MaxPackBytes)
	}
	prop := &proposal{ctx: ctx, command: command}
	if n.raft.State() == raft.Leader {
		r := n.proposeHere(prop, false)
		return r.outcome, r.err
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx)
	}
	if _, leader := n.raft.LeaderWithID(); leader == "" {
		return nil, ErrNotLeader
	}
	r := n.forwarder.propose(prop, false)
	return r.outcome, r.err
}

// Tick commits an empty pack, so that the state machine's clock reaches the present and what is due expires. Commands
// that wait at the same moment share the pack. Only the leader can.
func (n *Node) Tick(ctx context.Context) error {
	return n.proposeHere(&proposal{ctx: ctx, tick: true}, false).err
}

// proposeHere gives a proposal to this node's own packer, if it leads.
func (n *Node) proposeHere(prop *proposal, patient bool) proposalResult {
	if err := n.open(); err != nil {
		return proposalResult{err: err}
	}
	if prop.ctx.Err() != nil {
		return proposalResult{err: contextError(prop.ctx)}
	}
	if n.raft.State() != raft.Leader {
		return proposalResult{err: ErrNotLeader}
	}
	return n.packer.propose(prop, patient)
}

// Read returns when this node's state machine may be read at the given consistency. It works on every member; without a
// leader, or one that can be reached, it answers ErrNotLeader to all but Local.
func (n *Node) Read(ctx context.Context, c Consistency) error {
	if err := n.open(); err != nil {
		return err
	}
	switch c {
	case Local:
		return nil
	case Leader:
		if n.raft.State() == raft.Leader {
			_, err := n.awaitTenure(ctx)
			return err
		}
		return n.upToDate.read(ctx)
	case Linearizable:
		return n.linearizable.read(ctx)
	default:
		return fmt.Errorf("consensus: unknown consistency %d", c)
	}
}

// WaitLeader returns when the cluster has a leader that this node knows; if it is this node, when it is ready to serve.
func (n *Node) WaitLeader(ctx context.Context) error {
	return n.await(ctx, &n.changes, func() (bool, error) {
		if err := n.open(); err != nil {
			return false, err
		}
		if n.raft.State() == raft.Leader {
			_, ok := n.currentTenure()
			return ok, nil
		}
		_, id := n.raft.LeaderWithID()
		return id != "" && id != raft.ServerID(n.cfg.ID), nil
	})
}

// Snapshot takes a snapshot now and trims the log. It does nothing if nothing was applied since Open.
func (n *Node) Snapshot(ctx context.Context) error {
	return n.operate(ctx, func() error {
		err := n.raft.Snapshot().Error()
		if errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return nil
		}
		return err
	})
}

// Halted is closed when the state machine could not continue. Err then says why.
func (n *Node) Halted() <-chan struct{} {
	return n.fsm.halted
}

// Err returns nil, or an error that wraps ErrHalted and the reason why the node halted.
func (n *Node) Err() error {
	return n.fsm.err()
}

// Close commits what waits, hands the leadership over if another member can take it, and stops. It returns when
// nothing of the node runs any more; later calls return the same.
func (n *Node) Close() error {
	n.stopOnce.Do(n.stop)
	n.end.Do(func() {
		<-n.guard
		n.endErr = errors.Join(n.calls.close(), n.store.Close())
	})
	return n.endErr
}

// stop ends everything but the log. Raft goes last, because it does not answer what it drops when it shuts down.
func (n *Node) stop() {
	n.mu.Lock()
	n.stopped = true
	close(n.stopping)
	n.mu.Unlock()

	<-n.packer.done
	n.forwarder.drain()
	n.ops.Wait()
	if n.fsm.err() == nil && n.raft.State() == raft.Leader && !n.soleVoter() {
		if err := n.handOver(context.Background(), ""); err != nil {
			n.log.Warn("stopping without handing the leadership over", "error", err)
		}
	}
	n.cancel()
	n.work.Wait()
	n.installs.close()
	if err := n.raft.Shutdown().Error(); err != nil {
		n.log.Warn("raft did not stop cleanly", "error", err)
	}
}

// open returns nil while the node accepts work, else why not.
func (n *Node) open() error {
	select {
	case <-n.stopping:
		return n.refusal()
	default:
		return n.fsm.err()
	}
}

// refusal says why a stopped node does nothing.
func (n *Node) refusal() error {
	if err := n.fsm.err(); err != nil {
		return err
	}
	return ErrClosed
}

// operate runs an operation that waits for Raft. When ctx ends first the operation goes on, unobserved; Close waits for it.
func (n *Node) operate(ctx context.Context, operation func() error) error {
	n.mu.Lock()
	if n.stopped {
		n.mu.Unlock()
		return n.refusal()
	}
	n.ops.Add(1)
	n.mu.Unlock()

	result := make(chan error, 1)
	go func() {
		defer n.ops.Done()
		result <- operation()
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return contextError(ctx)
	}
}
