package vector

import (
	"math"
	"slices"
	"sync/atomic"
)

// effort translates a share of the true neighbours into a number of candidates.
// It is measured on the index itself, because that number differs widely between
// kinds of data and grows with the rows. The writer measures it each time there
// are half as many vectors again, and when a consolidation takes away at least a
// quarter as many rows as stay, because little of the graph is then as it was:
// queries are made of stored vectors, their true neighbours found by a scan, and
// the rungs tried from below. Replicas make the same queries and so measure the
// same.
//
// Every other query is a stored vector that the walk is blind to, as if it were
// not stored: it lies where vectors lie. The others lie halfway between two stored
// vectors, where few do. Those of users are somewhere between: with either kind
// alone, one of the two sets of the benchmark got less than it asked for, or the
// other twice the candidates it needed.
type effort struct {
	rows uint32             // vectors when it was measured; 0: never
	hits [len(rungs)]uint32 // true neighbours found with each rung
	of   uint32             // true neighbours
}

// rungs are the numbers of candidates that are tried.
var rungs = [...]uint16{16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}

const (
	// unmeasured is what is assumed of an index too small to be measured.
	unmeasured = 128
	// measuredFrom is the number of vectors from which a walk can be quicker than
	// a scan.
	measuredFrom = 4096
	// mostProbes is the number of queries, nearest how many neighbours they want.
	mostProbes, nearest = 256, 10
	// probedBytes bounds what the scans for truth read, because the writer waits
	// for them: a large index gets fewer queries, and one that would get fewer than
	// leastProbes is not measured again.
	probedBytes, leastProbes = 1 << 33, 64
	// fewMisses is the share of misses, one in so many, below which no more rungs
	// are tried.
	fewMisses = 200
)

// ef returns the number of candidates for the share recall of the k nearest
// among rows vectors, or 0 if only a comparison with all of them will do.
func (e *effort) ef(recall float64, k, rows int) int {
	if recall == 0 {
		recall = DefaultRecall
	}
	if recall >= 1 {
		return 0
	}
	ef := unmeasured
	if e.rows > 0 {
		ef = e.climb((1 - recall) * float64(e.of))
		// A doubling takes a quarter more: partly because there are more rows, more
		// because those that come later are others.
		for grown := e.rows; int(grown) < rows; grown += grown/4 + 1 {
			ef += ef/13 + 1 // three steps of a quarter are about a doubling
		}
		if ef > MaxEF {
			return 0
		}
	}
	if k > nearest {
		ef += k - nearest + ef*min(k-nearest, 9*nearest)/(9*nearest) // fits k=100 on GloVe
	}
	return ef
}

// climb returns the number of candidates with which at most so many neighbours
// are missed.
func (e *effort) climb(misses float64) int {
	// A measurement of m misses is off by the square root of m or so: the aim is
	// the m for which m and its error are what is allowed.
	root := math.Sqrt(misses+0.25) - 0.5
	aim := float64(root * root)
	missed := func(rung int) float64 { return float64(e.of - e.hits[rung]) }
	i := 0
	for ; missed(i) > aim; i++ {
		if e.lastTried(i) { // misses fall faster than candidates grow
			ratio := math.Sqrt(missed(i) / aim)
			return int(min(2*MaxEF, float64(rungs[i])*ratio*math.Sqrt(ratio)))
		}
	}
	if i == 0 {
		return int(rungs[0])
	}
	low, high := float64(rungs[i-1]), float64(rungs[i])
	share := (missed(i-1) - aim) / (missed(i-1) - missed(i))
	return int(math.Ceil(low + float64(share*(high-low))))
}

// lastTried reports whether no rung above this one was tried: there is none, or
// too few neighbours were missed with this one.
func (e *effort) lastTried(rung int) bool {
	return rung == len(rungs)-1 || fewMisses*(e.of-e.hits[rung]) <= e.of
}

// hasGrown reports whether there are half as many vectors again as when the effort
// was measured.
func (x *Index) hasGrown() bool { return x.live >= int(x.effort.rows)/2*3 }

