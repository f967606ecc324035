package consensus

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
)

// Recover makes this member a cluster of one, after a majority of the members was lost for ever. The node must not be
// running, and the others must never run again as members of this cluster.
//
// Everything in this member's log becomes part of the state, also entries of which it is not known whether they were committed;
// what only lost members held is lost. Choose the surviving member with the highest term, and of those the one with the longest
// log. The new state is written as a snapshot whose configuration has this member only, and the log begins anew behind it.
//
// It also helps a cluster of one whose snapshots are lost or damaged: if machine's state and the log are whole, nothing is lost.
func Recover(cfg Config, machine StateMachine) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	store, err := cfg.OpenLog(cfg.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// Older snapshots are not kept: they name the lost members.
	snapshots, err := snapshot.OpenStore(cfg.Dir, 1, cfg.Logger)
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	index, term, f, err := replay(cfg, machine, store, snapshots)
	if err != nil {
		return err
	}
	address := raft.ServerAddress(cfg.ID)
	if cfg.Stream != nil {
		address = raft.ServerAddress(cfg.Stream.Addr().String())
	}
	members := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(cfg.ID), Address: address}}}
	state, err := f.Snapshot()
	if err != nil {
		return err
	}
	defer state.Release()
	sink, err := snapshots.Create(raft.SnapshotVersionMax, index, term, members, index, nil)
	if err != nil {
		return err
	}
	if err := state.Persist(sink); err != nil {
		return err
	}
	if err := emptyLog(store); err != nil {
		return err
	}
	// A term of its own: messages of the lost members, should one appear, are older.
	last, err := currentTerm(store)
	if err != nil {
		return err
	}
	if err := store.SetUint64(keyTerm, max(last, term)+1); err != nil {
		return fmt.Errorf("consensus: raise the term: %w", err)
	}
	if err := writeMembers(cfg.Dir, index, members); err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	cfg.Logger.Warn("this member is a cluster of one now", "index", index, "lost_term", last)
	return nil
}

// replay brings the machine to the end of the log, and returns the index and term there.
func replay(cfg Config, machine StateMachine, store LogStore, snapshots *snapshot.Store) (index, term uint64, f *fsm, err error) {
	current, err := checkHistory(store, snapshots, machine.Applied(), cfg.Logger)
	var from uint64 // the first entry to look at
	if errors.Is(err, ErrDamaged) {
		if from, err = withoutSnapshot(store, snapshots, machine.Applied(), err); err == nil {
			current = true
		}
	}
	if err != nil {
		return 0, 0, nil, err
	}
	newest, err := newestSnapshot(snapshots)
	if err != nil {
		return 0, 0, nil, err
	}
	if f, err = newFSM(machine, snapshots, cfg.SnapshotBytes); err != nil {
		return 0, 0, nil, err
	}
	if !current {
		_, source, err := snapshots.Open(newest.ID)
		if err != nil {
			return 0, 0, nil, err
		}
		if err := errors.Join(f.Restore(source), source.Close()); err != nil {
			return 0, 0, nil, err
		}
	}
	last, err := store.LastIndex()
	if err != nil {
		return 0, 0, nil, fmt.Errorf("consensus: read the log: %w", err)
	}
	index, term = newest.Index, newest.Term
	for i := max(from, newest.Index+1); i <= last; i++ {
		var entry raft.Log
		if err := store.GetLog(i, &entry); err != nil {
			return 0, 0, nil, fmt.Errorf("consensus: read log entry %d: %w", i, err)
		}
		if entry.Type == raft.LogCommand {
			if err := f.apply(&entry).err; err != nil {
				return 0, 0, nil, err
			}
		}
		index, term = entry.Index, entry.Term
	}
	if index == 0 {
		return 0, 0, nil, errors.New("consensus: nothing to recover: log and snapshots are empty")
	}
	return index, term, f, nil
}

// withoutSnapshot returns the log's first index if state and log are whole without the snapshot that is damaged or missing, else the
// error that says so.
func withoutSnapshot(store LogStore, snapshots *snapshot.Store, applied uint64, damage error) (uint64, error) {
	first, err := store.FirstIndex()
	if err != nil {
		return 0, fmt.Errorf("consensus: read the log: %w", err)
	}
	last, err := store.LastIndex()
	if err != nil {
		return 0, fmt.Errorf("consensus: read the log: %w", err)
	}
	if first == 0 || first > applied+1 || last < max(applied, snapshots.Lost()) {
		return 0, damage
	}
	return first, nil
}
