package bookpi

import (
	"slices"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Config is what the pod needs.
type Config struct {
	Tenant  string // the site's own, whose operators administer keys and witnesses
	Ledger  store.Ledger
	Notary  *Notary // over the same ledger
	Archive Archive // the same ledger's files
	// OpenLog lets anybody read all of /log/, for development.
	OpenLog bool
	// Quorum is how many witnesses must have cosigned the checkpoint of a proof
	// that counts as cosigned; 0 = 1, and never more than there are.
	Quorum int
	// Opener opens sealed payloads for those who may see them; nil = they stay
	// sealed.
	Opener Opener
}

// Pod is the evidence pod. It is safe for concurrent use.
type Pod struct {
	config  Config
	tenant  string
	ledger  store.Ledger
	notary  *Notary
	streams streams
	names   *names
}

// New makes the pod.
func New(c Config) *Pod {
	return &Pod{config: c, tenant: c.Tenant, ledger: c.Ledger, notary: c.Notary, names: newNames()}
}

// budget is enough for a bundle of maxRange entries.
const budget = 10 * time.Second

// Manifest describes the pod.
func (p *Pod) Manifest() pods.Manifest {
	return pods.Manifest{
		Name: "bookpi",
		Summary: tap.Text{
			EN: "BookPI: the evidence ledger, and proofs that verify offline.",
			ES: "BookPI: el registro de evidencia, y pruebas que se verifican sin conexión.",
		},
		Budget: budget,
		Routes: slices.Concat(p.entryRoutes(), p.proofRoutes(), p.siteRoutes(), p.segmentRoutes(), p.logRoutes()),
	}
}

var (
	cosignedParameter = pods.Parameter{
		Name: "cosigned", OneOf: []string{"true", "false"},
		Summary: "with a checkpoint that witnesses cosigned: always, or never; when there is one, if missing",
	}
	openParameter = pods.Parameter{
		Name: "open", OneOf: []string{"true", "false"},
		Summary: "disclose the keys of the sealed payloads in it, so that it stays readable for whoever has it",
	}
)

// entryRoutes are about entries.
func (p *Pod) entryRoutes() []pods.Route {
	whose := []pods.Parameter{
		{Name: "actor", Summary: "only what this identity did"},
		{Name: "action", Summary: "only this action; ending in . or *, all that begin so"},
	}
	return []pods.Route{
		{
			Method: "POST", Pattern: "/v1/evidence", Summary: "Append evidence",
			Roles: []tap.Role{tap.Device, tap.Citizen, tap.Operator},
			Body:  appendSchema, Reply: appendedSchema, BodyLimit: MaxData + 4<<10, Run: p.append, Brief: true,
		},
		{
			Method: "GET", Pattern: "/v1/evidence", Summary: "List entries, newest first: one's own, or all for an auditor",
			Roles: tap.Roles(), Reply: listSchema, Run: p.list, Query: append(whose[:2:2], []pods.Parameter{
				{Name: "from", Summary: "not before this time (RFC 3339, or microseconds)"},
				{Name: "to", Summary: "before this time (RFC 3339, or microseconds)"},
				{Name: "after", Summary: `continue with the "next" of the page before`, Integer: true},
				{Name: "limit", Summary: "entries per page, 1 to 500", Integer: true},
			}...),
		},
		{
			Method: "GET", Pattern: "/v1/evidence/stream", Summary: "Follow entries as they are appended (server-sent events)",
			Roles: tap.Roles(), Run: p.stream, Query: append(whose[:2:2], []pods.Parameter{
				{Name: "after", Summary: "go on after this position; Last-Event-ID does the same", Integer: true},
				{Name: "from", Summary: "begin with this position; with what comes next when all are missing", Integer: true},
			}...),
		},
		{
			Method: "GET", Pattern: "/v1/evidence/export", Summary: "Take the tenant's entries away as JSON, one a line",
			Roles: []tap.Role{tap.Auditor}, Run: p.export, Query: []pods.Parameter{
				{Name: "from", Summary: "first position; 0 when missing", Integer: true},
				{Name: "to", Summary: "position behind the last; all when missing", Integer: true},
			},
		},
		{
			Method: "GET", Pattern: "/v1/evidence/{hash}", Summary: "Show an entry",
			Roles: tap.Roles(), Reply: entrySchema, Run: p.get,
		},
	}
}

// proofRoutes are about what entries can be held against.
func (p *Pod) proofRoutes() []pods.Route {
	anyone := []tap.Role{tap.Anyone}
	return []pods.Route{
		{
			Method: "GET", Pattern: "/v1/evidence/{hash}/proof", Summary: "Prove that an entry is in the ledger",
			Roles: tap.Roles(), Reply: proofSchema, Run: p.proof, Query: []pods.Parameter{
				cosignedParameter, {Name: "format", Summary: "json, or tlog for a C2SP tlog-proof file", OneOf: []string{"json", "tlog"}},
			},
		},
		{
			Method: "GET", Pattern: "/v1/evidence/{hash}/bundle", Summary: "Take an entry away with its proof (.tamv)",
			Roles: tap.Roles(), Run: p.bundle, Query: []pods.Parameter{cosignedParameter, openParameter},
		},
		{
			Method: "GET", Pattern: "/v1/evidence/bundle", Summary: "Take a range of entries away with their proofs (.tamv)",
			Roles: []tap.Role{tap.Auditor}, Run: p.rangeBundle, Query: []pods.Parameter{
				{Name: "from", Summary: "first position", Integer: true},
				{Name: "to", Summary: "position behind the last, at most 10,000 on", Integer: true},
				cosignedParameter, openParameter,
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
	}
}

// siteRoutes are about the log's keys and its witnesses.
func (p *Pod) siteRoutes() []pods.Route {
	operators, readers := []tap.Role{tap.Operator}, []tap.Role{tap.Operator, tap.Auditor}
	return []pods.Route{
		{
			Method: "GET", Pattern: "/v1/evidence/key", Summary: "The public keys that checkpoints verify with, and their history",
			Roles: []tap.Role{tap.Anyone}, Reply: keySchema, Run: p.key,
		},
		{
			Method: "POST", Pattern: "/v1/evidence/key", Summary: "Have the log signed with new keys from now on",
			Roles: operators, Reply: rotationSchema, Run: p.ours(p.rotate),
		},
		{
			Method: "POST", Pattern: "/v1/evidence/witnesses", Summary: "Register a witness's key",
			Roles: operators, Body: witnessKeySchema, BodyLimit: 8 << 10, Reply: witnessSchema, Run: p.ours(p.addWitness),
		},
		{
			Method: "DELETE", Pattern: "/v1/evidence/witnesses/{name}", Summary: "Forget a witness",
			Roles: operators, Reply: witnessSchema, Run: p.ours(p.removeWitness),
		},
		{
			Method: "GET", Pattern: "/v1/evidence/anchors", Summary: "Which witnesses saw what, and how far behind they are",
			Roles: readers, Reply: anchorsSchema, Run: p.ours(p.listAnchors),
		},
		{
			Method: "GET", Pattern: "/v1/evidence/anchors/{witness}/request", Summary: "What a courier carries to a witness (C2SP tlog-witness add-checkpoint)",
			Roles: readers, Run: p.ours(p.request), Query: []pods.Parameter{
				{Name: "old", Summary: "the size that the witness saw last; as the site knows when missing", Integer: true},
				{Name: "size", Summary: "the checkpoint to cosign, one that is kept", Integer: true},
			},
		},
		{
			Method: "POST", Pattern: "/v1/evidence/anchors", Summary: "Take in the cosignatures that a courier brought back",
			Roles: readers, Body: anchorSchema, BodyLimit: 2*maxCosignatures + 1<<10, Reply: anchoredSchema, Run: p.ours(p.addAnchor),
		},
	}
}
