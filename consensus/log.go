package consensus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"tamv.internal/tamv/consensus/wal"
)

// LogStore is a durable log with the small key-value store (term, vote) that Raft keeps beside it. StoreLogs and Set
// must be on disk when they return: a vote or an entry that is forgotten can lose acknowledged commands.
type LogStore interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// cachedEntries is the number of recent entries kept in memory for followers. Only one pack is in flight, so a
// follower that keeps up needs the last few; at 1 MiB a pack the cache stays below 16 MiB.
const cachedEntries = 16

// formerLog is the log's file in builds that kept it in bbolt.
const formerLog = "raft.db"

// openLog opens the log in dir/wal.
func openLog(dir string) (LogStore, error) {
	if _, err := os.Stat(filepath.Join(dir, formerLog)); err == nil {
		return nil, fmt.Errorf("consensus: %s holds a log that an earlier build wrote in %s and this one does not read; keep it with that build",
			dir, formerLog)
	}
	log, err := wal.Open(filepath.Join(dir, logFolder), wal.Options{})
	switch {
	case errors.Is(err, wal.ErrLocked):
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	case errors.Is(err, wal.ErrDamaged):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("consensus: open the log: %w", err)
	}
	return log, nil
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
