package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	// scrubInterval is the time between the end of one reading of everything
	// that is stored and the start of the next.
	scrubInterval = 6 * time.Hour
	// scrubRate bounds the reading, in bytes a second, so that requests do not
	// notice it.
	scrubRate = 32 << 20
	// maxRepairs is how often one run brings a damaged state back.
	maxRepairs = 3
)

// scrubbed is what reading everything that is stored came to.
type scrubbed struct {
	mu     sync.Mutex
	damage error // of the last reading; nil = none, or repaired
}

func (s *scrubbed) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damage = err
}

func (s *scrubbed) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damage
}

// scrub reads everything that is stored, again and again, and repairs what is
// damaged from the other members until ctx ends.
func (n *node) scrub(ctx context.Context) {
	interval := n.cfg.ScrubInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
		n.scrubOnce(ctx)
	}
}

func (n *node) scrubOnce(ctx context.Context) {
	limiter := rate.NewLimiter(scrubRate, scrubRate)
	pace := func(bytes int) error { return limiter.WaitN(ctx, min(bytes, scrubRate)) }
	found, err := n.store.Scrub(ctx, pace)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		n.scrubbed.set(tap.AsError(err))
		n.cfg.Logger.Error("the stored data cannot be read", "error", err)
		return
	}
	var left error
	for _, damage := range found.Damaged {
		n.cfg.Logger.Error("stored data is damaged", "what", damage.Kind, "number", damage.Number, "detail", damage.Detail)
		left = errors.Join(left, n.repair(ctx, damage))
	}
	if left != nil {
		left = tap.Wrap("appliance.scrub", tap.Unavailable, left, "stored data is damaged and not repaired: %v", left)
	}
	n.scrubbed.set(left)
	if err := n.consensus.Verify(ctx, pace); err != nil && ctx.Err() == nil {
		n.fail(err) // the repair of a log needs a start
	}
}

// repair brings one damaged thing back.
func (n *node) repair(ctx context.Context, d store.Damage) error {
	if d.Kind != store.DamagedSegment {
		n.fail(fmt.Errorf("%w: %s", store.ErrDamaged, d.Detail)) // the whole state comes back on the next start
		return nil
	}
	sum, err := n.store.SegmentSum(d.Number)
	if err != nil {
		return err
	}
	incoming, err := os.CreateTemp(n.cfg.Data, ".incoming-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = incoming.Close()
		_ = os.Remove(incoming.Name())
	}()
	if err := n.consensus.FetchPart(ctx, sum, incoming); err != nil {
		return err
	}
	if _, err := incoming.Seek(0, 0); err != nil {
		return err
	}
	if err := n.store.RepairSegment(d.Number, incoming); err != nil {
		return err
	}
	n.cfg.Logger.Warn("a damaged ledger segment was brought back from another member", "segment", d.Number)
	return nil
}

// fail ends the run with an error.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default: // it is ending already
	}
}

// quarantine puts a damaged state file aside, in the place of an earlier one.
func quarantine(data string) (aside string, err error) {
	aside = filepath.Join(data, "state.db.damaged")
	if err := os.Rename(filepath.Join(data, "state.db"), aside); err != nil {
		return "", tap.Wrap("appliance.repair", tap.Unavailable, err, "the damaged state cannot be put aside")
	}
	return aside, nil
}

// logError says what to do about a log that cannot be opened.
func logError(dir string, err error) error {
	return tap.Wrap("appliance.run", tap.Unavailable, err, "the replicated log in %s cannot be opened: %v", dir, err)
}
