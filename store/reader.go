package store

import (
	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
)

// Record is one ledger entry as stored.
type Record struct {
	Position uint64
	Entry    []byte // the exact bytes under the hash
	Payload  []byte
}

// Ledger reads the evidence. A [Store] is one.
type Ledger interface {
	// Size is the number of entries and the Merkle root over them.
	Size() (size uint64, root bookpi.Hash)
	// Record returns the entry at a position.
	Record(position uint64) (Record, error)
	// Records calls fn for entries from first, upwards or downwards, until fn
	// returns false.
	Records(first uint64, descending bool, fn func(Record) bool) error
	// Find returns the position of the entry with this leaf hash.
	Find(leaf bookpi.Hash) (position uint64, ok bool, err error)
	bookpi.TileReader
}

// Change is one record or sequence value that Apply has just written or removed, for
// observers that keep something in memory.
type Change struct {
	Key       Key
	Value     []byte    // nil = removed
	Version   uint64    // of a record
	Number    uint64    // of a sequence's value; 0 = a record
	RequestID uuid.UUID // of the batch; zero when the record expired
}
