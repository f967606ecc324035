package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	warmWrites = 50                     // acknowledged before anything is broken
	calm       = 500 * time.Millisecond // of load after the last recovery
	trialLife  = 3 * time.Minute        // of one scenario at most, and again for each round
)

// The identities of the harness.
const (
	writer  = "faults-writer"
	auditor = "faults-auditor"
)

// Scenario breaks a site in one way.
type Scenario struct {
	Name  string
	Break func(ctx context.Context, t *Trial) error
	// Apart says that it wants a site of its own, with ordinary disks, and runs
	// once whatever the form.
	Apart bool
}

// ErrSkipped is wrapped by a Break that cannot be done here; the text says why.
var ErrSkipped = errors.New("skipped")

// Trial is one run of a scenario.
type Trial struct {
	*Site
	*Journal
	Rand *rand.Rand
	Scale
}

// Scale is how large a trial is.
type Scale struct {
	Rounds   int           // times that the scenario is repeated
	Hold     time.Duration // how long a fault lasts
	Segments int           // of a long ledger
	Payload  int           // bytes of each entry of a long ledger
}

// Wait lets time pass while a fault lasts, in multiples of Hold.
func (t *Trial) Wait(ctx context.Context, holds float64) {
	pause(ctx, time.Duration(holds*float64(t.Hold)))
}

// Recovered waits until a write gets through that begins from now on. The error
// says that none did within MaxRecovery.
func (t *Trial) Recovered(ctx context.Context, format string, args ...any) error {
	t.Expect(format, args...)
	moment := t.Now()
	return until(ctx, MaxRecovery, func() error {
		if t.WrittenSince(moment) {
			return nil
		}
		return fmt.Errorf("no write got through within %s of %s", MaxRecovery, fmt.Sprintf(format, args...))
	})
}

// EnrolHarness makes the identities that trials work with, once for each site.
func (s *Site) EnrolHarness(ctx context.Context) error {
	return errors.Join(
		s.Enrol(ctx, writer, tap.Citizen, tap.Auditor),
		s.Enrol(ctx, auditor, tap.Auditor, tap.Citizen))
}

// Try runs a scenario on a site under load, and checks everything afterwards. name
// makes what it writes its own.
func (s *Site) Try(ctx context.Context, sc Scenario, name string, scale Scale, seed uint64) Row {
	began := time.Now()
	life, cancel := context.WithTimeout(ctx, trialLife*time.Duration(1+scale.Rounds))
	defer cancel()
	t := &Trial{Site: s, Journal: NewJournal(), Rand: rand.New(rand.NewPCG(seed, 0)), Scale: scale}
	row := Row{Scenario: sc.Name}
	var err error
	row.Verdict, err = t.run(life, sc, name)
	switch {
	case errors.Is(err, ErrSkipped):
		row.Skipped = err.Error()
	case err != nil:
		row.Failure = err.Error()
	}
	row.Faults, row.Operations = t.Faults(), t.Counts()
	row.Interruption, row.Interrupted = t.Interruption()
	row.Recovery, row.After = t.Recovery()
	row.Took = time.Since(began)
	return row
}

func (t *Trial) run(ctx context.Context, sc Scenario, name string) (Verdict, error) {
	caller := &Caller{Nodes: t.As(writer), Journal: t.Journal}
	loads := []Workload{
		&Evidence{Caller: caller, Auditor: t.ByName(auditor), Action: "faults." + name},
		&Registers{Caller: caller, Prefix: "faults-" + name},
		&Money{Caller: caller, Auditor: t.ByName(auditor), Purpose: name},
	}
	for _, w := range loads {
		if err := w.Prepare(ctx); err != nil {
			return Verdict{}, err
		}
	}
	broken := t.underLoad(ctx, loads, func() error {
		for range t.Rounds {
			if err := sc.Break(ctx, t); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(broken, ErrSkipped) {
		return Verdict{}, broken
	}
	// What was acknowledged is checked also when the scenario failed.
	v, err := t.check(ctx, loads)
	return v, errors.Join(broken, err)
}

// underLoad runs the workloads while fn breaks things.
func (t *Trial) underLoad(ctx context.Context, loads []Workload, fn func() error) error {
	load, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	for _, w := range loads {
		all.Go(func() { w.Run(load, ctx) })
	}
	err := until(ctx, MaxRecovery, func() error {
		if t.Counts().Acknowledged < warmWrites {
			return errors.New("the cluster does not serve to begin with")
		}
		return nil
	})
	if err == nil {
		err = fn()
	}
	if err == nil {
		pause(ctx, calm)
	}
	t.Finish()
	stop()
	all.Wait()
	return err
}

// check waits until all nodes are there again and holds them to their word.
func (t *Trial) check(ctx context.Context, loads []Workload) (Verdict, error) {
	if err := t.Settle(ctx); err != nil {
		return Verdict{}, err
	}
	heads, err := t.Heads(ctx)
	if err != nil {
		return Verdict{}, err
	}
	v := CheckHeads(heads)
	for _, w := range loads {
		found, err := w.Check(ctx)
		if err != nil {
			return v, err
		}
		v.Join(found)
	}
	return v, nil
}
