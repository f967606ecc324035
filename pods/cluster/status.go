package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"tamv.internal/tamv/pods"
)

// The roles of a node in the status.
const (
	roleLeader   = "leader"
	roleFollower = "follower"
	roleObserver = "observer" // does not vote, and is not meant to
	roleJoining  = "joining"  // shall be a member; replication does not count it yet
	roleLeaving  = "leaving"  // replication still counts it
)

type statusReply struct {
	Node    string    `json:"node"` // who answers
	Leader  string    `json:"leader,omitempty"`
	Term    uint64    `json:"term"`
	Commit  uint64    `json:"commit"`
	Version uint32    `json:"version"`
	Voters  int       `json:"voters"`
	Quorum  int       `json:"quorum"` // voters that must answer for a write
	Answer  int       `json:"answer"` // voters that do answer
	Nodes   []nodeRow `json:"nodes"`
}

type nodeRow struct {
	ID                string      `json:"id"`
	Address           string      `json:"address"`
	Role              string      `json:"role"`
	Voter             bool        `json:"voter"`
	Reachable         bool        `json:"reachable"`
	Applied           uint64      `json:"applied"`
	Lag               uint64      `json:"lag"` // entries behind the last committed one
	Ledger            *Ledger     `json:"ledger,omitempty"`
	Release           string      `json:"release"`
	Version           uint32      `json:"version"`
	ClockOffsetMicros int64       `json:"clockOffsetMicros"`
	RoundTripMicros   int64       `json:"roundTripMicros"`
	Disk              *Disk       `json:"disk,omitempty"`
	Unfit             string      `json:"unfit,omitempty"`
	Conditions        []Condition `json:"conditions"`
	Joined            string      `json:"joined,omitempty"`
	Heard             string      `json:"heard,omitempty"`
}

// status joins the records with what replication knows.
func (p *Pod) status(_ context.Context, c *pods.Call) (*pods.Result, error) {
	members, err := list(c.View, c.Tenant, kindMember, parseMember)
	if err != nil {
		return nil, err
	}
	s := p.config.Replication.Status()
	voters, reachable := s.voters("")
	reply := statusReply{
		Node: s.Node, Leader: s.Leader, Term: s.Term, Commit: s.Commit, Version: s.Version,
		Voters: voters, Quorum: majority(voters), Answer: reachable, Nodes: []nodeRow{},
	}
	for _, n := range s.Nodes {
		i := slices.IndexFunc(members, func(m stored[Member]) bool { return m.T.ID == n.ID })
		if i < 0 {
			reply.Nodes = append(reply.Nodes, s.row(n, nil))
			continue
		}
		reply.Nodes = append(reply.Nodes, s.row(n, &members[i].T))
		members = slices.Delete(members, i, i+1)
	}
	for _, m := range members {
		reply.Nodes = append(reply.Nodes, s.row(Node{ID: m.T.ID, Address: m.T.Address}, &m.T))
	}
	slices.SortFunc(reply.Nodes, func(a, b nodeRow) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Address, b.Address))
	})
	return &pods.Result{Body: reply}, nil
}

// row is one node of the status; m is nil for one that has no record.
func (s *Status) row(n Node, m *Member) nodeRow {
	r := nodeRow{
		ID: n.ID, Address: n.Address, Role: s.role(n, m), Voter: n.Voter, Reachable: n.Reachable,
		Applied: n.Applied, Lag: s.Commit - min(n.Applied, s.Commit), Release: n.Report.Release, Version: n.Version,
		ClockOffsetMicros: n.ClockOffset.Microseconds(), RoundTripMicros: n.RoundTrip.Microseconds(),
		Unfit: n.Unfit, Conditions: n.Report.Conditions,
	}
	if r.Conditions == nil {
		r.Conditions = []Condition{}
	}
	if m != nil {
		r.Joined = pods.TimestampMicros(m.Joined)
		r.Release, r.Version = cmp.Or(r.Release, m.Release), cmp.Or(r.Version, m.Version)
	}
	if heard := n.Heard; heard != (time.Time{}) {
		r.Heard, r.Ledger, r.Disk = pods.Timestamp(heard), &n.Report.Ledger, &n.Report.Disk
	}
	return r
}

func (s *Status) role(n Node, m *Member) string {
	counted := slices.ContainsFunc(s.Nodes, func(other Node) bool { return other.ID == n.ID })
	switch {
	case m == nil:
		return roleLeaving
	case !counted, !n.Voter && !m.Observer:
		return roleJoining
	case n.ID == s.Leader:
		return roleLeader
	case !n.Voter:
		return roleObserver
	}
	return roleFollower
}

// voters counts the nodes that vote, and those of them that answer, without the
// one named.
func (s *Status) voters(without string) (all, reachable int) {
	for _, n := range s.Nodes {
		if n.Voter && n.ID != without {
			all++
			if n.Reachable {
				reachable++
			}
		}
	}
	return all, reachable
}

// majority is how many of n voters must agree.
func majority(n int) int { return n/2 + 1 }
