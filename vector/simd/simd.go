// Package simd holds the inner loops of vector search: dot products of 8-bit
// codes, Hamming distances of 1-bit codes and the dot product of float32
// vectors; the making of both codes of a query; and what a walk of a graph does
// for every neighbour. Each is there in portable Go and, where that pays, in the
// vector instructions of amd64 and arm64. The fastest version the processor has is
// chosen once, when the program starts; [Features] names it.
//
// # Exactness
//
// Dots, DotsLinear, Hammings, Insert and Visit compute integers, so every version
// returns the same answer. Dot, Quantize and Signs round in one fixed order that
// every version follows, so their answers are the same bits everywhere. A graph
// built with this package is therefore identical on every replica, whatever its
// processor.
//
// # Shapes
//
// Codes and 1-bit rows lie in one arena, row r at r*stride. No slice needs to be
// aligned; rows that start on a cache line (64 bytes) are read fastest. Reads
// never leave the slices passed in.
//
// # Errors
//
// A length that contradicts another and a row outside the arena are the caller's
// bugs and panic, like an index out of range. When a row is outside the arena,
// the values of rows before it may already be written.
//
// # Memory
//
// Nothing here allocates, but arguments (save those of Prefetch) go through a
// table of functions and so escape: hold out and rows in a scratch structure that
// is reused, not on the stack. Distinct calls may run at once; concurrent writes to
// codes race as with any slice.
package simd

import (
	"fmt"
	"unsafe"
)

const (
	// Block is the number of bytes that a row of codes is padded to a multiple
	// of. A padding byte counts for nothing when the query holds zero there.
	Block = 64
	// MaxStride is the longest row of codes for which no sum leaves an int32:
	// 255*128*MaxStride < 1<<31.
	MaxStride = 1 << 16
	// MaxWords is the longest row of 1-bit codes.
	MaxWords = 4096
)

// Dots sets out[i] to the sum over j of query[j]*(int(codes[rows[i]*stride+j])-128),
// for each i in rows. A code is thus a signed byte stored with 128 added.
//
// stride is a positive multiple of [Block], at most [MaxStride], and the length
// of query, which the caller pads with zeros. out is at least as long as rows;
// what lies behind is left alone. rows may repeat and come in any order: the
// rows that follow are prefetched while one is summed, so one call with many
// rows is much faster than many calls with one.
func Dots(out []int32, query []int8, codes []byte, stride int, rows []uint32) {
	checkCodes(len(query), stride)
	checkOut(len(out), len(rows))
	if len(rows) == 0 {
		return
	}
	ahead, lines := plan(stride)
	limit := len(codes) / stride
	if done := active.dots(out, query, codes, rows, limit, ahead, lines); done < len(rows) {
		panicRow(rows[done], limit)
	}
}

// DotsLinear is [Dots] over the n neighbouring rows first, first+1, ...: an
// exact scan. first and n are not negative.
func DotsLinear(out []int32, query []int8, codes []byte, stride int, first, n int) {
	checkCodes(len(query), stride)
	limit := len(codes) / stride
	if first < 0 || n < 0 || n > limit || first > limit-n {
		panic(fmt.Sprintf("simd: rows %d to %d+%d of an arena of %d", first, first, n, limit))
	}
	checkOut(len(out), n)
	if n == 0 {
		return
	}
	active.dotsLinear(out[:n], query, codes[first*stride:(first+n)*stride])
}

// Hammings sets out[i] to the number of bits in which query differs from the
// row rows[i] of codes, whose rows are words long. words is positive, at most
// [MaxWords], and the length of query. out is at least as long as rows.
func Hammings(out []uint32, query []uint64, codes []uint64, words int, rows []uint32) {
	if words <= 0 || words > MaxWords || len(query) != words {
		panic(fmt.Sprintf("simd: query of %d words for rows of %d", len(query), words))
	}
	checkOut(len(out), len(rows))
	if len(rows) == 0 {
		return
	}
	ahead, lines := plan(words * 8)
	limit := len(codes) / words
	if done := active.hammings(out, query, codes, rows, limit, ahead, lines); done < len(rows) {
		panicRow(rows[done], limit)
	}
}

