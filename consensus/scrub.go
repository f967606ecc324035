package consensus

import (
	"context"
	"errors"
	"fmt"

	"tamv.internal/tamv/consensus/snapshot"
	"tamv.internal/tamv/consensus/wal"
)

// Scrub reads everything this member keeps for its future self and for others, the snapshots and the log, and verifies it.
// pace (it may be nil) is called with the number of bytes read, and its error ends the work. Everything else goes on meanwhile.
//
// A damaged snapshot is replaced by a new one of the present state. Scrub returns an error that wraps ErrDamaged if that one is
// damaged, too, because a part of the state is (see StateMachine.Part): it is mended with that part. If the log is damaged, the
// error is ErrDamagedLog, which wraps ErrDamaged too: the member should then be restarted, which makes Open refuse it and Repair mend it.
func (n *Node) Scrub(ctx context.Context, pace func(bytes int) error) error {
	if err := n.open(); err != nil {
		return err
	}
	if pace == nil {
		pace = func(int) error { return nil }
	}
	damaged, err := n.installs.scrub(ctx, pace)
	if err == nil && len(damaged) > 0 {
		for _, id := range damaged {
			n.installs.renew(id)
		}
		damaged, err = n.installs.scrub(ctx, pace)
	}
	if err == nil && len(damaged) > 0 {
		err = fmt.Errorf("%w: snapshots %v, made anew", ErrDamaged, damaged)
	}
	return errors.Join(err, n.scrubLog(ctx, pace))
}

// scrub returns the snapshots that are damaged.
func (t *installs) scrub(ctx context.Context, pace func(bytes int) error) (damaged []string, err error) {
	list, err := t.snapshots.List()
	if err != nil {
		return nil, err
	}
	for _, meta := range list {
		switch err := t.snapshots.Verify(ctx, meta.ID, pace); {
		case errors.Is(err, snapshot.ErrDamaged):
			t.log.Error("a snapshot is damaged", "snapshot", meta.ID, "error", err)
			damaged = append(damaged, meta.ID)
		case err != nil && !errors.Is(err, snapshot.ErrNotFound): // one may be removed meanwhile
			return nil, err
		}
	}
	return damaged, nil
}

// scrubLog verifies the log, if it can be.
func (n *Node) scrubLog(ctx context.Context, pace func(bytes int) error) error {
	log, ok := n.store.(interface {
		Verify(ctx context.Context, pace func(bytes int) error) error
	})
	if !ok {
		return nil
	}
	err := log.Verify(ctx, pace)
	if errors.Is(err, wal.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamagedLog, err)
	}
	return err
}
