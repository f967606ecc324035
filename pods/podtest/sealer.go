package podtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Sealer seals what concerns a person, for a State, under keys that it makes of
// names: nothing is secret, and the same payload is always sealed to the same
// bytes. It opens what the State's erasures leave.
type Sealer struct{ State *State }

// Seal encrypts a payload under the key of a subject's generation.
func (Sealer) Seal(_ context.Context, tenant, subject string, generation uint64, payload []byte) ([]byte, error) {
	key, id := subjectKey(tenant, subject, generation)
	return bookpi.Seal(key, id, sha256.Sum256(payload), payload), nil
}

// Open decrypts a payload that was sealed for a subject of the default tenant. The
// error is NotFound, erased, when the subject was erased since.
func (s Sealer) Open(_ context.Context, payload []byte) (plain []byte, recordKey [32]byte, err error) {
	id, err := bookpi.SealedUnder(payload)
	if err != nil {
		return nil, recordKey, tap.Wrap("podtest.open", tap.Invalid, err, "this payload is not sealed")
	}
	for _, subject := range s.State.subjects() {
		generation, _, err := store.Generation(s.State, tap.DefaultTenant, subject)
		if err != nil {
			return nil, recordKey, err
		}
		key, known := subjectKey(tap.DefaultTenant, subject, generation)
		if known != id {
			continue
		}
		if recordKey, err = bookpi.RecordKey(key, payload); err == nil {
			plain, err = bookpi.OpenSealed(payload, recordKey)
		}
		return plain, recordKey, err
	}
	return nil, recordKey, tap.E("podtest.open", tap.NotFound, "the key of this payload was destroyed").WithCode("erased")
}

func subjectKey(tenant, subject string, generation uint64) (key [32]byte, id bookpi.KeyID) {
	of := binary.BigEndian.AppendUint64([]byte(tenant+"/"+subject+"/"), generation)
	sum := sha256.Sum256(append([]byte("id "), of...))
	return sha256.Sum256(append([]byte("key "), of...)), bookpi.KeyID(sum[:])
}
