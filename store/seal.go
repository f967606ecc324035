package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"tamv.internal/tamv/tap"
)

// Payloads that concern a person, the subject, are sealed before they are
// proposed, under a key of the subject's present generation. The generation is
// the number of times that the subject was erased. It is read when the payload
// is sealed and pinned by a [Check]: an erasure in between refuses the batch,
// and nothing enters the ledger under a key that is to be destroyed.

// SpaceErasure is the space of the records that count a subject's erasures.
const SpaceErasure = "erasure"

// Sealer encrypts what concerns a person. A keyring's sealer is one.
type Sealer interface {
	// Seal encrypts a payload under a key of the subject's generation and
	// returns once that key is safe with a majority of the members. The error is
	// Unavailable when it cannot be, and Conflict when the generation is known to
	// be over: the caller reads it again then.
	Seal(ctx context.Context, tenant, subject string, generation uint64, payload []byte) ([]byte, error)
}

// ErasureKey is the key of the record of a subject's erasures: a JSON object
// whose member "generation" is their number.
func ErasureKey(tenant, subject string) Key { return K(tenant, SpaceErasure, subject) }

// ParseGeneration reads the generation off a subject's erasure record.
func ParseGeneration(record []byte) (uint64, error) {
	var r struct {
		Generation uint64 `json:"generation"`
	}
	if err := json.Unmarshal(record, &r); err != nil || r.Generation == 0 {
		return 0, tap.E("store.erasure", tap.Internal, "the record of a subject's erasures does not parse")
	}
	return r.Generation, nil
}

// Generation is how often a subject was erased, and the version of the record
// that says so; both are 0 for a subject that never was.
func Generation(v View, tenant, subject string) (generation, version uint64, err error) {
	item, ok, err := v.Get(ErasureKey(tenant, subject))
	if err != nil || !ok {
		return 0, 0, err
	}
	generation, err = ParseGeneration(item.Value)
	return generation, item.Version, err
}

// Seal returns the batch as it can be proposed: the payloads of entries with a
// subject sealed, and for each subject a check that its generation is still the
// one that they were sealed for. Such a batch has no fingerprint: the same request
// id is answered with the first one's receipt, whatever was asked. pins are the keys
// of the checks; there are none when nothing had to be sealed.
func Seal(ctx context.Context, v View, s Sealer, b Batch) (sealed Batch, pins []Key, err error) {
	if !slices.ContainsFunc(b.Evidence, func(e Evidence) bool { return e.Subject != "" }) {
		return b, nil, nil
	}
	if s == nil {
		return Batch{}, nil, errUnsealed()
	}
	generations := map[string]uint64{}
	var checks []Op
	b.Evidence = slices.Clone(b.Evidence)
	for i := range b.Evidence {
		e := &b.Evidence[i]
		if e.Subject == "" {
			continue
		}
		if !tap.ValidName(e.Subject) {
			return Batch{}, nil, tap.E("store.seal", tap.Invalid, "a subject without a valid name").WithCode("subject")
		}
		generation, known := generations[e.Subject]
		if !known {
			var version uint64
			if generation, version, err = Generation(v, b.Tenant, e.Subject); err != nil {
				return Batch{}, nil, err
			}
			generations[e.Subject] = generation
			key := ErasureKey(b.Tenant, e.Subject)
			checks, pins = append(checks, Check(key, version)), append(pins, key)
		}
		if e.Payload, err = s.Seal(ctx, b.Tenant, e.Subject, generation, e.Payload); err != nil {
			return Batch{}, nil, err
		}
		e.Subject = ""
	}
	b.Ops = append(checks, b.Ops...)
	b.Fingerprint = [32]byte{} // a hash of what was asked would tell, after an erasure, which guess of it is right
	return b, pins, nil
}

// overtaken says whether an error means that an erasure came in between, and
// nothing else: a batch that checks the same record itself wants to know.
func overtaken(err error, b *Batch, pins []Key) bool {
	var conflict *ConflictError
	if !errors.As(err, &conflict) || conflict.Op != OpCheck || !slices.Contains(pins, conflict.Key) {
		return false
	}
	return !slices.ContainsFunc(b.Ops, func(op Op) bool { return op.Type == OpCheck && op.Key == conflict.Key })
}

// errUnsealed is the refusal of an entry that names a subject where nothing can
// seal it: it must not enter the log as it is.
func errUnsealed() error {
	return tap.E("store.seal", tap.Unavailable, "this node cannot seal what concerns a person").WithCode("unsealed")
}
