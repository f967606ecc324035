package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

var (
	// ErrUnknownMember means that the cluster has no member of that id.
	ErrUnknownMember = errors.New("consensus: no such member")
	// ErrBehind means that a member has not caught up with the leader's log, or cannot be asked.
	ErrBehind = errors.New("consensus: member has not caught up")
)

// Role is what a node does in its cluster at the moment.
type Role string

// The roles of a node. A stopped node has RoleStopped.
const (
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleLeader    Role = "leader"
	RoleStopped   Role = "stopped"
)

// Member is one server of the cluster's latest configuration.
type Member struct {
	ID      string
	Address string
	Voter   bool
}

// memberOf returns a server of Raft's configuration in this package's terms.
func memberOf(server raft.Server) Member {
	return Member{string(server.ID), string(server.Address), server.Suffrage == raft.Voter}
}

// Status describes a node. Its parts are read one after the other, not at one instant.
type Status struct {
	ID            string
	Role          Role
	Term          uint64
	LeaderID      string // empty while no leader is known
	LeaderAddress string
	CommitIndex   uint64
	AppliedIndex  uint64    // last entry that is part of the state
	LastIndex     uint64    // last entry of the log
	LastContact   time.Time // of a follower with its leader; zero for none yet
	Members       []Member
	Member        bool // it is one of Members; false before it was added, and after it was removed
	Voter         bool // it is one that votes
	Halted        bool
}

// State returns the node's status.
func (n *Node) State() Status {
	address, id := n.raft.LeaderWithID()
	s := Status{
		ID:            n.cfg.ID,
		Role:          role(n.raft.State()),
		Term:          n.raft.CurrentTerm(),
		LeaderID:      string(id),
		LeaderAddress: string(address),
		CommitIndex:   n.raft.CommitIndex(),
		AppliedIndex:  n.fsm.applied.Load(),
		LastIndex:     n.raft.LastIndex(),
		LastContact:   n.raft.LastContact(),
		Halted:        n.fsm.err() != nil,
	}
	for _, server := range n.servers() {
		m := memberOf(server)
		s.Members = append(s.Members, m)
		if m.ID == s.ID {
			s.Member, s.Voter = true, m.Voter
		}
	}
	return s
}

func role(s raft.RaftState) Role {
	switch s {
	case raft.Follower:
		return RoleFollower
	case raft.Candidate:
		return RoleCandidate
	case raft.Leader:
		return RoleLeader
	default:
		return RoleStopped
	}
}

// servers returns the latest configuration, committed or not. The future is complete from the start and has no error.
func (n *Node) servers() []raft.Server {
	return n.raft.GetConfiguration().Configuration().Servers
}

// soleVoter reports whether this node is a voter and the only one.
func (n *Node) soleVoter() bool {
	var voters []raft.ServerID
	for _, server := range n.servers() {
		if server.Suffrage == raft.Voter {
			voters = append(voters, server.ID)
		}
	}
	return len(voters) == 1 && voters[0] == raft.ServerID(n.cfg.ID)
}

// server returns the member of that id.
func (n *Node) server(id string) (raft.Server, bool) {
	for _, server := range n.servers() {
		if server.ID == raft.ServerID(id) {
			return server, true
		}
	}
	return raft.Server{}, false
}

// membershipTimeout bounds the wait for an earlier change of membership to be committed.
const membershipTimeout = 10 * time.Second

// Add makes a node a member without a vote, which gets the log but does not count for the majority, or gives a member a new
// address and leaves its vote as it is. Only the leader can. The node may start later: it is sent the log when it answers.
func (n *Node) Add(ctx context.Context, id, address string) error {
	if id == "" || len(id) > maxID || address == "" {
		return fmt.Errorf("consensus: a member needs an id of 1 to %d bytes and an address", maxID)
	}
	return n.operate(ctx, func() error {
		return memberError(n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, membershipTimeout).Error())
	})
}

// maxLag is the number of entries that a member may be behind to be given a vote. With so few missing it does not hold up
// the majority that it now counts for.
const maxLag = 64

// Promote gives a member its vote; only the leader can. It asks the member first, and answers ErrBehind unless the member's
// log reaches, but for maxLag entries, as far as the leader's did when it was asked.
func (n *Node) Promote(ctx context.Context, id string) error {
	return n.operate(ctx, func() error {
		if n.raft.State() != raft.Leader {
			return ErrNotLeader
		}
		server, ok := n.server(id)
		if !ok {
			return fmt.Errorf("%w: %q", ErrUnknownMember, id)
		}
		if server.Suffrage == raft.Voter {
			return nil
		}
		peer, last, err := n.peers.ask(ctx, server)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBehind, err)
		}
		if peer.Last+maxLag < last {
			return fmt.Errorf("%w: its log ends at %d of %d", ErrBehind, peer.Last, last)
		}
		return memberError(n.raft.AddVoter(server.ID, server.Address, 0, membershipTimeout).Error())
	})
}

// Remove removes a member; only the leader can. Asked to remove itself it hands the leadership over and answers
// ErrNotLeader: the next leader removes it, and the cluster is never without one for the time of an election.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.operate(ctx, func() error {
		if n.raft.State() != raft.Leader {
			return ErrNotLeader
		}
		if _, ok := n.server(id); !ok {
			return fmt.Errorf("%w: %q", ErrUnknownMember, id)
		}
		if id == n.cfg.ID {
			if err := n.handOver(ctx, ""); err != nil {
				return err
			}
			return ErrNotLeader
		}
		return memberError(n.raft.RemoveServer(raft.ServerID(id), 0, membershipTimeout).Error())
	})
}

// memberError translates Raft's answer to a change of membership or leadership.
func memberError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipLost):
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	default:
		return fmt.Errorf("consensus: %w", err)
	}
}

// updateAddress corrects this leader's own entry in the configuration after it was moved, in particular when a cluster of
// one, which had no address, is given a stream layer so that it can grow.
func (n *Node) updateAddress() {
	id, address := raft.ServerID(n.cfg.ID), n.trans.LocalAddr()
	if server, ok := n.server(n.cfg.ID); ok && server.Address != address {
		if err := n.raft.AddVoter(id, address, 0, membershipTimeout).Error(); err != nil {
			n.log.Warn("own address not updated", "address", address, "error", err)
		}
	}
}
