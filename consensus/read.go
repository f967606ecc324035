package consensus

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Consistency is how fresh a read must be.
type Consistency int

const (
	// Local reads what this node has applied, leader or not: it may be stale.
	Local Consistency = iota
	// Leader sees what the node that believes to lead has applied, which is all that was acknowledged. Stale only while a
	// deposed leader has not noticed, at most Config.LeaderLeaseTimeout.
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

// reader answers the reads of one consistency: one question for all that wait, to the other voters on the leader and to the
// leader on every other member. Raft must outlive it.
type reader struct {
	node  *Node
	c     Consistency
	queue chan chan readAnswer
	done  chan struct{} // closed when run has returned
}

// readPoint is what a node must have applied before it may be read: the entry at index, which was committed in term.
type readPoint struct {
	term  uint64
	index uint64
}

type readAnswer struct {
	point readPoint
	err   error
}

const (
	// maxWaitingReads bounds the reads that share one round; the others wait in line.
	maxWaitingReads = 4096
	// askTimeout bounds the leader's answer to another member's round.
	askTimeout = 3 * time.Second
)

func newReader(n *Node, c Consistency) *reader {
	return &reader{node: n, c: c, queue: make(chan chan readAnswer, maxWaitingReads), done: make(chan struct{})}
}

// read waits for the next round and then until this node has applied what the round calls for.
func (r *reader) read(ctx context.Context) error {
	point, err := r.next(ctx)
	if err != nil {
		return err
	}
	f := r.node.fsm
	if f.applied.Load() >= point.index {
		return nil
	}
	return r.node.await(ctx, &f.moved, func() (bool, error) {
		return f.applied.Load() >= point.index, f.err()
	})
}

// next returns what the next round calls for.
func (r *reader) next(ctx context.Context) (readPoint, error) {
	answer := make(chan readAnswer, 1)
	select {
	case r.queue <- answer:
	case <-ctx.Done():
		return readPoint{}, contextError(ctx)
	case <-r.done:
		return readPoint{}, r.node.refusal()
	}
	select {
	case a := <-answer:
		return a.point, a.err
	case <-ctx.Done():
		return readPoint{}, contextError(ctx)
	case <-r.done:
		return readPoint{}, r.node.refusal()
	}
}

// run holds rounds until ctx ends.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	for {
		var waiting []chan readAnswer
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
		var a readAnswer
		if r.node.raft.State() == raft.Leader {
			a.point, a.err = r.node.readPoint(ctx, r.c)
		} else {
			a.point, a.err = r.node.askReadPoint(ctx, r.c)
		}
		r.node.metrics.readRounds.Add(1)
		r.node.metrics.reads.Add(uint64(len(waiting)))
		for _, answer := range waiting {
			answer <- a
		}
	}
}

// readPoint says, on the leader, what must have been applied for a read of this consistency. For a linearizable one this is
// ReadIndex: note the commit index, learn from a majority that no one else leads, wait until it is applied. The commit
// index is only meaningful once an entry of the current term is committed, which a tenure records.
func (n *Node) readPoint(ctx context.Context, c Consistency) (readPoint, error) {
	t, err := n.awaitTenure(ctx)
	if err != nil {
		return readPoint{}, err
	}
	if c == Linearizable {
		commit := n.raft.CommitIndex()
		if err := n.confirm(ctx, t.term); err != nil {
			return readPoint{}, err
		}
		// After the tenure's first entry a term holds only commands and configurations, and the fsm sees both.
		if commit > t.index && n.fsm.seen.Load() < commit {
			err := n.await(ctx, &n.fsm.moved, func() (bool, error) {
				return n.fsm.seen.Load() >= commit, n.fsm.err()
			})
			if err != nil {
				return readPoint{}, err
			}
		}
	}
	// The last command and not the last entry: it is what every member knows to have applied, also after a snapshot.
	return readPoint{t.term, n.fsm.applied.Load()}, nil
}

// askReadPoint asks the leader for its readPoint. A read that got no answer may be repeated, so every failure but the end of
// ctx is ErrNotLeader.
func (n *Node) askReadPoint(ctx context.Context, c Consistency) (readPoint, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	leader, reply, err := n.askLeader(ctx, callReadIndex, appendBytes([]byte{byte(c)}, n.cfg.ID))
	var point readPoint
	if err == nil {
		point, err = readReadPoint(reply)
	}
	if err != nil {
		return readPoint{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	n.hints.give(hint{leader, point.term, point.index})
	return point, nil
}

// tellReadPoint answers callReadIndex: the consistency (1 byte) and the sender's id with a length of two bytes.
func (n *Node) tellReadPoint(ctx context.Context, body []byte) ([]byte, error) {
	w := wire{data: body}
	c := Consistency(w.uint8())
	from := string(w.bytes(maxID))
	if err := w.end(); err != nil {
		return nil, err
	}
	if err := speaksFor(ctx, from); err != nil {
		return nil, err
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	if _, ok := n.server(from); !ok {
		return nil, ErrNotLeader // one that was removed would wait for the entry in vain
	}
	var point readPoint
	var err error
	switch {
	case n.raft.State() != raft.Leader:
		return nil, ErrNotLeader // and not a question to the next one: members that take each other for the leader would ask for ever
	case c == Leader:
		point, err = n.readPoint(ctx, Leader)
	case c == Linearizable:
		point, err = n.linearizable.next(ctx)
	default:
		return nil, fmt.Errorf("%w: consistency %d", errCall, c)
	}
	if err != nil {
		return nil, err
	}
	return appendReadPoint(nil, point), nil
}

// appendReadPoint appends the reply to callReadIndex: term (8 bytes), index (8).
func appendReadPoint(data []byte, p readPoint) []byte {
	data = binary.BigEndian.AppendUint64(data, p.term)
	return binary.BigEndian.AppendUint64(data, p.index)
}

// readReadPoint reads what appendReadPoint wrote.
func readReadPoint(data []byte) (readPoint, error) {
	w := wire{data: data}
	p := readPoint{term: w.uint64(), index: w.uint64()}
	return p, w.end()
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
