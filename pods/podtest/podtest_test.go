package podtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// counterPod is a small pod with a switch for each way of being defective.
type counterPod struct {
	name, route string
	role        tap.Role
	query       pods.Parameter
	body, reply *pods.Schema
	summary     tap.Text
	run         pods.Func
	state       *State
}

var numberSchema = pods.MustSchema(`{"type":"object","additionalProperties":false,"required":["n"],"properties":{"n":{"type":"integer"}}}`)

func goodPod() *counterPod {
	p := &counterPod{
		name: "counter", route: "Add to the counter", role: tap.Citizen, body: numberSchema, reply: numberSchema,
		summary: tap.Text{EN: "Counts.", ES: "Cuenta."}, query: pods.Parameter{Name: "why", Summary: "why"},
	}
	p.run = func(_ context.Context, c *pods.Call) (*pods.Result, error) {
		return &pods.Result{
			Body:     map[string]int{"n": 1},
			Ops:      []store.Op{store.Add(c.Key("count"), 1)},
			Evidence: []store.Evidence{{Actor: c.Actor(), Action: "count.add", Outcome: "ok"}},
		}, nil
	}
	return p
}

func (p *counterPod) Manifest() pods.Manifest {
	return pods.Manifest{Name: p.name, Summary: p.summary, Routes: []pods.Route{{
		Method: "POST", Pattern: "/v1/count", Summary: p.route, Roles: []tap.Role{p.role},
		Body: p.body, Reply: p.reply, Query: []pods.Parameter{p.query}, Run: p.run, BodyLimit: 1024,
	}}}
}

func example() []Request {
	return []Request{{As: Who("ana", tap.Citizen), Method: "POST", Target: "/v1/count?why=x", Body: `{"n":1}`}}
}

func TestAGoodPodHasNoDefects(t *testing.T) { Conform(t, NewState(), goodPod(), example()) }

func TestDefectsAreFound(t *testing.T) {
	n := 0
	evidence := []store.Evidence{{Actor: "ana", Action: "count.add", Outcome: "ok"}}
	answer := func(r pods.Result) pods.Func {
		return func(context.Context, *pods.Call) (*pods.Result, error) { return &r, nil }
	}
	ok := map[string]int{"n": 1}
	for name, c := range map[string]struct {
		damage func(*counterPod)
		want   string
	}{
		"name":        {func(p *counterPod) { p.name = "Counter!" }, "not a label"},
		"summary":     {func(p *counterPod) { p.summary.ES = "" }, "missing in a language"},
		"route":       {func(p *counterPod) { p.route = "" }, "no summary"},
		"parameter":   {func(p *counterPod) { p.query.Summary = "" }, "query parameter"},
		"open schema": {func(p *counterPod) { p.body = pods.MustSchema(`{"type":"object"}`) }, "additionalProperties"},
		"no evidence": {func(p *counterPod) {
			p.run = answer(pods.Result{Body: ok, Ops: []store.Op{store.Add(store.K("main", "x"), 1)}})
		}, "no valid batch"},
		"tenant": {func(p *counterPod) {
			p.run = answer(pods.Result{Body: ok, Ops: []store.Op{store.Add(store.K("other", "x"), 1)}, Evidence: evidence})
		}, "no valid batch"},
		"actor": {func(p *counterPod) {
			p.run = answer(pods.Result{Body: ok, Evidence: []store.Evidence{{Actor: "bob", Action: "a", Outcome: "ok"}}})
		}, "names the actor"},
		"reply":        {func(p *counterPod) { p.run = answer(pods.Result{Body: map[string]string{"n": "x"}}) }, "does not match its schema"},
		"no JSON":      {func(p *counterPod) { p.run = answer(pods.Result{Body: func() {}}) }, "is no JSON"},
		"raw":          {func(p *counterPod) { p.run = answer(pods.Result{Raw: []byte("x"), Type: "text/plain"}) }, "declares JSON"},
		"status":       {func(p *counterPod) { p.run = answer(pods.Result{Body: ok, Status: 418}) }, "status 418"},
		"reply schema": {func(p *counterPod) { p.reply = nil }, "without a reply schema"},
		"failing": {func(p *counterPod) {
			p.run = func(context.Context, *pods.Call) (*pods.Result, error) { return nil, errors.New("no") }
		}, "the call fails"},
		"accepting": {func(p *counterPod) {
			p.body = pods.MustSchema(`{"type":"object","maxProperties":9,"additionalProperties":true}`)
		}, `"unknown field"`},
		"restless": {func(p *counterPod) {
			p.run = func(context.Context, *pods.Call) (*pods.Result, error) {
				n++
				return &pods.Result{Body: map[string]int{"n": n}, Evidence: []store.Evidence{{Actor: "ana", Action: "a", Outcome: strconv.Itoa(n)}}}, nil
			}
		}, "answers differently"},
		"fails later": {func(p *counterPod) {
			calls := 0
			p.run = func(context.Context, *pods.Call) (*pods.Result, error) {
				if calls++; calls == 2 {
					return nil, errors.New("no")
				}
				return &pods.Result{Body: ok}, nil
			}
		}, "the second time"},
		"writing": {func(p *counterPod) {
			p.run = func(ctx context.Context, c *pods.Call) (*pods.Result, error) {
				_, err := p.state.Commit(ctx, store.Batch{RequestID: uuid.New(), Tenant: c.Tenant, Evidence: evidence})
				return &pods.Result{Body: ok}, err
			}
		}, "changed the state by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			p := goodPod()
			p.state = NewState()
			c.damage(p)
			found := Defects(t, p.state, p, example())
			if !slices.ContainsFunc(found, func(d string) bool { return strings.Contains(d, c.want) }) {
				t.Errorf("found %q, want one with %q", found, c.want)
			}
		})
	}
	missing := Defects(t, NewState(), goodPod(), []Request{{Method: "GET", Target: "/nowhere"}})
	if len(missing) != 2 {
		t.Errorf("an unknown path and an unused route: %q", missing)
	}
}

