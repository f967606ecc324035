package faults

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const day = 24 * time.Hour

// jumpClocks moves the leader's wall clock a day ahead and a follower's a day back,
// restarts the follower so, and moves them back.
func jumpClocks(ctx context.Context, t *Trial) error {
	leader, err := t.Leader(ctx)
	if err != nil {
		return err
	}
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	t.Fault("%s a day ahead", leader.Name)
	t.Fault("%s a day behind", n.Name)
	if err := errors.Join(leader.SetClock(day), n.SetClock(-day)); err != nil {
		return err
	}
	if err := t.Recovered(ctx, "the jump"); err != nil {
		return err
	}
	t.Wait(ctx, 1)
	t.Fault("kill -9 %s", n.Name)
	if err := errors.Join(n.Kill(), restart(ctx, n)); err != nil {
		return err
	}
	t.Wait(ctx, 0.5)
	return errors.Join(leader.SetClock(0), n.SetClock(0), t.Recovered(ctx, "the jump back"))
}

// wrongClocks starts nodes whose clocks are a day away, makes them lead, and at
// last starts all at once with one such among them. None may date what it leads
// by its own clock.
func wrongClocks(ctx context.Context, t *Trial) error {
	for _, offset := range []time.Duration{day, -day} {
		n, err := t.follower(ctx)
		if err != nil {
			return err
		}
		t.Fault("%s starts %s away", n.Name, offset)
		err = errors.Join(n.Kill(), n.SetClock(offset), restart(ctx, n), t.lead(ctx, n),
			t.Recovered(ctx, "a leader that started with a wrong clock"), t.rightTime(ctx),
			n.Kill(), n.SetClock(0), restart(ctx, n))
		if err != nil {
			return err
		}
	}
	n := t.Members()[t.Rand.IntN(len(t.Members()))]
	t.Fault("all start, %s a day ahead", n.Name)
	err := n.SetClock(day)
	for _, m := range t.Members() {
		err = errors.Join(err, m.Kill())
	}
	return errors.Join(err, t.startAll(ctx), t.rightTime(ctx), n.Kill(), n.SetClock(0), restart(ctx, n))
}

// rightTime demands of every member that it lives in the present, by its own word
// and by the last leader's.
func (t *Trial) rightTime(ctx context.Context) error {
	for _, n := range t.Members() {
		if err := n.await(ctx); err != nil {
			return err
		}
		status, err := t.Status(ctx, n)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err) // it refuses signatures of another time than its own
		}
		if wrong := time.Since(time.UnixMicro(status.Ledger.Clock)); wrong.Abs() > time.Hour {
			return fmt.Errorf("the ledger of %s is dated %s ago", n.Name, wrong)
		}
	}
	return nil
}
