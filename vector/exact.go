package vector

import (
	"math"
	"slices"

	"tamv.internal/tamv/vector/simd"
)

// The exact scan compares codes and knows how wrong they can be. Let q' and x'
// be what the codes of q and x stand for. Then
//
//	|q·x - q'·x'| <= |q'| |x-x'| + |q-q'| |x|      (Cauchy and Schwarz)
//	||q-x| - |q'-x'|| <= |q-q'| + |x-x'|           (triangle)
//
// and the lengths on the right are known. A row whose bound is below the k-th
// best that is certain cannot be a hit; the few that remain are compared by
// their floats, in order of their bounds, until no bound reaches the k-th best
// score. The hits are those of comparing all floats.

// candidate is a row that may become a hit.
type candidate struct {
	row   uint32
	key   uint32  // its distance in codes; of a walk
	bound float64 // the best score it can have; of a scan
}

// scan finds the k best rows that match into s.best.
func (v *view) scan(s *scratch, m *matcher, k int) {
	s.best, s.maybe = s.best[:0], s.maybe[:0]
	if v.coder == nil || v.cfg.Tier == Bits {
		v.eachBatch(s, m, func(rows []uint32) {
			for _, row := range rows {
				v.offer(s, m, row, k)
			}
		})
		return
	}
	certain := worst{k: k}
	limits := v.limits(&s.query)
	v.eachBatch(s, m, func(rows []uint32) {
		dots := s.dots[:len(rows)]
		if last := rows[len(rows)-1]; last-rows[0] == uint32(len(rows)-1) {
			simd.DotsLinear(dots, s.query.codes, v.codes, v.shape.stride, int(rows[0]), len(rows))
		} else {
			simd.Dots(dots, s.query.codes, v.codes, v.shape.stride, rows)
		}
		for i, row := range rows {
			if v.cfg.Tier == Codes {
				v.offerScore(s, m, row, v.codeScore(&s.query, row, dots[i]), k)
				continue
			}
			middle, slack := limits.around(&v.facts[row], dots[i])
			if high := limits.score(middle-slack) + underflow; high >= certain.bar() && m.accepts(row) {
				certain.offer(limits.score(middle+slack) - underflow)
				s.maybe = append(s.maybe, candidate{row: row, bound: high})
			}
		}
	})
	if v.cfg.Tier == Codes {
		return
	}
	v.settle(s, k, certain.bar())
}

// settle compares the candidates that can reach the bar by their floats.
func (v *view) settle(s *scratch, k int, bar float64) {
	s.maybe = slices.DeleteFunc(s.maybe, func(c candidate) bool { return c.bound < bar })
	slices.SortFunc(s.maybe, func(a, b candidate) int {
		switch {
		case a.bound > b.bound:
			return -1
		case a.bound < b.bound:
			return 1
		}
		return int(int64(a.row) - int64(b.row))
	})
	for _, c := range s.maybe {
		if len(s.best) == k && c.bound < float64(s.best[0].score) {
			return
		}
		s.best.offer(v, scored{score: v.score(&s.query, c.row), row: c.row}, k)
	}
}

// eachBatch calls work with the rows that match, but for Accept, at most
// batchRows at a time and, where all rows may match, in ascending order.
func (v *view) eachBatch(s *scratch, m *matcher, work func(rows []uint32)) {
	if m.all {
		for first := 0; first < v.rows; first += batchRows {
			s.rows = s.rows[:0]
			for row := uint32(first); row < uint32(min(first+batchRows, v.rows)); row++ {
				if m.admits(row) {
					s.rows = append(s.rows, row)
				}
			}
			if len(s.rows) > 0 {
				work(s.rows)
			}
		}
	}
	for _, list := range m.lists {
		for some := range slices.Chunk(list.list(), batchRows) {
			s.rows = s.rows[:0]
			for _, row := range some {
				if m.admits(row) {
					s.rows = append(s.rows, row)
				}
			}
			if len(s.rows) > 0 {
				work(s.rows)
			}
		}
	}
}

// offer scores a row by its floats.
func (v *view) offer(s *scratch, m *matcher, row uint32, k int) {
	v.offerScore(s, m, row, v.score(&s.query, row), k)
}

// offerScore makes a row a hit if its score is among the k best. The score is
// cheaper than the caller's function, so most rows never reach that.
func (v *view) offerScore(s *scratch, m *matcher, row uint32, score float32, k int) {
	b := scored{score: score, row: row}
	if (len(s.best) < k || v.better(b, s.best[0])) && m.accepts(row) {
		s.best.offer(v, b, k)
	}
}

// limits is what the bounds of all rows have in common.
type limits struct {
	euclid bool
	square int64   // of the query's code
	step   float64 // of a dot product; under L2 of a distance
	length float64 // of what the query's code stands for, or more
	loss   float64 // of the query
}

// loss returns the length of what quantisation took away from the query, or more.
func (q *query) loss() float64 {
	var square float64
	for i, c := range q.floats {
		d := float64(c) - float64(float64(q.codes[i])*q.step)
		square += float64(d * d)
	}
	return sqrtUp(square)
}

func (v *view) limits(q *query) limits {
	length, loss := norm(q.floats), q.loss()
	l := limits{euclid: v.cfg.Metric == L2, square: int64(q.square), length: length + loss}
	if l.euclid {
		l.step, l.loss = v.coder.step, loss
		return l
	}
	l.step, l.loss = q.step*v.coder.step, loss+length*roundingSlack
	return l
}

// around returns the distance of a row by its code, whose dot product with the
// query's is dot, and how wrong that can be. A distance is the negative dot
// product, or under L2 Euclidean.
func (l *limits) around(f *fact, dot int32) (middle, slack float64) {
	if l.euclid {
		middle = l.step * math.Sqrt(float64(l.square+int64(f.square)-2*int64(dot)))
		slack = l.loss + float64(f.loss)
		return middle, slack + (middle+slack)*roundingSlack
	}
	return -float64(dot) * l.step, l.length*float64(f.loss) + l.loss*float64(f.norm)
}

// score returns the score at a distance.
func (l *limits) score(distance float64) float64 {
	if !l.euclid {
		return -distance
	}
	distance = max(0, distance)
	return -distance * distance
}

// roundingSlack is more than float32 scores of MaxDim dimensions differ from the
// true ones, relative to the product of the lengths: simd.Dot adds at most
// MaxDim/32+36 numbers one to another, each addition and product rounded to 24
// bits. Bounds hold the scores as they are computed, not as they should be.
const roundingSlack = (MaxDim/32 + 40) * 2.0 / (1 << 24)

// underflow is more than MaxDim products lose that are too small for a float32.
const underflow = 1e-41

// worst keeps the k best lower bounds; any row below the least of them is no hit.
type worst struct {
	k    int
	heap []float64 // least first
}

// bar is the least score that the k-th best row certainly has.
func (w *worst) bar() float64 {
	if len(w.heap) < w.k {
		return math.Inf(-1)
	}
	return w.heap[0]
}

func (w *worst) offer(low float64) {
	if len(w.heap) < w.k {
		w.heap = append(w.heap, low)
		for i := len(w.heap) - 1; i > 0 && w.heap[i] < w.heap[(i-1)/2]; i = (i - 1) / 2 {
			w.heap[i], w.heap[(i-1)/2] = w.heap[(i-1)/2], w.heap[i]
		}
		return
	}
	if low <= w.heap[0] {
		return
	}
	h := w.heap
	h[0] = low
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child] < h[least] {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
