package faults

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Status is what a node says of itself.
type Status struct {
	Role   string `json:"role"`
	Ready  bool   `json:"ready"`
	Ledger struct {
		Size  uint64 `json:"size"`
		Root  string `json:"root"`
		Clock int64  `json:"clockMicros"` // the last stamp of a leader
	} `json:"ledger"`
}

// Member is a row of the member list.
type Member struct {
	Node      string `json:"id"`
	Voter     bool   `json:"voter"`
	Reachable bool   `json:"reachable"`
	Unfit     string `json:"unfit"` // why it should not lead
}

// View is the cluster as one member sees it.
type View struct {
	Version uint32   `json:"version"` // that all members apply
	Nodes   []Member `json:"nodes"`
}

// member is a row of the view; the zero Member when it has none.
func (v *View) member(name string) Member {
	for _, m := range v.Nodes {
		if m.Node == name {
			return m
		}
	}
	return Member{}
}

// View asks any member how the cluster is.
func (s *Site) View(ctx context.Context) (View, error) {
	var v View
	_, err := s.Ask(ctx, "GET", "/v1/cluster", nil, &v)
	return v, err
}

const roleLeader = "leader"

// Status asks a node how it is.
func (s *Site) Status(ctx context.Context, n *Node) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var v Status
	reply, err := s.Client(operator, n).Do(ctx, "GET", "/v1/status", nil, nil)
	if err != nil {
		return v, err
	}
	return v, reply.Decode(&v)
}

// Leader is the running member that leads. Of several that believe it, in a
// partition, it is any.
func (s *Site) Leader(ctx context.Context) (*Node, error) {
	var leader *Node
	err := until(ctx, startTime, func() error {
		for _, n := range s.Members() {
			if status, err := s.Status(ctx, n); err == nil && status.Role == roleLeader {
				leader = n
				return nil
			}
		}
		return errors.New("no node leads")
	})
	return leader, err
}

// Followers are the running members that do not lead.
func (s *Site) Followers(ctx context.Context) ([]*Node, error) {
	leader, err := s.Leader(ctx)
	if err != nil {
		return nil, err
	}
	var others []*Node
	for _, n := range s.Members() {
		if n != leader && n.Running() {
			others = append(others, n)
		}
	}
	return others, nil
}

// invite asks for a token with which a node may join.
func (s *Site) invite(ctx context.Context, name string) (string, error) {
	var reply struct {
		Token string `json:"token"`
	}
	_, err := s.Ask(ctx, "POST", "/v1/cluster/invitations", map[string]any{"node": name, "expiresSeconds": 600}, &reply)
	return reply.Token, err
}

// awaitVoter waits until the cluster counts on a node.
func (s *Site) awaitVoter(ctx context.Context, name string) error {
	return until(ctx, startTime, func() error {
		view, err := s.View(ctx)
		if err == nil && !view.member(name).Voter {
			err = fmt.Errorf("%s does not vote: %+v", name, view.Nodes)
		}
		return err
	})
}

// Remove ends a node's membership for good, and its process.
func (s *Site) Remove(ctx context.Context, n *Node) error {
	if _, err := s.Ask(ctx, "DELETE", "/v1/cluster/members/"+url.PathEscape(n.Name), nil, nil); err != nil {
		return err
	}
	s.Forget(n)
	return n.Kill()
}

// Forget no longer counts a node as a member.
func (s *Site) Forget(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed[n.Name] = true
}

// Settle heals the network, starts what was killed, and waits until every member
// has at least what any of them had. A node that ended by itself is an error.
func (s *Site) Settle(ctx context.Context) error {
	s.Network.Heal()
	for _, n := range s.Members() {
		if err := n.Died(); err != nil {
			return err
		}
		if n.Running() {
			continue
		}
		if err := n.Start(Run); err != nil {
			return err
		}
	}
	for _, n := range s.Members() {
		if err := n.await(ctx); err != nil {
			return err
		}
	}
	var goal uint64
	for _, n := range s.Members() {
		status, err := s.Status(ctx, n)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		goal = max(goal, status.Ledger.Size)
	}
	return until(ctx, settleTime, func() error {
		leaders := 0
		for _, n := range s.Members() {
			status, err := s.Status(ctx, n)
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", n.Name, err)
			case status.Ledger.Size < goal:
				return fmt.Errorf("%s has %d of %d entries", n.Name, status.Ledger.Size, goal)
			case status.Role == roleLeader:
				leaders++
			}
		}
		if leaders != 1 {
			return fmt.Errorf("%d nodes lead", leaders)
		}
		return nil
	})
}

// Heads asks every member for its ledger's root at the largest size that all of
// them have, and at the size that each has now.
func (s *Site) Heads(ctx context.Context) ([]Head, error) {
	var heads []Head
	for _, n := range s.Members() {
		status, err := s.Status(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
		heads = append(heads, Head{n.Name, status.Ledger.Size, status.Ledger.Root})
	}
	common := heads[0].Size
	for _, h := range heads {
		common = min(common, h.Size)
	}
	for _, n := range s.Members() {
		query := url.Values{"old": {"0"}, "new": {strconv.FormatUint(common, 10)}}
		reply, err := s.Client(operator, n).Do(ctx, "GET", "/v1/evidence/consistency", query, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
		var proof struct {
			Root string `json:"newRoot"`
		}
		if err := reply.Decode(&proof); err != nil {
			return nil, err
		}
		heads = append(heads, Head{n.Name, common, proof.Root})
	}
	return heads, nil
}

// until asks again and again until the condition holds; the error is the last
// answer.
func until(ctx context.Context, most time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := condition()
		if err == nil || !pause(ctx, pollEvery) {
			return err
		}
	}
}
