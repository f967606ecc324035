package bookpi

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// NotaryConfig is what a [Notary] joins.
type NotaryConfig struct {
	Tenant string       // the site's own: the key history and the batches are its
	Ledger store.Ledger // what is signed
	View   store.View   // of the same state
	Writer store.Committer
	// Keys are the log's keys with this number that this node holds: one, unless
	// several were made for one number. Number 0 is what the log began with.
	Keys func(number uint64) []bookpi.LogKeys
	// Rotate makes keys with this number and returns once enough members keep them
	// for good; nil where keys cannot be rotated.
	Rotate func(ctx context.Context, number uint64) (bookpi.LogKeys, error)
	// Anew begins another history with Keys(0) when this node has none of the keys
	// that the present one ends with, because they are lost. Auditors must be told:
	// nothing leads from the old keys to the new ones.
	Anew bool
	// Leads says whether this node leads the site; nil = it always does.
	Leads func() bool
	// Every is how often Run records a checkpoint while the ledger grows; 0 = 1 s.
	Every time.Duration
	Now   func() time.Time // nil = time.Now
	Log   *slog.Logger     // nil = slog.Default()
}

const (
	defaultEvery = time.Second
	// proposals is the least time between two checkpoints that a node proposes.
	proposals = 100 * time.Millisecond
	// again is how long to wait for what another node or Apply is about to do.
	again = 20 * time.Millisecond
	// patience is how long a caller waits for a checkpoint before it is told to come
	// back: less than the pod's budget, because a site without a leader or without
	// keys does not make this pod ill.
	patience = budget / 2
)

// Notary signs what the ledger is, and has the state machine record it before
// anybody sees it: no size ever has two roots, whichever member signed. Every
// member has one. It is safe for concurrent use.
type Notary struct {
	c    NotaryConfig
	read atomic.Pointer[readHistory]

	mu       sync.Mutex // guards all below
	flight   *flight    // the proposal under way; nil = none
	proposed time.Time  // when the last one began
}

// flight is one proposal. err may be read once done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// NewNotary makes a notary. Run does the rest.
func NewNotary(c NotaryConfig) *Notary {
	if c.Leads == nil {
		c.Leads = func() bool { return true }
	}
	if c.Every == 0 {
		c.Every = defaultEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Notary{c: c}
}

// Covering returns a recorded checkpoint of at least so many entries: the newest,
// or, when that is too small, one of the ledger as it stands. Callers that wait
// for a new one share it, and a node proposes at most ten a second.
//
// Errors: Invalid (code "query") beyond the ledger's end, Unavailable while keys
// are rotated or absent, or without a leader, for longer than ctx or 5 s allow,
// Internal (code "split_view") when the state machine says that the ledger is
// another one.
func (n *Notary) Covering(ctx context.Context, size uint64) (bookpi.Checkpoint, []byte, error) {
	waiting, done := context.WithTimeout(ctx, patience)
	defer done()
	cp, note, err := n.covering(waiting, size)
	if tap.IsKind(err, tap.Timeout) && ctx.Err() == nil {
		err = tap.Wrap("bookpi.checkpoint", tap.Unavailable, err, "no checkpoint of the ledger could be recorded in time").
			WithCode("no_checkpoint").WithRetryAfter(time.Second)
	}
	return cp, note, err
}

func (n *Notary) covering(ctx context.Context, size uint64) (bookpi.Checkpoint, []byte, error) {
	for {
		if cp, note, ok := n.c.Ledger.Checkpoint(); ok && cp.Size >= size {
			return cp, note, nil
		}
		if have, _ := n.c.Ledger.Size(); have < size {
			return bookpi.Checkpoint{}, nil, badQuery("the ledger has %d entries", have)
		}
		if err := n.join(ctx); err != nil {
			return bookpi.Checkpoint{}, nil, err
		}
	}
}

// join takes part in a proposal: the first makes it, the others wait for it. It
// may have been for a smaller ledger than the caller's.
func (n *Notary) join(ctx context.Context) error {
	n.mu.Lock()
	f := n.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		n.flight = f
		n.mu.Unlock()
		defer n.land(f)
		f.err = n.propose(ctx)
		return f.err
	}
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return tap.AsError(ctx.Err())
	case <-f.done:
	}
	if errors.Is(f.err, context.Canceled) || errors.Is(f.err, context.DeadlineExceeded) {
		return nil // it was the other caller's time that ran out
	}
	return f.err
}

func (n *Notary) land(f *flight) {
	n.mu.Lock()
	n.flight = nil
	n.mu.Unlock()
	close(f.done)
}

