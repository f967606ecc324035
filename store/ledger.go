package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	bolterrors "go.etcd.io/bbolt/errors"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Ledger geometry. Blocks give twice the records per second of one key per
// record; the hash index of a sealed segment is written once and never
// touched again, so that random hashes do not scatter over the file.
const (
	blockEntries   = 64
	blockBytes     = 256 << 10
	segmentEntries = 1 << 14
	tileWidth      = 256
	indexEntry     = 8 + 4 // hash prefix, offset in the segment
)

// ledger is the growing end of the evidence log: what is not on disk yet and
// what of the disk is open for more. Guarded by Store.mu; only Apply and the
// flusher change it.
type ledger struct {
	first   uint64                 // position of tail[0]: the start of a block
	tail    []Record               // every entry from first on
	tiles   map[tileKey][]byte     // tiles that changed since the last flush, whole
	open    map[uint8][]byte       // the last, still growing tile of each level
	recent  map[bookpi.Hash]uint64 // positions of the entries of the open segment
	segment uint64                 // number of the open segment
}

type tileKey struct {
	level uint8
	index uint64
}

func newLedger() ledger {
	return ledger{tiles: map[tileKey][]byte{}, open: map[uint8][]byte{}, recent: map[bookpi.Hash]uint64{}}
}

func (k tileKey) encode() string { return string([]byte{k.level}) + string(u64(k.index)) }

// addHash stores hash number index of a tile level.
func (l *ledger) addHash(level uint8, index uint64, h bookpi.Hash) {
	tile := l.open[level]
	if index%tileWidth == 0 {
		tile = make([]byte, 0, tileWidth*len(h))
	}
	// The tile may be on its way to disk: append never rewrites what is
	// there, and readers keep the length they saw.
	tile = append(tile, h[:]...)
	l.open[level] = tile
	l.tiles[tileKey{level, index / tileWidth}] = tile
}

// append adds the finished entry to the tail. The caller holds Store.mu.
func (l *ledger) append(r Record, leaf bookpi.Hash, tree *bookpi.Tree) {
	l.tail = append(l.tail, r)
	l.recent[leaf] = r.Position
	tree.Append(leaf, l.addHash)
}

// appendRecord adds a record to an encoded block.
func appendRecord(block []byte, r Record) []byte {
	return appendBytes(appendBytes(block, r.Entry), r.Payload)
}

// parseBlock reads the records of a block that starts at first. The slices
// alias block.
func parseBlock(block []byte, first uint64) ([]Record, error) {
	r := fieldReader{rest: block}
	var records []Record
	for len(r.rest) > 0 {
		records = append(records, Record{first + uint64(len(records)), r.bytes(), r.bytes()})
	}
	if r.bad {
		return nil, damaged(fmt.Sprintf("the ledger block at position %d does not parse", first))
	}
	return records, nil
}

// blocks cuts the tail into blocks: where each starts and what it holds. Only
// the last one is open.
func blocks(first uint64, tail []Record) (starts []uint64, encoded [][]byte) {
	for len(tail) > 0 {
		block, n := []byte(nil), 0
		for n < len(tail) && n < blockEntries && (n == 0 || len(block) < blockBytes) {
			block = appendRecord(block, tail[n])
			n++
		}
		starts, encoded = append(starts, first), append(encoded, block)
		first, tail = first+uint64(n), tail[n:]
	}
	return starts, encoded
}

// openStart is where the block starts that further entries would join.
func openStart(starts []uint64, encoded [][]byte, size uint64) uint64 {
	if len(starts) == 0 {
		return size
	}
	last := len(starts) - 1
	if n := size - starts[last]; n < blockEntries && len(encoded[last]) < blockBytes {
		return starts[last]
	}
	return size
}

// Size is the number of entries and the Merkle root over them.
func (s *Store) Size() (uint64, bookpi.Hash) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.tree.Size(), s.meta.tree.Root()
}

// Record returns the entry at a position; NotFound beyond the end.
func (s *Store) Record(position uint64) (Record, error) {
	var found Record
	ok := false
	err := s.Records(position, false, func(r Record) bool {
		found, ok = r, r.Position == position
		return false
	})
	if err == nil && !ok {
		err = tap.E("store.record", tap.NotFound, "the ledger has no entry %d", position)
	}
	return found, err
}

// Records calls fn for the entries from first on, upwards or downwards, until
// fn returns false; downwards it starts at the last entry when first is beyond
// it. It reads block by block, so that a long walk holds no lock
// while fn runs; records are copies.
func (s *Store) Records(first uint64, descending bool, fn func(Record) bool) error {
	if size, _ := s.Size(); descending && first >= size {
		if size == 0 {
			return nil
		}
		first = size - 1
	}
	for {
		chunk, err := s.chunk(first)
		if err != nil || len(chunk) == 0 {
			return err
		}
		at := int(first - chunk[0].Position)
		if descending {
			chunk = chunk[:at+1]
			slices.Reverse(chunk)
		} else {
			chunk = chunk[at:]
		}
		for _, r := range chunk {
			if !fn(r) {
				return nil
			}
		}
		last := chunk[len(chunk)-1].Position
		if descending && last == 0 {
			return nil
		}
		if first = last + 1; descending {
			first = last - 1
		}
	}
}

