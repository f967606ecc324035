package bookpi

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// maxInline is the longest payload that a list shows.
const maxInline = 4 << 10

// entry is a ledger entry as the API shows it.
type entry struct {
	Position      uint64          `json:"position"`
	EvidenceHash  bookpi.Hash     `json:"evidenceHash"`
	Time          string          `json:"time"`
	Timestamp     int64           `json:"timestamp"` // microseconds
	Tenant        string          `json:"tenant"`
	Actor         string          `json:"actor"`
	Action        string          `json:"action"`
	Outcome       string          `json:"outcome"`
	RequestID     string          `json:"requestId,omitempty"`
	PayloadDigest bookpi.Hash     `json:"payloadDigest"`
	PreviousHash  bookpi.Hash     `json:"previousHash"`
	PayloadBytes  int             `json:"payloadBytes"`
	Payload       []byte          `json:"payload,omitempty"`     // base64 of the exact bytes; of what was sealed, when this node can open it
	PayloadJSON   json.RawMessage `json:"payloadJson,omitempty"` // the payload for reading, when it is JSON
	Sealed        string          `json:"sealed,omitempty"`      // of a sealed payload: "opened", "erased" or "closed"
	Record        []byte          `json:"record,omitempty"`      // the encoded entry, in an export
}

// Opener opens payloads that were sealed because they concern a person. The error
// is NotFound when the person's key was destroyed.
type Opener interface {
	Open(ctx context.Context, payload []byte) (plain []byte, recordKey [32]byte, err error)
}

func (p *Pod) show(ctx context.Context, r store.Record, e *bookpi.Entry, withPayload bool) entry {
	shown := entry{
		Position: r.Position, EvidenceHash: bookpi.LeafHash(r.Entry), Time: pods.TimestampMicros(e.Timestamp), Timestamp: e.Timestamp,
		Tenant: e.Tenant, Actor: e.Actor, Action: e.Action, Outcome: e.Outcome,
		PayloadDigest: e.PayloadDigest, PreviousHash: e.Previous, PayloadBytes: len(r.Payload),
	}
	if e.RequestID != uuid.Nil {
		shown.RequestID = uuid.UUID(e.RequestID).String()
	}
	payload := r.Payload
	if bookpi.IsSealed(payload) {
		payload, shown.Sealed = p.open(ctx, payload)
	}
	if withPayload && payload != nil {
		shown.Payload = payload
		if utf8.Valid(payload) && json.Valid(payload) {
			shown.PayloadJSON = payload
		}
	}
	return shown
}

// open returns what was sealed and says how that went; nil when it stays closed.
func (p *Pod) open(ctx context.Context, sealed []byte) (plain []byte, how string) {
	if p.config.Opener == nil {
		return nil, "closed"
	}
	plain, _, err := p.config.Opener.Open(ctx, sealed)
	switch {
	case err == nil:
		return plain, "opened"
	case tap.IsKind(err, tap.NotFound):
		return nil, "erased"
	}
	return nil, "closed"
}

// parse reads a stored entry.
func parse(r store.Record) (bookpi.Entry, error) {
	e, err := bookpi.ParseEntry(r.Entry)
	if err != nil {
		return bookpi.Entry{}, tap.Wrap("bookpi.entry", tap.Internal, err, "ledger entry %d does not parse", r.Position)
	}
	return e, nil
}

// visible says whether the caller may see an entry of its own tenant.
func visible(c *pods.Call, e *bookpi.Entry) bool {
	return e.Tenant == c.Tenant && (e.Actor == c.Actor() || c.Principal.Has(tap.Auditor))
}

// find reads the entry that the path names by its hash, if the caller may see it.
func (p *Pod) find(c *pods.Call) (store.Record, bookpi.Entry, error) {
	missing := tap.E("bookpi.find", tap.NotFound, "the ledger has no such entry")
	hash, err := bookpi.ParseHash(c.Params["hash"])
	if err != nil {
		return store.Record{}, bookpi.Entry{}, missing
	}
	position, ok, err := p.ledger.Find(hash)
	if err != nil {
		return store.Record{}, bookpi.Entry{}, err
	}
	if !ok {
		return store.Record{}, bookpi.Entry{}, missing
	}
	r, err := p.ledger.Record(position)
	if err != nil {
		return store.Record{Position: position}, bookpi.Entry{}, err
	}
	e, err := parse(r)
	switch {
	case err != nil:
		return store.Record{}, bookpi.Entry{}, err
	case e.Tenant != c.Tenant:
		return store.Record{}, bookpi.Entry{}, missing
	case !visible(c, &e):
		return store.Record{}, bookpi.Entry{}, notOwn()
	}
	return r, e, nil
}

func notOwn() *tap.Error {
	return tap.E("bookpi.read", tap.Forbidden, "only an auditor sees what others did").WithCode("not_own")
}
