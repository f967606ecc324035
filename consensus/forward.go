package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// forwarder takes commands to the leader: what waits goes as one frame, with the limits of a pack, and the leader puts it
// into one pack. The leader answers with the place in the log, once it is committed, and this node takes the outcomes from
// its own Apply. So no outcome crosses the wire, and what was acknowledged here can be read here.
type forwarder struct {
	intake
	node  *Node
	waits *waits
	slots chan struct{} // one per frame in flight
	work  sync.WaitGroup

	ctx    context.Context // of the calls to the leader
	cancel context.CancelFunc
}

const (
	// maxForwards bounds the frames in flight from one member, up to the outcome. More than one, so that the leader has
	// the next at hand while it commits; few, so that frames grow under load.
	maxForwards = 4
	// applyTimeout bounds the wait for this node's own Apply after the leader's answer. It only runs out on a node that
	// is cut off right then.
	applyTimeout = 5 * time.Second
	// drainTimeout bounds the forwarding of what waits when the node is closed.
	drainTimeout = 2 * time.Second
)

func newForwarder(n *Node) *forwarder {
	f := &forwarder{
		intake: newIntake(n.cfg, n.fsm, n.metrics, n.stopping),
		node:   n,
		waits:  newWaits(),
		slots:  make(chan struct{}, maxForwards),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// drain returns when nothing waits to be forwarded any more, after the node began to stop.
func (f *forwarder) drain() {
	defer f.cancel()
	timeout := time.AfterFunc(drainTimeout, f.cancel)
	defer timeout.Stop()
	<-f.done
}

// run forwards until the node stops or halts.
func (f *forwarder) run() {
	defer close(f.done)
	defer f.work.Wait()
	var next *proposal
	for {
		if next == nil {
			next = f.wait()
		}
		if next == nil {
			return
		}
		f.slots <- struct{}{}
		var batch []*proposal
		batch, next = f.collect(next)
		f.work.Go(func() {
			f.forward(batch)
			<-f.slots
		})
	}
}

// forward takes one batch to the leader and answers its proposals.
func (f *forwarder) forward(batch []*proposal) {
	if len(batch) == 0 {
		return
	}
	begin := time.Now()
	commands := commandsOf(batch)
	done := f.waits.expect()
	defer done()
	entry, err := f.node.askToCommit(f.ctx, commands)
	var outcomes []any
	if err == nil {
		outcomes, err = f.outcomes(entry, len(commands))
	}
	if err != nil {
		answer(batch, proposalResult{err: err})
		return
	}
	f.metrics.forwards.Add(1)
	f.metrics.forwarded.Add(uint64(len(commands)))
	f.metrics.forwardLatency.observe(uint64(time.Since(begin).Microseconds()))
	for i, prop := range batch {
		prop.done <- proposalResult{entry: entry, outcome: outcomes[i]}
	}
}

// outcomes waits until this node has applied the entry.
func (f *forwarder) outcomes(entry position, count int) ([]any, error) {
	c, cancel := f.waits.wait(entry.index)
	defer cancel()
	timeout := time.NewTimer(applyTimeout)
	defer timeout.Stop()
	select {
	case all, ok := <-c:
		if !ok {
			return nil, fmt.Errorf("%w: a snapshot came before entry %d was applied here", ErrUncertain, entry.index)
		}
		if entry.number+count > len(all) {
			return nil, fmt.Errorf("%w: entry %d has %d commands here", ErrUncertain, entry.index, len(all))
		}
		return all[entry.number : entry.number+count], nil
	case <-f.fsm.halted:
		return nil, f.fsm.err()
	case <-timeout.C:
		return nil, fmt.Errorf("%w: entry %d is committed but was not applied here within %v", ErrUncertain, entry.index, applyTimeout)
	}
}

// leader returns the other member that leads, as far as this one knows. One that Raft has not heard of, because the others look
// for this member where it was before it moved, is known by its own word.
func (n *Node) leader() (raft.Server, error) {
	address, id := n.raft.LeaderWithID()
	leader := raft.Server{ID: id, Address: address}
	if id == "" {
		leader, _ = n.peers.leader()
	}
	if leader.ID == "" || leader.ID == raft.ServerID(n.cfg.ID) {
		return raft.Server{}, ErrNotLeader
	}
	return leader, nil
}

// askLeader calls the leader, if one is known, and gives up when another leads.
func (n *Node) askLeader(ctx context.Context, kind byte, body []byte) (leader raft.Server, reply []byte, err error) {
	_, known := n.raft.LeaderWithID()
	if leader, err = n.leader(); err != nil {
		return leader, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.work.Go(func() {
		defer cancel()
		for {
			changed := n.changes.changed()
			if _, now := n.raft.LeaderWithID(); now != known && now != leader.ID {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	reply, err = n.calls.call(ctx, string(leader.Address), kind, body)
	return leader, reply, err
}

// askToCommit sends commands to the leader and returns where they stand in the log. Its errors are those of Propose.
func (n *Node) askToCommit(ctx context.Context, commands [][]byte) (position, error) {
	leader, reply, err := n.askLeader(ctx, callForward, appendForward(n.cfg.ID, commands))
	if err != nil {
		return position{}, forwardError(err)
	}
	entry, err := readPosition(reply)
	if err != nil {
		return position{}, fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	n.hints.give(hint{leader, entry.term, entry.index})
	return entry, nil
}

// forwardError translates the answer to forwarded commands. What the leader refused, or never got, is not in the log.
func forwardError(err error) error {
	for _, refusal := range []error{ErrNotLeader, ErrBusy, ErrTooLarge} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: %w", refusal, err)
		}
	}
	var remote *remoteError
	switch {
	case errors.Is(err, errUnreachable), errors.Is(err, errUnknownCall), errors.Is(err, errCall):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, ErrClosed) && errors.As(err, &remote):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, ErrClosed):
		return err
	default:
		return fmt.Errorf("%w: %v", ErrUncertain, err) // without the errors of the peer, such as its having halted
	}
}

// forwarded answers callForward: it commits the commands of another member, if this node leads.
func (n *Node) forwarded(ctx context.Context, body []byte) ([]byte, error) {
	from, commands, err := readForward(body)
	if err != nil {
		return nil, err
	}
	if err := speaksFor(ctx, from); err != nil {
		return nil, err
	}
	// One that was removed does not get the entry and would wait for its outcome in vain.
	if _, ok := n.server(from); !ok {
		return nil, ErrNotLeader
	}
	r := n.proposeHere(&proposal{ctx: ctx, group: commands}, false)
	if r.err != nil {
		return nil, r.err
	}
	return appendPosition(nil, r.entry), nil
}

// appendForward returns the body of callForward: the sender's id with a length of two bytes, the number of commands (4
// bytes), then the commands as in a pack.
func appendForward(from string, commands [][]byte) []byte {
	size := 2 + len(from) + 4
	for _, command := range commands {
		size += commandSize(len(command))
	}
	data := appendBytes(make([]byte, 0, size), from)
	data = binary.BigEndian.AppendUint32(data, uint32(len(commands)))
	for _, command := range commands {
		data = binary.AppendUvarint(data, uint64(len(command)))
		data = append(data, command...)
	}
	return data
}

// readForward reads what appendForward wrote. The commands alias body.
func readForward(body []byte) (from string, commands [][]byte, err error) {
	w := wire{data: body}
	from = string(w.bytes(maxID))
	count := w.uint32()
	if w.bad || count == 0 || count > maxCommands || len(w.data) > maxBody {
		return "", nil, fmt.Errorf("%w: %d commands in %d bytes", errCall, count, len(w.data))
	}
	if commands, err = splitCommands(w.data, int(count)); err != nil {
		return "", nil, fmt.Errorf("%w: %w", errCall, err)
	}
	return from, commands, nil
}

// appendPosition appends the reply to callForward: term (8 bytes), index (8), number (4).
func appendPosition(data []byte, p position) []byte {
	data = binary.BigEndian.AppendUint64(data, p.term)
	data = binary.BigEndian.AppendUint64(data, p.index)
	return binary.BigEndian.AppendUint32(data, uint32(p.number))
}

// readPosition reads what appendPosition wrote.
func readPosition(data []byte) (position, error) {
	w := wire{data: data}
	p := position{term: w.uint64(), index: w.uint64(), number: int(w.uint32())}
	if p.number > maxCommands {
		w.bad = true
	}
	return p, w.end()
}
