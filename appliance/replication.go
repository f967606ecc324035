package appliance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
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

// proposer is consensus as the store sees it: patient while the leadership
// changes hands, and with its errors in the vocabulary that clients get.
type proposer struct{ node replicator }

// replicator is what the proposer needs of consensus.Node.
type replicator interface {
	Propose(ctx context.Context, command []byte) (any, error)
	WaitLeader(ctx context.Context) error
}

const (
	// patience is how long a command outlasts the loss of a leader, within the
	// time of its request.
	patience = 10 * time.Second
	// The pause before a command is proposed again.
	shortestPause, longestPause = 20 * time.Millisecond, 500 * time.Millisecond
)

// Propose replicates a command. One whose leader was lost is proposed again:
// the request id inside makes sure that it is applied once, whatever became of
// the first try.
func (p proposer) Propose(ctx context.Context, command []byte) (any, error) {
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pause := backoff.ExponentialBackOff{InitialInterval: shortestPause, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: longestPause}
	pause.Reset()
	uncertain := false
	for {
		outcome, err := p.node.Propose(ctx, command)
		switch {
		case err == nil:
			return outcome, nil
		case errors.Is(err, consensus.ErrUncertain):
			uncertain = true
		case !errors.Is(err, consensus.ErrNotLeader):
			return nil, replicationError(err)
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
			if p.node.WaitLeader(deadline) == nil {
				continue
			}
		case <-deadline.Done():
			timer.Stop()
		}
		if uncertain { // of any try, not only the last
			err = consensus.ErrUncertain
		}
		return nil, replicationError(err)
	}
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