func TestOpenEnds(t *testing.T) {
	for schema, want := range map[string]int{
		`{`:                               1,
		`{"type":"string"}`:               1,
		`{"type":"string","maxLength":3}`: 0,
		`{"type":"string","enum":["a"]}`:  0,
		`{"type":"array","items":{"type":"string"}}`:                                                          2,
		`{"type":"object","additionalProperties":true}`:                                                       1,
		`{"type":"object","additionalProperties":true,"maxProperties":3}`:                                     0,
		`{"type":"object","additionalProperties":false,"properties":{"a":{"type":"string"},"b":true}}`:        1,
		`{"type":"object","maxProperties":1,"additionalProperties":{"type":"string"}}`:                        1,
		`{"type":"object","additionalProperties":false,"$defs":{"a":{"type":"array"}},"properties":{"n":{}}}`: 1,
	} {
		if found := openEnds(json.RawMessage(schema)); len(found) != want {
			t.Errorf("%s: %q, want %d", schema, found, want)
		}
	}
}

func TestHostRefusesWithoutRole(t *testing.T) {
	h := NewHost(t, NewState(), goodPod())
	r := example()[0]
	r.As = Who("dev", tap.Device)
	_, err := h.Do(t.Context(), r, nil)
	WantKind(t, err, tap.Forbidden, "role")
	r.As = nil
	_, err = h.Do(t.Context(), r, nil)
	WantKind(t, err, tap.Forbidden, "")
}

func TestFlakyFailsEveryRead(t *testing.T) {
	f := &Flaky{View: NewState(), Good: 6}
	k := store.K("main", "x")
	reads := []func() error{
		func() error { _, _, err := f.Get(k); return err },
		func() error { return f.Scan(k, "", nil) },
		func() error { _, err := f.Counter(k); return err },
		func() error { return f.Sequence(k, 1, nil) },
		func() error { _, err := f.SequenceLast(k); return err },
		func() error { _, err := f.Balance(k, "USD"); return err },
	}
	for round, want := range []error{nil, ErrUnreadable} {
		for i, read := range reads {
			if err := read(); !errors.Is(err, want) {
				t.Errorf("round %d, read %d: %v", round, i, err)
			}
		}
	}
}

// rapidDir is a folder for one iteration.
func rapidDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "podtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *State) setClock(micros int64) { s.clock = micros }

// machine is the real state machine, fed as consensus feeds it.
type machine struct {
	store *store.Store
	index uint64
}

