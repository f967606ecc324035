package store

import (
	"bytes"
	"encoding/binary"
	"slices"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Ledger geometry. Blocks give twice the records per second of one key per
// record. A full segment leaves the database file for a file of its own, which
// is written once and never touched again.
const (
	blockEntries   = 64
	blockBytes     = 256 << 10
	segmentEntries = bookpi.SegmentEntries
	tileWidth      = 256
	indexEntry     = 8 + 4 // hash prefix, number of the entry in the segment
)

// ledger is the growing end of the evidence log: what is not on disk yet and
// what of the disk is open for more. Guarded by Store.mu; only Apply and the
// flusher change it.
type ledger struct {
	first  uint64                 // position of tail[0]: the start of a block
	tail   []Record               // every entry from first on
	tiles  map[tileKey][]byte     // tiles that changed since the last flush, whole
	open   map[uint8][]byte       // the last, still growing tile of each level
	recent map[bookpi.Hash]uint64 // positions of the entries that are not in a sealed segment
	sealed []segmentInfo          // by number; the next one is open
	bySum  map[[32]byte]uint64    // the sealed ones' numbers by SHA-256

	recorded recorded      // checkpoints
	archives []segmentInfo // of the first segments, those that are archived: their files of leaves
	left     uint64        // for so many of them that file is what is left of the segment
}

// file describes what there is of a sealed segment: its own file or, once it is
// archived, the one with its leaves.
func (l *ledger) file(number uint64) segmentInfo {
	if number < l.left {
		return l.archives[number]
	}
	return l.sealed[number]
}

// files are those of all sealed segments.
func (l *ledger) files() []segmentInfo {
	files := slices.Clone(l.sealed)
	copy(files, l.archives[:l.left])
	return files
}

// leave makes the files of leaves count for the first n segments.
func (l *ledger) leave(n uint64) {
	for ; l.left < n; l.left++ {
		l.bySum[l.archives[l.left].sum] = l.left
	}
}

// openFrom is the position at which the open segment starts.
func (l *ledger) openFrom() uint64 { return uint64(len(l.sealed)) * segmentEntries }

func (l *ledger) seal(info segmentInfo) {
	l.bySum[info.sum] = uint64(len(l.sealed))
	l.sealed = append(l.sealed, info)
}

type tileKey struct {
	level uint8
	index uint64
}

func newLedger() ledger {
	return ledger{
		tiles: map[tileKey][]byte{}, open: map[uint8][]byte{},
		recent: map[bookpi.Hash]uint64{}, bySum: map[[32]byte]uint64{},
	}
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
		return nil, damaged("the ledger block at position %d does not parse", first)
	}
	return records, nil
}

// blocks cuts the tail into blocks: where each starts and what it holds. Only
// the last one is open. No block reaches into the next segment.
func blocks(first uint64, tail []Record) (starts []uint64, encoded [][]byte) {
	for len(tail) > 0 {
		block, n := make([]byte, 0, blockRoom(tail)), 0
		for n < len(tail) && !blockFull(first, n, len(block)) {
			block = appendRecord(block, tail[n])
			n++
		}
		starts, encoded = append(starts, first), append(encoded, block)
		first, tail = first+uint64(n), tail[n:]
	}
	return starts, encoded
}

// blockRoom is how many bytes the first block of the tail may take.
func blockRoom(tail []Record) (room int) {
	for _, r := range tail[:min(len(tail), blockEntries)] {
		if room >= blockBytes {
			break
		}
		room += len(r.Entry) + len(r.Payload) + 2*binary.MaxVarintLen32
	}
	return room
}

// blockFull says whether a block that starts at first takes no further entry.
func blockFull(first uint64, entries, size int) bool {
	return entries == blockEntries || size >= blockBytes || entries > 0 && (first+uint64(entries))%segmentEntries == 0
}