// propose signs the ledger as it stands and returns once that, or more, is
// recorded and seen by this node.
func (n *Notary) propose(ctx context.Context) error {
	n.mu.Lock()
	wait := proposals - time.Since(n.proposed)
	n.mu.Unlock()
	if err := pause(ctx, wait); err != nil {
		return err
	}
	n.mu.Lock()
	n.proposed = time.Now()
	n.mu.Unlock()
	for {
		// Size before keys: see sign.
		size, root := n.c.Ledger.Size()
		if n.covered(size) {
			return nil
		}
		err := n.record(ctx, size, root)
		if err == nil {
			return n.seen(ctx, size)
		}
		if !tap.IsKind(err, tap.Unavailable) || tap.AsError(err).Code != codeKeys {
			return err
		}
		// Another node may have the keys, or is rotating them.
		if late := pause(ctx, again); late != nil {
			return errors.Join(err, late)
		}
	}
}

func (n *Notary) covered(size uint64) bool {
	cp, _, ok := n.c.Ledger.Checkpoint()
	return ok && cp.Size >= size
}

func (n *Notary) record(ctx context.Context, size uint64, root bookpi.Hash) error {
	cp, note, err := n.sign(size, root)
	if err != nil {
		return err
	}
	_, err = n.c.Writer.Commit(ctx, store.CheckpointBatch(n.c.Tenant, uuid.New(), cp, note))
	if !tap.IsKind(err, tap.Conflict) {
		return err
	}
	if code := tap.AsError(err).StableCode(); code != "split_view" { // a site of older members, or one that has just begun
		return tap.Wrap("bookpi.checkpoint", tap.Unavailable, err, "checkpoints wait until every member of the site has a release that knows them").
			WithCode(code).WithRetryAfter(time.Second)
	}
	return tap.Wrap("bookpi.checkpoint", tap.Internal, err,
		"the ledger contradicts what this node would sign; nothing is signed").WithCode("split_view")
}

// seen waits until this node has applied what another one acknowledged.
func (n *Notary) seen(ctx context.Context, size uint64) error {
	for !n.covered(size) {
		if err := pause(ctx, again/4); err != nil {
			return err
		}
	}
	return nil
}

// sign signs the root with the keys that the history has for the size. The caller
// read size and root before: the state that is read here, which is at least as
// new, then has every rotation that concerns the size.
func (n *Notary) sign(size uint64, root bookpi.Hash) (bookpi.Checkpoint, []byte, error) {
	fail := func(err error) (bookpi.Checkpoint, []byte, error) { return bookpi.Checkpoint{}, nil, err }
	if _, _, pending, err := n.rotation(); err != nil || pending {
		return fail(errorOr(err, errKeys("the log's keys are being rotated")))
	}
	h, _, err := n.history()
	if err != nil {
		return fail(err)
	}
	keys, err := n.keysFor(h, size)
	if err != nil {
		return fail(err)
	}
	cp := bookpi.Checkpoint{Origin: keys.Origin(), Size: size, Root: root}
	note, err := keys.Sign(cp, n.c.Now())
	if err != nil {
		return fail(tap.Wrap("bookpi.checkpoint", tap.Internal, err, "the checkpoint cannot be signed"))
	}
	return cp, note, nil
}

// Run keeps the recorded checkpoints close to the ledger's end, writes down the
// first keys and completes rotations, while this node leads. It returns when ctx
// ends.
func (n *Notary) Run(ctx context.Context) {
	tick := time.NewTicker(n.c.Every)
	defer tick.Stop()
	failing := false // already reported
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !n.c.Leads() {
			failing = false
			continue
		}
		err := n.turn(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			n.c.Log.Warn("no checkpoint of the ledger was recorded; trying on", "error", err)
		}
		failing = err != nil
	}
}

// turn is what there is to do for a leader now.
func (n *Notary) turn(ctx context.Context) error {
	// What takes longer than a few turns is better begun again.
	ctx, cancel := context.WithTimeout(ctx, 10*n.c.Every)
	defer cancel()
	if err := n.beginHistory(ctx); err != nil {
		return err
	}
	if err := n.completeRotation(ctx); err != nil {
		return err
	}
	size, _ := n.c.Ledger.Size()
	_, _, err := n.Covering(ctx, size)
	return err
}

// pause waits for d, or for the end of ctx, which it reports.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return errorOr(ctx.Err(), nil)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return tap.AsError(ctx.Err())
	case <-timer.C:
		return nil
	}
}

func errorOr(err, otherwise error) error {
	if err != nil {
		return tap.AsError(err)
	}
	return otherwise
}
