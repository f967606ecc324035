package pods

import (
	"context"
	"slices"
	"testing"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Every GET that reads the replicated state takes a consistency, and nothing
// else does: not a change, not what anyone may ask, not what a node says of
// itself.
func TestReadsAreAsFreshAsAsked(t *testing.T) {
	citizens := []tap.Role{tap.Citizen}
	b := newBench(t, pod{Name: "p", Routes: []Route{
		{Method: "GET", Pattern: "/read", Roles: citizens, Run: echo},
		{Method: "POST", Pattern: "/read", Roles: citizens, Run: echo},
		{Method: "GET", Pattern: "/open", Roles: []tap.Role{tap.Anyone}, Run: echo},
		{Method: "GET", Pattern: "/me", Roles: citizens, AboutNode: true, Run: echo},
	}})
	for query, want := range map[string][]Consistency{
		"": {FromLeader}, "consistency=local": {Local}, "consistency=leader": {FromLeader}, "consistency=linearizable": {Linearizable},
	} {
		b.fresh = nil
		if _, err := b.Serve(t.Context(), request("GET", "/read", query, "")); err != nil || !slices.Equal(b.fresh, want) {
			t.Errorf("%q: %v, asked for %v, want %v", query, err, b.fresh, want)
		}
	}
	b.fresh = nil
	for _, other := range [][2]string{{"POST", "/read"}, {"GET", "/open"}, {"GET", "/me"}} {
		if _, err := b.Serve(t.Context(), request(other[0], other[1], "", "")); err != nil || b.fresh != nil {
			t.Errorf("%s %s: %v, asked for %v", other[0], other[1], err, b.fresh)
		}
		if _, err := b.Serve(t.Context(), request(other[0], other[1], "consistency=local", "")); codeOf(err) != "query" {
			t.Errorf("%s %s takes a consistency: %v", other[0], other[1], err)
		}
	}
	if _, err := b.Serve(t.Context(), request("GET", "/read", "consistency=maybe", "")); codeOf(err) != "query" {
		t.Errorf("an unknown consistency: %v", err)
	}
	b.stale = tap.E("", tap.Unavailable, "no leader").WithCode("not_leader")
	if _, err := b.Serve(t.Context(), request("GET", "/read", "", "")); codeOf(err) != "not_leader" {
		t.Errorf("a read that cannot be fresh: %v", err)
	}
}

// A change is decided on what this node has; when that fails because it may be
// behind the others, it catches up and decides again, once.
func TestAChangeThatMayBeStaleIsDecidedAgain(t *testing.T) {
	notFound := tap.E("", tap.NotFound, "nothing here")
	for name, test := range map[string]struct {
		err    error
		result *Result
		news   int64
		stale  error
		runs   int
	}{
		"the others know more":         {err: notFound, news: 1, runs: 2},
		"and say so in evidence":       {result: &Result{Error: tap.E("", tap.Conflict, "taken")}, news: 1, runs: 2},
		"the state has not moved":      {err: notFound, runs: 1},
		"nobody can be asked":          {err: notFound, news: 1, stale: tap.E("", tap.Unavailable, "no leader"), runs: 1},
		"it cannot come from the past": {err: tap.E("", tap.Invalid, "nonsense"), news: 1, runs: 1},
		"it went well":                 {result: &Result{}, news: 1, runs: 1},
	} {
		runs := 0
		b := newBench(t, single(func(context.Context, *Call) (*Result, error) { runs++; return test.result, test.err }))
		b.news, b.stale = test.news, test.stale
		_, err := b.Serve(t.Context(), request("POST", "/p/1", "", ""))
		if runs != test.runs {
			t.Errorf("%s: decided %d times, want %d (%v)", name, runs, test.runs, err)
		}
	}
}

// A read that waited for news is answered only if the caller's identity is still
// what the gate saw.
func TestAReadNoticesARevocation(t *testing.T) {
	identity := store.K("main", "identity", "ana")
	for _, now := range []uint64{7, 8, 0} {
		b := newBench(t, pod{Name: "p", Routes: []Route{{Method: "GET", Pattern: "/read", Roles: []tap.Role{tap.Citizen}, Run: echo}}})
		b.gate.ops = []store.Op{store.Check(identity, 7)}
		b.items = map[store.Key]store.Item{}
		if now > 0 {
			b.items[identity] = store.Item{Key: identity, Version: now}
		}
		_, err := b.Serve(t.Context(), request("GET", "/read", "", ""))
		if want := map[bool]string{true: "", false: "revoked"}[now == 7]; codeOf(err) != want {
			t.Errorf("version %d: %v, want %q", now, err, want)
		}
	}
}
