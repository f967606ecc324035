package appliance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// replicated is the store as consensus sees it.
type replicated struct{ *store.Store }

func (r replicated) Snapshot() (consensus.Snapshot, error) {
	snapshot, err := r.Store.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshot, nil
}

// proposer is consensus as the store sees it: its errors in the vocabulary
// that clients get.
type proposer struct{ node *consensus.Node }

func (p proposer) Propose(ctx context.Context, command []byte) (any, error) {
	outcome, err := p.node.Propose(ctx, command)
	if err != nil {
		return nil, replicationError(err)
	}
	return outcome, nil
}

func replicationError(err error) error {
	const op = "consensus.propose"
	switch {
	case errors.Is(err, consensus.ErrNotLeader):
		return tap.Wrap(op, tap.Unavailable, err, "this node does not lead the cluster now").WithCode("not_leader").WithRetryAfter(tap.DefaultRetryAfter)
	case errors.Is(err, consensus.ErrBusy):
		return tap.Wrap(op, tap.Unavailable, err, "too many requests are waiting for the disk").WithCode("busy").WithRetryAfter(100 * time.Millisecond)
	case errors.Is(err, consensus.ErrTooLarge):
		return tap.Wrap(op, tap.Invalid, err, "the request changes too much at once").WithCode("too_large")
	case errors.Is(err, consensus.ErrUncertain):
		return tap.Wrap(op, tap.Timeout, err, "it is unknown whether the request was committed; repeat it with the same request id").WithCode("uncertain")
	case errors.Is(err, consensus.ErrHalted), errors.Is(err, consensus.ErrClosed):
		return tap.Wrap(op, tap.Unavailable, err, "this node no longer accepts writes").WithCode("stopped")
	}
	return tap.AsError(err)
}

// expire proposes an empty pack whenever a record is due, so that the
// machine's clock moves and Apply removes it although nobody writes.
func expire(ctx context.Context, node *consensus.Node, s *store.Store, now func() time.Time, log *slog.Logger) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due, err := s.NextDue()
		for err == nil && due <= now().UnixMicro() {
			if err = node.Tick(ctx); err == nil {
				due, err = s.NextDue()
			}
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, consensus.ErrNotLeader) {
			log.Warn("expiry is late", "error", err)
		}
	}
}

// newRequestID is the id of a request that the appliance makes itself.
func newRequestID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
