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
	// At is the position of the first entry whose timestamp, in microseconds,
	// is at least time; the size when there is none.
	At(time int64) (position uint64, err error)
	// Grown is closed when the ledger has more than size entries. Beyond the
	// end it is closed as soon as the ledger grows at all: ask again then.
	Grown(size uint64) <-chan struct{}

	// RootAt is the Merkle root over the first size entries; NotFound beyond
	// the end.
	RootAt(size uint64) (bookpi.Hash, error)
	bookpi.TileReader
	// TileBytes is the first width hashes of a tile, 1 to 256, one after the
	// other; NotFound when it does not have so many. The caller does not
	// change them.
	TileBytes(level uint8, index uint64, width int) ([]byte, error)

	// Checkpoint is the newest recorded checkpoint and its signed note; ok is
	// false when there is none.
	Checkpoint() (cp bookpi.Checkpoint, note []byte, ok bool)
	// CheckpointFor is the oldest kept checkpoint of at least so many entries.
	CheckpointFor(size uint64) (cp bookpi.Checkpoint, note []byte, ok bool, err error)
	// Checkpoints calls fn for the kept checkpoints, smallest first, until fn
	// returns false.
	Checkpoints(fn func(cp bookpi.Checkpoint, note []byte) bool) error
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