func (m *machine) commit(t *rapid.T, b store.Batch) (store.Receipt, error) {
	command, err := store.EncodeBatch(b)
	if err != nil {
		return store.Receipt{}, err
	}
	m.index++
	outcomes, err := m.store.Apply(m.index, 0, [][]byte{command})
	if err != nil {
		t.Fatal(err)
	}
	if failure, ok := outcomes[0].(error); ok {
		return store.Receipt{}, failure
	}
	return outcomes[0].(store.Receipt), nil
}

// drawBatch makes a batch over few keys, so that operations meet.
func drawBatch(t *rapid.T, view store.View) store.Batch {
	key := func() store.Key { return store.K("main", "x", rapid.StringMatching(`[abc]`).Draw(t, "key")) }
	value := func() []byte { return []byte(rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "value")) }
	b := store.Batch{
		RequestID: uuid.UUID{rapid.ByteRange(0, 40).Draw(t, "request")}, Tenant: "main",
		Evidence: []store.Evidence{{Actor: "ana", Action: "x.do", Outcome: "ok", Payload: value()}},
	}
	for range rapid.IntRange(0, 4).Draw(t, "ops") {
		k := key()
		switch rapid.IntRange(0, 7).Draw(t, "op") {
		case 0:
			b.Ops = append(b.Ops, store.Put(k, value()))
		case 1:
			b.Ops = append(b.Ops, store.Create(k, value()))
		case 2:
			b.Ops = append(b.Ops, store.Delete(k))
		case 3:
			b.Ops = append(b.Ops, store.Add(k, rapid.Int64Range(-5, 5).Draw(t, "number")))
		case 4:
			b.Ops = append(b.Ops, store.Append(k, value()))
		case 5:
			amount, _ := store.ParseAmount(rapid.StringMatching(`-?[1-9]\.[1-9]`).Draw(t, "amount"), 3, 3)
			b.Ops = append(b.Ops, store.Post(k, "USD", amount), store.Post(key(), "USD", amount.Negated()))
		case 6:
			item, _, _ := view.Get(k)
			b.Ops = append(b.Ops, store.Check(k, item.Version+uint64(rapid.IntRange(0, 3).Draw(t, "stale")/3)))
		case 7:
			b.Ops = append(b.Ops, store.Expire(k, view.Clock()+rapid.Int64Range(1, 9).Draw(t, "life")))
		}
	}
	return b
}

// seen is everything that reads show.
func seen(t *rapid.T, v store.View) []string {
	var all []string
	note := func(parts ...string) { all = append(all, strings.Join(parts, " ")) }
	for _, part := range []string{"a", "b", "c"} {
		k := store.K("main", "x", part)
		item, ok, err := v.Get(k)
		count, err2 := v.Counter(k)
		last, err3 := v.SequenceLast(k)
		balance, err4 := v.Balance(k, "USD")
		if err := errors.Join(err, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		note(part, strconv.FormatBool(ok), string(item.Value), strconv.FormatUint(item.Version, 10), strconv.FormatInt(item.Expires-v.Clock(), 10),
			strconv.FormatInt(count, 10), strconv.FormatUint(last, 10), balance.String())
		_ = v.Sequence(k, 2, func(n uint64, value []byte) bool {
			note(strconv.FormatUint(n, 10), string(value))
			return n < 4
		})
	}
	_ = v.Scan(store.K("main", "x").Prefix(), store.K("main", "x", "b"), func(i store.Item) bool {
		note("scan", i.Key.Last(), string(i.Value))
		return true
	})
	return all
}

// The state for tests does what the real one does: same outcomes, same reads,
// same ledger.
func TestStateBehavesAsTheStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		real, err := store.Open(rapidDir(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = real.Close() }()
		m, s := &machine{store: real}, NewState()
		s.clock = 0
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			b := drawBatch(t, s)
			want, wantErr := m.commit(t, b)
			got, gotErr := s.Commit(t.Context(), b)
			if (wantErr == nil) != (gotErr == nil) || wantErr != nil && tap.KindOf(wantErr) != tap.KindOf(gotErr) {
				t.Fatalf("store: %v, state: %v", wantErr, gotErr)
			}
			s.setClock(real.Clock())
			got.Time, want.Time, got.Leaf, want.Leaf = 0, 0, bookpi.Hash{}, bookpi.Hash{}
			if wantErr == nil && !equalReceipts(got, want) {
				t.Fatalf("receipt %+v, want %+v", got, want)
			}
			if a, b := seen(t, s), seen(t, real); !slices.Equal(a, b) {
				t.Fatalf("state shows\n%s\nstore shows\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
			}
		}
		size, _ := real.Size()
		if mine, root := s.Size(); mine != size {
			t.Fatalf("ledger of %d entries, want %d", mine, size)
		} else if size > 0 {
			checkLedger(t, s, size, root)
		}
	})
}

