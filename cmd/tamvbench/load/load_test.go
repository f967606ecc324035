package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1)*time.Millisecond)
	}
	for q, want := range map[float64]float64{.5: 50, .95: 95, .99: 99, 1: 100} {
		if got := percentile(hundred, q); got != want {
			t.Errorf("percentile %v of 1..100 ms is %v", q, got)
		}
	}
	if percentile(nil, .5) != 0 {
		t.Error("no operations have no latency")
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		given := slices.Clone(values)
		if got := Median(values); got != want {
			t.Errorf("the median of %v is %v", values, got)
		}
		if !slices.Equal(values, given) {
			t.Errorf("the values were reordered: %v", values)
		}
	}
}

// answer is a system that answers after d.
func answer(ctx context.Context, d time.Duration, err error) error {
	select {
	case <-time.After(d):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestRunIsAClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		workers := []Worker{
			func(ctx context.Context) error { return answer(ctx, 10*time.Millisecond, nil) },
			func(ctx context.Context) error { return answer(ctx, 30*time.Millisecond, nil) },
			func(ctx context.Context) error { return answer(ctx, 100*time.Millisecond, errors.New("full")) },
		}
		got := Run(t.Context(), workers, 1005*time.Millisecond)
		want := Figures{
			Seconds: 1.005, Operations: 133, Rate: Round(133 / 1.005),
			P50: 10, P95: 30, P99: 30, Max: 30, Errors: 10, FirstError: "full",
		}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := Run(ctx, []Worker{func(context.Context) error { return nil }}, time.Hour)
	if f.Operations != 0 || f.Errors != 0 {
		t.Errorf("%+v", f)
	}
}

func TestMeasureFailover(t *testing.T) {
	for name, c := range map[string]struct {
		outage time.Duration
		gap    float64
		back   bool
	}{
		"back after 1.5 s": {1500 * time.Millisecond, 1500, true},
		"no interruption":  {0, 20, true},
		"never back":       {time.Hour, 30_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var back atomic.Pointer[time.Time]
				back.Store(new(time.Time))
				write := func(ctx context.Context) error {
					if time.Now().Before(*back.Load()) {
						return errors.New("no leader")
					}
					return answer(ctx, 20*time.Millisecond, nil)
				}
				f, err := MeasureFailover(t.Context(), []Worker{write, write}, func() error {
					back.Store(new(time.Now().Add(c.outage)))
					return nil
				})
				if err != nil || f.Resumed != c.back || f.Gap < c.gap-20 || f.Gap > c.gap+70 {
					t.Errorf("%+v, %v", f, err)
				}
				if f.Before != 20 {
					t.Errorf("%v ms between writes before the kill", f.Before)
				}
				if f.Writes < 2*95 {
					t.Errorf("%d writes", f.Writes)
				}
			})
		})
	}
}

// A system that hangs is tried again after tryLimit.
func TestMeasureFailoverOfASystemThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Pointer[time.Time]
		back.Store(new(time.Time))
		write := func(ctx context.Context) error {
			if time.Now().Before(*back.Load()) {
				<-ctx.Done()
				return ctx.Err()
			}
			return answer(ctx, time.Millisecond, nil)
		}
		f, err := MeasureFailover(t.Context(), []Worker{write}, func() error {
			back.Store(new(time.Now().Add(600 * time.Millisecond)))
			return nil
		})
		if err != nil || f.Gap < 600 || f.Gap > 800 {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

func TestMeasureFailoverReportsWhatWentWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no such process")
		write := func(ctx context.Context) error { return answer(ctx, time.Millisecond, nil) }
		if _, err := MeasureFailover(t.Context(), []Worker{write}, func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), undisturbed/2)
		defer cancel()
		if _, err := MeasureFailover(ctx, []Worker{write}, func() error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), undisturbed+settled)
		defer cancel()
		if f, err := MeasureFailover(ctx, []Worker{write}, func() error { return nil }); !errors.Is(err, context.DeadlineExceeded) || f.Resumed {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

// TestTreeCPU lets a grandchild burn CPU.
func TestTreeCPU(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	c := exec.Command(shell, "-c", `(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read x) & wait`)
	c.Stdin = strings.NewReader("")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	spent, err := TreeCPU(os.Getpid())
	if err != nil || spent <= 0 {
		t.Errorf("%v s, %v", spent, err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	after, err := TreeCPU(os.Getpid())
	if err != nil || after < spent {
		t.Errorf("%v s, then %v s: what a child used is forgotten when it ends (%v)", spent, after, err)
	}
	if none, err := TreeCPU(); err != nil || none != 0 {
		t.Errorf("no processes used %v s, %v", none, err)
	}
	if OwnCPU() <= 0 {
		t.Error("a process without CPU time")
	}
}

const statLine = "7 (a (b) c) S 5 7 7 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 1 2 3"

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte(statLine))
	if err != nil || p != (processStat{7, 5, 124}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{
		"", "7", "7 (x)", "(x) S 1", "7 )x( S 5", "x (x)" + statLine[11:], statLine[:40],
		strings.Replace(statLine, " 100 ", " -1 ", 1), strings.Replace(statLine, "S 5", "S x", 1),
	} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () S 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := slices.Clone(line)
		_, _ = parseStat(line)
		if !slices.Equal(line, before) {
			t.Error("the line was changed")
		}
	})
}

func TestRoundKeepsThreeDecimals(t *testing.T) {
	for range 100 {
		if f := rand.Float64() * 1e6; Round(f)-f > 0.00051 || f-Round(f) > 0.00051 {
			t.Errorf("%v became %v", f, Round(f))
		}
	}
}
