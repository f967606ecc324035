package store

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// requestKey names a request in the idempotency window: the id as its client
// chose it, within its tenant and actor, so that nobody can occupy another's.
// A recorded checkpoint has no actor.
func requestKey(b *Batch) string {
	actor := ""
	if len(b.Evidence) > 0 {
		actor = b.Evidence[0].Actor
	}
	return string(b.RequestID[:]) + b.Tenant + separator + actor
}

// encodeReceipt is what the window keeps of an applied batch.
func encodeReceipt(fingerprint [32]byte, r Receipt) []byte {
	b := make([]byte, 0, len(fingerprint)+3*binary.MaxVarintLen64+len(r.Leaf)+len(r.Appended)*binary.MaxVarintLen64)
	b = binary.AppendUvarint(append(b, fingerprint[:]...), r.Position)
	b = binary.AppendUvarint(b, uint64(r.Entries))
	b = binary.AppendVarint(b, r.Time)
	b = append(b, r.Leaf[:]...)
	for _, n := range r.Appended {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// decodeReceipt reads a kept receipt back, marked as a duplicate.
func decodeReceipt(b []byte) (fingerprint [32]byte, receipt Receipt, err error) {
	r := fieldReader{rest: b}
	fingerprint = [32]byte(r.fixed(32))
	receipt = Receipt{Position: r.uvarint(), Entries: int(r.uvarint()), Time: r.varint(), Duplicate: true}
	receipt.Leaf = bookpi.Hash(r.fixed(bookpi.HashSize))
	for len(r.rest) > 0 {
		receipt.Appended = append(receipt.Appended, r.uvarint())
	}
	if r.bad {
		return fingerprint, Receipt{}, damaged("a kept receipt does not parse")
	}
	return fingerprint, receipt, nil
}

// repeated is the outcome of a batch whose request id was applied before: the
// first one's receipt, or a refusal when it asks for something else.
func repeated(b *Batch, kept []byte) (any, error) {
	fingerprint, receipt, err := decodeReceipt(kept)
	if err != nil {
		return nil, err
	}
	var silent [32]byte
	if fingerprint != b.Fingerprint && fingerprint != silent && b.Fingerprint != silent {
		return ErrReused(), nil
	}
	return receipt, nil
}

// ErrReused is the refusal of a request id that stands for something else.
func ErrReused() error {
	return tap.E("store.apply", tap.Conflict, "this request id was used for another request").WithCode("request_id_reused")
}

// Fingerprint hashes what was asked, as fields.
func Fingerprint(fields ...[]byte) [32]byte {
	h := newFieldHash()
	for _, f := range fields {
		h.field(f)
	}
	return h.sum()
}

// fieldHash hashes length-delimited fields, so that no two lists of fields
// hash alike.
type fieldHash struct{ h hash.Hash }

func newFieldHash() fieldHash { return fieldHash{sha256.New()} }

func (f fieldHash) field(b []byte) {
	f.h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	f.h.Write(b)
}

func (f fieldHash) sum() [32]byte { return [32]byte(f.h.Sum(nil)) }