func equalReceipts(a, b store.Receipt) bool {
	return a.Position == b.Position && a.Entries == b.Entries && a.Duplicate == b.Duplicate && slices.Equal(a.Appended, b.Appended)
}

// checkLedger proves every entry against the root, and finds it by its hash.
func checkLedger(t *rapid.T, s *State, size uint64, root bookpi.Hash) {
	var up, down []uint64
	_ = s.Records(0, false, func(r store.Record) bool { up = append(up, r.Position); return true })
	_ = s.Records(size-1, true, func(r store.Record) bool { down = append(down, r.Position); return true })
	slices.Reverse(down)
	if uint64(len(up)) != size || !slices.Equal(up, down) {
		t.Fatalf("positions %v and %v", up, down)
	}
	for _, position := range up {
		r, err := s.Record(position)
		if err != nil {
			t.Fatal(err)
		}
		leaf := bookpi.LeafHash(r.Entry)
		proof, err := bookpi.InclusionProof(size, position, s)
		if err == nil {
			err = bookpi.VerifyInclusion(leaf, position, size, proof, root)
		}
		if at, ok, _ := s.Find(leaf); err != nil || !ok || at != position {
			t.Fatalf("entry %d: found %v at %d, %v", position, ok, at, err)
		}
	}
	if _, err := s.Record(size); !tap.IsKind(err, tap.NotFound) {
		t.Fatalf("beyond the end: %v", err)
	}
}

func TestObserversAndExpiry(t *testing.T) {
	s := NewState()
	var told []store.Change
	s.Observe("x", func(changes []store.Change, _ bool) { told = append(told, changes...) })
	k := store.K("main", "x", "a")
	commit := func(ops ...store.Op) error {
		_, err := s.Commit(t.Context(), store.Batch{
			RequestID: uuid.New(), Tenant: "main", Ops: ops,
			Evidence: []store.Evidence{{Actor: "ana", Action: "x.do", Outcome: "ok"}},
		})
		return err
	}
	if err := commit(store.Put(k, []byte("1")), store.Put(store.K("main", "y"), nil), store.Append(k, []byte("2")), store.Expire(k, s.Clock()+time.Second.Microseconds())); err != nil {
		t.Fatal(err)
	}
	if err := commit(store.Create(k, nil)); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("create of a record that lives: %v", err)
	}
	if len(told) != 2 || told[0].Key != k || string(told[0].Value) != "1" || told[1].Number != 1 || told[1].RequestID == uuid.Nil {
		t.Errorf("the observer was told %v", told)
	}
	s.Advance(2 * time.Second)
	if _, ok, _ := s.Get(k); ok {
		t.Error("the record outlived its expiry")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(cancelled, store.Batch{}); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a cancelled commit: %v", err)
	}
}

// A record whose expiry passes within a batch is gone for reads, and yet deleting it
// takes a version, as in the store.
func TestAnExpiredRecordIsDeletedOnce(t *testing.T) {
	s, k, other := NewState(), store.K("main", "x", "a"), store.K("main", "x", "b")
	for _, ops := range [][]store.Op{
		{store.Put(k, nil)},
		{store.Expire(k, s.Clock()), store.Delete(k), store.Put(other, nil)},
	} {
		_, err := s.Commit(t.Context(), store.Batch{
			RequestID: uuid.New(), Tenant: "main", Ops: ops,
			Evidence: []store.Evidence{{Actor: "ana", Action: "x.do", Outcome: "ok"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if i, ok, _ := s.Get(other); !ok || i.Version != 3 {
		t.Errorf("version %d, want 3", i.Version)
	}
}

func TestForgetMakesARepetitionCountAgain(t *testing.T) {
	s := NewState()
	b := store.Batch{
		RequestID: uuid.New(), Tenant: "main", Ops: []store.Op{store.Add(store.K("main", "x"), 1)},
		Evidence: []store.Evidence{{Actor: "ana", Action: "x.do", Outcome: "ok"}},
	}
	for range 2 {
		if _, err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := s.Counter(store.K("main", "x")); n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
	s.Forget()
	if _, err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Counter(store.K("main", "x")); n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}
