package store

import (
	"encoding/binary"

	"tamv.internal/tamv/store/bookpi"
)

// requestKey names a request in the idempotency window: the id as its client
// chose it, within its tenant and actor, so that nobody can occupy another's.
func requestKey(b *Batch) string {
	return string(b.RequestID[:]) + b.Tenant + separator + b.Evidence[0].Actor
}

// encodeReceipt is what the window keeps of an applied batch.
func encodeReceipt(r Receipt) []byte {
	b := binary.AppendUvarint(nil, r.Position)
	b = binary.AppendUvarint(b, uint64(r.Entries))
	b = binary.AppendVarint(b, r.Time)
	b = append(b, r.Leaf[:]...)
	for _, n := range r.Appended {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// decodeReceipt reads a kept receipt back, marked as a duplicate.
func decodeReceipt(b []byte) (any, error) {
	r := fieldReader{rest: b}
	receipt := Receipt{Position: r.uvarint(), Entries: int(r.uvarint()), Time: r.varint(), Duplicate: true}
	if len(r.rest) < bookpi.HashSize {
		return nil, damaged("a kept receipt does not parse")
	}
	copy(receipt.Leaf[:], r.rest)
	r.rest = r.rest[bookpi.HashSize:]
	for len(r.rest) > 0 {
		receipt.Appended = append(receipt.Appended, r.uvarint())
	}
	return receipt, nil
}
