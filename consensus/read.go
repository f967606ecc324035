package consensus

import (
	"context"

	"github.com/hashicorp/raft"
)

// Consistency is how fresh a read must be.
type Consistency int

const (
	// Local reads what this node has applied, leader or not: it may be stale.
	Local Consistency = iota
	// Leader reads on the node that believes to lead, once it has applied all that was acknowledged before its term.
	// Stale only while a deposed leader has not noticed, at most Config.LeaderLeaseTimeout.
	Leader
	// Linearizable sees everything acknowledged anywhere before the read began.
	Linearizable
)

// String returns the name used on the wire and on the command line.
func (c Consistency) String() string {
	switch c {
	case Local:
		return "local"
	case Leader:
		return "leader"
	case Linearizable:
		return "linearizable"
	default:
		return "unknown"
	}
}

// tenure is a term in which this node led and had applied an entry of its own; everything of earlier terms precedes it.
type tenure struct {
	term  uint64
	index uint64
}

// reader answers linearizable reads: one round with the cluster for all that wait. Raft must outlive it.
type reader struct {
	node  *Node
	queue chan chan error
	done  chan struct{} // closed when run has returned
}

// maxWaitingReads bounds the reads that share one round; the others wait in line.
const maxWaitingReads = 4096

func newReader(n *Node) *reader {
	return &reader{node: n, queue: make(chan chan error, maxWaitingReads), done: make(chan struct{})}
}

// read waits for the next round.
func (r *reader) read(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case r.queue <- answer:
	case <-ctx.Done():
		return contextError(ctx)
	case <-r.done:
		return r.node.refusal()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return contextError(ctx)
	case <-r.done:
		return r.node.refusal()
	}
}

// run holds rounds until ctx ends.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	for {
		var waiting []chan error
		select {
		case answer := <-r.queue:
			waiting = append(waiting, answer)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(waiting) < maxWaitingReads; {
			select {
			case answer := <-r.queue:
				waiting = append(waiting, answer)
			default:
				more = false
			}
		}
		err := r.round(ctx)
		r.node.metrics.readRounds.Add(1)
		r.node.metrics.reads.Add(uint64(len(waiting)))
		for _, answer := range waiting {
			answer <- err
		}
	}
}

// round is ReadIndex: note the commit index, learn from a majority that no one else leads, wait until it is applied.
// The commit index is only meaningful once an entry of the current term is committed, which a tenure records.
//
// One gap is Raft's own: VerifyLeader also counts the answer to a heartbeat that was sent before it was called. A leader
// that is paused between receiving such an answer and looking at it, for longer than the others take to elect another,
// can serve one stale round when it wakes. It takes more than one voter.
func (r *reader) round(ctx context.Context) error {
	n := r.node
	t, err := n.awaitTenure(ctx)
	if err != nil {
		return err
	}
	commit := n.raft.CommitIndex()
	if err := n.raft.VerifyLeader().Error(); err != nil {
		return ErrNotLeader
	}
	if n.raft.CurrentTerm() != t.term {
		return ErrNotLeader
	}
	if commit <= t.index {
		return nil
	}
	// After the tenure's first entry a term holds only commands and configurations, and the fsm sees both.
	return n.await(ctx, &n.fsm.moved, func() (bool, error) {
		return n.fsm.seen.Load() >= commit, n.fsm.err()
	})
}

// awaitTenure returns the current tenure of a leader, waiting for it right after an election. It answers ErrNotLeader on
// every other node.
func (n *Node) awaitTenure(ctx context.Context) (t tenure, err error) {
	err = n.await(ctx, &n.changes, func() (bool, error) {
		if err := n.fsm.err(); err != nil {
			return false, err
		}
		if n.raft.State() != raft.Leader {
			return false, ErrNotLeader
		}
		var ok bool
		t, ok = n.currentTenure()
		return ok, nil
	})
	return t, err
}

// currentTenure returns the tenure of the current term, if this node leads and has one.
func (n *Node) currentTenure() (tenure, bool) {
	t := n.tenure.Load()
	if t == nil || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != t.term {
		return tenure{}, false
	}
	return *t, true
}

// await returns when condition holds or fails, when ctx ends, or when the node stops. b must be woken by whatever changes the condition.
func (n *Node) await(ctx context.Context, b *broadcast, condition func() (bool, error)) error {
	for {
		changed := b.changed()
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return contextError(ctx)
		case <-n.stopping:
			return n.refusal()
		}
	}
}
