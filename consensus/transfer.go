package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Transfer hands the leadership to a voting member, "" meaning the fittest: of those heard within three seconds that do not
// report themselves unfit, the one with the longest log. On another member than the leader the request is passed on to the
// leader. It returns when the leader no longer leads.
func (n *Node) Transfer(ctx context.Context, to string) error {
	return n.operate(ctx, func() error {
		if n.raft.State() == raft.Leader {
			return n.handOver(ctx, to)
		}
		leader, err := n.leader()
		if err != nil {
			return err
		}
		_, err = n.calls.call(ctx, string(leader.Address), callTransfer, appendBytes(nil, to))
		switch {
		case errors.Is(err, errUnreachable):
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		case errors.Is(err, errBroken):
			return fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return err
	})
}

// transferred answers callTransfer.
func (n *Node) transferred(ctx context.Context, body []byte) ([]byte, error) {
	w := wire{data: body}
	to := string(w.bytes(maxID))
	if err := w.end(); err != nil {
		return nil, err
	}
	return nil, n.operate(ctx, func() error {
		if n.raft.State() != raft.Leader {
			return ErrNotLeader
		}
		return n.handOver(ctx, to)
	})
}

// handOver makes another member stand for election while this one, which leads, accepts nothing more.
func (n *Node) handOver(ctx context.Context, to string) error {
	if to == n.cfg.ID {
		return nil
	}
	if to == "" {
		fittest, err := n.fittest(ctx)
		if err != nil {
			return err
		}
		to = fittest
	}
	server, ok := n.server(to)
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnknownMember, to)
	}
	if server.Suffrage != raft.Voter {
		return fmt.Errorf("%w: %q has no vote", ErrNoPeer, to)
	}
	return memberError(n.raft.LeadershipTransferToServer(server.ID, server.Address).Error())
}

// fittest returns the voter that should lead next. A leader that has heard nobody yet asks first.
func (n *Node) fittest(ctx context.Context) (string, error) {
	if id := mostRecent(n.Peers()); id != "" {
		return id, nil
	}
	for _, server := range n.peers.others() {
		if server.Suffrage == raft.Voter {
			_, _, _ = n.peers.ask(ctx, server) // one that does not answer is not fit
		}
	}
	if id := mostRecent(n.Peers()); id != "" {
		return id, nil
	}
	return "", fmt.Errorf("%w that answers and is fit", ErrNoPeer)
}

// mostRecent returns the id of the voter with the longest log among those that are present and fit, "" for none.
func mostRecent(peers []Peer) (id string) {
	var last uint64
	for _, p := range peers {
		if p.Voter && p.Report.Unfit == "" && time.Since(p.Heard) <= peerAge && (id == "" || p.Last > last) {
			id, last = p.ID, p.Last
		}
	}
	return id
}
