package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// reconcileInterval is how often the leader compares the members it should have
// with those it has, besides whenever a record changes.
const reconcileInterval = time.Second

// reconcile makes raft's configuration follow the member records while this
// node leads: who has a record is added without a vote, votes when it has
// caught up unless it is an observer, and is removed with its record. Every
// step may fail and is taken again; none is taken twice at a time.
func (n *node) reconcile(ctx context.Context) {
	ticker := time.NewTicker(reconcileInterval)
	defer ticker.Stop()
	for {
		changed := n.engines.members.Changed()
		n.link.Recheck()
		if n.serving.Load() {
			n.reconcileOnce(ctx)
			n.raiseVersion(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if !n.serving.Load() {
				continue // the first one is written when the node answers
			}
			if err := n.writeContext(); err != nil {
				n.cfg.Logger.Warn("the context file does not list the new members", "error", err)
			}
		case <-ticker.C:
		}
	}
}

func (n *node) reconcileOnce(ctx context.Context) {
	state := n.consensus.State()
	if state.Role != consensus.RoleLeader {
		return
	}
	present := map[string]consensus.Member{}
	for _, m := range state.Members {
		present[m.ID] = m
	}
	for _, wanted := range n.engines.members.Members() {
		have, known := present[wanted.ID]
		delete(present, wanted.ID)
		if !known || have.Address != wanted.Address {
			n.change(ctx, "added", wanted.ID, func() error { return n.consensus.Add(ctx, wanted.ID, wanted.Address) })
		}
		if known && !have.Voter && !wanted.Observer {
			n.change(ctx, "made a voter", wanted.ID, func() error { return n.consensus.Promote(ctx, wanted.ID) })
		}
	}
	for id := range present {
		// A member without a record and without a removal is this site's
		// first node before it has introduced itself.
		if n.engines.members.Removed(id) {
			n.change(ctx, "removed", id, func() error { return n.consensus.Remove(ctx, id) })
		}
	}
}

// change takes one step of a membership change and says what came of it.
func (n *node) change(ctx context.Context, what, id string, step func() error) {
	err := step()
	switch {
	case err == nil:
		n.cfg.Logger.Info("member "+what, "member", id)
	case errors.Is(err, consensus.ErrNotLeader), errors.Is(err, consensus.ErrBehind), ctx.Err() != nil:
	default:
		n.cfg.Logger.Warn("a member is not "+what+" yet", "member", id, "error", err)
	}
}

// raiseVersion lets newer commands be used once every member can apply them.
func (n *node) raiseVersion(ctx context.Context) {
	if n.consensus.State().Role != consensus.RoleLeader {
		return
	}
	least := store.Version
	for _, p := range n.consensus.Peers() {
		if time.Since(p.Heard) > heardLately {
			return // what it runs is not known
		}
		least = min(least, p.Report.Version)
	}
	if least <= n.store.ClusterVersion() {
		return
	}
	_, err := n.writer.Commit(ctx, store.Batch{
		RequestID: newRequestID(), Tenant: n.cfg.Tenant, Ops: []store.Op{store.Raise(least)},
		Evidence: []store.Evidence{{Actor: "system", Action: "cluster.version", Outcome: "ok", Payload: fmt.Appendf(nil, `{"version":%d}`, least)}},
	})
	if err != nil && ctx.Err() == nil {
		n.cfg.Logger.Warn("the cluster version stays", "error", err)
	}
}

// counts says whether consensus still counts on a node: one that is being
// removed has to hear of it.
func (n *node) counts(id string) bool {
	c := n.replica.Load()
	return c != nil && slices.ContainsFunc(c.State().Members, func(m consensus.Member) bool { return m.ID == id })
}

// self is this node's own member record as it should be; changed says whether it
// is not.
func (n *node) self() (record members.Member, changed bool) {
	record = members.Member{
		ID: n.settings.Node, Joined: n.clock.Now().UnixMicro(), Address: n.settings.Advertise, Pin: members.Pin(n.certificates.Pin()),
		Release: tap.Release, Version: store.Version,
	}
	known, ok := n.engines.members.Member(record.ID)
	if ok {
		record.Joined, record.Observer, record.Request, record.By, record.Invited = known.Joined, known.Observer, known.Request, known.By, known.Invited
	}
	return record, known != record
}

// announceMove tells the leader where this node is now: the others look for it
// where it was, so it hears of no leader by itself.
func (n *node) announceMove(ctx context.Context, id uuid.UUID) {
	record, _ := n.self()
	known, ok := n.engines.members.Member(record.ID)
	if !ok || known.Address == record.Address || len(n.engines.members.Members()) == 1 {
		return
	}
	// The others hear of it; this node does with what it catches up.
	if _, err := n.writer.Commit(ctx, members.SelfBatch(n.cfg.Tenant, record, id)); err != nil && ctx.Err() == nil {
		n.cfg.Logger.Warn("the other members do not know this node's new address yet", "address", record.Address, "error", err)
	}
}

// introduce writes what a site's first node has to: its own member record, and
// the first operator. A node that moved, or runs another release, writes its
// record anew, when it can: nobody waits for that.
func (n *node) introduce(ctx context.Context) error {
	record, changed := n.self()
	if other, taken := n.engines.members.NodeAt(record.Address); taken && other != record.ID {
		return tap.E("appliance.run", tap.Conflict, "the address %s is that of member %s; give this node its own with --listen or --advertise", record.Address, other)
	}
	if _, known := n.engines.members.Member(record.ID); known && changed {
		n.inBackground(n.renewRecord)
	} else if changed {
		if _, err := n.writer.Commit(ctx, members.SelfBatch(n.cfg.Tenant, record, newRequestID())); err != nil {
			return err
		}
	}
	if n.settings.Joined {
		return nil
	}
	return n.enrolOperator(ctx)
}

// renewRecord writes this node's record until it is written.
func (n *node) renewRecord(ctx context.Context) {
	for ctx.Err() == nil {
		record, changed := n.self()
		if !changed {
			return
		}
		_, err := n.writer.Commit(ctx, members.SelfBatch(n.cfg.Tenant, record, newRequestID()))
		if err == nil {
			return
		}
		n.cfg.Logger.Warn("this node's record is not up to date yet", "error", err)
		sleep(ctx, catchUpTurn)
	}
}
