package vector

import (
	"bytes"
	"math"
	"slices"

	"tamv.internal/tamv/vector/simd"
)

// score returns how similar a row is to the query, by its floats. Every step
// rounds the same way on every processor.
func (v *view) score(q *query, row uint32) float32 {
	if v.cfg.Metric == L2 {
		return -squaredDistance(q.floats, v.vector(row))
	}
	return simd.Dot(q.floats, v.vector(row))
}

// squaredDistance returns the squared Euclidean distance of two vectors of the
// same length. Eight running sums keep additions from waiting for each other;
// float32(d*d) forbids fusing the product into the sum, which some processors
// would do and others not.
func squaredDistance(a, b []float32) float32 {
	const lanes = 8
	b = b[:len(a)]
	var sum [lanes]float32
	i := 0
	for ; i+lanes <= len(a); i += lanes {
		x, y := (*[lanes]float32)(a[i:]), (*[lanes]float32)(b[i:])
		for lane := range sum {
			d := x[lane] - y[lane]
			sum[lane] += float32(d * d)
		}
	}
	for ; i < len(a); i++ {
		d := a[i] - b[i]
		sum[0] += float32(d * d)
	}
	return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]))
}

// codeScore returns how similar a row is to the query by its code, whose dot
// product with the query's is dot: the score in tier Codes.
func (v *view) codeScore(q *query, row uint32, dot int32) float32 {
	f := &v.facts[row]
	switch v.cfg.Metric {
	case L2:
		apart := int64(q.square) + int64(f.square) - 2*int64(dot)
		return float32(-float64(apart) * (v.coder.step * v.coder.step))
	case InnerProduct:
		return float32(float64(dot) * (q.step * v.coder.step))
	}
	lengths := math.Sqrt(float64(q.square) * float64(f.square))
	if lengths == 0 {
		return 0
	}
	return float32(float64(dot) / lengths)
}

// compared is how many of ef candidates are compared by their floats for k hits.
func (v *view) compared(k, ef int) int {
	if v.cfg.Tier != Full {
		return ef // signs order roughly, and codes are all that tier Codes has
	}
	return max(2*k, min(4*k, ef/2))
}

// rerank orders what a walk found: of s.maybe, nearest first by codes, enough of
// the nearest are compared by their floats, and the k best of those become
// s.best. It reports true.
func (v *view) rerank(s *scratch, k, ef int) bool {
	s.best = s.best[:0]
	if v.cfg.Tier == Codes {
		s.rows = s.rows[:0]
		for _, c := range s.maybe {
			s.rows = append(s.rows, c.row)
		}
		for some := range slices.Chunk(s.rows, batchRows) {
			dots := s.dots[:len(some)]
			simd.Dots(dots, s.query.codes, v.codes, v.shape.stride, some)
			for i, row := range some {
				s.best.offer(v, scored{score: v.codeScore(&s.query, row, dots[i]), row: row}, k)
			}
		}
		return true
	}
	v.compare(s, k, s.maybe[:min(len(s.maybe), v.compared(k, ef))])
	return true
}

// rerankSigmas is how sure it must be that a candidate is no hit before it is
// not compared.
const rerankSigmas = 5

// compare offers candidates, the nearest by their codes first, as hits, until the
// others are too far.
func (v *view) compare(s *scratch, k int, candidates []candidate) {
	const ahead = 4
	q, slack := &s.query, math.Inf(1)
	if v.cfg.Tier == Full && v.cfg.Metric == Cosine {
		// Rounding to steps makes errors of variance step²/12 in each component. Weighed
		// by a vector of unit length they add up to one with the same variance.
		slack = rerankSigmas * math.Sqrt(float64(q.step*q.step+v.coder.step*v.coder.step)/12)
	}
	for i, c := range candidates {
		if i >= k && v.cosineOf(q, c.key)+slack < float64(s.best[0].score) {
			return
		}
		if i+ahead < len(candidates) {
			simd.Prefetch(v.vector(candidates[i+ahead].row))
		}
		s.best.offer(v, scored{score: v.score(q, c.row), row: c.row}, k)
	}
}

// scored is a row with its score.
type scored struct {
	score float32
	row   uint32
}

// better orders by score, then id.
func (v *view) better(a, b scored) bool {
	return a.score > b.score || a.score == b.score && bytes.Compare(v.name(a.row), v.name(b.row)) < 0
}

// topK is a binary heap of the best rows so far with the worst one at the root.
type topK []scored

// offer adds b, dropping the worst if there would be more than k.
func (t *topK) offer(v *view, b scored, k int) {
	s := *t
	if len(s) < k {
		s = append(s, b)
		for i := len(s) - 1; i > 0; {
			parent := (i - 1) / 2
			if !v.better(s[parent], s[i]) {
				break
			}
			s[i], s[parent] = s[parent], s[i]
			i = parent
		}
		*t = s
		return
	}
	if !v.better(b, s[0]) {
		return
	}
	s[0] = b
	for i := 0; ; {
		worst := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(s) && v.better(s[worst], s[child]) {
				worst = child
			}
		}
		if worst == i {
			return
		}
		s[i], s[worst] = s[worst], s[i]
		i = worst
	}
}

// sort orders the rows best first.
func (t topK) sort(v *view) {
	slices.SortFunc(t, func(a, b scored) int {
		switch {
		case v.better(a, b):
			return -1
		case v.better(b, a):
			return 1
		}
		return 0
	})
}
