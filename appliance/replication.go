package appliance

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"tamv.internal/tamv/appliance/disk"
	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// replicated is the store as consensus sees it.
type replicated struct{ *store.Store }

func (r replicated) Snapshot() (consensus.Snapshot, error) {
	s, err := r.Store.Snapshot()
	if err != nil {
		return nil, err
	}
	return captured{s}, nil
}

// Part opens a sealed part of the ledger by its hash.
func (r replicated) Part(sum [32]byte) (*os.File, error) {
	f, err := r.Store.Part(sum)
	if tap.IsKind(err, tap.NotFound) {
		return nil, consensus.ErrNoPart
	}
	return f, err
}

// captured is a snapshot of the store as consensus sees it.
type captured struct{ *store.Snapshot }

func (c captured) WriteTo(dir string) ([]consensus.File, error) {
	written, err := c.Snapshot.WriteTo(dir)
	if err != nil {
		return nil, err
	}
	files := make([]consensus.File, len(written))
	for i, f := range written {
		files[i] = consensus.File(f)
	}
	return files, nil
}

// proposer is consensus as the store sees it: patient while the leadership
// changes hands, and with its errors in the vocabulary that clients get.
type proposer struct {
	node replicator
	full func() error // an error while there is no space for more
}

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
func (p proposer) Propose(ctx context.Context, command []byte) (outcome any, err error) {
	err = patiently(ctx, p.node, func(ctx context.Context) (err error) {
		if err = p.full(); err == nil {
			outcome, err = p.node.Propose(ctx, command)
		}
		return err
	})
	return outcome, err
}

// patiently repeats what fails because the leadership changes hands, for as long
// as patience and ctx allow.
func patiently(ctx context.Context, node interface{ WaitLeader(context.Context) error }, try func(context.Context) error) error {
	began := time.Now()
	err := try(ctx)
	if err == nil { // nearly always, and without a timer
		return nil
	}
	deadline, cancel := context.WithDeadline(ctx, began.Add(patience))
	defer cancel()
	pause := backoff.ExponentialBackOff{InitialInterval: shortestPause, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: longestPause}
	pause.Reset()
	uncertain := false // of any try: none after it can say that nothing was done
	for ; err != nil; err = try(ctx) {
		switch {
		case errors.Is(err, consensus.ErrUncertain):
			uncertain = true
		case errors.Is(err, consensus.ErrNotLeader):
		case uncertain:
			return replicationError(consensus.ErrUncertain)
		default:
			return replicationError(err)
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
			if node.WaitLeader(deadline) == nil {
				continue
			}
		case <-deadline.Done():
			timer.Stop()
		}
		if uncertain {
			err = consensus.ErrUncertain
		}
		return replicationError(err)
	}
	return nil
}

func replicationError(err error) error {
	const op = "consensus.propose"
	var full *tap.Error
	switch {
	case errors.As(err, &full) && full.Code == disk.CodeFull:
		return full
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
// machine's clock moves and Apply removes it although nobody writes. Only the
// leader does.
func (n *node) expire(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due, err := n.store.NextDue()
		for err == nil && due <= n.clock.Now().UnixMicro() {
			if err = n.consensus.Tick(ctx); err == nil {
				due, err = n.store.NextDue()
			}
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, consensus.ErrNotLeader) {
			n.cfg.Logger.Warn("expiry is late", "error", err)
		}
	}
}

// newRequestID is the id of a request that the appliance makes itself.
func newRequestID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
