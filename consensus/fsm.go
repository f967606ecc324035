package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// fsm stands between Raft and the StateMachine: it opens packs, keeps time going forward, skips what the state already
// has and stops for good at the first error. Raft calls its methods from one goroutine.
type fsm struct {
	machine StateMachine
	packs   *packDecoder

	applied atomic.Uint64 // index of the last entry that is part of the state
	clock   atomic.Int64  // the machine's clock
	seen    atomic.Uint64 // index of the last entry Raft handed over, commands or not; at least applied once caught up
	moved   broadcast     // wakes when seen advances

	running atomic.Bool           // set when Open has read log and snapshots
	failure atomic.Pointer[error] // why the node halted
	halted  chan struct{}         // closed when failure is set
}

// applyResult is what Raft passes from the fsm to the packer that proposed the entry.
type applyResult struct {
	outcomes []any
	err      error
}

func newFSM(machine StateMachine) (*fsm, error) {
	packs, err := newPackDecoder()
	if err != nil {
		return nil, err
	}
	f := &fsm{machine: machine, packs: packs, halted: make(chan struct{})}
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
		if entry.Type == raft.LogCommand {
			results[i] = f.apply(entry)
		}
		f.seen.Store(entry.Index)
	}
	f.moved.wake()
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
	return applyResult{outcomes: outcomes}
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	s, err := f.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("consensus: capture the state: %w", err)
	}
	return fsmSnapshot{s}, nil
}

// Restore implements raft.FSM. If it fails on start, Raft tries the next older snapshot or gives up. In a running node a
// failure may leave half a state behind, which must not be read or applied to, so it halts the node.
func (f *fsm) Restore(source io.ReadCloser) error {
	if err := f.err(); err != nil {
		return err
	}
	if err := f.machine.Restore(source); err != nil {
		err = fmt.Errorf("restore the state: %w", err)
		if f.running.Load() {
			err = f.halt(err)
		}
		return err
	}
	f.applied.Store(f.machine.Applied())
	f.clock.Store(f.machine.Clock())
	f.seen.Store(f.machine.Applied())
	f.moved.wake()
	return nil
}

// fsmSnapshot writes a machine's snapshot into Raft's store.
type fsmSnapshot struct {
	Snapshot
}

// Persist implements raft.FSMSnapshot.
func (s fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		return errors.Join(fmt.Errorf("consensus: write the snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}
