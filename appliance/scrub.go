package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	// scrubInterval is the time between the end of one reading of everything
	// that is stored and the start of the next.
	scrubInterval = 6 * time.Hour
	// scrubFirst is when a node that started begins to read: what was damaged
	// while it was down should not wait for hours.
	scrubFirst = time.Second
	// scrubAgain is the least time between two readings, however often requests
	// meet damage that could not be repaired.
	scrubAgain = time.Minute
	// scrubRate bounds the reading, in bytes a second, so that requests do not
	// notice it.
	scrubRate = 32 << 20
	// maxRepairs is how often one run brings a damaged state back.
	maxRepairs = 3
)

// scrubbed is what reading everything that is stored came to.
type scrubbed struct {
	met chan struct{} // a request met damage; holds one

	mu     sync.Mutex // guards damage
	damage error      // of the last reading; nil = none, or repaired
}

func (s *scrubbed) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damage = err
}

// note looks at the error of an answer: damage that a request met is not left
// for the next reading.
func (s *scrubbed) note(err error) {
	if !errors.Is(err, store.ErrDamaged) {
		return
	}
	select {
	case s.met <- struct{}{}:
	default: // it is known
	}
}

func (s *scrubbed) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damage
}

// scrub reads everything that is stored, again and again and whenever a request
// met damage, and repairs what is damaged from the other members until ctx ends.
func (n *node) scrub(ctx context.Context) {
	next := time.After(scrubFirst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-n.scrubbed.met:
		}
		n.scrubOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(scrubAgain, n.cfg.ScrubInterval)):
		}
		next = time.After(n.cfg.ScrubInterval)
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
	if err := n.consensus.Scrub(ctx, pace); err != nil && ctx.Err() == nil {
		n.damagedLog(err)
	}
}

// errRestart ends a run that has to begin anew.
var errRestart = errors.New("appliance: the log is repaired on the next start")

// damagedLog deals with a log or a snapshot that is not as it was written. The
// other members repair it when this node starts; where there are none, what is
// damaged is not needed until then, so the node goes on and says so.
func (n *node) damagedLog(err error) {
	n.cfg.Logger.Error("the log or a snapshot is damaged", "error", err)
	if errors.Is(err, consensus.ErrDamagedLog) && len(n.consensus.State().Members) > 1 {
		n.fail(fmt.Errorf("%w: %w", errRestart, err))
		return
	}
	n.scrubbed.set(tap.Wrap("appliance.scrub", tap.Unavailable, err, "the log or a snapshot is damaged; take a copy of this node's folder before it is restarted"))
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

// maxAside is how many damaged state files are kept for who wants to look.
const maxAside = 100

// quarantine puts a damaged state file aside, beside earlier ones: it may hold
// what nothing else does.
func quarantine(data string) (aside string, err error) {
	state := filepath.Join(data, "state.db")
	for i := range maxAside {
		aside = state + ".damaged"
		if i > 0 {
			aside += "." + strconv.Itoa(i)
		}
		if absent(aside) {
			break
		}
	}
	if err := os.Rename(state, aside); err != nil {
		return "", tap.Wrap("appliance.repair", tap.Unavailable, err, "the damaged state cannot be put aside")
	}
	return aside, nil
}

// logError says what to do about a log that cannot be opened.
func logError(dir string, err error) error {
	return tap.Wrap("appliance.run", tap.Unavailable, err, "the replicated log in %s cannot be opened: %v", dir, err)
}
