package faults

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap/client"
)

const evidenceClients = 8

// Append is one append to the ledger, as its client saw it.
type Append struct {
	ID       uuid.UUID
	Outcome  Outcome
	Span     Span
	Position uint64 // of an acknowledged append
	Hash     string // of its ledger entry
}

// LedgerEntry is one entry as a node shows it.
type LedgerEntry struct {
	Position uint64 `json:"position"`
	Hash     string `json:"evidenceHash"`
	ID       string `json:"requestId"`
}

// Evidence is the workload that appends to the ledger.
type Evidence struct {
	Caller  *Caller
	Auditor func() map[string]*client.Client // who reads the ledger, by node
	Action  string                           // of this run's entries, and of no other

	mu      sync.Mutex // guards appends
	appends []Append
}

// Prepare has nothing to do.
func (e *Evidence) Prepare(context.Context) error { return nil }

// Run appends until load ends.
func (e *Evidence) Run(load, life context.Context) {
	clients(load, evidenceClients, func(client, n int) {
		a := e.Caller.Do(life, Operation{
			Method: "POST", Path: "/v1/evidence", Repeat: repeats(client),
			Body: map[string]any{"action": e.Action, "outcome": "ok", "data": map[string]int{"client": client, "n": n}},
		}, home(client, n))
		one := Append{ID: a.ID, Outcome: a.Outcome, Span: a.Span}
		if a.Outcome == Acknowledged {
			var reply LedgerEntry
			if err := a.Reply.Decode(&reply); err != nil {
				one.Hash = err.Error() // no entry has it: the checker will say so
			} else {
				one.Position, one.Hash = reply.Position, reply.Hash
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.appends = append(e.appends, one)
	})
}

// Check reads the whole ledger of every node.
func (e *Evidence) Check(ctx context.Context) (Verdict, error) {
	ledgers := map[string][]LedgerEntry{}
	for node, auditor := range e.Auditor() {
		entries, err := readLedger(ctx, auditor, e.Action)
		if err != nil {
			return Verdict{}, fmt.Errorf("the ledger of %s: %w", node, err)
		}
		ledgers[node] = entries
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return CheckAppends(e.appends, ledgers), nil
}

// readLedger lists the entries with an action as that node itself has them.
func readLedger(ctx context.Context, auditor *client.Client, action string) ([]LedgerEntry, error) {
	var all []LedgerEntry
	query := url.Values{"action": {action}, "limit": {"500"}, "consistency": {"local"}}
	for {
		reply, err := auditor.Do(ctx, "GET", "/v1/evidence", query, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Entries []LedgerEntry `json:"entries"`
			Next    *uint64       `json:"next"`
		}
		if err := reply.Decode(&page); err != nil {
			return nil, err
		}
		all = append(all, page.Entries...)
		if page.Next == nil {
			return all, nil
		}
		query.Set("after", strconv.FormatUint(*page.Next, 10))
	}
}

// CheckAppends demands that every acknowledged append is in every ledger at its
// position, that no request id is there twice and no refused or foreign one at
// all, and that positions follow real time.
func CheckAppends(appends []Append, ledgers map[string][]LedgerEntry) Verdict {
	var v Verdict
	outcomes := make(map[string]Outcome, len(appends))
	for _, a := range appends {
		outcomes[a.ID.String()] = a.Outcome
	}
	for _, node := range sortedKeys(ledgers) {
		at := make(map[uint64]LedgerEntry, len(ledgers[node]))
		times := map[string]int{}
		for _, e := range ledgers[node] {
			at[e.Position] = e
			times[e.ID]++
			outcome, sent := outcomes[e.ID]
			switch {
			case times[e.ID] > 1:
				v.find(&v.Doubled, "%s has request %s again at position %d", node, e.ID, e.Position)
			case !sent:
				v.find(&v.Doubled, "%s has request %s at position %d, which nobody sent", node, e.ID, e.Position)
			case outcome == Refused:
				v.find(&v.Doubled, "%s has request %s at position %d, which was refused", node, e.ID, e.Position)
			}
		}
		for _, a := range appends {
			if a.Outcome != Acknowledged {
				continue
			}
			if e, ok := at[a.Position]; !ok || e.Hash != a.Hash || e.ID != a.ID.String() {
				v.find(&v.Lost, "%s does not have request %s at position %d", node, a.ID, a.Position)
			}
		}
	}
	v.Join(checkOrder(appends))
	return v
}

// checkOrder demands that no append began after another one returned that has a
// higher position. Going from the last position down, the earliest end so far is
// all that must be known of the later ones.
func checkOrder(appends []Append) Verdict {
	var v Verdict
	acked := slices.DeleteFunc(slices.Clone(appends), func(a Append) bool { return a.Outcome != Acknowledged })
	slices.SortFunc(acked, func(a, b Append) int {
		switch {
		case a.Position < b.Position:
			return -1
		case a.Position > b.Position:
			return 1
		}
		return 0
	})
	earliest, position := time.Duration(math.MaxInt64), uint64(0)
	for i := len(acked) - 1; i >= 0; i-- {
		a := acked[i]
		if a.Span.Start > earliest {
			v.find(&v.Reordered, "position %d was asked for at %s, after position %d was acknowledged at %s", a.Position, a.Span.Start, position, earliest)
		}
		if a.Span.End < earliest {
			earliest, position = a.Span.End, a.Position
		}
	}
	return v
}
