// Package simd holds the inner loops of vector search: dot products of 8-bit
// codes, Hamming distances of 1-bit codes and the dot product of float32
// vectors, each in portable Go and in the vector instructions of amd64 and
// arm64. The fastest version the processor has is chosen once, when the program
// starts; [Features] names it.
//
// # Exactness
//
// Dots, DotsLinear and Hammings compute integers, so every version returns the
// same answer. Dot rounds in one fixed order that every version follows, so its
// answer is the same bits everywhere. A graph built with this package is
// therefore identical on every replica, whatever its processor.
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
// table of functions and so escape: hold out and rows in a scratch structure that is reused, not on the
// stack. Distinct calls may run at once; concurrent writes to codes race as with
// any slice.
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
