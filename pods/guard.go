package pods

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sony/gobreaker/v2"

	"tamv.internal/tamv/tap"
)

// The breaker of every pod.
const (
	breakerFailures  = 3                // consecutive failures that open it
	breakerCooldown  = 30 * time.Second // until it tries again
	breakerSuccesses = 3                // consecutive successes that close it
)

// Guard runs calls to one pod within its budget and behind its breaker. Calls
// without a principal have a breaker of their own: a stranger who finds a request
// that fails cannot keep those who are admitted from the pod.
type Guard struct {
	name      string
	budget    time.Duration
	admitted  *gobreaker.CircuitBreaker[any]
	strangers *gobreaker.CircuitBreaker[any]
}

// NewGuard makes the guard of the pod with this manifest.
func NewGuard(m Manifest) *Guard {
	budget := m.Budget
	if budget == 0 {
		budget = DefaultBudget
	}
	return &Guard{m.Name, budget, newBreaker(m.Name), newBreaker(m.Name)}
}

func newBreaker(name string) *gobreaker.CircuitBreaker[any] {
	return gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name:         name,
		MaxRequests:  breakerSuccesses,
		Timeout:      breakerCooldown,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsSuccessful: func(err error) bool { return err == nil || !podsFault(err) },
		IsExcluded:   func(err error) bool { return errors.Is(err, errCallerLeft) },
	})
}

// breaker is the one that a call is behind.
func (g *Guard) breaker(c *Call) *gobreaker.CircuitBreaker[any] {
	if c.Principal == nil {
		return g.strangers
	}
	return g.admitted
}

// podsFault says whether an error means that the pod is ill. A refusal or a
// malformed request is the pod doing its work, and so is saying that something
// else is not there for the moment and when to ask again: no leader, no quorum.
func podsFault(err error) bool {
	switch tap.KindOf(err) {
	case tap.Internal, tap.Timeout:
		return true
	case tap.Unavailable:
		return tap.AsError(err).RetryAfter == 0
	}
	return false
}

var (
	// errBudget ends a call that took longer than its pod's budget.
	errBudget = errors.New("the pod's budget is spent")
	// errCallerLeft marks a call whose caller went away or ran out of time
	// first, which says nothing about the pod.
	errCallerLeft = errors.New("the caller did not wait")
)

// Open says whether a breaker refuses calls now.
func (g *Guard) Open() bool {
	return g.admitted.State() == gobreaker.StateOpen || g.strangers.State() == gobreaker.StateOpen
}

// guarded runs fn within the guard's budget and behind its breaker. A pod that
// does not return in time is abandoned: its result is dropped, the caller gets
// Timeout.
func guarded[T any](ctx context.Context, g *Guard, c *Call, fn func(context.Context) (T, error)) (T, error) {
	return behind(g, c, func() (zero T, _ error) {
		ctx, cancel := context.WithTimeoutCause(ctx, g.budget, errBudget)
		defer cancel()
		type answer struct {
			value T
			err   error
		}
		done := make(chan answer, 1)
		go func() {
			value, err := contained(g, func() (T, error) { return fn(ctx) })
			done <- answer{value, err}
		}()
		select {
		case a := <-done:
			if a.err == nil || ctx.Err() == nil {
				return a.value, a.err
			}
			return zero, g.interrupted(ctx)
		case <-ctx.Done():
			return zero, g.interrupted(ctx)
		}
	})
}

// contained makes a panic an Internal error of the pod, not the end of the
// process.
func contained[T any](g *Guard, fn func() (T, error)) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = tap.Wrap(g.name, tap.Internal, fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "the pod failed")
		}
	}()
	return fn()
}

// behind runs fn unless the breaker is open, and tells the breaker how it went.
func behind[T any](g *Guard, c *Call, fn func() (T, error)) (value T, err error) {
	_, err = g.breaker(c).Execute(func() (any, error) {
		var err error
		value, err = fn()
		return nil, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = tap.Wrap(g.name, tap.Unavailable, err, "pod %s failed repeatedly and rests", g.name).
			WithCode("breaker_open").WithRetryAfter(breakerCooldown)
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return value, nil
}

// interrupted says why a call ended before its pod answered.
func (g *Guard) interrupted(ctx context.Context) error {
	if context.Cause(ctx) == errBudget {
		return tap.E(g.name, tap.Timeout, "pod %s took longer than its budget of %s", g.name, g.budget)
	}
	return tap.AsError(fmt.Errorf("%w: %w", errCallerLeft, ctx.Err()))
}

// Run calls a route of the guarded pod.
func (g *Guard) Run(ctx context.Context, run Func, c *Call) (*Result, error) {
	return guarded(ctx, g, c, func(ctx context.Context) (*Result, error) { return run(ctx, c) })
}

// RunBrief calls a brief route of the guarded pod, on the caller's goroutine.
func (g *Guard) RunBrief(ctx context.Context, run Func, c *Call) (*Result, error) {
	return behind(g, c, func() (*Result, error) {
		return contained(g, func() (*Result, error) { return run(ctx, c) })
	})
}

// RunIntent calls the guarded pod's part of an intent.
func (g *Guard) RunIntent(ctx context.Context, run IntentFunc, c *Call, in *Intent) (*Part, error) {
	return guarded(ctx, g, c, func(ctx context.Context) (*Part, error) { return run(ctx, c, in) })
}
