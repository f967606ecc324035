package anubis

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// alertPayload is the evidence security.alert; its outcome is the pattern.
type alertPayload struct {
	ID            string  `json:"id"`
	Pattern       Pattern `json:"pattern"`
	Identity      string  `json:"identity,omitempty"`
	Address       string  `json:"address,omitempty"`
	Count         int     `json:"count"`
	WindowSeconds int     `json:"windowSeconds"`
	At            int64   `json:"at"`                     // microseconds
	BlockedUntil  int64   `json:"blockedUntil,omitempty"` // microseconds
	BlocksInARow  int     `json:"blocksInARow,omitempty"`
	Withheld      int64   `json:"withheld,omitempty"` // failures beyond a threshold that raised nothing, since the last alert
}

// alarmBatches turns alarms into one batch per tenant, in the order in which they
// were raised. Nothing in them depends on the state, so that a batch can be sent
// until it is through. clock is the machine's.
func alarmBatches(alarms []alarm, clock int64) []store.Batch {
	slices.SortStableFunc(alarms, func(a, b alarm) int { return cmp.Compare(a.tenant, b.tenant) })
	var batches []store.Batch
	for i, a := range alarms {
		if i == 0 || a.tenant != alarms[i-1].tenant {
			batches = append(batches, store.Batch{RequestID: uuid.Must(uuid.NewV7()), Tenant: a.tenant})
		}
		b := &batches[len(batches)-1]
		// A record lives by the machine's clock, which may be ahead of this node's.
		late := max(0, clock-a.alert.Last)
		key := alertKey(a.tenant, a.alert.ID)
		b.Ops = append(b.Ops, store.Put(key, mustJSON(a.alert)), store.Expire(key, a.alert.Expires+late))
		payload := alertPayload{
			ID: a.alert.ID, Pattern: a.alert.Pattern, Identity: a.alert.Identity, Address: a.alert.Address, Count: a.alert.Count,
			WindowSeconds: a.alert.WindowSeconds, At: a.alert.Last, BlockedUntil: a.alert.BlockedUntil, Withheld: a.withheld,
		}
		if a.block != nil {
			key := store.K(a.tenant, SpaceBlocked, a.block.Address)
			payload.BlocksInARow = a.block.Times
			b.Ops = append(b.Ops, store.Put(key, mustJSON(a.block)),
				store.Expire(key, a.block.Until+late+repeatMemory.Microseconds()))
		}
		b.Evidence = append(b.Evidence, store.Evidence{
			Actor: system, Action: "security.alert", Outcome: string(a.alert.Pattern), Payload: mustJSON(payload),
		})
	}
	return batches
}

// raised tells the log about alarms.
func (r *recorder) raised(alarms []alarm) {
	for _, a := range alarms {
		r.log.Warn("security alert", "pattern", a.alert.Pattern, "identity", a.alert.Identity, "address", a.alert.Address,
			"count", a.alert.Count, "window", time.Duration(a.alert.WindowSeconds)*time.Second, "blocked", a.block != nil)
	}
}

// checkBlocked refuses an address that is blocked, before anything is asked of
// the request. It is about those who have yet to prove who they are: a session
// that did goes on.
func (g *Gate) checkBlocked(remote netip.Addr, now time.Time) error {
	if g.sentry == nil {
		return nil
	}
	until, blocked := g.sentry.watchlist.blocked(network(remote), now)
	if !blocked || g.sentry.spared(remote) {
		return nil
	}
	return errBlocked(until.Sub(now))
}

// mayPlead says whether a request from a blocked address is looked at, so that
// an operator behind the same address as an attacker is not shut out: it is for
// the routes that list and lift blocks, names an operator, and few of them come.
func (g *Gate) mayPlead(r *tap.Request, row *pods.Row, now time.Time) bool {
	if row.Pod != podName || !strings.HasPrefix(row.Pattern, blocksPattern) {
		return false
	}
	sig, err := tap.ParseSignature(r)
	if err != nil {
		return false
	}
	who := g.directory.lookup(sig.KeyID)
	return who != nil && who.identity.operates() && g.pleas.take(network(r.Remote), now)
}
