package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// keyTerm is the name under which Raft keeps its term in the stable store.
var keyTerm = []byte("CurrentTerm")

// checkHistory compares the state with the log and the snapshots. It reports whether the state needs nothing of the newest
// snapshot, and returns ErrMismatch where going on would silently lose or repeat commands.
func checkHistory(store LogStore, snapshots raft.SnapshotStore, applied uint64) (current bool, err error) {
	first, err := store.FirstIndex()
	if err != nil {
		return false, fmt.Errorf("consensus: read the log: %w", err)
	}
	last, err := store.LastIndex()
	if err != nil {
		return false, fmt.Errorf("consensus: read the log: %w", err)
	}
	list, err := snapshots.List()
	if err != nil {
		return false, fmt.Errorf("consensus: read the snapshots: %w", err)
	}
	var newest uint64
	if len(list) > 0 {
		newest = list[0].Index
	}
	// Entries are on disk before they are applied, so a state beyond them means a lost log. Its place would be taken by
	// new entries with old indexes, which would be skipped as if applied.
	if end := max(last, newest); applied > end {
		return false, fmt.Errorf("%w: the state is at index %d, log and snapshots end at %d", ErrMismatch, applied, end)
	}
	if first > newest+1 {
		return false, fmt.Errorf("%w: the log begins at index %d, the newest snapshot is at %d", ErrMismatch, first, newest)
	}
	if newest == 0 {
		return true, nil
	}
	return covers(store, applied, newest)
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
	term, err := stable.GetUint64(keyTerm)
	if err != nil {
		return false, fmt.Errorf("consensus: read the term: %w", err)
	}
	return term == 1, nil
}

// closeTransport frees a transport that Raft did not take over.
func closeTransport(trans raft.Transport) error {
	if c, ok := trans.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}