// calibrate measures the effort. An index that is too small for that has none, one
// that is too large keeps what it was.
func (x *Index) calibrate() {
	if x.top < 0 || x.live < measuredFrom {
		x.effort = effort{}
		return
	}
	v := x.view()
	row := v.shape.stride
	if v.cfg.Tier == Bits {
		row = 4 * v.shape.dim
	}
	most := min(mostProbes, probedBytes/(v.rows*row))
	if most < leastProbes {
		return
	}
	probes := x.makeProbes(v, most)
	if len(probes) == 0 {
		return
	}
	truth := make([]float32, len(probes)) // the score of the last true neighbour
	x.parallel(v, len(probes), func(s *scratch, i int) {
		s.query.ask(v, probes[i].vector)
		m := matcher{view: v, all: true}
		v.scan(s, &m, nearest+1)
		s.best.sort(v)
		s.best = slices.DeleteFunc(s.best, func(b scored) bool { return b.row == probes[i].self })
		truth[i] = s.best[nearest-1].score
	})
	e := effort{rows: uint32(x.live), of: uint32(len(probes)) * nearest}
	for rung, ef := range rungs {
		if rung > 0 && e.lastTried(rung-1) {
			e.hits[rung] = e.hits[rung-1]
			continue
		}
		x.parallel(v, len(probes), func(s *scratch, i int) {
			atomic.AddUint32(&e.hits[rung], v.try(s, &probes[i], truth[i], int(ef)))
		})
	}
	x.effort = e
}

// probe is a query for measuring the effort.
type probe struct {
	vector []float32
	self   uint32 // the row that it is and must not find, or NoRow
}

// makeProbes makes at most so many queries, the same for the same index.
func (x *Index) makeProbes(v *view, most int) []probe {
	probes := make([]probe, 0, most)
	for i := uint64(0); len(probes) < most && i < 8*uint64(most); i++ {
		row := v.anyRow(2 * i)
		p := probe{vector: v.restore(row), self: row}
		if i%2 == 0 {
			p = probe{vector: v.between(row, v.anyRow(2*i+1)), self: NoRow}
		} else if _, twins := v.twin(row); twins || v.isTwin(row) || v.levels(row) > 0 {
			continue // others are found through it, so the walk cannot do without
		}
		var err error
		if p.vector, err = x.prepare(nil, p.vector); err == nil {
			probes = append(probes, p)
		}
	}
	return probes
}

// try returns how many of a probe's true neighbours a walk with ef candidates
// finds.
func (v *view) try(s *scratch, p *probe, truth float32, ef int) (found uint32) {
	s.query.ask(v, p.vector)
	entry := v.greedy(s, &s.query, v.entry, v.top, 0)
	s.visit()
	if p.self != NoRow {
		s.visited[p.self] = s.epoch
	}
	v.spread(s, &s.query, entry, 0, ef)
	m := matcher{view: v, all: true}
	v.gather(s, &m, ef)
	v.rerank(s, nearest, ef)
	for _, b := range s.best {
		if b.score >= truth {
			found++
		}
	}
	return found
}

// anyRow returns a living row, the same for the same i.
func (v *view) anyRow(i uint64) uint32 {
	row := uint32(splitmix64(i) % uint64(v.rows))
	for !v.visible(row) {
		row = (row + 1) % uint32(v.rows)
	}
	return row
}

// between returns the vector halfway from row a to row b.
func (v *view) between(a, b uint32) []float32 {
	from, to := v.restore(a), v.restore(b)
	for i := range from {
		from[i] += float32(0.5 * float32(to[i]-from[i]))
	}
	return from
}

// restore returns a copy of a row's vector, or of what its code stands for.
func (v *view) restore(row uint32) []float32 {
	if v.cfg.Tier != Codes {
		return slices.Clone(v.vector(row))
	}
	vec := make([]float32, v.shape.dim)
	for i, c := range v.code(row)[:v.shape.dim] {
		vec[i] = float32(float64(int(c)-codeZero) * v.coder.step)
	}
	return vec
}
