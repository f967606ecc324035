package vector

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"tamv.internal/tamv/vector/simd"
)

// Linking goes in two phases, so that many threads can work on one batch and
// still make one and the same graph. First every new node chooses its neighbours
// among the graph as it was before the batch and the nodes that precede it in
// the batch, and links to them on all levels; nobody else's links change. Then
// the links back are added, grouped by the node that gets them.

// linkStep is the most nodes that are linked at once. More would be quicker on
// many processors, but nodes of one step find each other only by comparing all.
const linkStep = 256

// link makes stored and coded rows part of the graph.
func (x *Index) link(rows []uint32) {
	if x.cfg.EfConstruction == Unlinked {
		return
	}
	for step := range slices.Chunk(rows, linkStep) {
		x.linkBatch(step)
	}
}

func (x *Index) linkBatch(rows []uint32) {
	v := x.view()
	twins := make(map[uint32]uint32) // row -> an earlier one with the same code
	rows = v.setEqualAside(rows, twins)
	nodes := make([]uint32, len(rows)) // the graph's node with the same code, +1
	x.parallel(v, len(rows), func(s *scratch, i int) {
		nodes[i] = v.chooseAll(s, rows[i], rows[:i])
	})
	for i, node := range nodes {
		if node != 0 {
			twins[rows[i]] = node - 1
		}
	}
	back := make([]pool, maxLevel+1)
	for i, row := range rows {
		if nodes[i] != 0 {
			continue
		}
		for level := range v.levels(row) + 1 {
			if len(twins) > 0 {
				v.replaceTwins(row, level, twins)
			}
			count, links := v.neighbours(row, level)
			for _, to := range links[:count] {
				back[level] = append(back[level], backLink(to, row))
			}
		}
		if l := v.levels(row); l > x.top {
			x.entry, x.top = row, l
		}
	}
	for level := len(back) - 1; level >= 0; level-- {
		x.linkBack(v, level, back[level])
	}
	v.chain(twins)
}

// setEqualAside returns the rows of a batch without those whose code another
// one before them has, and enters those in twins.
func (v *view) setEqualAside(rows []uint32, twins map[uint32]uint32) []uint32 {
	if len(rows) < 2 {
		return rows
	}
	sorted := slices.Clone(rows)
	slices.SortFunc(sorted, func(a, b uint32) int { return cmp.Or(v.compareCodes(a, b), cmp.Compare(a, b)) })
	for first, i := sorted[0], 1; i < len(sorted); i++ {
		if v.compareCodes(first, sorted[i]) == 0 {
			twins[sorted[i]] = first
		} else {
			first = sorted[i]
		}
	}
	if len(twins) == 0 {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(row uint32) bool { _, ok := twins[row]; return ok })
}

func (v *view) compareCodes(a, b uint32) int {
	if v.cfg.Tier == Bits {
		return slices.Compare(v.bitCode(a), v.bitCode(b))
	}
	return bytes.Compare(v.code(a), v.code(b))
}

// replaceTwins points a new node's links to rows that are no nodes after all to
// the nodes they are twins of.
func (v *view) replaceTwins(row uint32, level int, twins map[uint32]uint32) {
	count, links := v.neighbours(row, level)
	to := make([]uint32, 0, count)
	for _, link := range links[:count] {
		if node, ok := twins[link]; ok {
			link = node
			if v.levels(node) < level {
				continue
			}
		}
		if !slices.Contains(to, link) {
			to = append(to, link)
		}
	}
	v.setNeighbours(row, level, to)
}

// chain hangs twins behind the rows they equal, in order of rows.
func (v *view) chain(twins map[uint32]uint32) {
	for _, row := range slices.Sorted(maps.Keys(twins)) {
		to := twins[row]
		next, ok := v.twin(to)
		v.markTwin(row)
		v.setTwin(row, next, ok)
		v.setTwin(to, row, true)
	}
}

// chooseAll links a new row to neighbours on all its levels, among the graph and
// the rows of its batch that precede it. It returns row+1 of a node with the same
// code instead, if it finds one.
func (v *view) chooseAll(s *scratch, row uint32, earlier []uint32) (twin uint32) {
	q := &s.query
	q.askRow(v, row)
	highest := v.levels(row)
	entry := v.entry
	if v.top > highest {
		entry = v.greedy(s, q, entry, v.top, highest)
	}
	for level := highest; level >= 0; level-- {
		s.pool = s.pool[:0]
		if level <= v.top {
			v.beam(s, q, entry, level, v.cfg.EfConstruction)
			entry = s.pool.row(0)
		}
		v.addEarlier(s, q, earlier, level)
		if level == 0 {
			if node, ok := v.findTwin(s, q); ok {
				return node + 1
			}
		}
		v.setNeighbours(row, level, v.choose(s, v.cfg.M))
	}
	return 0
}

