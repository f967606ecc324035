package cluster

import (
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// system is the actor of what a node does by itself.
const system = "system"

// SelfBatch writes a node's own record: that of a site's first node, of one that
// moved to another address, or of one that runs another release. It is a
// Conflict when the node was removed.
func SelfBatch(tenant string, m Member, requestID uuid.UUID) store.Batch {
	return store.Batch{
		RequestID: requestID, Tenant: tenant,
		Ops:      []store.Op{store.Check(removedKey(tenant, m.ID), 0), store.Put(memberKey(tenant, m.ID), mustJSON(m))},
		Evidence: []store.Evidence{{Actor: system, Action: "cluster.member", Outcome: "ok", Payload: mustJSON(m)}},
	}
}

// RecoveredBatch makes the survivor of a lost majority the only member, a voter;
// all others are removed for good. The error is NotFound when the survivor is no
// member.
func RecoveredBatch(v store.View, tenant, survivor string, now time.Time, requestID uuid.UUID) (store.Batch, error) {
	members, err := list(v, tenant, kindMember, parseMember)
	if err != nil {
		return store.Batch{}, err
	}
	b := store.Batch{RequestID: requestID, Tenant: tenant}
	removed, found := []string{}, false
	for _, m := range members {
		b.Ops = append(b.Ops, store.Check(m.item.Key, m.item.Version))
		if m.T.ID == survivor {
			found, m.T.Observer = true, false
			b.Ops = append(b.Ops, store.Put(m.item.Key, mustJSON(m.T)))
			continue
		}
		removed = append(removed, m.T.ID)
		b.Ops = append(b.Ops, store.Delete(m.item.Key), removal(tenant, m.T, now, system, true))
	}
	if !found {
		return store.Batch{}, tap.E("cluster.recover", tap.NotFound, "%s is not a member of this site", survivor)
	}
	b.Evidence = []store.Evidence{{
		Actor: system, Action: "cluster.recover", Outcome: "ok",
		Payload: mustJSON(map[string]any{"survivor": survivor, "removed": removed}),
	}}
	return b, nil
}

// removal records that a node is no member any more; Create, because that
// happens once.
func removal(tenant string, m Member, now time.Time, by string, forced bool) store.Op {
	return store.Create(removedKey(tenant, m.ID), mustJSON(Removal{ID: m.ID, Pin: m.Pin, When: now.UnixMicro(), By: by, Forced: forced}))
}