// openStart is where the block starts that further entries would join.
func openStart(starts []uint64, encoded [][]byte, size uint64) uint64 {
	if len(starts) == 0 {
		return size
	}
	last := len(starts) - 1
	if !blockFull(starts[last], int(size-starts[last]), len(encoded[last])) {
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
	number := position / segmentEntries
	sealed := number < uint64(len(s.ledger.sealed))
	s.mu.RUnlock()
	if sealed {
		return s.sealedChunk(position)
	}
	var records []Record
	err := s.snapshotRead(func(tx *bolt.Tx) error {
		if tx.Bucket([]byte(bucketNames[bucketSegments])).Get(u64(number)) != nil {
			sealed = true // a flush that has just ended moved the block
			return nil
		}
		var err error
		records, err = blockAt(tx, position)
		return err
	})
	if err == nil && sealed {
		return s.sealedChunk(position)
	}
	return records, err
}

// blockAt returns the records of the block in the database file that holds a
// position.
func blockAt(tx *bolt.Tx, position uint64) ([]Record, error) {
	c := tx.Bucket([]byte(bucketNames[bucketBlocks])).Cursor()
	k, raw := c.Seek(u64(position))
	if k == nil || readU64(k) != position {
		k, raw = c.Prev()
	}
	if k == nil {
		return nil, damaged("the ledger has no block for position %d", position)
	}
	v, ok := checked(bucketBlocks, k, raw)
	if !ok {
		return nil, damaged("the ledger block at position %d does not have its checksum", readU64(k))
	}
	records, err := parseBlock(bytes.Clone(v), readU64(k))
	if err == nil && (len(records) == 0 || position > records[len(records)-1].Position) {
		err = damaged("the ledger has a gap at position %d", position)
	}
	return records, err
}

// sealedChunk returns the block of a sealed segment that holds a position.
func (s *Store) sealedChunk(position uint64) (records []Record, err error) {
	err = s.inSegment(position/segmentEntries, func(f *segmentFile) error {
		records, err = f.block(uint32(position % segmentEntries))
		return err
	})
	return records, err
}

// inSegment runs fn on the open file of a sealed segment.
func (s *Store) inSegment(number uint64, fn func(*segmentFile) error) error {
	for {
		info, err := s.sealed(number)
		if err != nil {
			return err
		}
		h, err := s.segments.acquire(number, info)
		if err == nil {
			err = fn(h.segmentFile)
			s.segments.release(h)
		}
		if err == nil {
			return nil
		}
		// A restore may have replaced the file since its description was read.
		if now, again := s.sealed(number); again != nil || now == info {
			return err
		}
	}
}

// sealed describes a sealed segment.
func (s *Store) sealed(number uint64) (segmentInfo, error) {
	s.mu.RLock()
	if number < uint64(len(s.ledger.sealed)) {
		defer s.mu.RUnlock()
		return s.ledger.file(number), nil
	}
	s.mu.RUnlock()
	raw, err := s.read(bucketSegments, string(u64(number)))
	if err != nil {
		return segmentInfo{}, err
	}
	info, ok := decodeSegmentInfo(raw)
	if !ok {
		return info, tap.E("store.segment", tap.NotFound, "segment %d of the ledger is not sealed", number)
	}
	return info, nil
}

// Tile returns the hashes of a tile, as many as are there.
func (s *Store) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	raw, err := s.tile(tileKey{level, index})
	if err != nil {
		return nil, err
	}
	hashes := make([]bookpi.Hash, len(raw)/len(bookpi.Hash{}))
	for i := range hashes {
		copy(hashes[i][:], raw[i*len(hashes[i]):])
	}
	return hashes, nil
}

func (s *Store) tile(key tileKey) (raw []byte, err error) {
	number := key.index / segmentTiles // when it is one of level 0
	s.mu.RLock()
	raw, ok := s.ledger.tiles[key]
	if !ok {
		raw, ok = s.flushingTiles[key]
	}
	sealed := key.level == 0 && number < uint64(len(s.ledger.sealed))
	s.mu.RUnlock()
	if ok {
		return raw, nil
	}
	if !sealed {
		if raw, err = s.read(bucketTiles, key.encode()); err != nil || raw != nil || key.level > 0 {
			return raw, err
		}
	}
	err = s.inSegment(number, func(f *segmentFile) error {
		raw, err = f.tile(key.index % segmentTiles)
		return err
	})
	if !sealed && tap.IsKind(err, tap.NotFound) {
		return nil, nil // beyond the end
	}
	return raw, err
}
