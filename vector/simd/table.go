package simd

import "unsafe"

// kernels is one version of every loop. The exported functions have checked
// lengths before they call one, except that rows lie in the arena.
type kernels struct {
	name string
	// dots and hammings check each row against limit, the rows in codes, where
	// they load it, and return how many rows they finished: len(rows) unless a
	// row was out of range. ahead is how many rows to prefetch in advance, lines
	// how many cache lines of each.
	dots     func(out []int32, query []int8, codes []byte, rows []uint32, limit, ahead, lines int) (done int)
	hammings func(out []uint32, query, codes []uint64, rows []uint32, limit, ahead, lines int) (done int)
	// dotsLinear finds len(out) rows in codes.
	dotsLinear func(out []int32, query []int8, codes []byte)
	dot        func(a, b []float32) float32
	// quantize takes whole multiples of quantizeLanes.
	quantize func(code []int8, v []float32, perStep float32) (square uint32)
	signs    func(code, flips []uint64, work []float32)
	insert   func(list, entries []uint64, n int) (grown, first int)
	visit    func(rows, links []uint32, visited []byte, epoch byte, codes unsafe.Pointer, stride int) (n int)
}

var portable = kernels{
	name:       "portable",
	dots:       dotsPortable,
	hammings:   hammingsPortable,
	dotsLinear: dotsLinearPortable,
	dot:        dotPortable,
	quantize:   quantizePortable,
	signs:      signsPortable,
	insert:     insertPortable,
	visit:      visitPortable,
}

// active is the best version that this processor can run.
var active = best()

func best() kernels {
	all := variants()
	return all[len(all)-1]
}

const (
	cacheLine = 64
	// rowsAhead and linesAhead say what to prefetch: the beginnings of the next
	// sixteen rows, about as many lines as a core can wait for at once. Once two
	// lines of a row were read, the processor fetches the others by itself;
	// asking for more of them made rows of 1,536 bytes slower.
	rowsAhead  = 16
	linesAhead = 2
)

// plan returns how many rows ahead to prefetch and how many lines of each.
func plan(rowBytes int) (ahead, lines int) {
	return rowsAhead, min((rowBytes+cacheLine-1)/cacheLine, linesAhead)
}
