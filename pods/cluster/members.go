package cluster

import (
	"context"
	"slices"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

type removedReply struct {
	ID      string        `json:"id"`
	Removed string        `json:"removed"`
	Forced  bool          `json:"forced"`
	Receipt store.Receipt `json:"receipt"`
}

// remove takes a node's membership away. The batch depends on every other
// member's record, so that of two removals at once the second is decided again.
func (p *Pod) remove(_ context.Context, c *pods.Call) (*pods.Result, error) {
	forced, err := flag(c, "force")
	if err != nil {
		return nil, err
	}
	m, err := named(c)
	if err != nil {
		return nil, err
	}
	members, err := list(c.View, c.Tenant, kindMember, parseMember)
	if err != nil {
		return nil, err
	}
	if err := p.mayGo(m.T, members, forced); err != nil {
		return nil, err
	}
	var ops []store.Op
	for _, other := range members {
		ops = append(ops, store.Check(other.item.Key, other.item.Version))
	}
	reply := &removedReply{ID: m.T.ID, Removed: pods.Timestamp(c.Now), Forced: forced}
	return &pods.Result{
		Body: reply,
		Ops:  append(ops, store.Delete(m.item.Key), removal(c.Tenant, m.T, c.Now, c.Actor(), forced)),
		Evidence: evidence(c, "cluster.remove", "ok", map[string]any{
			"node": m.T.ID, "address": m.T.Address, "pin": m.T.Pin, "observer": m.T.Observer, "forced": forced,
		}),
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

// mayGo refuses to remove the last voter ever, and one without which no majority
// answers unless forced. The voters are those that replication counts and that
// shall stay: a removal that was decided a moment ago counts as done.
func (p *Pod) mayGo(m Member, members []stored[Member], forced bool) error {
	s := p.config.Replication.Status()
	s.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), func(n Node) bool {
		return !slices.ContainsFunc(members, func(m stored[Member]) bool { return m.T.ID == n.ID })
	})
	before, _ := s.voters("")
	voters, reachable := s.voters(m.ID)
	switch {
	case voters == before: // it does not vote
		return nil
	case voters == 0:
		return tap.E("cluster.remove", tap.Conflict, "the last node that votes cannot be removed").WithCode("last_voter")
	case reachable < majority(voters) && !forced:
		return tap.E("cluster.remove", tap.Conflict,
			"of the %d voters that would be left only %d answer, which is no majority: the site would stop; bring one back first, or force it", voters, reachable).
			WithCode("quorum").WithDetail("voters", voters).WithDetail("reachable", reachable)
	}
	return nil
}

type promotedReply struct {
	ID      string        `json:"id"`
	Receipt store.Receipt `json:"receipt"`
}

func (p *Pod) promote(_ context.Context, c *pods.Call) (*pods.Result, error) {
	m, err := named(c)
	if err != nil {
		return nil, err
	}
	if !m.T.Observer {
		return nil, tap.E("cluster.promote", tap.Conflict, "this node votes already, or will as soon as it has caught up").WithCode("not_observer")
	}
	m.T.Observer = false
	reply := &promotedReply{ID: m.T.ID}
	return &pods.Result{
		Body:      reply,
		Ops:       []store.Op{store.Check(m.item.Key, m.item.Version), store.Put(m.item.Key, mustJSON(m.T))},
		Evidence:  evidence(c, "cluster.promote", "ok", map[string]any{"node": m.T.ID}),
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

type transferRequest struct {
	To string `json:"to"`
}

type transferredReply struct {
	From    string        `json:"from"`
	Leader  string        `json:"leader"`
	Receipt store.Receipt `json:"receipt"`
}

// transfer moves the leadership and then writes down how that ended: who leads
// is no state, and the entry about it is committed by the new leader. Without a
// name, a repetition of the request may move it once more.
func (p *Pod) transfer(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var in transferRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	before := p.config.Replication.Status()
	if err := before.mayLead(in.To); err != nil {
		return nil, err
	}
	payload := map[string]any{"from": before.Leader, "to": in.To}
	if in.To == "" || in.To != before.Leader {
		if err := p.config.Replication.Transfer(ctx, in.To); err != nil {
			if ctx.Err() != nil {
				return nil, tap.AsError(err)
			}
			e := tap.AsError(err)
			payload["reason"] = e.StableCode()
			return &pods.Result{Error: e, Evidence: evidence(c, "cluster.transfer", "failed", payload)}, nil
		}
	}
	reply := &transferredReply{From: before.Leader, Leader: p.config.Replication.Status().Leader}
	payload["leader"] = reply.Leader
	return &pods.Result{
		Body: reply, Evidence: evidence(c, "cluster.transfer", "ok", payload),
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

// mayLead refuses a transfer to a node that cannot lead; "" is any.
func (s *Status) mayLead(to string) error {
	if to == "" {
		if voters, _ := s.voters(""); voters < 2 {
			return tap.E("cluster.transfer", tap.Conflict, "there is no other voter to lead").WithCode("no_peer")
		}
		return nil
	}
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.ID == to })
	switch {
	case i < 0:
		return errNoMember()
	case !s.Nodes[i].Voter:
		return tap.E("cluster.transfer", tap.Conflict, "a node that does not vote cannot lead; promote it first").WithCode("not_voter")
	case !s.Nodes[i].Reachable:
		return tap.E("cluster.transfer", tap.Conflict, "this node does not answer").WithCode("not_reachable")
	}
	return nil
}
