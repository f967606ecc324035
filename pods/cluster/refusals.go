package cluster

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
)

const (
	actionJoin = "cluster.join"
	actionLink = "cluster.link"

	refusalsEvery = 5 * time.Second
	maxRefusals   = 64 // kinds told apart between two writes
	lastRefusals  = 2 * time.Second
)

// Refusal is somebody who wanted in and was not let in.
type Refusal struct {
	Action  string // "" = a link between nodes
	Reason  string // why: one of a closed set of codes
	Node    string // whom it claims to be; "" = nobody
	Address string // where it came from, or was dialed; a port is dropped
	Dialed  bool   // this node was the one that connected
}

// Refusals counts refusals by kind and writes them to the ledger every five
// seconds. It holds no more than 64 kinds; what is beyond is counted as one.
// A crash loses what was not written yet, a clean stop loses nothing.
type Refusals struct {
	tenant, node string
	writer       store.Committer
	now          func() time.Time
	log          *slog.Logger

	mu      sync.Mutex        // guards kinds
	kinds   map[Refusal]tally // since the last write
	pending *store.Batch      // owned by Run: a batch whose outcome is not known
}

type tally struct{ count, first, last int64 } // times in microseconds

// NewRefusals makes an empty counter; node is the one that refuses. Somebody
// must Run it.
func NewRefusals(tenant, node string, w store.Committer, now func() time.Time, log *slog.Logger) *Refusals {
	return &Refusals{tenant: tenant, node: node, writer: w, now: now, log: log, kinds: map[Refusal]tally{}}
}

// Note counts one refusal. It is quick and safe for concurrent use.
func (r *Refusals) Note(kind Refusal) {
	at := r.now().UnixMicro()
	kind.Action, kind.Address = cmp.Or(kind.Action, actionLink), host(kind.Address)
	r.mu.Lock()
	defer r.mu.Unlock()
	t, known := r.kinds[kind]
	if !known && len(r.kinds) >= maxRefusals {
		kind = Refusal{Action: kind.Action, Reason: "others"}
		t = r.kinds[kind]
	}
	if t.count == 0 {
		t.first = at
	}
	t.count, t.last = t.count+1, at
	r.kinds[kind] = t
}

// host is an address without its port; the port of a client says nothing.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		address = h
	}
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return shorten(address, maxText)
}

// Run writes what was counted until ctx ends, then the rest.
func (r *Refusals) Run(ctx context.Context) {
	ticker := time.NewTicker(refusalsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRefusals)
			defer cancel()
			r.flush(last)
			return
		}
	}
}

// flush commits what was counted. A batch that failed goes out first, under the
// same request id, so that nothing is counted twice; meanwhile the table, which
// is bounded, goes on counting.
func (r *Refusals) flush(ctx context.Context) {
	for {
		if r.pending == nil {
			if r.pending = r.take(); r.pending == nil {
				return
			}
		}
		if _, err := r.writer.Commit(ctx, *r.pending); err != nil {
			r.log.Warn("refused nodes could not be recorded yet", "error", err)
			return
		}
		r.pending = nil
	}
}

// take empties the table into a batch, in the order in which the kinds first
// happened; nil when there is nothing.
func (r *Refusals) take() *store.Batch {
	r.mu.Lock()
	kinds := r.kinds
	r.kinds = map[Refusal]tally{}
	r.mu.Unlock()
	if len(kinds) == 0 {
		return nil
	}
	b := &store.Batch{RequestID: uuid.Must(uuid.NewV7()), Tenant: r.tenant}
	sorted := slices.SortedFunc(maps.Keys(kinds), func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(kinds[a].first, kinds[b].first), strings.Compare(a.Action, b.Action),
			strings.Compare(a.Reason, b.Reason), strings.Compare(a.Node, b.Node), strings.Compare(a.Address, b.Address))
	})
	for _, kind := range sorted {
		t := kinds[kind]
		b.Evidence = append(b.Evidence, store.Evidence{
			Actor: system, Action: kind.Action, Outcome: "refused",
			Payload: mustJSON(map[string]any{
				"by": r.node, "reason": kind.Reason, "node": kind.Node, "address": kind.Address, "dialed": kind.Dialed,
				"count": t.count, "first": t.first, "last": t.last,
			}),
		})
	}
	return b
}
