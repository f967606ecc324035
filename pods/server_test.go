package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func testClock() time.Time { return time.UnixMicro(1_700_000_000_000_000) }

// single is a pod with one route: POST /p/{id} for citizens, and a query.
func single(run Func) pod {
	return pod{Name: "p", Routes: []Route{{
		Method: "POST", Pattern: "/p/{id}", Roles: []tap.Role{tap.Citizen}, Run: run,
		Query: []Parameter{{Name: "limit", Integer: true}, {Name: "type"}},
	}}}
}

var effect = store.Put(store.K("main", "p", "k"), []byte("v"))

func committing(_ context.Context, _ *Call) (*Result, error) {
	return &Result{Ops: []store.Op{effect}, Evidence: []store.Evidence{{Actor: "ana", Action: "p.do", Outcome: "ok"}}}, nil
}

func TestCallHoldsTheRequest(t *testing.T) {
	var got *Call
	b := newBench(t, single(func(_ context.Context, c *Call) (*Result, error) { got = c; return &Result{}, nil }))
	r := request("POST", "/p/a%20b", "limit=5&type=%C3%B1", "")
	if _, err := b.Serve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got.RequestID != r.ID || got.Principal != ana || got.Tenant != "main" || got.Actor() != "ana" || got.Lang != tap.Spanish {
		t.Errorf("got %+v", got)
	}
	if got.Params["id"] != "a b" || got.Query["limit"] != "5" || got.Query["type"] != "ñ" || got.Remote != "192.0.2.7" || got.Transport != "https" {
		t.Errorf("got %+v", got)
	}
	if got.Key("space", "x") != store.K("main", "space", "x") || got.View == nil || got.Now.IsZero() {
		t.Errorf("got %+v", got)
	}
	if len(b.writer.batches) != 0 {
		t.Error("a call without effects was committed")
	}
}

func TestAnyoneHasNoTenant(t *testing.T) {
	b := newBench(t, pod{Name: "p", Routes: []Route{{Method: "GET", Pattern: "/a", Roles: []tap.Role{tap.Anyone}, Run: func(_ context.Context, c *Call) (*Result, error) {
		return &Result{Raw: []byte(c.Actor() + c.Tenant), Type: "text/plain"}, nil
	}}}})
	b.gate.as = nil
	response, err := b.Serve(t.Context(), request("GET", "/a", "", ""))
	if err != nil || string(response.Body) != "anonymous" || response.ContentType != "text/plain" || response.Status != 200 {
		t.Errorf("got %+v, %v", response, err)
	}
}

func TestRefusedBeforeThePod(t *testing.T) {
	for name, c := range map[string]struct {
		path, query, body string
		kind              tap.Kind
		code              string
	}{
		"no such path":          {"/q", "", "", tap.NotFound, "not_found"},
		"body where none is":    {"/p/1", "", "{}", tap.Invalid, "schema"},
		"oversize":              {"/p/1", "", strings.Repeat("x", DefaultBodyLimit+1), tap.Invalid, "too_large"},
		"unknown query":         {"/p/1", "other=1", "", tap.Invalid, "query"},
		"query given twice":     {"/p/1", "type=a&type=b", "", tap.Invalid, "query"},
		"query not a number":    {"/p/1", "limit=ten", "", tap.Invalid, "query"},
		"query negative":        {"/p/1", "limit=-1", "", tap.Invalid, "query"},
		"query beyond 63 bits":  {"/p/1", "limit=9223372036854775808", "", tap.Invalid, "query"},
		"query empty number":    {"/p/1", "limit=", "", tap.Invalid, "query"},
		"query with bad escape": {"/p/1", "type=%zz", "", tap.Invalid, "invalid"},
		"query with semicolon":  {"/p/1", "type=a;b", "", tap.Invalid, "invalid"},
		"query with bad UTF-8":  {"/p/1", "type=%ff", "", tap.Invalid, "query"},
		"query with zero byte":  {"/p/1", "type=a%00b", "", tap.Invalid, "query"},
		"query too long":        {"/p/1", "type=" + strings.Repeat("a", maxQueryValue+1), "", tap.Invalid, "query"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, single(func(context.Context, *Call) (*Result, error) { t.Error("the pod was called"); return nil, nil }))
			_, err := b.Serve(t.Context(), request("POST", c.path, c.query, c.body))
			if !tap.IsKind(err, c.kind) || codeOf(err) != c.code {
				t.Errorf("got %v (%s)", err, codeOf(err))
			}
			if len(b.writer.batches) != 0 {
				t.Error("something was committed")
			}
		})
	}
}

func TestGateComesBeforeValidation(t *testing.T) {
	b := newBench(t, single(echo))
	b.gate.as = nil
	if _, err := b.Serve(t.Context(), request("POST", "/p/1", "other=1", "")); !tap.IsKind(err, tap.Unauthenticated) {
		t.Errorf("a stranger learns about the schema: %v", err)
	}
}

