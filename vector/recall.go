package vector

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// effort translates a share of the true neighbours into a number of candidates.
// It is measured on the index itself, because that number differs widely between
// kinds of data and grows with the rows. The writer measures it each time the
// number of vectors has doubled: queries are made of stored vectors, their true
// neighbours found by a scan, and the rungs tried from below. Replicas make the
// same queries and so measure the same.
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
	// a scan, measuredUntil the one from which scans for truth would hold the
	// writer up; what was measured last is then extrapolated.
	measuredFrom, measuredUntil = 4096, 1 << 20
	// probes is the number of queries, nearest how many neighbours they want.
	probes, nearest = 96, 10
	// stray is how far a query lies from a stored vector on the way to another
	// one. A query that is one of the vectors would be easier than real ones.
	stray = 0.5
	// caution is the part of the misses asked for that is aimed at: the queries
	// above are not those of users.
	caution = 0.85
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
		misses := caution * (1 - recall) * float64(e.of)
		i := slices.IndexFunc(e.hits[:], func(hits uint32) bool { return float64(e.of-hits) <= misses })
		if i < 0 {
			return 0
		}
		ef = int(rungs[i])
		// Each doubling since takes about a tenth more.
		ef += ef * max(0, bits.Len(uint(rows))-bits.Len32(e.rows)-1) / 10
	}
	if k > nearest {
		ef += k - nearest + ef*min(k-nearest, 9*nearest)/(9*nearest) // fits k=100 on GloVe
	}
	return ef
}

// calibrate measures the effort anew if the index has grown enough.
func (x *Index) calibrate() {
	if x.top < 0 || x.live < measuredFrom || x.live > measuredUntil || x.live < 2*int(x.effort.rows) {
		return
	}
	v := x.view()
	queries := make([][]float32, 0, probes)
	for i := uint64(0); len(queries) < probes; i += 2 {
		if q, err := x.prepare(v.between(v.anyRow(i), v.anyRow(i+1))); err == nil {
			queries = append(queries, q)
		}
	}
	truth := make([]float32, probes) // the score of the last true neighbour
	x.parallel(v, probes, func(s *scratch, i int) {
		s.query.ask(v, queries[i])
		m := matcher{view: v, all: true}
		v.scan(s, &m, nearest)
		truth[i] = s.best[0].score
	})
	e := effort{rows: uint32(x.live), of: probes * nearest}
	for rung, ef := range rungs {
		if rung > 0 && e.hits[rung-1] == e.of {
			e.hits[rung] = e.of
			continue
		}
		x.parallel(v, probes, func(s *scratch, i int) {
			s.query.ask(v, queries[i])
			m := matcher{view: v, all: true}
			v.beam(s, &s.query, v.greedy(s, &s.query, v.entry, v.top, 0), 0, int(ef))
			v.gather(s, &m, int(ef))
			v.rerank(s, nearest, int(ef))
			for _, b := range s.best {
				if b.score >= truth[i] {
					atomic.AddUint32(&e.hits[rung], 1)
				}
			}
		})
	}
	x.effort = e
}

// anyRow returns a living row, the same for the same i.
func (v *view) anyRow(i uint64) uint32 {
	row := uint32(splitmix64(i) % uint64(v.rows))
	for !v.visible(row) {
		row = (row + 1) % uint32(v.rows)
	}
	return row
}

// between returns the vector a little on the way from row a to row b.
func (v *view) between(a, b uint32) []float32 {
	from, to := v.restore(a), v.restore(b)
	for i := range from {
		from[i] += float32(stray * float32(to[i]-from[i]))
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
