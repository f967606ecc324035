package bookpi

import (
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Config is what the pod needs.
type Config struct {
	Ledger      store.Ledger
	Checkpoints *Checkpointer // over the same ledger
	VerifierKey string        // the public half of the checkpointer's key, in note form
}

// Pod is the evidence pod. It is safe for concurrent use.
type Pod struct {
	ledger      store.Ledger
	checkpoints *Checkpointer
	verifierKey string
}

// New makes the pod.
func New(c Config) *Pod { return &Pod{c.Ledger, c.Checkpoints, c.VerifierKey} }

// budget is enough for a bundle of maxRange entries.
const budget = 10 * time.Second

// Manifest describes the pod.
func (p *Pod) Manifest() pods.Manifest {
	anyone := []tap.Role{tap.Anyone}
	return pods.Manifest{
		Name: "bookpi",
		Summary: tap.Text{
			EN: "BookPI: the evidence ledger, and proofs that verify offline.",
			ES: "BookPI: el registro de evidencia, y pruebas que se verifican sin conexión.",
		},
		Budget: budget,
		Routes: []pods.Route{
			{
				Method: "POST", Pattern: "/v1/evidence", Summary: "Append evidence",
				Roles: []tap.Role{tap.Device, tap.Citizen, tap.Operator},
				Body:  appendSchema, Reply: appendedSchema, BodyLimit: MaxData + 4<<10, Run: p.append, Brief: true,
			},
			{
				Method: "GET", Pattern: "/v1/evidence", Summary: "List entries, newest first: one's own, or all for an auditor",
				Roles: tap.Roles(), Reply: listSchema, Run: p.list, Query: []pods.Parameter{
					{Name: "actor", Summary: "only what this identity did"},
					{Name: "action", Summary: "only this action; ending in . or *, all that begin so"},
					{Name: "from", Summary: "not before this time (RFC 3339, or microseconds)"},
					{Name: "to", Summary: "before this time (RFC 3339, or microseconds)"},
					{Name: "after", Summary: `continue with the "next" of the page before`, Integer: true},
					{Name: "limit", Summary: "entries per page, 1 to 500", Integer: true},
				},
			},
			{
				Method: "GET", Pattern: "/v1/evidence/{hash}", Summary: "Show an entry",
				Roles: tap.Roles(), Reply: entrySchema, Run: p.get,
			},
			{
				Method: "GET", Pattern: "/v1/evidence/{hash}/proof", Summary: "Prove that an entry is in the ledger",
				Roles: tap.Roles(), Reply: proofSchema, Run: p.proof,
			},
			{
				Method: "GET", Pattern: "/v1/evidence/{hash}/bundle", Summary: "Take an entry away with its proof (.tamv)",
				Roles: tap.Roles(), Run: p.bundle,
			},
			{
				Method: "GET", Pattern: "/v1/evidence/bundle", Summary: "Take a range of entries away with their proofs (.tamv)",
				Roles: []tap.Role{tap.Auditor}, Run: p.rangeBundle, Query: []pods.Parameter{
					{Name: "from", Summary: "first position", Integer: true},
					{Name: "to", Summary: "position behind the last, at most 10,000 on", Integer: true},
				},
			},
			{
				Method: "GET", Pattern: "/v1/evidence/checkpoint", Summary: "The signed summary of the whole ledger",
				Roles: anyone, Run: p.checkpoint,
			},
			{
				Method: "GET", Pattern: "/v1/evidence/consistency", Summary: "Prove that the ledger only grew",
				Roles: anyone, Reply: consistencySchema, Run: p.consistency, Query: []pods.Parameter{
					{Name: "old", Summary: "the earlier size", Integer: true},
					{Name: "new", Summary: "the later size; the present one when missing", Integer: true},
				},
			},
			{
				Method: "GET", Pattern: "/v1/evidence/key", Summary: "The public key that checkpoints verify with",
				Roles: anyone, Reply: keySchema, Run: p.key,
			},
		},
	}
}
