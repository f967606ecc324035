package bookpi

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// begin writes the first keys down, as the leader does in its first second.
func begin(t fataler, p *Pod) {
	if err := p.notary.beginHistory(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Two members sign and record at once while the ledger grows: what either hands
// out is one history, and no size has two roots.
func TestTwoNotariesNeverSignTwoRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := podtest.NewState()
		h := podtest.NewHost(t, state, newPod(t, state))
		var mu sync.Mutex
		roots := map[uint64]bookpi.Hash{}
		var done sync.WaitGroup
		for range 2 {
			n := newNotary(state, newKeyring())
			for range 3 {
				done.Go(func() {
					for range 20 {
						size, _ := state.Size()
						cp, note, err := n.Covering(t.Context(), size)
						if err != nil {
							t.Error(err)
							return
						}
						if _, err := bookpi.OpenCheckpoint(note, verifierKey); err != nil || cp.Size < size {
							t.Errorf("%+v covers %d: %v", cp, size, err)
						}
						mu.Lock()
						if known, ok := roots[cp.Size]; ok && known != cp.Root {
							t.Errorf("two roots at size %d", cp.Size)
						}
						roots[cp.Size] = cp.Root
						mu.Unlock()
						<-time.After(50 * time.Millisecond)
					}
				})
			}
		}
		for range 100 {
			appendEvidence(t, h, till, "a", `1`)
			<-time.After(11 * time.Millisecond)
		}
		done.Wait()
		if len(roots) < 5 {
			t.Errorf("only %d checkpoints were seen", len(roots))
		}
		for size, root := range roots {
			if cp, _, ok, err := state.CheckpointFor(size); err != nil || !ok || cp.Size != size || cp.Root != root {
				t.Errorf("a checkpoint of size %d was handed out and is not recorded", size)
			}
		}
	})
}

// counting counts the batches that pass, and stops them when told to.
type counting struct {
	*podtest.State
	batches atomic.Int64
	refusal atomic.Pointer[tap.Error]
}

func (c *counting) Commit(ctx context.Context, b store.Batch) (store.Receipt, error) {
	c.batches.Add(1)
	if err := c.refusal.Load(); err != nil {
		return store.Receipt{}, err
	}
	return c.State.Commit(ctx, b)
}

func TestProposalsAreSharedAndRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := &counting{State: grow(t, 1, `1`)}
		h := podtest.NewHost(t, state.State, newPod(t, state.State))
		n := newNotary(state, newKeyring())
		began := time.Now()
		for range 5 {
			size, _ := state.Size()
			var done sync.WaitGroup
			for range 50 {
				done.Go(func() {
					if _, _, err := n.Covering(t.Context(), size); err != nil {
						t.Error(err)
					}
				})
			}
			done.Wait()
			appendEvidence(t, h, till, "a", `1`)
		}
		if took := time.Since(began); state.batches.Load() != 5 || took < 4*proposals {
			t.Errorf("%d proposals in %s", state.batches.Load(), took)
		}
	})
}

// A waiter whose proposer gives up proposes itself.
func TestTheProposerMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := grow(t, 3, `1`)
		n := newNotary(state, newKeyring())
		n.proposed = time.Now() // the first has to wait
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, _, err := n.Covering(ctx, 3)
			left <- err
		}()
		synctest.Wait()
		stays := make(chan error, 1)
		go func() {
			_, _, err := n.Covering(t.Context(), 3)
			stays <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		if err := <-stays; err != nil {
			t.Errorf("who stayed: %v", err)
		}
	})
}

func TestNothingIsHandedOutThatIsNotRecorded(t *testing.T) {
	state := &counting{State: grow(t, 3, `1`)}
	n := newNotary(state, newKeyring())
	state.refusal.Store(tap.E("store", tap.Conflict, "another tree").WithCode("split_view"))
	_, note, err := n.Covering(t.Context(), 3)
	podtest.WantKind(t, err, tap.Internal, "split_view")
	if note != nil {
		t.Error("a note that nobody recorded")
	}
	state.refusal.Store(tap.E("store", tap.Unavailable, "no leader").WithCode("not_leader"))
	_, _, err = n.Covering(t.Context(), 3)
	podtest.WantKind(t, err, tap.Unavailable, "not_leader")
	state.refusal.Store(tap.E("store", tap.Conflict, "an older release").WithCode("cluster_version"))
	_, _, err = n.Covering(t.Context(), 3)
	podtest.WantKind(t, err, tap.Unavailable, "cluster_version")
	_, _, err = n.Covering(t.Context(), 4)
	podtest.WantKind(t, err, tap.Invalid, "query")
	// Another history with the same keys: the state machine refuses its root.
	forked := &forkedLedger{State: state.State, root: bookpi.Hash{1}}
	_, _, err = newNotary(forked, newKeyring()).Covering(t.Context(), 3)
	podtest.WantKind(t, err, tap.Internal, "split_view")
}

// forkedLedger says of itself what its state machine does not know.
type forkedLedger struct {
	*podtest.State
	root bookpi.Hash
}

func (f *forkedLedger) Size() (uint64, bookpi.Hash) {
	size, _ := f.State.Size()
	return size, f.root
}

func TestRunRecordsWhileTheLedgerGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := &counting{State: grow(t, 2, `1`)}
		h := podtest.NewHost(t, state.State, newPod(t, state.State))
		var leads atomic.Bool
		leads.Store(true)
		c := newNotary(state, newKeyring()).c
		c.Leads = leads.Load
		n := NewNotary(c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx) }()
		settle := func() { <-time.After(2500 * time.Millisecond); synctest.Wait() }
		settle()
		if cp, _, ok := state.Checkpoint(); !ok || cp.Size != 3 || state.batches.Load() != 2 {
			t.Errorf("at first %+v, %v after %d batches; want the keys and a checkpoint of them", cp, ok, state.batches.Load())
		}
		settle()
		if n := state.batches.Load(); n != 2 {
			t.Errorf("a ledger that rests gets checkpoints: %d", n)
		}
		appendEvidence(t, h, till, "a", `1`)
		settle()
		if cp, _, _ := state.Checkpoint(); cp.Size != 4 {
			t.Errorf("grown: %+v", cp)
		}
		state.refusal.Store(tap.E("store", tap.Unavailable, "no leader"))
		appendEvidence(t, h, till, "a", `1`)
		settle()
		state.refusal.Store(nil)
		leads.Store(false)
		settle()
		if cp, _, _ := state.Checkpoint(); cp.Size != 4 {
			t.Errorf("a follower records: %+v", cp)
		}
		leads.Store(true)
		settle()
		if cp, _, _ := state.Checkpoint(); cp.Size != 5 {
			t.Errorf("after failures: %+v", cp)
		}
		cancel()
		<-done
	})
}

func TestRotation(t *testing.T) {
	state := podtest.NewState()
	ring := newKeyring()
	p := New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, ring)})
	h := podtest.NewHost(t, state, p)
	rotate := func() error {
		var reply rotationReply
		_, err := h.Do(t.Context(), podtest.Request{As: operator, Method: "POST", Target: "/v1/evidence/key"}, &reply)
		return err
	}
	podtest.WantKind(t, rotate(), tap.Unavailable, codeKeys) // no history yet
	begin(t, p)
	appendEvidence(t, h, till, "a", `1`)
	before, note, err := p.notary.Covering(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := rotate(); err != nil {
		t.Fatal(err)
	}
	podtest.WantKind(t, rotate(), tap.Conflict, "rotating")
	var key keyReply
	if _, err := get(t, h, nil, "/v1/evidence/key", &key); err != nil || !key.Rotating {
		t.Errorf("%+v, %v", key, err)
	}
	// While the request stands nobody signs what is new; what is recorded serves on.
	ctx, cancel := context.WithTimeout(t.Context(), proposals+again)
	defer cancel()
	_, _, err = p.notary.Covering(ctx, 3)
	podtest.WantKind(t, err, tap.Unavailable, codeKeys)
	if _, _, err := p.notary.Covering(t.Context(), 2); err != nil {
		t.Error(err)
	}
	ring.fail = errFaulty
	if err := p.notary.turn(t.Context()); !errors.Is(err, errFaulty) {
		t.Errorf("keys that nobody keeps: %v", err)
	}
	ring.fail = nil
	if err := p.notary.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, h, nil, "/v1/evidence/key", &key); err != nil || key.Rotating || key.VerifierKey == verifierKey {
		t.Errorf("%+v, %v", key, err)
	}
	first, _ := bookpi.ParseVerifierKey(verifierKey)
	served, err := get(t, h, nil, "/log/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	history, err := bookpi.OpenKeyHistory(served.Body, first)
	if err != nil || len(history.Records) != 2 || history.Records[1].From <= before.Size {
		t.Fatalf("%+v, %v", history, err)
	}
	after, newer, ok := state.Checkpoint()
	if !ok || after.Size < history.Records[1].From {
		t.Fatalf("no checkpoint with the new keys: %+v", after)
	}
	for _, n := range [][]byte{note, newer} {
		if _, err := history.OpenCheckpoint(n); err != nil {
			t.Error(err)
		}
	}
	if _, err := bookpi.OpenCheckpoint(newer, verifierKey); err == nil {
		t.Error("the old key signs on")
	}
	record, err := state.Record(history.Records[1].From)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := bookpi.ParseEntry(record.Entry); e.Action != "log.key_rotated" || e.Actor != operator.Identity {
		t.Errorf("evidence %+v", e)
	}
	// A node without the new secrets signs nothing.
	lost := newNotary(state, newKeyring())
	appendEvidence(t, h, till, "a", `1`)
	ctx, cancel = context.WithTimeout(t.Context(), again)
	defer cancel()
	size, _ := state.Size()
	_, _, err = lost.Covering(ctx, size)
	podtest.WantKind(t, err, tap.Unavailable, codeKeys)
	foreign := podtest.Who("zoe", tap.Operator)
	foreign.Tenant = "other"
	_, err = h.Do(t.Context(), podtest.Request{As: foreign, Method: "POST", Target: "/v1/evidence/key"}, nil)
	podtest.WantKind(t, err, tap.Forbidden, "tenant")
}