// chunk returns the block (or the unflushed tail's part) that holds a
// position; empty beyond the end.
func (s *Store) chunk(position uint64) ([]Record, error) {
	s.mu.RLock()
	if position >= s.ledger.first {
		at := position - s.ledger.first
		if at >= uint64(len(s.ledger.tail)) {
			s.mu.RUnlock()
			return nil, nil
		}
		from := at / blockEntries * blockEntries
		chunk := slices.Clone(s.ledger.tail[from:min(from+blockEntries, uint64(len(s.ledger.tail)))])
		s.mu.RUnlock()
		return chunk, nil
	}
	db := s.db
	tx, err := db.Begin(false)
	s.mu.RUnlock()
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { _ = tx.Rollback() }()
	c := tx.Bucket([]byte(bucketNames[bucketBlocks])).Cursor()
	k, v := c.Seek(u64(position))
	if readU64(k) != position || k == nil {
		k, v = c.Prev()
	}
	if k == nil {
		return nil, damaged(fmt.Sprintf("the ledger has no block for position %d", position))
	}
	records, err := parseBlock(bytes.Clone(v), readU64(k))
	if err == nil && (len(records) == 0 || position > records[len(records)-1].Position) {
		err = damaged(fmt.Sprintf("the ledger has a gap at position %d", position))
	}
	return records, err
}

// Tile returns the hashes of a tile, as many as are there.
func (s *Store) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	key := tileKey{level, index}
	s.mu.RLock()
	raw, ok := s.ledger.tiles[key]
	if !ok {
		raw, ok = s.flushingTiles[key]
	}
	s.mu.RUnlock()
	if !ok {
		var err error
		if raw, err = s.read(bucketTiles, key.encode()); err != nil {
			return nil, err
		}
	}
	hashes := make([]bookpi.Hash, len(raw)/len(bookpi.Hash{}))
	for i := range hashes {
		copy(hashes[i][:], raw[i*len(hashes[i]):])
	}
	return hashes, nil
}

// Find returns the position of the entry with this leaf hash.
func (s *Store) Find(leaf bookpi.Hash) (uint64, bool, error) {
	s.mu.RLock()
	position, ok := s.ledger.recent[leaf]
	sealed := s.ledger.segment
	s.mu.RUnlock()
	if ok {
		return position, true, nil
	}
	for segment := sealed; segment > 0; segment-- {
		position, ok, err := s.findSealed(segment-1, leaf)
		if ok || err != nil {
			return position, ok, err
		}
	}
	return 0, false, nil
}

// findSealed looks a hash up in the index of a sealed segment. Prefixes can
// collide, so every candidate is compared with the whole hash in its tile.
func (s *Store) findSealed(segment uint64, leaf bookpi.Hash) (uint64, bool, error) {
	index, err := s.read(bucketSegments, string(u64(segment)))
	if err != nil {
		return 0, false, err
	}
	n := len(index) / indexEntry
	prefix := leaf[:8]
	lo := sort.Search(n, func(i int) bool {
		return bytes.Compare(index[i*indexEntry:i*indexEntry+8], prefix) >= 0
	})
	for ; lo < n && bytes.Equal(index[lo*indexEntry:lo*indexEntry+8], prefix); lo++ {
		offset := binary.BigEndian.Uint32(index[lo*indexEntry+8:])
		position := segment*segmentEntries + uint64(offset)
		tile, err := s.Tile(0, position/tileWidth)
		if err != nil {
			return 0, false, err
		}
		if i := position % tileWidth; i < uint64(len(tile)) && tile[i] == leaf {
			return position, true, nil
		}
	}
	return 0, false, nil
}

// sealedIndex builds the index of a segment from its leaf hashes.
func sealedIndex(recent map[bookpi.Hash]uint64, segment uint64) []byte {
	var entries [][indexEntry]byte
	for leaf, position := range recent {
		if position/segmentEntries != segment {
			continue
		}
		var e [indexEntry]byte
		copy(e[:], leaf[:8])
		binary.BigEndian.PutUint32(e[8:], uint32(position%segmentEntries))
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b [indexEntry]byte) int { return bytes.Compare(a[:], b[:]) })
	index := make([]byte, 0, len(entries)*indexEntry)
	for i := range entries {
		index = append(index, entries[i][:]...)
	}
	return index
}

// ErrDamaged is the cause of every error that means the files on disk are not
// what was written.
var ErrDamaged = errors.New("store: damaged data")

func damaged(what string) error {
	return tap.Wrap("store.open", tap.Unavailable, ErrDamaged, "the stored data is damaged: %s; restore this node from a backup or another node", what)
}

func unreadable(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return tap.Wrap("store.read", tap.Unavailable, err, "the store is closed")
	}
	return tap.Wrap("store.read", tap.Internal, err, "the state cannot be read")
}
