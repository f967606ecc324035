package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

// fsm stands between Raft and the StateMachine: it opens packs, keeps time going forward, skips what the state already
// has and stops for good at the first error. Raft calls its methods from one goroutine.
type fsm struct {
	machine   StateMachine
	packs     *packDecoder
	snapshots *snapshot.Store

	applied atomic.Uint64 // index of the last entry that is part of the state
	clock   atomic.Int64  // the machine's clock
	seen    atomic.Uint64 // index of the last entry Raft handed over, commands or not; at least applied once caught up
	moved   broadcast     // wakes when seen advances

	tail     logTail      // entries since the last snapshot; belongs to Raft's apply goroutine
	tailFull chan uint64  // receives the mean size of an entry when the tail calls for a snapshot
	lastSize atomic.Int64 // bytes that the last snapshot wrote, files shared with the state not counted

	hooks fsmHooks // set before Raft runs

	running atomic.Bool           // set when Open has read log and snapshots
	failure atomic.Pointer[error] // why the node halted
	halted  chan struct{}         // closed when failure is set
}

// fsmHooks tell others what happens to the state. Raft's apply goroutine calls them: they must be quick and must not wait
// for anything that needs an entry to be applied. Each may be nil.
type fsmHooks struct {
	// outcomes is called after each applied pack, before Raft answers its proposer and before seen reaches index. An entry that
	// the state already had, or that a snapshot brought, has no call.
	outcomes func(index uint64, outcomes []any)
	// configured is called for each committed configuration: that of an entry, or of a snapshot that was restored.
	configured func(index uint64, c raft.Configuration)
	// restored is called after a snapshot replaced the state of a running node: the outcomes of the entries it covers never come.
	restored func()
}

// logTail is what a snapshot would allow to remove from the log.
type logTail struct {
	limit   int64 // bytes
	entries int64
	bytes   int64
}

// applyResult is what Raft passes from the fsm to the packer that proposed the entry.
type applyResult struct {
	outcomes []any
	err      error
}

// newFSM returns an fsm over machine that calls for a snapshot when limit bytes of entries were handed over. What the newest
// snapshot holds needs no handing over: Raft restores it or was told that the machine has it.
func newFSM(machine StateMachine, snapshots *snapshot.Store, limit int64) (*fsm, error) {
	packs, err := newPackDecoder()
	if err != nil {
		return nil, err
	}
	list, err := snapshots.List()
	if err != nil {
		return nil, fmt.Errorf("consensus: read the snapshots: %w", err)
	}
	f := &fsm{
		machine: machine, packs: packs, snapshots: snapshots,
		halted: make(chan struct{}), tail: logTail{limit: limit}, tailFull: make(chan uint64, 1),
	}
	if len(list) > 0 {
		f.seen.Store(list[0].Index)
	}
	f.applied.Store(machine.Applied())
	f.clock.Store(machine.Clock())
	return f, nil
}

// err returns nil, or an error that wraps ErrHalted and the reason.
func (f *fsm) err() error {
	if reason := f.failure.Load(); reason != nil {
		return *reason
	}
	return nil
}

// halt stops the node for good. Only Raft's apply goroutine calls it.
func (f *fsm) halt(reason error) error {
	err := fmt.Errorf("%w: %w", ErrHalted, reason)
	f.failure.Store(&err)
	close(f.halted)
	return err
}

// ApplyBatch implements raft.BatchingFSM. The batching form is used because it also hands over configuration changes:
// without them the index of a snapshot lags and Raft refuses to take one right after a change of membership.
func (f *fsm) ApplyBatch(entries []*raft.Log) []any {
	results := make([]any, len(entries))
	for i, entry := range entries {
		switch entry.Type {
		case raft.LogCommand:
			results[i] = f.apply(entry)
		case raft.LogConfiguration:
			if f.hooks.configured != nil {
				f.hooks.configured(entry.Index, raft.DecodeConfiguration(entry.Data))
			}
		}
		f.seen.Store(entry.Index)
		f.tail.entries++
		f.tail.bytes += int64(len(entry.Data))
	}
	f.moved.wake()
	if f.tail.bytes >= max(f.tail.limit, f.lastSize.Load()) {
		select {
		case f.tailFull <- uint64(f.tail.bytes / f.tail.entries):
		default: // it was called for already
		}
	}
	return results
}

