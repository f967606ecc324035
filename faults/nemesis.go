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
		{Name: "kill -9 of the leader", Break: killLeader},
		{Name: "kill -9 of a follower", Break: killFollower},
		{Name: "kill -9 of all at once", Break: killAll},
		{Name: "kill -9 at random moments", Break: killAtRandom},
		{Name: "leader stands still", Break: pauseLeader},
		{Name: "leader isolated, mute", Break: isolateLeader(Rule{Hold: true})},
		{Name: "leader isolated, cut", Break: isolateLeader(Rule{Cut: true})},
		{Name: "leader cannot send", Break: deafness(true)},
		{Name: "leader cannot hear", Break: deafness(false)},
		{Name: "follower isolated", Break: isolateFollower},
		{Name: "every link is slow", Break: slowLinks},
		{Name: "links flap", Break: flappingLinks},
		{Name: "clocks jump a day", Break: jumpClocks},
		{Name: "clocks are wrong at the start", Break: wrongClocks},
		{Name: "full disk of the leader", Break: fullDisk},
		{Name: "full disks of all", Break: fullDisks},
		{Name: "kill -9 during a flush", Break: killDuring(stateFiles)},
		{Name: "kill -9 during a snapshot", Break: killDuring(snapshotFiles), Apart: true},
		{Name: "kill -9 during an install", Break: killDuringInstall, Apart: true},
		{Name: "kill -9 during a repair", Break: killDuringRepair, Apart: true},
		{Name: "flipped bytes in a log", Break: damage(logFiles)},
		{Name: "flipped bytes in a state", Break: damage(stateFiles)},
		{Name: "flipped bytes in a ledger", Break: damageLedger},
		{Name: "three members, five, three", Break: growAndShrink},
		{Name: "a dead member is replaced", Break: replaceDead},
		{Name: "a node joins a long ledger", Break: joinLongLedger, Apart: true},
		{Name: "two releases", Break: twoReleases, Apart: true},
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
	return t.startAll(ctx)
}

// startAll starts every member at once.
func (t *Trial) startAll(ctx context.Context) error {
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
