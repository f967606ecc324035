package consensus

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// hint is what the leader's answer to a call implies: in its term, it knows the entry to be committed.
type hint struct {
	leader raft.Server
	term   uint64 // of the leader and of the entry; 0 for an answer that implies nothing
	index  uint64
}

// hints tell this node's Raft at once what an answer implies. Otherwise Raft learns that an entry is committed with the next
// entry, or after CommitTimeout when there is none, and a single forwarded command would wait that long for its outcome.
//
// What Raft gets is the message that the leader's own Raft would send: an AppendEntries without entries, whose previous entry
// is the committed one. Raft checks it like any other, and messages may come in any order, so nothing rests on the hint.
type hints struct {
	trans *transport
	raft  *raft.Raft
	log   *announcedLog
	fresh broadcast

	mu     sync.Mutex
	newest hint
}

// give passes a hint on. Only the newest one counts.
func (h *hints) give(new hint) {
	if new.term == 0 || new.index <= h.raft.CommitIndex() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if new.term > h.newest.term || new.term == h.newest.term && new.index > h.newest.index {
		h.newest = new
		h.fresh.wake()
	}
}

// run tells Raft what is given until ctx ends.
func (h *hints) run(ctx context.Context) {
	for {
		fresh, stored := h.fresh.changed(), h.log.stored.changed()
		h.mu.Lock()
		now := h.newest
		h.mu.Unlock()
		if h.due(now) {
			// An answer that says no is of no interest: Raft's own messages follow.
			_, _ = h.trans.tell(&raft.AppendEntriesRequest{
				RPCHeader: raft.RPCHeader{
					ProtocolVersion: raft.ProtocolVersionMax,
					ID:              []byte(now.leader.ID),
					Addr:            h.trans.EncodePeer(now.leader.ID, now.leader.Address),
				},
				Term:              now.term,
				PrevLogEntry:      now.index,
				PrevLogTerm:       now.term,
				LeaderCommitIndex: now.index,
			})
			h.mu.Lock()
			if h.newest == now {
				h.newest = hint{term: now.term, index: now.index} // done, whatever the answer was
			}
			h.mu.Unlock()
			continue
		}
		select {
		case <-fresh:
		case <-stored:
		case <-ctx.Done():
			return
		}
	}
}

// due reports whether a hint is news to Raft and can be used: in its own term, once the entry is on disk here.
func (h *hints) due(now hint) bool {
	return now.leader.ID != "" && h.raft.CurrentTerm() == now.term && h.raft.CommitIndex() < now.index &&
		max(h.log.last.Load(), h.raft.LastIndex()) >= now.index
}

// announcedLog tells when entries have been stored.
type announcedLog struct {
	*raft.LogCache
	last   atomic.Uint64 // the last one stored
	stored broadcast
}

// StoreLog implements raft.LogStore.
func (l *announcedLog) StoreLog(entry *raft.Log) error {
	return l.StoreLogs([]*raft.Log{entry})
}

// StoreLogs implements raft.LogStore.
func (l *announcedLog) StoreLogs(entries []*raft.Log) error {
	if err := l.LogCache.StoreLogs(entries); err != nil {
		return err
	}
	l.last.Store(entries[len(entries)-1].Index)
	l.stored.wake()
	return nil
}
