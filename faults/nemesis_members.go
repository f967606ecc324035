package faults

import (
	"context"
	"errors"

	"tamv.internal/tamv/tap"
)

// growAndShrink makes three members five and three again under load: two join, a
// follower and the leader are removed for good.
func growAndShrink(ctx context.Context, t *Trial) error {
	for range 2 {
		t.Fault("a node joins")
		if _, err := t.Add(ctx); err != nil {
			return err
		}
		if err := t.Recovered(ctx, "a join"); err != nil {
			return err
		}
	}
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	t.Fault("remove %s", n.Name)
	if err := errors.Join(t.Remove(ctx, n), t.Recovered(ctx, "a follower's removal")); err != nil {
		return err
	}
	leader, err := t.Leader(ctx)
	if err != nil {
		return err
	}
	t.Fault("remove %s, which leads", leader.Name)
	return errors.Join(t.Remove(ctx, leader), t.Recovered(ctx, "the leader's removal"))
}

// replaceDead removes a member whose machine is lost, and adds another, which is
// killed while it joins.
func replaceDead(ctx context.Context, t *Trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	t.Fault("kill -9 %s for good", n.Name)
	if err := errors.Join(n.Kill(), t.Remove(ctx, n), t.Recovered(ctx, "a dead member's removal")); err != nil {
		return err
	}
	fresh, err := t.begin(ctx)
	if err != nil {
		return err
	}
	t.Wait(ctx, t.Rand.Float64())
	t.Fault("kill -9 %s, which joins", fresh.Name)
	if err := errors.Join(fresh.Kill(), fresh.Start(Join)); err != nil {
		return err
	}
	// An invitation that was used up by an answer that never came is worth
	// nothing: the operator gives that name up and invites another.
	if t.join(ctx, fresh) != nil {
		t.Fault("give %s up", fresh.Name)
		if err := t.giveUp(ctx, fresh); err != nil {
			return err
		}
		if _, err := t.Add(ctx); err != nil {
			return err
		}
	}
	return t.Recovered(ctx, "the replacement")
}

// giveUp removes a node that may never have become a member.
func (t *Trial) giveUp(ctx context.Context, n *Node) error {
	if err := t.Remove(ctx, n); !tap.IsKind(err, tap.NotFound) {
		return err
	}
	t.Forget(n)
	return n.Kill()
}
