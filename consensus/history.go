package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/snapshot"
	"tamv.internal/tamv/consensus/wal"
)

// keyTerm is the name under which Raft keeps its term in the stable store.
var keyTerm = []byte("CurrentTerm")

// history is what a member was before it starts.
type history struct {
	store     LogStore
	snapshots *snapshot.Store
	current   bool // the machine's state needs nothing of the newest snapshot
}

// openHistory opens the snapshots and checks that they, the log and the state belong together.
func openHistory(cfg Config, store LogStore, machine StateMachine) (h history, err error) {
	h.store = store
	if h.snapshots, err = snapshot.OpenStore(cfg.Dir, cfg.RetainSnapshots, cfg.Logger); err != nil {
		return h, fmt.Errorf("consensus: open the snapshots: %w", err)
	}
	h.current, err = checkHistory(store, h.snapshots, machine.Applied(), cfg.Logger)
	return h, err
}

// checkHistory compares the state with the log and the snapshots before Raft runs on them. It reports whether the state needs
// nothing of the newest snapshot; otherwise that snapshot was verified. It sets damaged snapshots aside and goes on with an
// older one, if the log reaches back to it. It returns ErrMismatch where going on would silently lose or repeat commands, and
// ErrDamaged where something is missing that other members have.
func checkHistory(store LogStore, snapshots *snapshot.Store, applied uint64, log *slog.Logger) (current bool, err error) {
	first, err := store.FirstIndex()
	if err != nil {
		return false, fmt.Errorf("consensus: read the log: %w", err)
	}
	last, err := store.LastIndex()
	if err != nil {
		return false, fmt.Errorf("consensus: read the log: %w", err)
	}
	newest, err := newestSnapshot(snapshots)
	if err != nil {
		return false, err
	}
	// Entries are on disk before they are applied, so a state beyond them means a lost log. Its place would be taken by
	// new entries with old indexes, which would be skipped as if applied.
	if end := max(last, newest.Index, snapshots.Lost()); applied > end {
		return false, fmt.Errorf("%w: the state is at index %d, log and snapshots end at %d", ErrMismatch, applied, end)
	}
	for {
		if lost := snapshots.Lost(); lost > max(last, newest.Index) {
			return false, fmt.Errorf("%w: the snapshot at index %d, beyond which there is nothing", ErrDamaged, lost)
		}
		if first > newest.Index+1 {
			return false, fmt.Errorf("%w: %w: the log begins at index %d, the newest snapshot is at %d", ErrDamaged, ErrMismatch, first, newest.Index)
		}
		if newest.Index == 0 {
			return true, nil
		}
		current, err := covers(store, applied, newest.Index)
		if err != nil {
			return false, err
		}
		if !current {
			err = snapshots.Verify(context.Background(), newest.ID, nil)
		}
		if err == nil {
			return current, dropCovered(store, first, last, newest.Index)
		}
		if !errors.Is(err, snapshot.ErrDamaged) {
			return false, fmt.Errorf("consensus: verify the snapshot %s: %w", newest.ID, err)
		}
		log.Error("the snapshot is damaged; trying an older one", "snapshot", newest.ID, "error", err)
		if err := snapshots.Discard(newest.ID); err != nil {
			return false, fmt.Errorf("consensus: %w", err)
		}
		if newest, err = newestSnapshot(snapshots); err != nil {
			return false, err
		}
	}
}

// newestSnapshot returns the newest snapshot's description, the zero value if there is none.
func newestSnapshot(snapshots *snapshot.Store) (raft.SnapshotMeta, error) {
	list, err := snapshots.List()
	if err != nil {
		return raft.SnapshotMeta{}, fmt.Errorf("consensus: read the snapshots: %w", err)
	}
	if len(list) == 0 {
		return raft.SnapshotMeta{}, nil
	}
	return *list[0], nil
}

// dropCovered removes a log that ends before a snapshot. The installation of a snapshot leaves one behind if the process dies
// between its two steps, and the entries that follow the snapshot would make a gap in it.
func dropCovered(store LogStore, first, last, snapshot uint64) error {
	if last == 0 || last >= snapshot {
		return nil
	}
	if err := store.DeleteRange(first, last); err != nil {
		return fmt.Errorf("consensus: trim the log: %w", err)
	}
	return nil
}

// found makes a cluster of one in an empty Dir, unless the node is joining another.
func found(cfg Config, rc *raft.Config, log raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, trans raft.Transport) error {
	if cfg.Joining {
		return nil
	}
	exists, err := raft.HasExistingState(log, stable, snapshots)
	if err != nil {
		return fmt.Errorf("consensus: read the log: %w", err)
	}
	if exists {
		interrupted, err := foundingInterrupted(log, stable, snapshots)
		if err != nil || !interrupted {
			return err
		}
		if err := stable.SetUint64(keyTerm, 0); err != nil {
			return fmt.Errorf("consensus: found the cluster: %w", err)
		}
	}
	err = raft.BootstrapCluster(rc, log, stable, snapshots, trans, raft.Configuration{
		Servers: []raft.Server{{Suffrage: raft.Voter, ID: rc.LocalID, Address: trans.LocalAddr()}},
	})
	if err != nil {
		return fmt.Errorf("consensus: found the cluster: %w", err)
	}
	return nil
}

// foundingInterrupted recognises a process that died between the two writes of raft.BootstrapCluster: the term is 1 and there
// is no entry yet. A member of another cluster never looks so, since its founder's first leader has term 2.
func foundingInterrupted(log raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore) (bool, error) {
	last, err := log.LastIndex()
	if err != nil {
		return false, fmt.Errorf("consensus: read the log: %w", err)
	}
	list, err := snapshots.List()
	if err != nil {
		return false, fmt.Errorf("consensus: read the snapshots: %w", err)
	}
	if last > 0 || len(list) > 0 {
		return false, nil
	}
	term, err := currentTerm(stable)
	return term == 1, err
}

// currentTerm returns the last term that this member has seen, 0 for none.
func currentTerm(stable raft.StableStore) (uint64, error) {
	term, err := stable.GetUint64(keyTerm)
	if err != nil && !errors.Is(err, wal.ErrKeyNotFound) {
		return 0, fmt.Errorf("consensus: read the term: %w", err)
	}
	return term, nil
}