// A rotation that nobody completes lapses, and what comes too late changes nothing.
func TestALapsedRotation(t *testing.T) {
	state := podtest.NewState()
	p := newPod(t, state)
	begin(t, p)
	h := podtest.NewHost(t, state, p)
	if _, err := h.Do(t.Context(), podtest.Request{As: operator, Method: "POST", Target: "/v1/evidence/key"}, nil); err != nil {
		t.Fatal(err)
	}
	late := p.notary.c
	late.Rotate = func(_ context.Context, number uint64) (bookpi.LogKeys, error) {
		state.Advance(2 * rotationTime) // while the keys are made
		return newKeys(origin), nil
	}
	if err := NewNotary(late).completeRotation(t.Context()); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("too late: %v", err)
	}
	if cp, note, err := p.notary.Covering(t.Context(), 2); err != nil || cp.Size != 2 {
		t.Errorf("%+v, %v", cp, err)
	} else if _, err := bookpi.OpenCheckpoint(note, verifierKey); err != nil {
		t.Error(err)
	}
	fixed := New(Config{Tenant: "main", Ledger: state, Notary: NewNotary(NotaryConfig{Tenant: "main", Ledger: state, View: state, Writer: state, Keys: newKeyring().keys})})
	_, err := podtest.NewHost(t, state, fixed).Do(t.Context(), podtest.Request{As: operator, Method: "POST", Target: "/v1/evidence/key"}, nil)
	podtest.WantKind(t, err, tap.Unavailable, "")
}

// Keys that are lost for good are replaced only where somebody said so.
func TestLostKeys(t *testing.T) {
	state := podtest.NewState()
	begin(t, newPod(t, state))
	other := &keyring{held: map[uint64][]bookpi.LogKeys{0: {newKeys(origin)}}}
	c := newNotary(state, other).c
	if err := NewNotary(c).beginHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, _, err := NewNotary(c).history(); err != nil || !slices.Equal(h.Records[0].Keys, firstKeys.VerifierKeys()) {
		t.Errorf("replaced by itself: %+v, %v", h, err)
	}
	c.Anew = true
	n := NewNotary(c)
	for range 2 { // once
		if err := n.beginHistory(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if size, _ := state.Size(); size != 2 {
		t.Errorf("%d entries", size)
	}
	if _, note, err := n.Covering(t.Context(), 2); err != nil {
		t.Error(err)
	} else if _, err := bookpi.OpenCheckpoint(note, other.keys(0)[0].Verifiers()[0]); err != nil {
		t.Error(err)
	}
	// Who still has the keys keeps them, whatever was said.
	kept := newNotary(state, other).c
	kept.Anew = true
	if err := NewNotary(kept).beginHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size, _ := state.Size(); size != 2 {
		t.Errorf("%d entries", size)
	}
}

// unanswered never learns what became of a checkpoint that it proposed.
type unanswered struct{ *podtest.State }

func (u unanswered) Commit(ctx context.Context, b store.Batch) (store.Receipt, error) {
	if len(b.Evidence) > 0 {
		return u.State.Commit(ctx, b)
	}
	<-ctx.Done()
	return store.Receipt{}, tap.E("test", tap.Timeout, "nobody knows").WithCode("uncertain")
}

// Whoever waits in vain for a checkpoint hears when to come back, before the pod's
// budget ends: neither missing keys nor a missing leader make the pod ill, which
// would turn away evidence.
func TestNobodyWaitsForACheckpointForever(t *testing.T) {
	for name, c := range map[string]struct {
		ring *keyring
		of   func(*podtest.State) site
		code string
	}{
		"no keys":   {&keyring{}, func(s *podtest.State) site { return s }, codeKeys},
		"no leader": {newKeyring(), func(s *podtest.State) site { return unanswered{s} }, "no_checkpoint"},
	} {
		synctest.Test(t, func(t *testing.T) {
			state := podtest.NewState()
			begin(t, newPod(t, state))
			l := c.of(state)
			h := podtest.NewHost(t, state, New(Config{Tenant: "main", Ledger: l, Notary: newNotary(l, c.ring)}))
			entry := appendEvidence(t, h, till, "a", `1`)
			for range 5 {
				began := time.Now()
				_, err := get(t, h, auditor, "/v1/evidence/"+entry.EvidenceHash.String()+"/proof", nil)
				podtest.WantKind(t, err, tap.Unavailable, c.code)
				if took := time.Since(began); tap.AsError(err).RetryAfter == 0 || took >= budget {
					t.Errorf("%s: after %s: %v", name, took, err)
				}
			}
			appendEvidence(t, h, till, "a", `2`)
		})
	}
}

// A history is checked once, however often somebody asks for the keys.
func TestAHistoryIsReadOnce(t *testing.T) {
	state := podtest.NewState()
	n := newNotary(state, newKeyring())
	begin(t, New(Config{Tenant: "main", Ledger: state, Notary: n}))
	first, _, err := n.history()
	again, _, err2 := n.history()
	if err != nil || err2 != nil || &first.Records[0] != &again.Records[0] {
		t.Errorf("read again: %v, %v", err, err2)
	}
}
