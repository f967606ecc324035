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
	sealer   Sealer // nil = evidence with a subject is refused
}

// NewWriter joins a proposer with the state that its commands change. It refuses
// evidence that concerns a person; see Sealing.
func NewWriter(p Proposer, v View) *Writer { return &Writer{proposer: p, view: v} }

// Sealing is the writer with something that seals evidence that concerns a
// person.
func (w *Writer) Sealing(s Sealer) *Writer { return &Writer{w.proposer, w.view, s} }

// Commit seals what concerns a person, proposes the batch and waits until it is
// durable and applied. A Conflict means a Check or Create did not hold and
// nothing was changed; when a subject was erased between sealing and applying,
// Commit seals again, at most MaxAttempts times. A Timeout or Unavailable leaves
// the outcome unknown: commit again with the same request id and the batch is
// applied at most once.
func (w *Writer) Commit(ctx context.Context, b Batch) (Receipt, error) {
	for attempt := 1; ; attempt++ {
		sealed, pins, err := Seal(ctx, w.view, w.sealer, b)
		again := tap.IsKind(err, tap.Conflict) // the sealer knew of an erasure that the view did not show yet
		if err == nil {
			var receipt Receipt
			if receipt, err = w.propose(ctx, sealed); err == nil {
				return receipt, nil
			}
			again = overtaken(err, &b, pins)
		}
		if !again || attempt == MaxAttempts {
			return Receipt{}, err
		}
		if err := pause(ctx, attempt); err != nil {
			return Receipt{}, err
		}
	}
}

// propose commits a batch in which nothing is left to seal.
func (w *Writer) propose(ctx context.Context, b Batch) (Receipt, error) {
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
		if err := pause(ctx, attempt); err != nil {
			return Receipt{}, err
		}
	}
}

// pause waits a short random time, longer with each attempt.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << attempt))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return tap.AsError(ctx.Err())
	case <-timer.C:
		return nil
	}
}