func TestEffectsEvidenceAndAdmissionAreOneBatch(t *testing.T) {
	b := newBench(t, single(func(ctx context.Context, c *Call) (*Result, error) {
		result, err := committing(ctx, c)
		reply := &struct{ Position uint64 }{}
		result.Body, result.Status = reply, 201
		result.Receipted = func(r store.Receipt) { reply.Position = r.Position + 7 }
		return result, err
	}))
	nonce := store.Create(store.K("main", "nonce", "n"), nil)
	b.gate.ops = []store.Op{nonce}
	r := request("POST", "/p/1", "", "")
	response, err := b.Serve(t.Context(), r)
	if err != nil || response.Status != 201 || string(response.Body) != `{"Position":7}` {
		t.Fatalf("got %+v, %v", response, err)
	}
	batch := b.writer.batches[0]
	if len(b.writer.batches) != 1 || batch.RequestID != r.ID || batch.Tenant != "main" || len(batch.Evidence) != 1 {
		t.Errorf("batch %+v", batch)
	}
	if len(batch.Ops) != 2 || batch.Ops[0].Key != effect.Key || batch.Ops[1].Key != nonce.Key {
		t.Errorf("ops %v", batch.Ops)
	}
}

func TestPodDecidesAgainAfterAConflict(t *testing.T) {
	conflict := &store.ConflictError{Op: store.OpCheck, Key: effect.Key}
	runs := 0
	run := func(ctx context.Context, c *Call) (*Result, error) { runs++; return committing(ctx, c) }

	b := newBench(t, single(run))
	b.writer.outcomes = []error{conflict, fmt.Errorf("wrapped: %w", conflict)}
	if _, err := b.Serve(t.Context(), request("POST", "/p/1", "", "")); err != nil || runs != 3 {
		t.Errorf("%v after %d runs", err, runs)
	}

	runs = 0
	b = newBench(t, single(run))
	b.writer.outcomes = slices.Repeat([]error{conflict}, 100)
	if _, err := b.Serve(t.Context(), request("POST", "/p/1", "", "")); !tap.IsKind(err, tap.Conflict) || runs != store.MaxAttempts {
		t.Errorf("%v after %d runs", err, runs)
	}
}

func TestUsedNonceIsAReplay(t *testing.T) {
	b := newBench(t, single(committing))
	nonce := store.Create(store.K("main", "nonce", "n"), nil)
	b.gate.ops = []store.Op{nonce}
	b.writer.outcomes = []error{&store.ConflictError{Op: store.OpCreate, Key: nonce.Key}}
	_, err := b.Serve(t.Context(), request("POST", "/p/1", "", ""))
	if !tap.IsKind(err, tap.Unauthenticated) || codeOf(err) != "replayed" || len(b.writer.batches) != 1 {
		t.Errorf("%v after %d commits", err, len(b.writer.batches))
	}
}

func TestCommitErrorsReachTheCaller(t *testing.T) {
	b := newBench(t, single(committing))
	b.writer.outcomes = []error{tap.E("store", tap.Unavailable, "no leader").WithCode("no_leader")}
	if _, err := b.Serve(t.Context(), request("POST", "/p/1", "", "")); codeOf(err) != "no_leader" {
		t.Errorf("got %v", err)
	}
}

func TestRefusalIsCommittedBeforeItIsTold(t *testing.T) {
	refused := tap.E("p", tap.Refused, "no")
	b := newBench(t, single(func(ctx context.Context, c *Call) (*Result, error) {
		result, err := committing(ctx, c)
		result.Error = refused
		result.Receipted = func(r store.Receipt) { refused.WithDetail("position", r.Position) }
		return result, err
	}))
	_, err := b.Serve(t.Context(), request("POST", "/p/1", "", ""))
	if !errors.Is(err, refused) || refused.Details["position"] != uint64(0) || len(b.writer.batches) != 1 {
		t.Errorf("got %v with %d commits", err, len(b.writer.batches))
	}
	b.writer.outcomes = []error{nil, tap.E("store", tap.Unavailable, "")}
	if _, err := b.Serve(t.Context(), request("POST", "/p/1", "", "")); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a refusal without evidence was told: %v", err)
	}
}

func TestIllPods(t *testing.T) {
	for name, run := range map[string]Func{
		"panics":             func(context.Context, *Call) (*Result, error) { panic("x") },
		"answers nothing":    func(context.Context, *Call) (*Result, error) { return nil, nil },
		"answers no JSON":    func(context.Context, *Call) (*Result, error) { return &Result{Body: func() {}}, nil },
		"fails without type": func(context.Context, *Call) (*Result, error) { return nil, errors.New("x") },
	} {
		b := newBench(t, single(run))
		if _, err := b.Serve(t.Context(), request("POST", "/p/1", "", "")); !tap.IsKind(err, tap.Internal) {
			t.Errorf("a pod that %s: %v", name, err)
		}
		if !slices.Equal(b.ended, []string{"/p/{id} internal"}) {
			t.Errorf("watched %v", b.ended)
		}
	}
}

