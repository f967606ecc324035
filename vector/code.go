package vector

import (
	"math"
	"math/bits"
	"slices"

	"tamv.internal/tamv/vector/simd"
)

// Codes. A component c becomes the nearest whole number of steps, at most
// maxCode of them, stored with codeZero added; a step is range/maxCode for the
// whole index, so that the dot product of two codes times step*step is close to
// that of the vectors. Arithmetic on codes is exact: every replica builds the
// same graph from the same vectors, whatever its processor.
//
// A 1-bit code is the signs of the vector after a rotation that spreads what
// lies in few components over all of them: random signs, then a Walsh-Hadamard
// transform (Ailon and Chazelle, "The Fast Johnson-Lindenstrauss Transform",
// SIAM J. Comput. 2009). The angle of two vectors shows as the number of signs
// that differ.

const (
	maxCode  = 127
	codeZero = 128
	// sampleRows is how many vectors are stored before the range of codes is
	// learned from them. Until then an index is small enough to compare floats.
	sampleRows = 256
	// sampleMargin is how far beyond the largest component of the sample the
	// range reaches.
	sampleMargin = 1.25
	// smallestRange keeps the square of a step a normal number.
	smallestRange = 1e-30
)

// coder makes codes. It does not change.
type coder struct {
	limit float32 // the range
	step  float64 // limit / maxCode
	flips []uint64
	reach []float64 // see newReach
}

func newCoder(cfg Config, limit float32) *coder {
	c := &coder{limit: limit, step: float64(limit) / maxCode}
	if cfg.hasBits() {
		state := leading64(cfg.Seed[:])
		c.flips = make([]uint64, bitWords(cfg.Dim))
		for i := range c.flips {
			c.flips[i] = splitmix64(state + uint64(i))
		}
		c.reach = newReach(64 * len(c.flips))
	}
	return c
}

// learnRange returns the range for vectors like these.
func learnRange(metric Metric, vectors []float32) float32 {
	limit := min(largestOf(vectors)*sampleMargin, MaxComponent)
	if metric == Cosine {
		limit = min(limit, 1)
	}
	if limit < smallestRange {
		return 1 // nothing but zeros: any range does
	}
	return limit
}

// largestOf returns the largest magnitude among finite numbers, which are ordered
// like their bits.
func largestOf(numbers []float32) float32 {
	var even, odd uint32 // comparisons that need not wait for each other
	for ; len(numbers) >= 2; numbers = numbers[2:] {
		even = max(even, math.Float32bits(numbers[0])&^(1<<31))
		odd = max(odd, math.Float32bits(numbers[1])&^(1<<31))
	}
	if len(numbers) > 0 {
		even = max(even, math.Float32bits(numbers[0])&^(1<<31))
	}
	return math.Float32frombits(max(even, odd))
}

// quantize writes the signed code of v, zero padded, and returns its squared
// length and the squared length of what was lost.
func quantize(code []int8, v []float32, step float64) (square uint32, loss float64) {
	perStep := 1 / step
	for i, c := range v {
		q := math.RoundToEven(float64(c) * perStep)
		q = min(max(q, -maxCode), maxCode)
		d := float64(c) - float64(q*step)
		loss += float64(d * d)
		code[i] = int8(q)
		square += uint32(int32(q) * int32(q))
	}
	clear(code[len(v):])
	return square, loss
}

// clamps reports whether v has a component beyond the range.
func (c *coder) clamps(v []float32) bool {
	return slices.ContainsFunc(v, func(x float32) bool { return x > c.limit || x < -c.limit })
}

// norm returns the length of v.
func norm(v []float32) float64 {
	const lanes = 4 // additions that need not wait for each other
	var sum [lanes]float64
	i := 0
	for ; i+lanes <= len(v); i += lanes {
		x := (*[lanes]float32)(v[i:])
		for lane := range sum {
			sum[lane] += float64(float64(x[lane]) * float64(x[lane]))
		}
	}
	for ; i < len(v); i++ {
		sum[0] += float64(float64(v[i]) * float64(v[i]))
	}
	return math.Sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]))
}

// flipSign converts codes between signed bytes and bytes with codeZero added.
func flipSign[A, B byte | int8](to []A, from []B) {
	const signs = codeZero * 0x0101010101010101
	source := words64(from)
	for i := range words64(to) {
		words64(to)[i] = source[i] ^ signs
	}
}

// sqrtUp is the square root of a sum that may be rounded down, rounded up.
func sqrtUp(sum float64) float64 { return math.Sqrt(sum) * (1 + 1e-6) }

// bitWords is the number of words of a 1-bit code: one bit for each component
// after rotation, whose number is a power of two.
func bitWords(dim int) int { return max(1, 1<<bits.Len(uint(dim-1))/64) }

// signs writes the 1-bit code of v. work is as long as the code has bits.
func (c *coder) signs(code []uint64, v, work []float32) {
	clear(work[copy(work, v):])
	simd.Signs(code, c.flips, work)
}