// Apply implements raft.FSM.
func (f *fsm) Apply(entry *raft.Log) any {
	return f.ApplyBatch([]*raft.Log{entry})[0]
}

// apply hands one entry to the machine.
func (f *fsm) apply(entry *raft.Log) applyResult {
	if err := f.err(); err != nil {
		return applyResult{err: err}
	}
	if entry.Index <= f.applied.Load() {
		return applyResult{}
	}
	p, err := f.packs.decode(entry.Data)
	if err != nil {
		return applyResult{err: f.halt(fmt.Errorf("entry %d: %w", entry.Index, err))}
	}
	// A new leader may have stamped before it had applied everything of its predecessors, whose clock was ahead. Both
	// operands are replicated, so every member raises the stamp alike.
	stamp := max(p.stamp, f.clock.Load()+1)
	outcomes, err := f.machine.Apply(entry.Index, stamp, p.commands)
	if err == nil && len(outcomes) != len(p.commands) {
		err = fmt.Errorf("%d outcomes for %d commands", len(outcomes), len(p.commands))
	}
	if err != nil {
		return applyResult{err: f.halt(fmt.Errorf("apply entry %d: %w", entry.Index, err))}
	}
	f.applied.Store(entry.Index)
	f.clock.Store(stamp)
	if f.hooks.outcomes != nil {
		f.hooks.outcomes(entry.Index, outcomes)
	}
	return applyResult{outcomes: outcomes}
}

// flush lets the machine write ahead what the next Snapshot would have to write.
func (f *fsm) flush() {
	if m, ok := f.machine.(flusher); ok && f.err() == nil {
		_ = m.Flush() // Snapshot tries again and reports it
	}
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	f.tail.entries, f.tail.bytes = 0, 0 // also if it fails: the next try is as far away as the next success
	select {
	case <-f.tailFull: // a second call that this snapshot answers too
	default:
	}
	s, err := f.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("consensus: capture the state: %w", err)
	}
	return fsmSnapshot{s, f}, nil
}

// Restore implements raft.FSM; source gives the manifest. If it fails on start, Raft tries the next older snapshot or gives
// up. In a running node a failure may leave half a state behind, which must not be read or applied to, so it halts the node.
func (f *fsm) Restore(source io.ReadCloser) error {
	if err := f.err(); err != nil {
		return err
	}
	meta, err := f.restore(source)
	if err != nil {
		err = fmt.Errorf("restore the state: %w", err)
		if f.running.Load() {
			err = f.halt(err)
		}
		return err
	}
	f.applied.Store(f.machine.Applied())
	f.clock.Store(f.machine.Clock())
	f.seen.Store(meta.Index)
	if f.hooks.configured != nil {
		f.hooks.configured(meta.ConfigurationIndex, meta.Configuration)
	}
	if f.hooks.restored != nil && f.running.Load() {
		f.hooks.restored()
	}
	f.moved.wake()
	return nil
}

// restore hands the machine the folder of the snapshot that has this manifest.
func (f *fsm) restore(source io.Reader) (*raft.SnapshotMeta, error) {
	manifest, err := io.ReadAll(io.LimitReader(source, snapshot.MaxManifest+1))
	if err != nil {
		return nil, err
	}
	dir, meta, release, err := f.snapshots.Locate(manifest)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := f.machine.Restore(dir); err != nil {
		return nil, err
	}
	if applied := f.machine.Applied(); applied > meta.Index {
		return nil, fmt.Errorf("%w: the snapshot at index %d holds a state at %d", ErrMismatch, meta.Index, applied)
	}
	return meta, nil
}

// fsmSnapshot writes a machine's snapshot into the snapshot store.
type fsmSnapshot struct {
	Snapshot
	fsm *fsm
}

// Persist implements raft.FSMSnapshot.
func (s fsmSnapshot) Persist(target raft.SnapshotSink) error {
	sink := target.(*snapshot.Sink)
	files, err := s.WriteTo(sink.Dir())
	if err == nil {
		err = sink.Commit(files)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("consensus: write the snapshot: %w", err), sink.Cancel())
	}
	var written int64
	for _, file := range files {
		if part, err := s.fsm.machine.Part(file.Sum); err == nil { // it was linked and cost nothing
			part.Close()
			continue
		}
		written += file.Size
	}
	s.fsm.lastSize.Store(written)
	return sink.Close()
}
