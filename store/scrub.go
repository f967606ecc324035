package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// ScrubReport is what a scrub read and found.
type ScrubReport struct {
	Records  uint64 // in the state file
	Segments uint64 // sealed segments read
	Entries  uint64 // ledger entries whose chain and hashes were recomputed
	Bytes    int64  // read from disk
	Damaged  []Damage
}

// Scrub reads everything that is on disk and checks it: each record and the
// digest over all of them in one committed state, each segment's hash, the
// chain of ledger entries with their payloads, and the tiles of the Merkle
// tree against the leaves. pace is told of every read before it is done and
// may wait, to leave the disk to others; its error, or the end of ctx, ends
// the scrub with what was found until then. It runs beside Apply and holds no
// lock for long; while it reads the state file, the space of what changes
// there is not reused.
func (s *Store) Scrub(ctx context.Context, pace func(bytes int) error) (ScrubReport, error) {
	c := &scrub{store: s, pace: func(n int) error {
		if err := ctx.Err(); err != nil {
			return tap.AsError(err)
		}
		return pace(n)
	}}
	sealed, err := c.state()
	c.last = &bookpi.Hash{} // what entry 0 follows
	for number := uint64(0); err == nil && number < sealed; number++ {
		err = c.segment(number)
	}
	if err == nil && len(c.report.Damaged) == 0 && c.follows != nil && *c.last != *c.follows {
		c.damage(Damage{DamagedState, 0, "the open segment of the ledger does not follow the last sealed one"})
	}
	return c.report, err
}

type scrub struct {
	store  *Store
	pace   func(bytes int) error
	report ScrubReport
	last   *bookpi.Hash // leaf of the entry before; nil = not known
	// follows is what the first entry of the open segment names as the entry before.
	follows *bookpi.Hash
}

func (c *scrub) damage(d Damage) {
	if len(c.report.Damaged) < maxDamages {
		c.report.Damaged = append(c.report.Damaged, d)
	}
}

// state checks the state file at one moment, with the open segment in it. It
// returns how many segments are sealed.
func (c *scrub) state() (sealed uint64, err error) {
	c.store.flushMu.Lock()
	frozen, err := c.store.freeze()
	c.store.flushMu.Unlock()
	var bad *Damage
	if errors.As(err, &bad) {
		c.damage(*bad)
		return c.store.sealedCount(), nil
	} else if err != nil {
		return 0, err
	}
	defer frozen.Release()
	found, err := inspect(frozen.file, frozen.pages, c.pace)
	if err != nil {
		return 0, err
	}
	c.report.Records, c.report.Bytes, c.report.Damaged = found.records, found.bytes, found.damages
	if len(found.damages) > 0 {
		return uint64(len(frozen.files)), nil
	}
	err = guarded(nil, func() error {
		if err := c.openSegment(frozen.tx, &found.meta); err != nil {
			return err
		}
		return c.checkpoints(frozen.tx)
	})
	if errors.As(err, &bad) {
		c.damage(*bad)
		err = nil
	}
	return uint64(len(found.segments)), err
}

// checkpoints checks that every recorded checkpoint has the root that the tree
// has at its size.
func (c *scrub) checkpoints(tx *bolt.Tx) error {
	in := tx.Bucket([]byte(bucketNames[bucketCheckpoints]))
	if in == nil {
		return nil
	}
	return in.ForEach(func(k, raw []byte) error {
		value, _ := checked(bucketCheckpoints, k, raw)
		cp, err := ReadCheckpoint(value)
		if err != nil {
			return &Damage{DamagedState, 0, "a recorded checkpoint is wrong"}
		}
		root, err := bookpi.RootAt(cp.Size, txTiles{tx, c.store})
		var bad *Damage
		if errors.As(err, &bad) && bad.Kind == DamagedSegment {
			return nil // it is found when the segment is read
		}
		if err != nil || root != cp.Root {
			return &Damage{DamagedState, 0, fmt.Sprintf("the recorded checkpoint of size %d is not one of this ledger", cp.Size)}
		}
		return nil
	})
}

func (s *Store) sealedCount() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return uint64(len(s.ledger.sealed))
}

// openSegment checks the ledger's part of the state file: the chain through
// the open segment up to the head, and the tree over the sealed ones up to the
// root.
func (c *scrub) openSegment(tx *bolt.Tx, m *meta) error {
	size := m.tree.Size()
	if size == 0 {
		return nil
	}
	tiles := txTiles{tx, c.store}
	root, err := bookpi.RootAt(size, tiles)
	var bad *Damage
	if errors.As(err, &bad) && bad.Kind == DamagedSegment {
		return nil // it is found when the segment is read
	}
	if err != nil || root != m.tree.Root() {
		return &Damage{DamagedState, 0, "the tiles do not lead to the root of the Merkle tree"}
	}
	first := size / segmentEntries * segmentEntries
	for position := first; position < size; {
		records, err := blockAt(tx, position)
		if err != nil {
			return err
		}
		if position == first {
			if e, err := bookpi.ParseEntry(records[0].Entry); err == nil {
				c.follows = &e.Previous
			}
		}
		if err := c.block(records, tiles); err != nil {
			return err
		}
		position += uint64(len(records))
	}
	if c.last != nil && *c.last != m.head {
		return &Damage{DamagedState, 0, "the last ledger entry does not have the head's hash"}
	}
	return nil
}

