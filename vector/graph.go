package vector

import (
	"math/bits"
	"slices"
	"sync/atomic"

	"tamv.internal/tamv/vector/simd"
)

// The graph is a Hierarchical Navigable Small World (Malkov and Yashunin, IEEE
// TPAMI 2020). A node's ground row is [count, twin, links...]; its block of upper
// links is [levels, then for each level: count, links...].
//
// Rows whose codes are the same are not nodes each: thousands of equal vectors
// would fill each other's links and cut off the rest. The first is a node, the
// others hang behind it in a chain: twin is the next row+1, or 0. twinFlag in
// the count marks a row that hangs in a chain.
//
// Links are written by the writer alone and read by searches at the same time:
// every access by a search, and every store, is atomic. A link is stored before
// the count that covers it, so every link within the count is a row that was
// once meant; a search that reads while a list changes sees a mixture, which
// costs it at most a detour.

const (
	countAt  = 0
	twinAt   = 1
	linksAt  = 2 // in the ground row
	twinFlag = 1 << 31
)

// links returns the list of a node at a level: its count, then its links.
func (v *view) links(row uint32, level int) []uint32 {
	if level == 0 {
		// The twin lies between count and links; see neighbours.
		return v.ground[int(row)*v.shape.ground:][:v.shape.ground]
	}
	at := int(v.blocks[row]) + 1 + (level-1)*v.shape.upper
	return v.upper[at:][:v.shape.upper]
}

// neighbours returns the count and the links of a node at a level.
func (v *view) neighbours(row uint32, level int) (count int, links []uint32) {
	list := v.links(row, level)
	count = int(atomic.LoadUint32(&list[countAt]) &^ twinFlag)
	if level == 0 {
		links = list[linksAt:]
	} else {
		links = list[1:]
	}
	return min(count, len(links)), links
}

// setNeighbours replaces a node's links.
func (v *view) setNeighbours(row uint32, level int, to []uint32) {
	list := v.links(row, level)
	links := list[1:]
	if level == 0 {
		links = list[linksAt:]
	}
	for i, row := range to {
		atomic.StoreUint32(&links[i], row)
	}
	atomic.StoreUint32(&list[countAt], uint32(len(to)))
}

// setCount makes links that were stored behind the others count.
func (v *view) setCount(row uint32, level, count int) {
	atomic.StoreUint32(&v.links(row, level)[countAt], uint32(count))
}

// width is how many links a node may have at a level.
func (v *view) width(level int) int {
	if level == 0 {
		return v.shape.ground - linksAt
	}
	return v.shape.upper - 1
}

// levels is the highest level of a node.
func (v *view) levels(row uint32) int {
	if at := v.blocks[row]; at != 0 {
		return int(v.upper[at])
	}
	return 0
}

// twin returns the row behind this one in its chain.
func (v *view) twin(row uint32) (next uint32, ok bool) {
	next = atomic.LoadUint32(&v.ground[int(row)*v.shape.ground+twinAt])
	return next - 1, next != 0
}

func (v *view) setTwin(row, next uint32, ok bool) {
	if next++; !ok {
		next = 0
	}
	atomic.StoreUint32(&v.ground[int(row)*v.shape.ground+twinAt], next)
}

func (v *view) isTwin(row uint32) bool {
	return atomic.LoadUint32(&v.ground[int(row)*v.shape.ground+countAt])&twinFlag != 0
}

func (v *view) markTwin(row uint32) {
	atomic.StoreUint32(&v.ground[int(row)*v.shape.ground+countAt], twinFlag)
}

// greedy walks from entry at level from down to level to+1, always to the
// nearest neighbour, and returns where it ends.
func (v *view) greedy(s *scratch, q *query, entry uint32, from, to int) uint32 {
	s.rows = append(s.rows[:0], entry)
	best := v.measure(s, q, s.rows)[0]
	for level := from; level > to; level-- {
		for moved := true; moved; {
			moved = false
			count, links := v.neighbours(entry, level)
			s.rows = s.rows[:0]
			for i := range count {
				if row := atomic.LoadUint32(&links[i]); int(row) < v.rows {
					s.rows = append(s.rows, row)
				}
			}
			for i, key := range v.measure(s, q, s.rows) {
				if key < best {
					best, entry, moved = key, s.rows[i], true
				}
			}
		}
	}
	return entry
}

