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
			low, high := v.bounds(&s.query, row, dots[i])
			if high >= certain.bar() && m.accepts(row) {
				certain.offer(low)
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
	s.rows = s.rows[:0]
	add := func(row uint32) {
		if !m.admits(row) {
			return
		}
		if s.rows = append(s.rows, row); len(s.rows) == batchRows {
			work(s.rows)
			s.rows = s.rows[:0]
		}
	}
	if m.all {
		for row := range v.rows {
			add(uint32(row))
		}
	}
	for _, list := range m.lists {
		for _, row := range list.list() {
			add(row)
		}
	}
	if len(s.rows) > 0 {
		work(s.rows)
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

// bounds returns the least and the greatest score that a row can have whose code
// has this dot product with the query's. Under L2 scores are negative squared
// distances.
func (v *view) bounds(q *query, row uint32, dot int32) (low, high float64) {
	f := &v.facts[row]
	step := v.coder.step
	if v.cfg.Metric == L2 {
		between := step * math.Sqrt(float64(int64(q.square)+int64(f.square)-2*int64(dot)))
		slack := (q.loss + float64(f.loss)) * (1 + roundingSlack)
		slack += (between + slack) * roundingSlack
		far, near := between+slack, max(0, between-slack)
		return -far*far - underflow, -near*near + underflow
	}
	middle := float64(dot) * (q.step * step)
	slack := q.lengthOfCode()*float64(f.loss) + q.loss*float64(f.norm)
	slack += q.norm*float64(f.norm)*roundingSlack + underflow
	return middle - slack, middle + slack
}

// roundingSlack is more than float32 scores of MaxDim dimensions differ from the
// true ones, relative to the product of the lengths: simd.Dot adds at most
// MaxDim/32+36 numbers one to another, each addition and product rounded to 24
// bits. Bounds hold the scores as they are computed, not as they should be.
const roundingSlack = (MaxDim/32 + 40) * 2.0 / (1 << 24)

// underflow is more than MaxDim products lose that are too small for a float32.
const underflow = 1e-41

// lengthOfCode is an upper bound of the length of what q's code stands for.
func (q *query) lengthOfCode() float64 { return q.norm + q.loss }

// sqrtUp is the square root of a sum that may be rounded down, rounded up.
func sqrtUp(sum float64) float64 { return math.Sqrt(sum) * (1 + 1e-6) }

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
