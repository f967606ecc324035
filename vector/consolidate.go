package vector

import (
	"slices"
	"sync/atomic"
)

// Consolidate takes deleted rows out of the graph, erases them and makes their
// slots free for reuse. It is worth while when a tenth or more of the rows are
// dead (Stats). Searches go on meanwhile. Replicas that are to agree call it at
// the same place of their logs. It returns ErrFull or ErrClosed, and then has
// changed nothing that a search can see.
//
// It gives every node that lost neighbours new ones, so that recall stays what it
// is in an index built anew. Up to one half of dead rows, that takes less
// work than building one of what stays.
//
// A deleted row whose code a living one shares stays, as the node that the other
// hangs behind.
func (x *Index) Consolidate() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	gone := x.gone()
	taken := 0
	for _, out := range gone {
		if out {
			taken++
		}
	}
	if taken == 0 {
		return nil
	}
	left := x.rows - len(x.free) - taken
	packed, err := x.pack(gone)
	if err != nil {
		return err
	}
	// From here on no search can see a dead row, so none misses what is taken away.
	x.seq++
	x.publish()
	x.synchronize()

	if x.coder != nil {
		x.unlink(gone, left, taken)
		packed.copyUpper(x, gone)
	}
	x.usePacked(packed)
	x.rewritePostings()
	for row, out := range gone {
		if out {
			atomic.StoreUint32(&x.arenas.lives.data[row].born, unborn)
		}
	}
	if taken >= left/muchTaken {
		x.calibrate()
	}
	x.publish()
	x.synchronize() // nobody holds the number of a dead row any more
	for row, out := range gone {
		if out {
			x.erase(uint32(row))
			x.free = append(x.free, uint32(row))
		}
	}
	slices.Sort(x.free) // as Open finds them, so that replicas reuse them in the same order
	x.renumber()
	return nil
}

// muchTaken is the part of the rows that stay, one in so many, from which taking
// away as many changes the lists of so many nodes that the effort is another.
const muchTaken = 4

// gone returns, by row, whether it is to be taken away: all dead rows but nodes
// with living twins.
func (x *Index) gone() []bool {
	gone := make([]bool, x.rows)
	for row := range gone {
		life := &x.arenas.lives.data[row]
		gone[row] = life.died != 0 && life.born != unborn
	}
	if x.coder == nil {
		return gone
	}
	v := x.view()
	for row := range gone {
		if !gone[row] || v.isTwin(uint32(row)) {
			continue
		}
		for next, ok := v.twin(uint32(row)); ok && gone[row]; next, ok = v.twin(next) {
			gone[row] = gone[next]
		}
	}
	return gone
}

// isNode reports whether a row that is not gone has a place in the graph of its
// own.
func (x *Index) isNode(v *view, row uint32) bool {
	return v.lives[row].born != unborn && !v.isTwin(row)
}

// unlink takes rows out of chains and lists of neighbours.
func (x *Index) unlink(gone []bool, left, taken int) {
	if x.cfg.EfConstruction == Unlinked {
		return
	}
	v := x.view()
	x.entry, x.top = 0, -1
	var nodes []uint32
	for row := range gone {
		node := uint32(row)
		if gone[row] || !x.isNode(v, node) {
			continue
		}
		nodes = append(nodes, node)
		if l := v.levels(node); l > x.top {
			x.entry, x.top = node, l
		}
		v.shortenChain(node, gone)
	}
	v.entry, v.top = x.entry, x.top
	ef := x.mendingEf(left, taken)
	for level := x.top; level >= 0; level-- {
		var orphans []uint32
		torn := slices.DeleteFunc(slices.Clone(nodes), func(row uint32) bool {
			return v.levels(row) < level || !v.touches(row, level, gone)
		})
		for step := range slices.Chunk(torn, linkStep) {
			orphans = append(orphans, x.mend(v, step, level, gone, ef)...)
		}
		for _, row := range orphans {
			x.linkAgain(v, row, level, nodes)
		}
	}
}

// shortenChain takes gone rows out of the chain behind a node.
func (v *view) shortenChain(node uint32, gone []bool) {
	last := node
	for next, ok := v.twin(node); ok; next, ok = v.twin(next) {
		if !gone[next] {
			v.setTwin(last, next, true)
			last = next
		}
	}
	v.setTwin(last, 0, false)
}

