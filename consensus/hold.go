package consensus

import (
	"sync"

	"github.com/hashicorp/raft"
)

// heldLog is a log whose head is not trimmed beyond what a member needs that is on its way to a snapshot: it goes on from
// there without a second snapshot, however long the files take. It also keeps the one entry before its tail, so that the entry
// at a snapshot's index is known, with its term, when newer snapshots were taken meanwhile.
type heldLog struct {
	LogStore
	bound int64 // of grown

	mu    sync.Mutex
	holds map[*logHold]bool
	grown int64 // bytes appended since the first of the holds; beyond bound they no longer count
}

// logHold keeps the entries from index on.
type logHold struct {
	index uint64
}

// maxHeld bounds the log that is kept for members on their way to a snapshot, in bytes.
const maxHeld = 256 << 20

func newHeldLog(log LogStore) *heldLog {
	return &heldLog{LogStore: log, bound: maxHeld, holds: map[*logHold]bool{}}
}

// hold keeps the entries from index on until release is called.
func (l *heldLog) hold(index uint64) (release func()) {
	h := &logHold{index}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.holds) == 0 {
		l.grown = 0
	}
	l.holds[h] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.holds, h)
	}
}

// StoreLog implements raft.LogStore.
func (l *heldLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *heldLog) StoreLogs(entries []*raft.Log) error {
	var size int64
	for _, entry := range entries {
		size += int64(len(entry.Data))
	}
	l.mu.Lock()
	l.grown += size
	l.mu.Unlock()
	return l.LogStore.StoreLogs(entries)
}

// DeleteRange implements raft.LogStore. The removal of a tail, and of everything, is not held up: then Raft has found the
// entries to be wrong, or replaced by a snapshot.
func (l *heldLog) DeleteRange(first, last uint64) error {
	oldest, err := l.FirstIndex()
	if err != nil {
		return err
	}
	newest, err := l.LastIndex()
	if err != nil {
		return err
	}
	if first <= oldest && last < newest {
		if last = l.release(last); last < first {
			return nil
		}
	}
	return l.LogStore.DeleteRange(first, last)
}

// release returns the last index to remove when all up to last may go.
func (l *heldLog) release(last uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last > 0 {
		last--
	}
	if l.grown > l.bound {
		return last
	}
	for h := range l.holds {
		if h.index > 0 {
			last = min(last, h.index-1)
		}
	}
	return last
}

// IsMonotonic implements raft.MonotonicLogStore.
func (l *heldLog) IsMonotonic() bool {
	log, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && log.IsMonotonic()
}
