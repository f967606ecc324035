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

	// refusalsEvery is how soon a refusal is written, and a write that failed
	// tried again; refusalsMost what that grows to while refusals keep coming.
	refusalsEvery = 5 * time.Second
	refusalsMost  = time.Hour
	maxRefusals   = 64 // kinds told apart between two writes
	lastRefusals  = 2 * time.Second
)

// Refusal is somebody who wanted in and was not let in.
type Refusal struct {
	Action  string // "" = a link between nodes
	Reason  string // why: one of a closed set of codes
	Node    string // whom it claims to be; "" = nobody. Kept only as far as it is proven
	Address string // where it came from, or was dialed; a port is dropped
	Dialed  bool   // this node was the one that connected
}

// Refusals counts refusals by kind and writes them to the ledger: the first ones
// after five seconds, then after twice as long each time, up to an hour. It
// starts over when an hour has passed without any, and not sooner, so that
// pauses make nobody's attempts cost more. A kind is the action, the reason, the
// address without its port, which end dialed and, where the site knows the name,
// the node; there are no more than 64 between two writes, and what is beyond is
// counted as one. So a node that goes on trying for a day costs about 34 entries,
// at each node that refuses it. A crash loses what was not written yet, a clean
// stop loses nothing.
type Refusals struct {
	tenant, node string
	writer       store.Committer
	now          func() time.Time
	log          *slog.Logger

	mu      sync.Mutex        // guards kinds
	kinds   map[Refusal]tally // since the last write
	arrived chan struct{}     // holds one when kinds is not empty and nobody has seen it
	pending *store.Batch      // owned by Run: a batch whose outcome is not known
}

type tally struct {
	count, first, last int64  // times in microseconds
	node               string // that the first of them claimed to be
}

// NewRefusals makes an empty counter; node is the one that refuses. Somebody
// must Run it.
func NewRefusals(tenant, node string, w store.Committer, now func() time.Time, log *slog.Logger) *Refusals {
	return &Refusals{tenant: tenant, node: node, writer: w, now: now, log: log, kinds: map[Refusal]tally{}, arrived: make(chan struct{}, 1)}
}

// Note counts one refusal. It is quick and safe for concurrent use.
func (r *Refusals) Note(kind Refusal) {
	at := r.now().UnixMicro()
	kind.Action, kind.Address = cmp.Or(kind.Action, actionLink), host(kind.Address)
	kind, name := provenName(kind)
	r.mu.Lock()
	defer r.mu.Unlock()
	t, known := r.kinds[kind]
	if !known && len(r.kinds) >= maxRefusals {
		kind = Refusal{Action: kind.Action, Reason: "others"}
		t, name = r.kinds[kind], ""
	}
	if t.count == 0 {
		t.first, t.node = at, name
	}
	t.count, t.last = t.count+1, at
	r.kinds[kind] = t
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// provenName says what the name in a refusal is worth: it returns the kind, whose
// node is a name that the site has given, of which there are few, and the name
// to write down. A name that the authority signed is worth writing down but tells
// no kinds apart: who has the authority's key can sign any number. One that
// nobody proved is worth nothing.
func provenName(kind Refusal) (_ Refusal, name string) {
	name = kind.Node
	switch {
	case kind.Action != actionLink || kind.Reason == "foreign" || kind.Reason == "no_certificate":
		name, kind.Node = "", ""
	case kind.Reason != "removed" && kind.Reason != "wrong_key":
		kind.Node = ""
	}
	return kind, name
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
	interval, last := refusalsEvery, time.Time{} // the last write
	for r.wait(ctx) {
		if time.Since(last) >= refusalsMost {
			interval = refusalsEvery
		}
		if !pause(ctx, interval) {
			break
		}
		for !r.flush(ctx) && pause(ctx, refusalsEvery) {
		}
		interval, last = min(2*interval, refusalsMost), time.Now()
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRefusals)
	defer cancel()
	if r.flush(rest) {
		r.flush(rest) // what was counted while the first was not written
	}
}

// wait returns when something was counted; false when ctx ended.
func (r *Refusals) wait(ctx context.Context) bool {
	select {
	case <-r.arrived:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits for a time; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// flush commits one batch and says whether it did: one that failed before, under
// the same request id, so that nothing is counted twice, else what was counted.
// Meanwhile the table, which is bounded, goes on counting.
func (r *Refusals) flush(ctx context.Context) bool {
	if r.pending == nil {
		if r.pending = r.take(); r.pending == nil {
			return true
		}
	}
	if _, err := r.writer.Commit(ctx, *r.pending); err != nil {
		r.log.Warn("refused nodes could not be recorded yet", "error", err)
		return false
	}
	r.pending = nil
	return true
}

// take empties the table into a batch, in the order in which the kinds first
// happened; nil when there is nothing.
func (r *Refusals) take() *store.Batch {
	r.mu.Lock()
	kinds := r.kinds
	r.kinds = map[Refusal]tally{}
	select {
	case <-r.arrived:
	default:
	}
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
				"by": r.node, "reason": kind.Reason, "node": t.node, "address": kind.Address, "dialed": kind.Dialed,
				"count": t.count, "first": t.first, "last": t.last,
			}),
		})
	}
	return b
}
