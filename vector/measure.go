package vector

import (
	"slices"

	"tamv.internal/tamv/vector/simd"
)

// query is a vector in the forms that distances are measured with.
type query struct {
	floats []float32 // of unit length under Cosine

	codes  []int8
	square uint32
	step   float64 // codes*step is about floats
	euclid bool    // distances are Euclidean, not by dot product

	bits []uint64
	work []float32
}

// scratch is what a search or an insertion works with. It is reused, so that
// neither allocates once the buffers have grown.
type scratch struct {
	query   query // what is searched for
	probe   query // a stored row that others are compared with
	visited []uint8
	epoch   uint8
	unit    []float32 // the query's vector with length 1
	pool    pool
	rows    []uint32
	keys    []uint32
	entries []uint64
	dots    []int32
	chosen  []uint32
	queue   []uint32
	best    topK
	maybe   []candidate
}

// batchRows is the most rows that are measured in one call.
const batchRows = 256

func (x *Index) borrow(v *view) *scratch {
	s := x.scratch.Get().(*scratch)
	if s.keys == nil {
		s.keys, s.dots = make([]uint32, batchRows), make([]int32, batchRows)
		s.entries = make([]uint64, batchRows)
		s.rows, s.chosen = make([]uint32, 0, batchRows), make([]uint32, 0, batchRows)
	}
	if len(s.visited) < v.rows {
		s.visited, s.epoch = make([]uint8, roundUp(v.rows+v.rows/8, pageSize)), 0
	}
	return s
}

// visit begins a new set of visited rows.
func (s *scratch) visit() {
	s.epoch++
	if s.epoch == 0 {
		clear(s.visited)
		s.epoch = 1
	}
}

// ask makes q the query for a vector, of unit length under Cosine.
func (q *query) ask(v *view, vec []float32) {
	q.floats = vec
	if v.coder == nil {
		return
	}
	if v.cfg.hasBits() {
		q.shapeBits(v)
		v.coder.signs(q.bits, vec, q.work)
	}
	if v.cfg.Tier == Bits {
		return
	}
	q.euclid = v.cfg.Metric == L2
	q.step = v.coder.step
	if !q.euclid { // the order by dot product is the same for a query of any length
		if largest := largestOf(vec); largest >= smallestRange {
			q.step = float64(largest) / maxCode
		}
	}
	q.codes = slices.Grow(q.codes[:0], v.shape.stride)[:v.shape.stride]
	q.square = simd.Quantize(q.codes, vec, float32(1/q.step))
}

// askRow makes q the query for a stored row, for building.
func (q *query) askRow(v *view, row uint32) {
	if v.cfg.hasBits() {
		q.bits = append(q.bits[:0], v.bitCode(row)...)
	}
	if v.cfg.Tier == Bits {
		return
	}
	q.step = v.coder.step
	q.euclid = v.cfg.Metric == L2
	q.codes = slices.Grow(q.codes[:0], v.shape.stride)[:v.shape.stride]
	flipSign(q.codes, v.code(row))
	q.square = v.facts[row].square
}

func (q *query) shapeBits(v *view) {
	q.bits = slices.Grow(q.bits[:0], v.shape.words)[:v.shape.words]
	q.work = slices.Grow(q.work[:0], v.shape.words*64)[:v.shape.words*64]
}

// measure returns how far the rows, at most batchRows, are from q: smaller is
// nearer. The keys are exact functions of the codes; they are valid until the
// next call.
func (v *view) measure(s *scratch, q *query, rows []uint32) []uint32 {
	keys := s.keys[:len(rows)]
	if v.cfg.Tier == Bits {
		simd.Hammings(keys, q.bits, v.bits, v.shape.words, rows)
		return keys
	}
	dots := s.dots[:len(rows)]
	simd.Dots(dots, q.codes, v.codes, v.shape.stride, rows)
	if q.euclid {
		for i, row := range rows {
			keys[i] = q.square + v.facts[row].square - uint32(2*dots[i])
		}
		return keys
	}
	for i, dot := range dots {
		keys[i] = dotKey(dot)
	}
	return keys
}

// dotKey orders dot products from the largest to the smallest.
func dotKey(dot int32) uint32 { return 1<<31 - uint32(dot) }

// dotOf returns the dot product of a key.
func dotOf(key uint32) int32 { return int32(1<<31 - key) }

// identical reports whether a key, measured for building, can only be that of a
// row with the same code.
func (v *view) identical(q *query, row, key uint32) bool {
	switch {
	case v.cfg.Tier == Bits || q.euclid:
		return key == 0
	default: // a dot product that equals both squared lengths
		return key == dotKey(int32(q.square)) && v.facts[row].square == q.square
	}
}
