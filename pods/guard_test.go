package pods

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

var errIll = tap.E("p", tap.Unavailable, "the dependency is down")

func guardOf(budget time.Duration) *Guard { return NewGuard(Manifest{Name: "p", Budget: budget}) }

// answering returns a Func that always gives this error.
func answering(err error) Func {
	return func(context.Context, *Call) (*Result, error) { return &Result{}, err }
}

// Feature: tamv-hardened-backend, Property 31: Dependency Timeout Enforcement
func TestSlowPodsAreEnded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		budget := time.Duration(rapid.IntRange(1, 5000).Draw(rt, "budget ms")) * time.Millisecond
		work := time.Duration(rapid.IntRange(1, 10_000).Draw(rt, "work ms"))*time.Millisecond + time.Microsecond
		deaf := rapid.Bool().Draw(rt, "ignores its context")
		var result *Result
		var err error
		var took time.Duration
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			result, err = guardOf(budget).Run(t.Context(), func(ctx context.Context, _ *Call) (*Result, error) {
				done := ctx.Done()
				if deaf {
					done = nil
				}
				select {
				case <-time.After(work):
					return &Result{}, nil
				case <-done:
					return nil, ctx.Err()
				}
			}, &Call{})
			took = time.Since(began)
			<-time.After(work) // the abandoned call ends inside the bubble
		})
		if work < budget {
			if err != nil || result == nil || took != work {
				rt.Fatalf("a quick pod: %v after %s", err, took)
			}
			return
		}
		if !tap.IsKind(err, tap.Timeout) || !strings.Contains(err.Error(), budget.String()) || result != nil || took != budget {
			rt.Fatalf("a slow pod: %v after %s, budget %s", err, took, budget)
		}
	})
}

// Feature: tamv-hardened-backend, Property 28: Circuit Breaker Opening on Repeated Failures
func TestBreakerOpensAfterThreeFailuresInARow(t *testing.T) {
	failures := []error{
		errIll, tap.E("p", tap.Timeout, "slow"), tap.E("p", tap.Internal, "defect"), errors.New("anything untyped"),
	}
	fine := []error{nil, tap.E("p", tap.Invalid, ""), tap.E("p", tap.NotFound, ""), tap.E("p", tap.Refused, ""), tap.E("p", tap.Conflict, "")}
	rapid.Check(t, func(t *rapid.T) {
		g := guardOf(0)
		inARow := 0
		for _, fails := range rapid.SliceOfN(rapid.Bool(), 1, 30).Draw(t, "fails") {
			err := rapid.SampledFrom(fine).Draw(t, "fine")
			if fails {
				err = rapid.SampledFrom(failures).Draw(t, "failure")
			}
			called := false
			_, got := g.Run(context.Background(), func(context.Context, *Call) (*Result, error) { called = true; return nil, err }, &Call{})
			if inARow >= breakerFailures {
				if called || !tap.IsKind(got, tap.Unavailable) || codeOf(got) != "breaker_open" || tap.AsError(got).RetryAfter != breakerCooldown || !g.Open() {
					t.Fatalf("after %d failures: called %v, %v", inARow, called, got)
				}
				continue
			}
			if !called || !errors.Is(got, err) || g.Open() && inARow+1 < breakerFailures {
				t.Fatalf("after %d failures: called %v, %v", inARow, called, got)
			}
			if inARow++; !fails {
				inARow = 0
			}
		}
	})
}

// Feature: tamv-hardened-backend, Property 30: Circuit Breaker Recovery
func TestBreakerTriesAgainAfterItsCooldown(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		early := time.Duration(rapid.Int64Range(0, int64(breakerCooldown)).Draw(rt, "early"))
		successes := rapid.IntRange(0, breakerSuccesses).Draw(rt, "successes")
		var refused error
		var trials []error
		var open bool
		synctest.Test(t, func(t *testing.T) {
			g := guardOf(0)
			for !g.Open() {
				g.Run(t.Context(), answering(errIll), &Call{})
			}
			<-time.After(early)
			_, refused = g.Run(t.Context(), answering(nil), &Call{})
			<-time.After(breakerCooldown - early + 1)
			for range successes {
				_, err := g.Run(t.Context(), answering(nil), &Call{})
				trials = append(trials, err)
			}
			g.Run(t.Context(), answering(errIll), &Call{})
			open = g.Open()
		})
		if codeOf(refused) != "breaker_open" {
			rt.Fatalf("after %s: %v", early, refused)
		}
		if err := errors.Join(trials...); err != nil {
			rt.Fatalf("a trial call: %v", err)
		}
		if closed := successes == breakerSuccesses; open == closed {
			rt.Fatalf("one failure after %d successes: open is %v", successes, open)
		}
	})
}

// While it recovers, the breaker lets three calls through, not a stampede.
func TestBreakerRecoversWithoutStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guardOf(time.Minute)
		for !g.Open() {
			g.Run(t.Context(), answering(errIll), &Call{})
		}
		<-time.After(breakerCooldown + 1)
		release, running := make(chan bool), 0
		results := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := g.Run(t.Context(), func(context.Context, *Call) (*Result, error) {
					running++
					<-release
					return &Result{}, nil
				}, &Call{})
				results <- err
			}()
			synctest.Wait()
		}
		if running != breakerSuccesses {
			t.Errorf("%d calls run at once", running)
		}
		close(release)
		refused := 0
		for range 10 {
			if codeOf(<-results) == "breaker_open" {
				refused++
			}
		}
		if refused != 10-breakerSuccesses || g.Open() {
			t.Errorf("%d refused, open %v", refused, g.Open())
		}
	})
}