// touches reports whether a node has a gone neighbour.
func (v *view) touches(row uint32, level int, gone []bool) bool {
	count, links := v.neighbours(row, level)
	return slices.ContainsFunc(links[:count], func(link uint32) bool { return gone[link] })
}

// mend gives nodes with gone neighbours new ones, as if they were stored again:
// the graph of few rows that is left has other neighbours near each, and those
// of the gone alone are too few to choose well from. The neighbours that stay are
// kept, all that there is room for: a link may be the last one that leads to its
// node. It returns the nodes that are left without any.
func (x *Index) mend(v *view, nodes []uint32, level int, gone []bool, ef int) (orphans []uint32) {
	lists := make([][]uint32, len(nodes))
	x.parallel(v, len(nodes), func(s *scratch, i int) {
		lists[i] = v.relink(s, nodes[i], level, gone, ef)
	})
	var back pool
	for i, node := range nodes {
		count, links := v.neighbours(node, level)
		for _, to := range lists[i] {
			if !slices.Contains(links[:count], to) {
				back = append(back, backLink(to, node))
			}
		}
		v.setNeighbours(node, level, lists[i])
		if len(lists[i]) == 0 {
			orphans = append(orphans, node)
		}
	}
	x.linkBack(v, level, back)
	return orphans
}

// mendingEf returns how many candidates, gone ones among them, a node's new
// neighbours are chosen from: so many that a quarter of EfConstruction stay. A
// new node is looked for from afar and needs more to be found at all.
func (x *Index) mendingEf(left, taken int) int {
	few := max(x.cfg.M, x.cfg.EfConstruction/4)
	return min(few+few*taken/max(left, 1), 2*x.cfg.EfConstruction)
}

// relink returns new neighbours for a node at a level: first some from a walk that
// starts at it and passes through the gone, then those of its own that stay.
func (v *view) relink(s *scratch, node uint32, level int, gone []bool, ef int) []uint32 {
	s.query.askRow(v, node)
	v.beam(s, &s.query, node, level, ef)
	s.pool = slices.DeleteFunc(s.pool, func(e uint64) bool {
		row := uint32(e) >> 1
		return row == node || gone[row]
	})
	if len(s.pool) < 2*v.cfg.M { // nearly all that is near is gone
		v.around(s, node, level, gone)
		v.candidates(s, &s.query)
	}
	width := v.width(level)
	to := slices.Clone(v.choose(s, width-width/4)) // the rest is for those that stay and for links back
	count, links := v.neighbours(node, level)
	for _, link := range links[:count] {
		if len(to) < width && !gone[link] && !slices.Contains(to, link) {
			to = append(to, link)
		}
	}
	return to
}

// around gathers in s.rows the neighbours of a node that stay and those that its
// gone ones lead to, through other gone ones if need be.
func (v *view) around(s *scratch, node uint32, level int, gone []bool) {
	s.visit()
	s.visited[node] = s.epoch
	s.rows, s.queue = s.rows[:0], append(s.queue[:0], node)
	for i := 0; i < len(s.queue) && len(s.rows) < v.cfg.EfConstruction; i++ {
		count, links := v.neighbours(s.queue[i], level)
		for _, row := range links[:count] {
			if s.visited[row] == s.epoch {
				continue
			}
			s.visited[row] = s.epoch
			if gone[row] {
				s.queue = append(s.queue, row)
			} else {
				s.rows = append(s.rows, row)
			}
		}
	}
}

// linkAgain gives a node without links at a level those that a new one would
// get.
func (x *Index) linkAgain(v *view, row uint32, level int, nodes []uint32) {
	s := x.borrow(v)
	defer x.scratch.Put(s)
	s.query.askRow(v, row)
	entry, ok := v.near(s, &s.query, row, level, nodes)
	if !ok {
		return
	}
	v.beam(s, &s.query, entry, level, v.cfg.EfConstruction)
	s.pool = slices.DeleteFunc(s.pool, func(e uint64) bool { return uint32(e)>>1 == row })
	chosen := slices.Clone(v.choose(s, v.cfg.M))
	v.setNeighbours(row, level, chosen)
	for _, to := range chosen {
		v.addLinks(s, to, level, []uint64{backLink(to, row)})
	}
}

