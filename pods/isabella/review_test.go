package isabella

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func TestList(t *testing.T) {
	s := newSite(t, Config{})
	states := map[string]State{}
	for i := range 7 {
		ticket := s.submit(t, ana, uuid.New(), body(borderline))
		states[ticket] = StateHeld
		if what := []string{"", "approve", "deny"}[i%3]; what != "" {
			out, err := s.decide(t, other, uuid.New(), ticket, what)
			if err != nil {
				t.Fatal(err)
			}
			states[ticket] = out.State
		}
	}
	for _, state := range []State{"", StateHeld, StateApproved, StateDenied} {
		for _, limit := range []int{1, 2, 50} {
			seen, after := map[string]bool{}, ""
			for {
				var page List
				target := fmt.Sprintf("/v1/guardian/reviews?limit=%d&state=%s", limit, state)
				if after != "" {
					target += "&after=" + after
				}
				if err := s.get(t, auditor, target, &page); err != nil || len(page.Reviews) > limit {
					t.Fatalf("%v, %d reviews", err, len(page.Reviews))
				}
				for _, r := range page.Reviews {
					if seen[r.Ticket] || state != "" && r.State != state || r.State != states[r.Ticket] || r.Audit.Verdict != Held {
						t.Fatalf("state %q: %+v", state, r)
					}
					seen[r.Ticket] = true
				}
				if after = page.Next; after == "" {
					break
				}
			}
			want := 0
			for _, actual := range states {
				if state == "" || actual == state {
					want++
				}
			}
			if len(seen) != want {
				t.Errorf("state %q, limit %d: %d of %d reviews", state, limit, len(seen), want)
			}
		}
	}
	for _, bad := range []string{"state=open", "limit=0", "limit=201", "after=x", "limit=99999999999999999"} {
		podtest.WantKind(t, s.get(t, other, "/v1/guardian/reviews?"+bad, nil), tap.Invalid, "query")
	}
}

// broken is a view that fails where the test says so.
type broken struct {
	store.View
	fails func(k store.Key) error
	gone  func(k store.Key) bool
	spoil func(k store.Key) []byte
}

func (b broken) Get(k store.Key) (store.Item, bool, error) {
	if b.fails != nil && b.fails(k) != nil {
		return store.Item{}, false, b.fails(k)
	}
	if b.gone != nil && b.gone(k) {
		return store.Item{}, false, nil
	}
	i, ok, err := b.View.Get(k)
	if b.spoil != nil && ok && b.spoil(k) != nil {
		i.Value = b.spoil(k)
	}
	return i, ok, err
}

func (b broken) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	if b.fails != nil && b.fails(prefix) != nil {
		return b.fails(prefix)
	}
	return b.View.Scan(prefix, from, fn)
}

// Whatever the store fails at comes back as an error, and nothing is decided on
// half of it.
func TestStoreFailures(t *testing.T) {
	s := newSite(t, Config{})
	ticket := s.submit(t, ana, uuid.New(), body(borderline))
	disk := errors.New("disk")
	isReview := func(k store.Key) bool { return k.Space() == spaceReview }
	isPiece := func(k store.Key) bool { return k.Space() == spaceIntent }
	failWhen := func(is func(store.Key) bool) func(store.Key) error {
		return func(k store.Key) error {
			if is(k) {
				return disk
			}
			return nil
		}
	}
	call := func(view broken, body any) *pods.Call {
		view.View = s.State
		c := callWith(body, tap.English)
		c.Principal, c.View, c.Params = other, view, map[string]string{"ticket": ticket, "id": ticket}
		return c
	}
	damaged := broken{spoil: func(k store.Key) []byte {
		if isReview(k) {
			return []byte("{")
		}
		return nil
	}}
	garbled := broken{spoil: func(k store.Key) []byte {
		if isPiece(k) {
			return []byte("[]")
		}
		return nil
	}}
	k := s.kernel
	for name, tt := range map[string]struct {
		run  pods.Func
		call *pods.Call
		kind tap.Kind
	}{
		"review unreadable":     {k.review, call(broken{fails: failWhen(isReview)}, nil), tap.Internal},
		"review damaged":        {k.review, call(damaged, nil), tap.Internal},
		"intent unreadable":     {k.review, call(broken{fails: failWhen(isPiece)}, nil), tap.Internal},
		"response unreadable":   {k.progress, call(broken{fails: failWhen(isPiece)}, nil), tap.Internal},
		"progress unreadable":   {k.progress, call(broken{fails: failWhen(isReview)}, nil), tap.Internal},
		"decision unreadable":   {k.decide, call(broken{fails: failWhen(isReview)}, decision{"deny", "x"}), tap.Internal},
		"approval unreadable":   {k.decide, call(broken{fails: failWhen(isPiece)}, decision{"approve", "x"}), tap.Internal},
		"approval overtaken":    {k.decide, call(broken{gone: isPiece}, decision{"approve", "x"}), tap.Conflict},
		"approval of garbage":   {k.decide, call(garbled, decision{"approve", "x"}), tap.Invalid},
		"list unreadable":       {k.reviews, call(broken{fails: failWhen(isReview)}, nil), tap.Internal},
		"list with damaged one": {k.reviews, call(damaged, nil), tap.Internal},
	} {
		_, err := tt.run(t.Context(), tt.call)
		if !tap.IsKind(err, tt.kind) {
			t.Errorf("%s: %v, want %s", name, err, tt.kind)
		}
	}
	held := call(broken{fails: failWhen(isReview)}, body(borderline))
	_, err := k.intent(t.Context(), held)
	podtest.WantKind(t, err, tap.Internal, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = k.decide(ctx, call(broken{}, decision{"approve", "x"}))
	podtest.WantKind(t, err, tap.Unavailable, "")
	if stateOf([]byte("{")) != "" {
		t.Error("a damaged record has a state")
	}
}

// A listing by state looks at a bounded number of records and says where to go on.
func TestListIsBounded(t *testing.T) {
	view := flood{n: scanMax + 5}
	tickets, next, err := scan(view, "main", StateDenied, "", 10)
	if err != nil || len(tickets) != 0 || next != fmt.Sprintf("%08d", scanMax-1) {
		t.Errorf("%v %q %v", tickets, next, err)
	}
}

// flood is a view of n reviews that are all approved.
type flood struct {
	store.View
	n int
}

func (f flood) Scan(prefix, _ store.Key, fn func(store.Item) bool) error {
	for i := range f.n {
		if !fn(store.Item{Key: prefix + store.Key(fmt.Sprintf("%08d", i)), Value: []byte(`{"state":"approved"}`)}) {
			break
		}
	}
	return nil
}