// abreast is how many nodes a walk expands together. Their neighbours are measured
// in one call, so that the processor waits for memory once instead of twice; almost
// every candidate is expanded sooner or later, so little is measured in vain.
const abreast = 2

// beam gathers in s.pool the ef nodes nearest to q that a walk from entry at a
// level finds. It looks at deleted rows like at others.
func (v *view) beam(s *scratch, q *query, entry uint32, level, ef int) {
	s.visit()
	v.spread(s, q, entry, level, ef)
}

// spread is beam for a walk that passes over the rows visited already.
func (v *view) spread(s *scratch, q *query, entry uint32, level, ef int) {
	s.rows = append(s.rows[:0], entry)
	p := append(slices.Grow(s.pool[:0], ef), poolEntry(v.measure(s, q, s.rows)[0], entry))
	s.visited[entry] = s.epoch
	for next := 0; next < len(p); {
		if p[next]&expanded != 0 {
			next++
			continue
		}
		next = v.expand(s, p, next, level)
		if len(p) == ef && v.sifts() {
			v.sift(s, q, p.key(ef-1))
		}
		if len(s.rows) == 0 {
			continue
		}
		v.prefetch(p[next:], level) // the likely next ones, while these neighbours are measured
		n, first := simd.Insert(p[:ef], len(p), s.nearer(v.measure(s, q, s.rows), p, ef))
		p = p[:n]
		if first < next+abreast {
			next = min(next, first)
			v.prefetch(p[next:], level)
		}
	}
	s.pool = p
}

// nearer returns those of s.rows, whose keys are given, that a pool of ef has
// room for. Which ones cannot be foretold, so it does without branches.
func (s *scratch) nearer(keys []uint32, p pool, ef int) []uint64 {
	bar := uint64(1 << 32)
	if len(p) == ef {
		bar = uint64(p.key(ef - 1))
	}
	entries, rows := s.entries[:len(keys)], s.rows[:len(keys)]
	n := 0
	for i, key := range keys {
		entries[n] = poolEntry(key, rows[i])
		_, less := bits.Sub64(uint64(key), bar, 0)
		n += int(less)
	}
	return entries[:n]
}

// expand puts into s.rows the neighbours, not visited before, of the first nodes
// from p[from] on that are not expanded. It returns where those behind them begin.
func (v *view) expand(s *scratch, p pool, from, level int) (next int) {
	codes, stride := v.codes, v.shape.stride // what is read of a neighbour first
	if v.shape.words > 0 {
		codes, stride = bytesOf(v.bits), 8*v.shape.words
	}
	rows, n := s.rows[:batchRows], 0
	next = from
	for taken := 0; taken < abreast && next < len(p); next++ {
		if p[next]&expanded != 0 {
			continue
		}
		taken++
		p[next] |= expanded
		count, links := v.neighbours(p.row(next), level)
		n += simd.Visit(rows[n:], links[:count], s.visited[:v.rows], s.epoch, codes, stride)
	}
	s.rows = rows[:n]
	return next
}

// prefetch fetches the links of the nodes that may be expanded next.
func (v *view) prefetch(p pool, level int) {
	if level > 0 {
		return
	}
	for i := range p[:min(abreast, len(p))] {
		simd.Prefetch(v.links(p.row(i), 0))
	}
}

// pool is a list of rows sorted by distance, then row: distance<<32 | row<<1 |
// expanded. For the few hundred that a search keeps, moving the tail of an array
// is cheaper than the two heaps of the textbook.
type pool []uint64

// expanded marks a row whose neighbours have been looked at.
const expanded = 1

func poolEntry(key, row uint32) uint64 { return uint64(key)<<32 | uint64(row)<<1 }

func (p pool) row(i int) uint32 { return uint32(p[i]) >> 1 }

func (p pool) key(i int) uint32 { return uint32(p[i] >> 32) }