func TestPanicIsAnInternalErrorOfThePod(t *testing.T) {
	_, err := guardOf(0).Run(t.Context(), func(context.Context, *Call) (*Result, error) { panic("the secret") }, &Call{})
	e := tap.AsError(err)
	if e.Kind != tap.Internal || strings.Contains(e.Message, "secret") {
		t.Errorf("got %v", err)
	}
	if log := e.Error(); !strings.Contains(log, "the secret") || !strings.Contains(log, "guard_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", log)
	}
}

// Callers that leave say nothing about the pod.
func TestImpatientCallersDoNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guardOf(time.Minute)
		wait := func(ctx context.Context, _ *Call) (*Result, error) { <-ctx.Done(); return nil, ctx.Err() }
		for range 2 * breakerFailures {
			left, leave := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, leave)
			if _, err := g.Run(left, wait, &Call{}); !tap.IsKind(err, tap.Unavailable) {
				t.Errorf("a cancelled call: %v", err)
			}
			hurried, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := g.Run(hurried, wait, &Call{}); !tap.IsKind(err, tap.Timeout) || strings.Contains(err.Error(), "budget of") {
				t.Errorf("a caller out of time: %v", err)
			}
			cancel()
		}
		if g.Open() {
			t.Error("the breaker is open")
		}
	})
}

func TestRunIntent(t *testing.T) {
	g := guardOf(0)
	part, err := g.RunIntent(t.Context(), func(_ context.Context, _ *Call, in *Intent) (*Part, error) {
		return &Part{Text: in.Type}, nil
	}, &Call{}, &Intent{Type: "question"})
	if err != nil || part.Text != "question" {
		t.Errorf("got %v, %v", part, err)
	}
	part, err = g.RunIntent(t.Context(), func(context.Context, *Call, *Intent) (*Part, error) { return nil, errIll }, &Call{}, &Intent{})
	if part != nil || !errors.Is(err, errIll) {
		t.Errorf("got %v, %v", part, err)
	}
	if g.budget != DefaultBudget {
		t.Errorf("budget %s", g.budget)
	}
}

// A brief call is the caller's own goroutine, and to the breaker a call like
// any other.
func TestBriefCallsStayOnTheirGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guardOf(time.Millisecond)
		type mark struct{}
		ctx := context.WithValue(t.Context(), mark{}, "the caller's")
		result, err := g.RunBrief(ctx, func(ctx context.Context, c *Call) (*Result, error) {
			_, bounded := ctx.Deadline()
			if bounded || ctx.Value(mark{}) == nil {
				t.Error("it has a context of its own")
			}
			<-time.After(time.Second) // nobody gives up on it
			return &Result{Body: c.Tenant}, nil
		}, &Call{Tenant: "site"})
		if err != nil || result.Body != "site" {
			t.Errorf("%v, %v", result, err)
		}
		result, err = g.RunBrief(ctx, func(context.Context, *Call) (*Result, error) { panic("defect") }, &Call{})
		if result != nil || !tap.IsKind(err, tap.Internal) {
			t.Errorf("a panic: %v, %v", result, err)
		}
		for range breakerFailures {
			_, _ = g.RunBrief(ctx, answering(errIll), &Call{})
		}
		if _, err := g.RunBrief(ctx, answering(nil), &Call{}); codeOf(err) != "breaker_open" {
			t.Errorf("after failures: %v", err)
		}
	})
}

func BenchmarkRun(b *testing.B) {
	g := guardOf(0)
	run := func(context.Context, *Call) (*Result, error) { return nil, nil }
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	for name, guarded := range map[string]func(context.Context, Func, *Call) (*Result, error){"guarded": g.Run, "brief": g.RunBrief} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := guarded(ctx, run, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A pod that says when to come back is not ill.
func TestPassingConditionsDoNotOpenTheBreaker(t *testing.T) {
	g := NewGuard(Manifest{Name: "busy"})
	for range 2 * breakerFailures {
		_, err := g.Run(t.Context(), func(context.Context, *Call) (*Result, error) {
			return nil, tap.E("busy", tap.Unavailable, "no leader").WithRetryAfter(time.Second)
		}, &Call{})
		if !tap.IsKind(err, tap.Unavailable) || tap.AsError(err).Code == "breaker_open" {
			t.Fatal(err)
		}
	}
	if g.Open() {
		t.Error("the breaker is open")
	}
}

// A stranger's failures, of whatever kind, are no reason to turn anybody else away.
func TestStrangersHaveABreakerOfTheirOwn(t *testing.T) {
	g := guardOf(0)
	known := &Call{Principal: &tap.Principal{Tenant: "main", Identity: "ana"}}
	for range breakerFailures {
		_, _ = g.Run(t.Context(), answering(errIll), &Call{})
	}
	if _, err := g.Run(t.Context(), answering(nil), &Call{}); codeOf(err) != "breaker_open" || !g.Open() {
		t.Errorf("a stranger: %v, open %t", err, g.Open())
	}
	if _, err := g.Run(t.Context(), answering(nil), known); err != nil {
		t.Errorf("somebody who is admitted: %v", err)
	}
	if _, err := g.RunBrief(t.Context(), answering(nil), known); err != nil {
		t.Errorf("somebody who is admitted: %v", err)
	}
}
