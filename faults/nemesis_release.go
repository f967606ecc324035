package faults

import (
	"context"
	"errors"
	"fmt"
)

// SetNext says how to have the binary of this harness with nodes of the next release, which knows one
// operation more; build makes it once.
func (s *Site) SetNext(build func() (string, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = build
}

// The versions that the two releases bring; see store.Version.
const (
	version     = 2
	nextVersion = 3
)

// twoReleases lets this release and the next run in one cluster: two members are
// upgraded, lead, and go back; then all are upgraded, which opens the next version
// to them and closes the cluster to this release.
func twoReleases(ctx context.Context, t *Trial) error {
	t.Site.mu.Lock()
	build := t.Site.next
	t.Site.mu.Unlock()
	if build == nil {
		return fmt.Errorf("%w: there is no binary of the next release", ErrSkipped)
	}
	next, err := build()
	if err != nil {
		return err
	}
	if err := until(ctx, MaxRecovery, func() error { return t.atVersion(ctx, version) }); err != nil {
		return err
	}
	members := t.Members()
	for _, n := range members[:2] {
		if err := t.change(ctx, n, next, "the next release"); err != nil {
			return err
		}
	}
	for _, n := range members {
		if err := errors.Join(t.lead(ctx, n), t.Recovered(ctx, "a leader in a mixed cluster"), t.atVersion(ctx, version)); err != nil {
			return err
		}
	}
	for _, n := range members[:2] {
		if err := t.change(ctx, n, "", "this release again"); err != nil {
			return err
		}
	}
	for _, n := range members {
		if err := t.change(ctx, n, next, "the next release"); err != nil {
			return err
		}
	}
	if err := until(ctx, MaxRecovery, func() error { return t.atVersion(ctx, nextVersion) }); err != nil {
		return err
	}
	return t.shutOut(ctx, members[t.Rand.IntN(len(members))], next)
}

// change restarts a node with another binary, "" for this one.
func (t *Trial) change(ctx context.Context, n *Node, binary, what string) error {
	t.Fault("%s runs %s", n.Name, what)
	stop, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	err := n.Stop(stop)
	n.Binary = binary
	return errors.Join(err, restart(ctx, n), t.Recovered(ctx, "a restart with another release"))
}

func (t *Trial) atVersion(ctx context.Context, want uint32) error {
	view, err := t.View(ctx)
	if err == nil && view.Version != want {
		err = fmt.Errorf("the cluster is at version %d, not %d", view.Version, want)
	}
	return err
}

// shutOut starts a node with this release where the next one was opened already:
// it must not begin to serve.
func (t *Trial) shutOut(ctx context.Context, n *Node, next string) error {
	t.Fault("%s runs this release, too late", n.Name)
	stop, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := n.Stop(stop); err != nil {
		return err
	}
	n.Binary = ""
	if err := restart(ctx, n); err == nil || n.Running() {
		return fmt.Errorf("%s serves with a release that the cluster has left behind: %w", n.Name, err)
	}
	n.Binary = next
	return errors.Join(restart(ctx, n), t.Recovered(ctx, "the right release"))
}
