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
		s.Members = append(s.Members, Member{string(server.ID), string(server.Address), server.Suffrage == raft.Voter})
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

// call asks a member by its id; see calls.call.
func (n *Node) call(ctx context.Context, id string, kind byte, body []byte) ([]byte, error) {
	for _, server := range n.servers() {
		if server.ID == raft.ServerID(id) {
			return n.calls.call(ctx, string(server.Address), kind, body)
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownMember, id)
}

// membershipTimeout bounds the wait for an earlier change of membership to be committed.
const membershipTimeout = 10 * time.Second

// Join adds a voting member, or updates its address; only the leader can. The member counts for the majority at once, so
// it should be running: a second voter that does not answer stops the cluster.
func (n *Node) Join(ctx context.Context, id, address string) error {
	if id == "" || address == "" {
		return errors.New("consensus: a member needs an id and an address")
	}
	return n.operate(ctx, func() error {
		return memberError(n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, membershipTimeout).Error())
	})
}

// Remove removes a member; only the leader can. A leader that removes itself steps down.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.operate(ctx, func() error {
		return memberError(n.raft.RemoveServer(raft.ServerID(id), 0, membershipTimeout).Error())
	})
}

// Transfer hands the leadership to the voter that is most up to date, and returns when this node no longer leads.
func (n *Node) Transfer(ctx context.Context) error {
	return n.operate(ctx, func() error {
		if n.raft.State() != raft.Leader {
			return ErrNotLeader
		}
		if n.soleVoter() {
			return ErrNoPeer
		}
		return memberError(n.raft.LeadershipTransfer().Error())
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
	for _, server := range n.servers() {
		if server.ID == id && server.Address != address {
			if err := n.raft.AddVoter(id, address, 0, membershipTimeout).Error(); err != nil {
				n.log.Warn("own address not updated", "address", address, "error", err)
			}
		}
	}
}
