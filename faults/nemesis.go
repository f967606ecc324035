package faults

import (
	"context"
	"errors"
	"time"
)

// Scenarios are the ways in which a site of three nodes is broken. Each leaves the
// site such that it can be whole again by healing the network and starting what
// does not run.
func Scenarios() []Scenario {
	return []Scenario{
		{"kill -9 of the leader", killLeader},
		{"kill -9 of a follower", killFollower},
		{"kill -9 of all at once", killAll},
		{"kill -9 at random moments", killAtRandom},
		{"leader stands still", pauseLeader},
		{"leader isolated, mute", isolateLeader(Rule{Hold: true})},
		{"leader isolated, cut", isolateLeader(Rule{Cut: true})},
		{"leader cannot send", deafness(true)},
		{"leader cannot hear", deafness(false)},
		{"follower isolated", isolateFollower},
		{"every link is slow", slowLinks},
		{"links flap", flappingLinks},
		{"clocks jump a day", jumpClocks},
		{"full disk of the leader", fullDisk},
		{"flipped bytes in a log", damage(logFiles)},
		{"flipped bytes in a state", damage(stateFiles)},
		{"flipped bytes in a ledger", damage(ledgerFiles)},
		{"kill -9 during an install", killDuringInstall},
		{"three members, five, three", growAndShrink},
		{"a dead member is replaced", replaceDead},
	}
}

// restart starts a node that was killed and waits until it serves.
func restart(ctx context.Context, n *Node) error {
	return errors.Join(n.Start(Run), n.await(ctx))
}

func killLeader(ctx context.Context, t *Trial) error {
	leader, err := t.Leader(ctx)
	if err != nil {
		return err
	}
	t.Fault("kill -9 %s", leader.Name)
	if err := leader.Kill(); err != nil {
		return err
	}
	if err := t.Recovered(ctx, "the leader's death"); err != nil {
		return err
	}
	return restart(ctx, leader)
}

func killFollower(ctx context.Context, t *Trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	t.Fault("kill -9 %s", n.Name)
	if err := n.Kill(); err != nil {
		return err
	}
	if err := t.Recovered(ctx, "a follower's death"); err != nil {
		return err
	}
	t.Wait(ctx, 1)
	return restart(ctx, n)
}

// follower is a random running follower.
func (t *Trial) follower(ctx context.Context) (*Node, error) {
	all, err := t.Followers(ctx)
	if err != nil || len(all) == 0 {
		return nil, errors.Join(errors.New("no follower runs"), err)
	}
	return all[t.Rand.IntN(len(all))], nil
}

func killAll(ctx context.Context, t *Trial) error {
	t.Fault("kill -9 of every node")
	for _, n := range t.Members() {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	for _, n := range t.Members() {
		if err := n.Start(Run); err != nil {
			return err
		}
	}
	return t.Recovered(ctx, "the start of all nodes")
}

// killAtRandom meets flushes, snapshots and installs: the nodes of the harness make
// snapshots every few seconds, and a node that was away needs one.
func killAtRandom(ctx context.Context, t *Trial) error {
	const kills = 6
	for range kills {
		members := t.Members()
		n := members[t.Rand.IntN(len(members))]
		t.Fault("kill -9 %s", n.Name)
		if err := n.Kill(); err != nil {
			return err
		}
		t.Wait(ctx, t.Rand.Float64()/2)
		if err := n.Start(Run); err != nil {
			return err
		}
		t.Wait(ctx, t.Rand.Float64()/2)
	}
	return t.Recovered(ctx, "the last start")
}

func pauseLeader(ctx context.Context, t *Trial) error {
	leader, err := t.Leader(ctx)
	if err != nil {
		return err
	}
	t.Fault("SIGSTOP %s", leader.Name)
	if err := leader.Pause(); err != nil {
		return err
	}
	err = t.Recovered(ctx, "the leader's stop")
	t.Wait(ctx, 1)
	// It wakes up believing that it leads.
	if err := errors.Join(err, leader.Resume()); err != nil {
		return err
	}
	t.Wait(ctx, 0.5)
	return nil
}

// between sets the rule for everything that travels from one node to the others
// (out), from the others to it (in), or both.
func (t *Trial) between(n *Node, r Rule, out, in bool) {
	for _, other := range t.Members() {
		if other == n {
			continue
		}
		if out {
			t.Network.Set(n.Name, other.Name, r)
		}
		if in {
			t.Network.Set(other.Name, n.Name, r)
		}
	}
}

// isolateLeader leaves the leader alone with its clients, who still ask it.
func isolateLeader(r Rule) func(ctx context.Context, t *Trial) error {
	return func(ctx context.Context, t *Trial) error {
		leader, err := t.Leader(ctx)
		if err != nil {
			return err
		}
		t.Fault("isolate %s", leader.Name)
		t.between(leader, r, true, true)
		return t.healAfter(ctx, "the leader's isolation")
	}
}

// deafness breaks one direction only.
func deafness(out bool) func(ctx context.Context, t *Trial) error {
	return func(ctx context.Context, t *Trial) error {
		leader, err := t.Leader(ctx)
		if err != nil {
			return err
		}
		what := "nothing to"
		if out {
			what = "nothing from"
		}
		t.Fault("%s %s", what, leader.Name)
		t.between(leader, Rule{Hold: true}, out, !out)
		return t.healAfter(ctx, "a direction's loss")
	}
}

func isolateFollower(ctx context.Context, t *Trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	t.Fault("isolate %s", n.Name)
	t.between(n, Rule{Hold: true}, true, true)
	return t.healAfter(ctx, "a follower's isolation")
}

// healAfter demands service during the fault and after it.
func (t *Trial) healAfter(ctx context.Context, what string) error {
	err := t.Recovered(ctx, "%s", what)
	t.Wait(ctx, 1)
	t.Network.Heal()
	if err != nil {
		return err
	}
	return t.Recovered(ctx, "healing after %s", what)
}

func slowLinks(ctx context.Context, t *Trial) error {
	t.Fault("30 to 60 ms on every link")
	for _, n := range t.Members() {
		t.between(n, Rule{Delay: 30 * time.Millisecond, Jitter: 30 * time.Millisecond}, true, false)
	}
	return t.healAfter(ctx, "the delay")
}

// flappingLinks cuts and holds random pairs, a few at once.
func flappingLinks(ctx context.Context, t *Trial) error {
	const flaps = 12
	rules := []Rule{{Cut: true}, {Hold: true}, {Delay: 100 * time.Millisecond}, {}}
	for range flaps {
		members := t.Members()
		a, b := members[t.Rand.IntN(len(members))], members[t.Rand.IntN(len(members))]
		t.Fault("%s to %s changes", a.Name, b.Name)
		t.Network.Set(a.Name, b.Name, rules[t.Rand.IntN(len(rules))])
		t.Wait(ctx, t.Rand.Float64()/4)
	}
	t.Network.Heal()
	return t.Recovered(ctx, "the last flap")
}

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
