package pods

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// pod is a pod that a test writes down.
type pod Manifest

func (p pod) Manifest() Manifest { return Manifest(p) }

// view is a state with a time and a few records.
type view struct {
	store.View
	clock *int64
	items *map[store.Key]store.Item
}

func (v view) Clock() int64 { return *v.clock }

func (v view) Get(k store.Key) (store.Item, bool, error) {
	item, ok := (*v.items)[k]
	return item, ok, nil
}

// gate admits whoever the test says, by role, with the given operations.
type gate struct {
	as  *tap.Principal
	ops []store.Op
}

func (g *gate) Admit(_ context.Context, _ *tap.Request, row *Row) (*Admission, error) {
	switch {
	case slices.Contains(row.Roles, tap.Anyone):
		return &Admission{}, nil
	case g.as == nil:
		return nil, tap.E("gate", tap.Unauthenticated, "unsigned").WithCode("unsigned")
	case !g.as.Has(row.Roles...):
		return nil, tap.E("gate", tap.Forbidden, "role").WithCode("role")
	}
	return &Admission{Principal: g.as, Ops: g.ops}, nil
}

// committer remembers batches and answers with the outcomes in turn; then all
// succeed.
type committer struct {
	mu       sync.Mutex
	batches  []store.Batch // guarded by mu
	outcomes []error
}

func (c *committer) Commit(_ context.Context, b store.Batch) (store.Receipt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.batches)
	c.batches = append(c.batches, b)
	if n < len(c.outcomes) && c.outcomes[n] != nil {
		return store.Receipt{}, c.outcomes[n]
	}
	return store.Receipt{Position: uint64(n), Entries: len(b.Evidence)}, nil
}

var ana = &tap.Principal{Tenant: "main", Identity: "ana", Roles: []tap.Role{tap.Citizen}, KeyID: "main/ana"}

// bench is a server around pods, with its fakes.
type bench struct {
	*Server
	gate   *gate
	writer *committer
	ended  []string // what Watch was told
	fresh  []Consistency
	stale  error // what Fresh answers
	news   int64 // how far the state moves while Fresh waits
	clock  int64 // of the state
	items  map[store.Key]store.Item
}

func newBench(t testing.TB, all ...Pod) *bench {
	t.Helper()
	table, err := NewTable(all...)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{gate: &gate{as: ana}, writer: &committer{}}
	guards := map[string]*Guard{}
	for _, p := range all {
		guards[p.Manifest().Name] = NewGuard(p.Manifest())
	}
	b.Server = NewServer(ServerConfig{
		Table: table, Gate: b.gate, Writer: b.writer, View: view{clock: &b.clock, items: &b.items}, Now: time.Now, Guards: guards,
		Fresh: func(_ context.Context, c Consistency) error {
			b.fresh = append(b.fresh, c)
			b.clock += b.news
			return b.stale
		},
		Watch: func(row *Row, kind string, _ time.Duration) { b.ended = append(b.ended, row.Pattern+" "+kind) },
	})
	return b
}

func request(method, path, query, body string) *tap.Request {
	r := &tap.Request{
		ID: uuid.MustParse("0198c1a0-0000-7000-8000-000000000001"), Method: method, Path: path, RawQuery: query,
		Remote: netip.MustParseAddr("192.0.2.7"), Transport: "https", Lang: tap.Spanish,
	}
	if body != "" {
		r.Body = []byte(body)
	}
	return r
}

// echo answers with the call it got.
func echo(_ context.Context, c *Call) (*Result, error) { return &Result{Body: c.Params}, nil }

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return tap.AsError(err).StableCode()
}