// What the transport reads of a body depends on whether it can matter.
func TestBodyLimit(t *testing.T) {
	citizen, anyone := []tap.Role{tap.Citizen}, []tap.Role{tap.Anyone}
	b := newBench(t, pod{Name: "p", Routes: []Route{
		{Method: "POST", Pattern: "/body", Roles: citizen, Run: echo, Body: sample, BodyLimit: 4096},
		{Method: "POST", Pattern: "/default", Roles: citizen, Run: echo, Body: sample},
		{Method: "POST", Pattern: "/none", Roles: citizen, Run: echo},
		{Method: "POST", Pattern: "/less", Roles: citizen, Run: echo, BodyLimit: 17},
		{Method: "POST", Pattern: "/open", Roles: anyone, Run: echo, Body: sample, BodyLimit: 4096},
		{Method: "GET", Pattern: "/open/none", Roles: anyone, Run: echo},
	}})
	for request, want := range map[string]struct{ signed, unsigned int64 }{
		"POST /body":     {4096, 0},
		"POST /default":  {DefaultBodyLimit, 0},
		"POST /none":     {unwantedBody, 0},
		"POST /less":     {17, 0},
		"POST /open":     {4096, 4096},
		"GET /open/none": {unwantedBody, unwantedBody},
		"GET /body":      {0, 0},
		"POST /nothing":  {0, 0},
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := b.BodyLimit(method, path, true); got != want.signed {
			t.Errorf("%s, signed: %d bytes, want %d", request, got, want.signed)
		}
		if got := b.BodyLimit(method, path, false); got != want.unsigned {
			t.Errorf("%s, unsigned: %d bytes, want %d", request, got, want.unsigned)
		}
	}
}

func TestWatch(t *testing.T) {
	p := single(echo)
	p.Routes[0].BodyLimit = 17
	b := newBench(t, p)
	b.Serve(t.Context(), request("POST", "/p/1", "", ""))
	b.Serve(t.Context(), request("POST", "/p/1", "", strings.Repeat("x", 18)))
	b.Serve(t.Context(), request("POST", "/q", "", ""))
	if !slices.Equal(b.ended, []string{"/p/{id} ok", "/p/{id} invalid"}) {
		t.Errorf("watched %v", b.ended)
	}
}

func TestBriefRoutesHaveNoBudget(t *testing.T) {
	bounded := map[bool]bool{}
	route := func(brief bool) Route {
		pattern := map[bool]string{true: "/brief", false: "/usual"}[brief]
		return Route{Method: "GET", Pattern: pattern, Roles: []tap.Role{tap.Citizen}, Brief: brief, Run: func(ctx context.Context, c *Call) (*Result, error) {
			_, bounded[brief] = ctx.Deadline()
			return &Result{Body: object{}}, nil
		}}
	}
	b := newBench(t, pod{Name: "p", Routes: []Route{route(true), route(false)}})
	for _, path := range []string{"/brief", "/usual"} {
		if _, err := b.Serve(t.Context(), request("GET", path, "", "")); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if bounded[true] || !bounded[false] {
		t.Errorf("with a deadline: brief %t, usual %t", bounded[true], bounded[false])
	}
}

// live answers with a stream of two lines, flushed one by one.
func live(context.Context, *Call) (*Result, error) {
	return &Result{Type: "text/event-stream", Header: map[string]string{"X-A": "b"}, Stream: func(_ context.Context, w io.Writer, flush func() error) error {
		for _, line := range []string{"one\n", "two\n"} {
			if _, err := io.WriteString(w, line); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

func TestStreams(t *testing.T) {
	key := store.K("main", "identity", "ana")
	b := newBench(t, pod{Name: "p", Routes: []Route{{Method: "GET", Pattern: "/live", Roles: []tap.Role{tap.Citizen}, Run: live}}})
	b.gate.ops = []store.Op{store.Check(key, 3)}
	b.items = map[store.Key]store.Item{key: {Key: key, Version: 3}}
	if _, err := b.Serve(t.Context(), request("GET", "/live", "", "")); codeOf(err) != "no_stream" || !tap.IsKind(err, tap.Invalid) {
		t.Errorf("a transport without streams: %v", err)
	}
	r := request("GET", "/live", "consistency=linearizable", "")
	r.Streams = true
	b.fresh = nil
	response, err := b.Serve(t.Context(), r)
	if err != nil || response.Stream == nil || response.ContentType != "text/event-stream" || response.Header["X-A"] != "b" {
		t.Fatalf("%+v, %v", response, err)
	}
	if !slices.Equal(b.fresh, []Consistency{Linearizable}) {
		t.Errorf("before the stream the state was asked to be %v", b.fresh)
	}
	var out strings.Builder
	if err := response.Stream(t.Context(), &out, func() error { return nil }); err != nil || out.String() != "one\ntwo\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	revoked := func() error {
		b.items = map[store.Key]store.Item{key: {Key: key, Version: 4}}
		return nil
	}
	if err := response.Stream(t.Context(), &out, revoked); codeOf(err) != "revoked" || out.String() != "one\n" {
		t.Errorf("after the caller was revoked: %q, %v", out.String(), err)
	}
}
