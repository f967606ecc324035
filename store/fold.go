package store

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"tamv.internal/tamv/store/bookpi"
)

// A proof consists of roots of subtrees. Tiles store every eighth level of the
// tree, so most of those roots are folded from a tile, up to 247 hashes for
// one proof and tile. What a tile folds to never changes: it is kept, bounded,
// after the tile was read and its checksum was right. Of leaf tiles in sealed
// segments, which are many, only the rows from 8 leaves up are kept, 2 KB a
// tile: the eight leaves of a group are read from the file again and must fold
// to the root of the group, which is a better check than a checksum.
const (
	foldBytes = 32 << 20 // 3.6 million entries' worth

	groupHeight = 3
	groupWidth  = 1 << groupHeight
)

var _ bookpi.SubtreeReader = (*Store)(nil)

// folded is what a tile folds to, as far as it was filled. It never changes.
type folded struct {
	width int                              // hashes that the tile had
	low   int                              // rows below are not kept
	rows  [bookpi.TileHeight][]bookpi.Hash // row h: the roots of its complete subtrees of 2^h hashes
	used  atomic.Bool                      // since the cache last looked
}

// fold computes the rows of a tile and keeps those from low on.
func fold(raw []byte, low int) *folded {
	f := &folded{width: len(raw) / bookpi.HashSize, low: low}
	var row [tileWidth]bookpi.Hash
	for i := range f.width {
		row[i] = bookpi.Hash(raw[i*bookpi.HashSize:])
	}
	for height := range f.rows {
		n := f.width >> height
		if height > 0 {
			for i := range n {
				row[i] = bookpi.NodeHash(row[2*i], row[2*i+1])
			}
		}
		if height >= low {
			f.rows[height] = slices.Clone(row[:n])
		}
	}
	return f
}

// bytes is about what it takes in memory.
func (f *folded) bytes() int {
	n := 320
	for _, row := range f.rows {
		n += len(row) * bookpi.HashSize
	}
	return n
}

// foldCache keeps what tiles fold to: those that are used again, by second
// chance.
type foldCache struct {
	limit int

	mu    sync.RWMutex // guards what follows
	tiles map[uint64]*folded
	ring  []uint64 // its keys, in the order in which the hand passes them
	hand  int
	bytes int
}

func newFoldCache(limit int) *foldCache {
	return &foldCache{limit: limit, tiles: map[uint64]*folded{}}
}

// number is the key of a tile in one word: a level has fewer than 2^56 tiles.
func (k tileKey) number() uint64 { return uint64(k.level)<<56 | k.index }

func (c *foldCache) get(k tileKey) *folded {
	c.mu.RLock()
	f := c.tiles[k.number()]
	c.mu.RUnlock()
	if f != nil && !f.used.Load() {
		f.used.Store(true)
	}
	return f
}

func (c *foldCache) put(k tileKey, f *folded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := k.number()
	if old := c.tiles[key]; old != nil {
		c.bytes -= old.bytes()
	} else {
		c.ring = append(c.ring, key)
	}
	c.tiles[key] = f
	c.bytes += f.bytes()
	for c.bytes > c.limit {
		c.hand %= len(c.ring)
		key := c.ring[c.hand]
		if oldest := c.tiles[key]; oldest.used.Swap(false) {
			c.hand++
		} else {
			c.bytes -= oldest.bytes()
			delete(c.tiles, key)
			last := len(c.ring) - 1
			c.ring[c.hand] = c.ring[last]
			c.ring = c.ring[:last]
		}
	}
}

// folded returns what a tile folds to, of at least its first width hashes.
func (s *Store) folded(k tileKey, width int) (*folded, error) {
	cache := s.folds.Load() // before the tile: a restore replaces both
	f := cache.get(k)
	if f != nil && f.width >= width {
		return f, nil
	}
	raw, err := s.tile(k)
	if err != nil {
		return nil, err
	}
	if have := len(raw) / bookpi.HashSize; have < width {
		return nil, fmt.Errorf("%w: level %d tile %d holds %d hashes, need %d", bookpi.ErrTile, k.level, k.index, have, width)
	}
	low := 0
	if k.level == 0 && k.index < s.sealedCount()*segmentTiles {
		low = groupHeight
	}
	f = fold(raw, low)
	cache.put(k, f)
	return f, nil
}

// group returns eight leaves of a sealed segment and what is between them and
// their root.
func (s *Store) group(k tileKey, number int, f *folded) (rows [groupHeight][groupWidth]bookpi.Hash, err error) {
	err = s.inSegment(k.index/segmentTiles, func(file *segmentFile) error {
		raw, err := file.leafGroup(k.index%segmentTiles, number*groupWidth, groupWidth)
		if err != nil {
			return err
		}
		for i := range groupWidth {
			rows[0][i] = bookpi.Hash(raw[i*bookpi.HashSize:])
		}
		for height := 1; height < groupHeight; height++ {
			for i := range groupWidth >> height {
				rows[height][i] = bookpi.NodeHash(rows[height-1][2*i], rows[height-1][2*i+1])
			}
		}
		if bookpi.NodeHash(rows[groupHeight-1][0], rows[groupHeight-1][1]) != f.rows[groupHeight][number] {
			return damagedSegment(file.number, "the leaves of tile %d are not what they were", k.index%segmentTiles)
		}
		return nil
	})
	return rows, err
}

// Subtree returns the root of the index-th complete subtree of 2^height leaves.
func (s *Store) Subtree(height int, index uint64) (bookpi.Hash, error) {
	level, inTile := height/bookpi.TileHeight, height%bookpi.TileHeight
	at := index % (tileWidth >> inTile)
	k := tileKey{uint8(level), index / (tileWidth >> inTile)}
	f, err := s.folded(k, int(at+1)<<inTile)
	if err != nil {
		return bookpi.Hash{}, err
	}
	if inTile >= f.low {
		return f.rows[inTile][at], nil
	}
	leaf := int(at) << inTile
	rows, err := s.group(k, leaf/groupWidth, f)
	return rows[inTile][leaf%groupWidth>>inTile], err
}

// Siblings appends the path of a leaf within the complete subtree of 2^height
// leaves that holds it.
func (s *Store) Siblings(path []bookpi.Hash, leaf uint64, height int) ([]bookpi.Hash, error) {
	for level := uint8(0); height > 0; level++ {
		inTile := min(height, bookpi.TileHeight)
		at, k := int(leaf%tileWidth), tileKey{level, leaf / tileWidth}
		f, err := s.folded(k, (at>>inTile+1)<<inTile)
		if err != nil {
			return nil, err
		}
		low := min(f.low, inTile)
		if low > 0 {
			rows, err := s.group(k, at/groupWidth, f)
			if err != nil {
				return nil, err
			}
			for h := range low {
				path = append(path, rows[h][at%groupWidth>>h^1])
			}
		}
		for h := low; h < inTile; h++ {
			path = append(path, f.rows[h][at>>h^1])
		}
		leaf, height = leaf/tileWidth, height-inTile
	}
	return path, nil
}