// addEarlier adds the nodes of a level that precede a node in its batch to its
// candidates.
func (v *view) addEarlier(s *scratch, q *query, earlier []uint32, level int) {
	s.rows = s.rows[:0]
	for _, row := range earlier {
		if v.levels(row) >= level {
			s.rows = append(s.rows, row)
		}
	}
	if len(s.rows) == 0 {
		return
	}
	ef := v.cfg.EfConstruction
	s.pool = slices.Grow(s.pool, ef-len(s.pool))
	n, _ := simd.Insert(s.pool[:ef], len(s.pool), s.nearer(v.measure(s, q, s.rows), s.pool, ef))
	s.pool = s.pool[:n]
}

// findTwin looks for a living candidate with the query's code.
func (v *view) findTwin(s *scratch, q *query) (uint32, bool) {
	for i := range s.pool {
		if row := s.pool.row(i); v.identical(q, row, s.pool.key(i)) && v.lives[row].died == 0 {
			return row, true
		}
	}
	return 0, false
}

// choose picks at most m of the candidates in s.pool such that each is nearer to
// the query than to any picked before it: neighbours in different directions
// lead further than the m nearest. The result is valid until the next call.
func (v *view) choose(s *scratch, m int) []uint32 {
	s.chosen = s.chosen[:0]
	return v.chooseMore(s, m)
}

// chooseMore is choose with s.chosen picked already.
func (v *view) chooseMore(s *scratch, m int) []uint32 {
	for i := 0; i < len(s.pool) && len(s.chosen) < m; i++ {
		row := s.pool.row(i)
		if len(s.chosen) == 0 || !v.shadowed(s, row, s.pool.key(i), s.chosen) {
			s.chosen = append(s.chosen, row)
		}
	}
	return s.chosen
}

// shadowed reports whether a row is nearer than key to one of the chosen.
func (v *view) shadowed(s *scratch, row, key uint32, chosen []uint32) bool {
	const few = 4 // most candidates fail against the first ones
	s.probe.askRow(v, row)
	for some := range slices.Chunk(chosen, few) {
		for _, other := range v.measure(s, &s.probe, some) {
			if other < key {
				return true
			}
		}
	}
	return false
}

// backLink is a link to be added: sorted, they are grouped by the node that gets
// them.
func backLink(node, link uint32) uint64 { return uint64(node)<<32 | uint64(link) }

// linkBack adds links at one level. The nodes that get them are independent of
// each other.
func (x *Index) linkBack(v *view, level int, back []uint64) {
	slices.Sort(back)
	var groups []pool
	for begin := 0; begin < len(back); {
		end := begin + 1
		for end < len(back) && back[end]>>32 == back[begin]>>32 {
			end++
		}
		groups = append(groups, back[begin:end])
		begin = end
	}
	x.parallel(v, len(groups), func(s *scratch, i int) {
		v.addLinks(s, uint32(groups[i][0]>>32), level, groups[i])
	})
}

// addLinks adds links to a node, choosing anew among all if they do not fit.
func (v *view) addLinks(s *scratch, node uint32, level int, back []uint64) {
	count, links := v.neighbours(node, level)
	width := v.width(level)
	s.rows = s.rows[:0]
	for _, link := range back {
		if row := uint32(link); !slices.Contains(links[:count], row) {
			s.rows = append(s.rows, row)
		}
	}
	if count+len(s.rows) <= width {
		for i, row := range s.rows {
			atomic.StoreUint32(&links[count+i], row)
		}
		v.setCount(node, level, count+len(s.rows))
		return
	}
	s.rows = append(s.rows, links[:count]...)
	s.query.askRow(v, node)
	v.candidates(s, &s.query)
	v.setNeighbours(node, level, v.choose(s, width))
}

// candidates sorts s.rows by distance into s.pool.
func (v *view) candidates(s *scratch, q *query) {
	s.pool = s.pool[:0]
	for some := range slices.Chunk(s.rows, batchRows) {
		for i, key := range v.measure(s, q, some) {
			s.pool = append(s.pool, poolEntry(key, some[i]))
		}
	}
	slices.Sort(s.pool)
}