// Dot returns the dot product of two vectors of one length, the same bits on
// every processor.
//
// Every product is rounded to float32 before it is added; nothing is fused. The
// product j of the leading whole blocks of 32 goes to lane j mod 32. The lanes
// are then added in halves, lane i and lane i+16, i and i+8, i and i+4. Products
// of what is left go to these four lanes, j mod 4. Last, lane i and i+2 are
// added, then 0 and 1.
//
// Infinities and NaN follow IEEE 754; which NaN comes out is not specified.
func Dot(a, b []float32) float32 {
	if len(a) != len(b) {
		panic(fmt.Sprintf("simd: dot of vectors of lengths %d and %d", len(a), len(b)))
	}
	return active.dot(a, b)
}

// Quantize sets code[i] to v[i]*perStep, rounded to float32, clamped to -127..127
// and rounded to the nearest whole number, of two the even one; and what lies in
// code behind len(v) to zero. It returns the sum of the squares. v holds no NaN,
// and len(code) is at least len(v).
func Quantize(code []int8, v []float32, perStep float32) (square uint32) {
	if len(code) < len(v) {
		panic(fmt.Sprintf("simd: a code of %d bytes for a vector of length %d", len(code), len(v)))
	}
	whole := len(v) / quantizeLanes * quantizeLanes
	square = active.quantize(code, v[:whole], perStep)
	square += quantizePortable(code[whole:], v[whole:], perStep)
	clear(code[len(v):])
	return square
}

// Signs sets the bits of code to the signs of work after a random rotation: bit i
// of flips, counted from the lowest of the first word, says that work[i] changes
// its sign, and a Walsh-Hadamard transform follows. A zero has either sign. code and flips have one length,
// a power of two; work has 64 elements for each of their words, holds no NaN and
// is overwritten. Additions follow one order, the same bits on every processor.
func Signs(code, flips []uint64, work []float32) {
	n := len(flips)
	if n == 0 || n&(n-1) != 0 || n > MaxWords || len(code) != n || len(work) != 64*n {
		panic(fmt.Sprintf("simd: signs of %d numbers, flipped by %d words, in %d", len(work), n, len(code)))
	}
	active.signs(code, flips, work)
}

// Insert puts entries one after the other in their places in the ascending list
// list[:n]; of more than len(list) the greatest is dropped, of equal numbers a new
// one comes first. It returns how many there are then, and the least place
// that was taken: len(list) if no entry found room.
func Insert(list []uint64, n int, entries []uint64) (grown, first int) {
	if n < 0 || n > len(list) || len(list) == 0 {
		panic(fmt.Sprintf("simd: %d numbers in a list of %d", n, len(list)))
	}
	return active.insert(list, entries, n)
}

// Visit copies to rows, in order, those links for which visited is not epoch, makes
// it epoch and returns how many they are. Links of len(visited) and more are
// passed over. rows is at least as long as links; what lies behind the n rows is
// arbitrary. Links are read atomically, each for itself: another goroutine may
// store some meanwhile.
//
// The beginnings of the rows in codes, stride bytes apart, are prefetched: they are
// what a caller reads next.
func Visit(rows, links []uint32, visited []byte, epoch byte, codes []byte, stride int) (n int) {
	checkOut(len(rows), len(links))
	return active.visit(rows, links, visited, epoch, unsafe.Pointer(unsafe.SliceData(codes)), stride)
}

// Prefetch asks the processor to bring the beginning of s, three cache lines,
// into its cache, for use shortly: the links of the next node, the next vector
// that goes to Dot. It never faults and changes no result.
func Prefetch[T any](s []T) { prefetch(unsafe.Pointer(unsafe.SliceData(s))) }

// Features names the instruction sets in use, for example "avx512f+avx512vnni",
// "avx2", "neon+dotprod" or "portable".
func Features() string { return active.name }

func checkCodes(query, stride int) {
	if stride <= 0 || stride > MaxStride || stride%Block != 0 || query != stride {
		panic(fmt.Sprintf("simd: query of %d bytes for rows of %d", query, stride))
	}
}

func checkOut(out, rows int) {
	if out < rows {
		panic(fmt.Sprintf("simd: %d results do not fit in %d", rows, out))
	}
}

func panicRow(row uint32, limit int) {
	panic(fmt.Sprintf("simd: row %d of an arena of %d", row, limit))
}
