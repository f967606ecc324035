package anubis

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// flaky is a committer that can lose the batch, or only the answer.
type flaky struct {
	store.Committer
	mu       sync.Mutex
	lose     bool // before it is committed
	swallow  bool // commit, and say that nothing is known
	commits  int
	attempts int
}

func (f *flaky) Commit(ctx context.Context, b store.Batch) (store.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts++
	if f.lose {
		return store.Receipt{}, tap.E("test", tap.Unavailable, "no leader")
	}
	r, err := f.Committer.Commit(ctx, b)
	if err == nil {
		f.commits++
	}
	if f.swallow {
		return store.Receipt{}, tap.E("test", tap.Timeout, "no answer")
	}
	return r, err
}

func (f *flaky) set(lose, swallow bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose, f.swallow = lose, swallow
}

func newFlakySite(t *testing.T) (*site, *flaky) {
	f := &flaky{}
	s := newSite(t, func(c *Config) { f.Committer, c.Writer = c.Writer, f })
	return s, f
}

func (s *site) fail(n int) {
	for i := range n {
		s.gate.note(claim{"main", fmt.Sprint("id", i), home}, tap.CodeUnsigned, s.Now())
	}
}

func total(found map[[3]string]int64) (n int64) {
	for _, count := range found {
		n += count
	}
	return n
}

// A commit that fails, and one of which nobody knows how it ended, are sent
// again without counting anything twice, while new attempts gather.
func TestFlushSurvivesFailures(t *testing.T) {
	s, f := newFlakySite(t)
	s.fail(3)
	f.set(true, false)
	for range 3 {
		if err := s.gate.Flush(t.Context()); !tap.IsKind(err, tap.Unavailable) {
			t.Fatal(err)
		}
		s.fail(2)
	}
	f.set(false, true)
	for range 3 {
		if err := s.gate.Flush(t.Context()); !tap.IsKind(err, tap.Timeout) {
			t.Fatal(err)
		}
	}
	if n := s.gate.recorder.waiting.Load(); n != 1 {
		t.Fatalf("%d batches wait", n)
	}
	f.set(false, false)
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := total(s.attemptsIn()); n != 9 || s.gate.recorder.waiting.Load() != 0 {
		t.Fatalf("the ledger knows of %d attempts, 9 happened", n)
	}
	if !strings.Contains(s.log.String(), "could not be recorded yet") {
		t.Fatal("the log says nothing")
	}
}

// A flood from everywhere is counted to the last request in a bounded number
// of rows.
func TestFloodIsBounded(t *testing.T) {
	s := newSite(t)
	const flood = 5000
	for i := range flood {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		r := s.request("GET", "/v1/dreamspaces", nil)
		r.Remote = from
		if _, err := admit(s, r, row(tap.Citizen)); err == nil {
			t.Fatal("admitted")
		}
		s.gate.note(claim{"main", "ana", from}, codeOK, s.Now())
	}
	if n := s.gate.attempts.waiting(); n != 2*(maxRows+1) {
		t.Fatalf("%d rows wait", n)
	}
	// What goes out every second stays out: there is too much of it.
	if err := s.gate.flush(t.Context(), false); err != nil || len(s.attemptsIn()) != 0 {
		t.Fatal("a flood went out with the small tables", err)
	}
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := s.attemptsIn()
	if len(found) != 2*(maxRows+1) || total(found) != 2*flood {
		t.Fatalf("%d rows, %d attempts", len(found), total(found))
	}
	if found[[3]string{anonymous, "others", "other"}] != flood-maxRows || found[[3]string{anonymous, "others", codeOK}] != flood-maxRows {
		t.Fatal("the rest is not counted as others")
	}
}

// Rows of one tenant never appear in another's ledger entries, and every batch
// is within the store's limits with the longest names.
func TestAttemptsByTenant(t *testing.T) {
	s := newSite(t)
	for i := range 300 {
		name := fmt.Sprintf("%064d", i)
		s.gate.note(claim{strings.Repeat("t", 64), name, home}, tap.CodeExpired, s.Now())
		s.gate.note(claim{"main", name, home}, tap.CodeExpired, s.Now())
	}
	batches := attemptBatches(s.gate.attempts.failures)
	if len(batches) != 2 || batches[0].Tenant != "main" {
		t.Fatalf("%d batches", len(batches))
	}
	for _, b := range batches {
		if _, err := store.EncodeBatch(b); err != nil {
			t.Fatal(err)
		}
		firstActors := []string{b.Evidence[0].Actor, b.Evidence[1].Actor}
		if !slices.IsSorted(firstActors) {
			t.Fatal("rows are in no order")
		}
	}
}

func TestTallyTimes(t *testing.T) {
	a := newAttempts()
	c := claim{"main", "ana", home}
	for _, at := range []int64{50, 10, 90} { // the clock goes back in between
		a.note(c, codeOK, time.UnixMicro(at))
	}
	if got := a.successes[attempt{claim: c, outcome: codeOK}]; got != (tally{3, 10, 90}) {
		t.Fatalf("%+v", got)
	}
}

func TestAlert(t *testing.T) {
	s := newSite(t)
	for range DefaultLimits().Failures.Burst + 2 {
		_, _ = admit(s, s.request("GET", "/", nil), row(tap.Citizen))
	}
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := s.log.String(); !strings.Contains(log, "keeps failing") || !strings.Contains(log, "192.0.2.7") || !strings.Contains(log, "requests=2") {
		t.Fatalf("log: %s", log)
	}
}

// Failures reach the ledger after a second, successes after ten, the rest when
// the appliance stops.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.gate.Run(ctx)
		}()
		known := func() int64 {
			synctest.Wait()
			return total(s.attemptsIn())
		}
		s.fail(2)
		s.gate.note(claim{"main", "ana", home}, codeOK, s.Now())
		<-time.After(flushEvery - time.Millisecond)
		if n := known(); n != 0 {
			t.Fatalf("%d recorded too early", n)
		}
		<-time.After(2 * time.Millisecond)
		if n := known(); n != 2 {
			t.Fatalf("%d recorded after a second", n)
		}
		<-time.After(flushAll * flushEvery)
		if n := known(); n != 3 {
			t.Fatalf("%d recorded after ten seconds", n)
		}
		s.fail(1)
		stop()
		<-done
		if n := known(); n != 4 {
			t.Fatalf("%d recorded at the end", n)
		}
	})
}

func TestMetrics(t *testing.T) {
	s := newSite(t)
	s.attempt(s.enrol("main", "ana", tap.Citizen), "ok", home)
	found := gather(t, s.gate.Metrics())
	for name, value := range map[string]float64{
		"tamv_auth_attempts_total": 1, "tamv_auth_identities": 1, "tamv_auth_sessions": 0, "tamv_auth_nonces": 1,
		"tamv_auth_addresses": 1, "tamv_auth_attempt_rows": 1, "tamv_auth_pending_batches": 0,
	} {
		if got, ok := found[name]; !ok || got != value {
			t.Errorf("%s is %v, want %v", name, got, value)
		}
	}
}
