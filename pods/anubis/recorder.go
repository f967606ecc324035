package anubis

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
)

const (
	flushEvery  = time.Second
	flushAll    = 10 // successes and sessions go out at every tenth flush
	lastFlushIn = 5 * time.Second
)

// recorder commits what the gate counted. A batch that could not be committed
// is kept as it is and sent again under the same request id, so that an
// outcome that stayed unknown is not counted twice; meanwhile the counts gather
// in the bounded tables.
type recorder struct {
	writer store.Committer
	log    *slog.Logger

	mu      sync.Mutex    // held for a whole flush
	pending []store.Batch // guarded by mu
	waiting atomic.Int64  // len(pending), for those who must not wait for a flush
}

// Run writes attempts and sessions until ctx ends, then writes the rest.
func (g *Gate) Run(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			_ = g.flush(ctx, n%flushAll == 0) // logged; what failed stays
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlushIn)
			defer cancel()
			_ = g.flush(last, true)
			return
		}
	}
}

// Flush commits everything counted so far. On an error nothing is lost: what
// was not committed goes out with the next flush.
func (g *Gate) Flush(ctx context.Context) error { return g.flush(ctx, true) }

func (g *Gate) flush(ctx context.Context, all bool) error {
	r := g.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	// What failed before goes first, and nothing new is taken until it is
	// through: that is what bounds the memory.
	if err := r.send(ctx); err != nil {
		return err
	}
	if g.sentry != nil {
		alarms := g.sentry.take()
		r.raised(alarms)
		r.pending = append(r.pending, alarmBatches(alarms, g.view.Clock())...)
		g.sentry.watchlist.forget(g.now())
	}
	for _, rows := range g.attempts.take(all) {
		r.alert(rows)
		r.pending = append(r.pending, attemptBatches(rows)...)
	}
	if all {
		r.pending = append(r.pending, g.sessions.batches(g.now())...)
	}
	return r.send(ctx)
}

// send commits the pending batches in order until one fails.
func (r *recorder) send(ctx context.Context) error {
	defer func() { r.waiting.Store(int64(len(r.pending))) }()
	for len(r.pending) > 0 {
		if _, err := r.writer.Commit(ctx, r.pending[0]); err != nil {
			r.log.Warn("authentication attempts could not be recorded yet", "batches", len(r.pending), "error", err)
			return err
		}
		r.pending = r.pending[1:]
	}
	return nil
}

// alert tells the log about an address that used up its budget of failures.
func (r *recorder) alert(rows map[attempt]tally) {
	for kind, t := range rows {
		if kind.outcome == codeRateAddress {
			r.log.Warn("an address keeps failing or sends too much; its requests are refused unread",
				"address", kind.place(), "requests", t.count)
		}
	}
}

// attemptPayload is the evidence of one kind of attempt.
type attemptPayload struct {
	Address string `json:"address"`
	Reason  string `json:"reason"`
	Count   int64  `json:"count"`
	First   int64  `json:"first"` // microseconds
	Last    int64  `json:"last"`
}

// attemptBatches turns a table into one batch per tenant, rows in the order in
// which they first happened.
func attemptBatches(rows map[attempt]tally) []store.Batch {
	kinds := slices.SortedFunc(maps.Keys(rows), func(a, b attempt) int {
		return cmp.Or(strings.Compare(a.tenant, b.tenant), cmp.Compare(rows[a].first, rows[b].first),
			strings.Compare(a.identity, b.identity), a.remote.Compare(b.remote), strings.Compare(a.outcome, b.outcome))
	})
	var batches []store.Batch
	for i, kind := range kinds {
		if i == 0 || kind.tenant != kinds[i-1].tenant {
			batches = append(batches, store.Batch{RequestID: uuid.Must(uuid.NewV7()), Tenant: kind.tenant})
		}
		t, b := rows[kind], &batches[len(batches)-1]
		b.Evidence = append(b.Evidence, store.Evidence{
			Actor: kind.identity, Action: "auth.attempts", Outcome: kind.outcome,
			Payload: mustJSON(attemptPayload{kind.place(), kind.outcome, t.count, t.first, t.last}),
		})
	}
	return batches
}

// place is where a kind of attempt came from, for the ledger.
func (a attempt) place() string {
	if a.others {
		return "others"
	}
	return placeOf(a.remote)
}

func placeOf(remote netip.Addr) string {
	if !remote.IsValid() {
		return "unknown"
	}
	return remote.Unmap().String()
}
