package vector

import (
	"bytes"
	"crypto/sha256"
	"math"
)

// Ids are kept in one text arena and found through a hash table with linear
// probing and deletion by shifting back, at most half full (Knuth, The Art of
// Computer Programming 3, 6.4, algorithm R). Only the writer looks ids up.

// hasher turns ids into numbers that nobody can predict without the seed.
type hasher struct {
	seed [32]byte
	buf  []byte
}

func (h *hasher) hash(id []byte) uint64 {
	h.buf = append(append(h.buf[:0], h.seed[:]...), id...)
	sum := sha256.Sum256(h.buf)
	return leading64(sum[:])
}

// level returns the level of the node of an id with this hash: l with
// probability (1-1/m)/m^l. Whole numbers only, so that replicas agree.
func level(hash uint64, m int) int {
	u := splitmix64(hash)
	l := 0
	for limit := uint64(math.MaxUint64) / uint64(m); u < limit && l < maxLevel; limit /= uint64(m) {
		l++
	}
	return l
}

// maxLevel is more than a graph of MaxRows nodes reaches.
const maxLevel = 15

// splitmix64 mixes the bits of x (Steele, Lea and Flood, OOPSLA 2014).
func splitmix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (x *Index) name(row uint32) []byte {
	at := x.arenas.names.data[row]
	return x.arenas.text.data[at>>16:][:at&MaxID]
}

// find returns the place of an id in the table and its row.
func (x *Index) find(id []byte, hash uint64) (place int, row uint32, ok bool) {
	if x.tableLen == 0 {
		return 0, 0, false
	}
	table, mask := x.arenas.table.data, x.tableLen-1
	for place = int(hash) & mask; table[place] != 0; place = (place + 1) & mask {
		if row := table[place] - 1; bytes.Equal(x.name(row), id) {
			return place, row, true
		}
	}
	return place, 0, false
}

// growTable makes the table at least twice as long as n ids need.
func (x *Index) growTable(n int) error {
	if 2*n <= x.tableLen {
		return nil
	}
	length := max(64, x.tableLen)
	for length < 2*n {
		length *= 2
	}
	next := arena[uint32]{perRow: x.arenas.table.perRow}
	if _, err := next.grow(x.space, length); err != nil {
		return err
	}
	for _, entry := range x.arenas.table.data[:x.tableLen] {
		if entry == 0 {
			continue
		}
		place := int(x.hasher.hash(x.name(entry-1))) & (length - 1)
		for next.data[place] != 0 {
			place = (place + 1) & (length - 1)
		}
		next.data[place] = entry
	}
	if old := x.arenas.table.region; old != nil {
		x.space.release(old)
	}
	x.arenas.table, x.tableLen = next, length
	return nil
}

// forget removes the entry at a place of the table.
func (x *Index) forget(place int) {
	table, mask := x.arenas.table.data, x.tableLen-1
	hole := place
	for i := (hole + 1) & mask; table[i] != 0; i = (i + 1) & mask {
		home := int(x.hasher.hash(x.name(table[i]-1))) & mask
		// An entry may move into the hole unless its home lies behind it.
		if (i-home)&mask >= (i-hole)&mask {
			table[hole] = table[i]
			hole = i
		}
	}
	table[hole] = 0
}