// block checks records of the open segment against the entries before them and the
// leaves of the tree.
func (c *scrub) block(records []Record, tiles txTiles) error {
	var leaves []bookpi.Hash
	for i, r := range records {
		at := int(r.Position % tileWidth)
		if i == 0 || at == 0 {
			var err error
			if leaves, err = tiles.Tile(0, r.Position/tileWidth); err != nil {
				return err
			}
		}
		if why := c.entry(r); why != "" || at >= len(leaves) || leaves[at] != *c.last {
			return &Damage{DamagedState, 0, fmt.Sprintf("ledger entry %d: %s", r.Position, orElse(why, "its hash is not the leaf in the tree"))}
		}
	}
	return nil
}

// entry checks one record against the entry before, which is nil at the first
// of a segment, and says what is wrong.
func (c *scrub) entry(r Record) string {
	c.report.Entries++
	leaf := bookpi.LeafHash(r.Entry)
	last := c.last
	c.last = &leaf
	e, err := bookpi.ParseEntry(r.Entry)
	switch {
	case err != nil:
		return "it does not parse"
	case last != nil && e.Previous != *last:
		return "it does not follow the entry before"
	case e.PayloadDigest != bookpi.PayloadDigest(r.Payload):
		return "its payload does not have its digest"
	}
	return ""
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// segment checks one sealed segment: the file's hash, the chain, and the
// leaves against the tree above them.
func (c *scrub) segment(number uint64) error {
	err := c.store.inSegment(number, func(f *segmentFile) error {
		sum := sha256.New()
		buffer := make([]byte, 256<<10)
		for offset := int64(0); offset < f.info.size; offset += int64(len(buffer)) {
			part := buffer[:min(int64(len(buffer)), f.info.size-offset)]
			if err := c.pace(len(part)); err != nil {
				return err
			}
			if _, err := f.file.ReadAt(part, offset); err != nil && !errors.Is(err, io.EOF) {
				return damagedSegment(number, "at byte %d: %v", offset, err)
			}
			sum.Write(part)
			c.report.Bytes += int64(len(part))
		}
		if [sha256.Size]byte(sum.Sum(nil)) != f.info.sum {
			return damagedSegment(number, "it does not have its hash")
		}
		if f.info.archived {
			return c.leaves(f)
		}
		return c.entries(f)
	})
	var bad *Damage
	switch {
	case errors.As(err, &bad):
		c.damage(*bad)
		c.last = nil
		return nil
	case err == nil:
		c.report.Segments++
	}
	return err
}

// entries checks what a segment with the right hash says.
func (c *scrub) entries(f *segmentFile) error {
	var row bookpi.Tree
	var above []bookpi.Hash
	for entry := uint32(0); entry < segmentEntries; {
		records, err := f.block(entry)
		if err != nil {
			return err
		}
		for _, r := range records {
			if why := c.entry(r); why != "" {
				return damagedSegment(f.number, "entry %d: %s", r.Position, why)
			}
			row.Append(*c.last, func(level uint8, _ uint64, h bookpi.Hash) {
				if level == 1 {
					above = append(above, h)
				}
			})
			entry++
		}
	}
	return c.lead(f, above)
}

// leaves checks what a file of leaves with the right hash says. The next
// segment's first entry must name the last one of them.
func (c *scrub) leaves(f *segmentFile) error {
	var row bookpi.Tree
	var above, all []bookpi.Hash
	for i := range f.leaves {
		tile, err := f.tile(uint64(i))
		if err != nil {
			return err
		}
		for at := 0; at < len(tile); at += bookpi.HashSize {
			all = append(all, bookpi.Hash(tile[at:]))
			row.Append(all[len(all)-1], func(level uint8, _ uint64, h bookpi.Hash) {
				if level == 1 {
					above = append(above, h)
				}
			})
		}
	}
	var index []byte
	for _, frame := range f.index {
		page, err := f.read(frame)
		if err != nil {
			return err
		}
		index = append(index, page...)
	}
	if !bytes.Equal(index, hashIndex(all)) {
		return damagedSegment(f.number, "its index is not the one of its leaves")
	}
	c.last = &all[len(all)-1]
	return c.lead(f, above)
}

// lead compares the hashes above a segment's leaves with those of the tree.
func (c *scrub) lead(f *segmentFile, above []bookpi.Hash) error {
	first := f.number * segmentTiles
	tile, err := c.store.Tile(1, first/tileWidth)
	if err != nil {
		return err
	}
	for i, h := range above {
		if at := first%tileWidth + uint64(i); at >= uint64(len(tile)) || tile[at] != h {
			return damagedSegment(f.number, "its entries do not lead to the Merkle tree's hash %d of level 1", first+uint64(i))
		}
	}
	return nil
}

// txTiles reads the tiles of one transaction, and the leaves of the segments
// that were sealed in it.
type txTiles struct {
	tx    *bolt.Tx
	store *Store
}

func (t txTiles) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	raw, err := get(t.tx, bucketTiles, []byte(tileKey{level, index}.encode()))
	if err == nil && raw == nil {
		return t.store.Tile(level, index)
	}
	hashes := make([]bookpi.Hash, len(raw)/bookpi.HashSize)
	for i := range hashes {
		hashes[i] = bookpi.Hash(raw[i*bookpi.HashSize:])
	}
	return hashes, err
}