// near returns a node of a level from which to look for neighbours of one that
// the graph knows already: not the node itself, whose list may be empty. It
// reports false if there is no other.
func (v *view) near(s *scratch, q *query, row uint32, level int, nodes []uint32) (entry uint32, ok bool) {
	entry = v.entry
	if v.top > level {
		entry = v.greedy(s, q, entry, v.top, level)
	}
	if entry != row {
		return entry, true
	}
	if level < v.levels(row) {
		if count, links := v.neighbours(row, level+1); count > 0 {
			return links[0], true
		}
	}
	if v.entry != row {
		return v.entry, true
	}
	other := slices.IndexFunc(nodes, func(node uint32) bool { return node != row && v.levels(node) >= level })
	if other < 0 {
		return 0, false
	}
	return nodes[other], true
}

// packed are arenas without what gone rows had in them. They replace the old
// ones as a whole, because searches read those.
type packed struct {
	names             arena[uint64]
	text              arena[byte]
	blocks            arena[uint32]
	upper             arena[uint32]
	textEnd, upperEnd int
}

// pack makes new arenas and copies the ids of living rows into them.
func (x *Index) pack(gone []bool) (*packed, error) {
	blank := x.shape.arenas()
	p := &packed{names: blank.names, text: blank.text, blocks: blank.blocks, upper: blank.upper, upperEnd: 1}
	text, upper := 0, 1
	v := x.view()
	for row, life := range x.arenas.lives.data[:x.rows] {
		if life.died == 0 {
			text += len(x.name(uint32(row)))
		}
		if x.coder != nil && !gone[row] && v.blocks[row] != 0 {
			upper += 1 + v.levels(uint32(row))*x.shape.upper
		}
	}
	g := grower{space: x.space}
	growTo(&g, &p.names, len(x.arenas.names.data))
	growTo(&g, &p.text, text)
	if x.coder != nil {
		growTo(&g, &p.blocks, len(x.arenas.blocks.data))
		growTo(&g, &p.upper, upper)
	}
	if g.err != nil {
		for _, region := range [][]byte{p.names.region, p.text.region, p.blocks.region, p.upper.region} {
			if region != nil {
				x.space.release(region)
			}
		}
		return nil, g.err
	}
	for row, life := range x.arenas.lives.data[:x.rows] {
		if life.died != 0 {
			continue
		}
		name := x.name(uint32(row))
		p.names.data[row] = uint64(p.textEnd)<<16 | uint64(len(name))
		p.textEnd += copy(p.text.data[p.textEnd:], name)
	}
	return p, nil
}

// copyUpper copies the upper links of rows that stay.
func (p *packed) copyUpper(x *Index, gone []bool) {
	v := x.view()
	for row := range gone {
		at := int(v.blocks[row])
		if gone[row] || at == 0 {
			continue
		}
		length := 1 + v.levels(uint32(row))*x.shape.upper
		copy(p.upper.data[p.upperEnd:], v.upper[at:at+length])
		p.blocks.data[row] = uint32(p.upperEnd)
		p.upperEnd += length
	}
}

// usePacked puts packed arenas in the place of the old ones.
func (x *Index) usePacked(p *packed) {
	a := &x.arenas
	regions := [][]byte{a.names.region, a.text.region}
	a.names, a.text, x.textEnd = p.names, p.text, p.textEnd
	if x.coder != nil {
		regions = append(regions, a.blocks.region, a.upper.region)
		a.blocks, a.upper, x.upperEnd = p.blocks, p.upper, p.upperEnd
	}
	for _, region := range regions {
		if region != nil {
			x.retired = append(x.retired, region)
		}
	}
}

// rewritePostings takes dead rows out of the lists of groups, and groups that
// have become empty away.
func (x *Index) rewritePostings() {
	var postings []*posting
	for _, p := range x.postings {
		rows := slices.DeleteFunc(slices.Clone(p.list()), func(row uint32) bool {
			return x.arenas.lives.data[row].died != 0
		})
		if len(rows) > 0 {
			p.rows.Store(&rows)
			postings = append(postings, p)
		}
	}
	x.postings = postings
}

// erase clears what a slot held.
func (x *Index) erase(row uint32) {
	v := x.view()
	if len(v.floats) > 0 {
		clear(v.vector(row))
	}
	v.attrs[row] = attributes{}
	if x.coder == nil {
		return
	}
	clear(v.bitCode(row))
	if x.cfg.Tier != Bits {
		clear(v.code(row))
		v.facts[row] = fact{}
	}
	clear(v.links(row, 0))
}
