package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tamv.internal/tamv/tap"
)

// Proposer replicates one encoded batch and returns what Apply made of it:
// a [Receipt] or an error. A consensus node is one.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (any, error)
}

// Committer commits a batch. Pods and transports see only this.
type Committer interface {
	Commit(ctx context.Context, b Batch) (Receipt, error)
}

// versioned is a view that knows the cluster version, as a [Store] does. A
// batch that is too new is refused before it is proposed; a view that does not
// know leaves that to Apply.
type versioned interface{ ClusterVersion() uint32 }

// MaxAttempts is how often Update decides again before it reports the
// conflict.
const MaxAttempts = 8

// Writer turns batches into commands and outcomes into receipts.
type Writer struct {
	proposer Proposer
	view     View
}

// NewWriter joins a proposer with the state that its commands change.
func NewWriter(p Proposer, v View) *Writer { return &Writer{p, v} }

// Commit proposes the batch and waits until it is durable and applied. A
// Conflict means a Check or Create did not hold and nothing was changed. A
// Timeout or Unavailable leaves the outcome unknown: commit again with the
// same request id and the batch is applied at most once.
func (w *Writer) Commit(ctx context.Context, b Batch) (Receipt, error) {
	command, err := EncodeBatch(b)
	if err != nil {
		return Receipt{}, err
	}
	if v, ok := w.view.(versioned); ok {
		if err := b.admitted(v.ClusterVersion()); err != nil {
			return Receipt{}, err
		}
	}
	outcome, err := w.proposer.Propose(ctx, command)
	if err != nil {
		return Receipt{}, err
	}
	switch o := outcome.(type) {
	case Receipt:
		return o, nil
	case error:
		return Receipt{}, o
	}
	return Receipt{}, tap.E("store.commit", tap.Internal, "unexpected outcome %T", outcome)
}

// Update decides on a view and commits, and decides again when the view was
// overtaken, at most MaxAttempts times with a short random pause between.
func (w *Writer) Update(ctx context.Context, decide func(View) (Batch, error)) (Receipt, error) {
	for attempt := 1; ; attempt++ {
		b, err := decide(w.view)
		if err != nil {
			return Receipt{}, err
		}
		receipt, err := w.Commit(ctx, b)
		var conflict *ConflictError
		if err == nil || !errors.As(err, &conflict) || attempt == MaxAttempts {
			return receipt, err
		}
		pause := time.NewTimer(rand.N(time.Millisecond << attempt))
		select {
		case <-ctx.Done():
			pause.Stop()
			return Receipt{}, tap.AsError(ctx.Err())
		case <-pause.C:
		}
	}
}
