package consensus

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// LogStore is a durable log with the small key-value store (term, vote) that Raft keeps beside it. StoreLogs and Set
// must be on disk when they return: a vote or an entry that is forgotten can lose acknowledged commands.
type LogStore interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

const (
	// lockTimeout is how long Open waits for another process to release the log.
	lockTimeout = time.Second
	// cachedEntries is the number of recent entries kept in memory for followers. Only one pack is in flight, so a
	// follower that keeps up needs the last few; at 1 MiB a pack the cache stays below 16 MiB.
	cachedEntries = 16
	// trimStep is the number of entries removed in one transaction, so that a trim of thousands does not hold up appends.
	trimStep = 512
)

// openBoltLog opens dir/raft.db. The free list is a map that is not written to disk: with the large free list that
// trimming leaves behind, bbolt's default commits 6.8 times slower. It is rebuilt on open by scanning the file.
func openBoltLog(dir string) (LogStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "raft.db"),
		BoltOptions: &bbolt.Options{
			Timeout:        lockTimeout,
			FreelistType:   bbolt.FreelistMapType,
			NoFreelistSync: true,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("consensus: open the log: %w", err)
	}
	return boltLog{store}, nil
}

// boltLog is a raftboltdb store that trims in small steps.
type boltLog struct {
	*raftboltdb.BoltStore
}

// DeleteRange removes the entries from first to last, both included. The head of the log is removed step by step, oldest
// first, which leaves a contiguous log behind if the process dies in between; a tail, removed when a follower's
// entries conflict with the leader's, goes in one transaction for the same reason.
func (l boltLog) DeleteRange(first, last uint64) error {
	oldest, err := l.FirstIndex()
	if err != nil {
		return err
	}
	if first > oldest {
		return l.BoltStore.DeleteRange(first, last)
	}
	for from := first; from <= last; from += trimStep {
		if err := l.BoltStore.DeleteRange(from, min(from+trimStep-1, last)); err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether a state that has applied the commands up to applied needs nothing from a snapshot at index:
// true if no entry in between is a command. Raft's own entries advance the log but not the state machine.
func covers(log raft.LogStore, applied, index uint64) (bool, error) {
	for i := applied + 1; i <= index; i++ {
		var entry raft.Log
		err := log.GetLog(i, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("consensus: read log entry %d: %w", i, err)
		}
		if entry.Type == raft.LogCommand {
			return false, nil
		}
	}
	return true, nil
}
