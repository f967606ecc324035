package vector

import (
	"math"
	"math/bits"

	"tamv.internal/tamv/vector/simd"
)

// Sifting. The code of a row of 1,536 dimensions is 24 cache lines, mostly not in
// the processor's cache, and four in five neighbours that a walk measures turn
// out to be farther away than all its candidates. Of long vectors under Cosine an
// index keeps 1-bit codes too, a sixth as long, and a walk that has all its
// candidates passes over the neighbours that by those are too far.
//
// Of two vectors after a random rotation, each sign differs with probability
// angle/π (Charikar, "Similarity Estimation Techniques from Rounding Algorithms",
// STOC 2002). So the number of differing signs limits the angle from below, as
// certainly as one likes (Wilson, J. Am. Stat. Assoc. 1927).

const (
	// siftDim is the number of dimensions from which that pays: a seventh of the time
	// with 768, a quarter with 1,536. With 384 it costs what it saves, a code being
	// six cache lines, and with 100 signs tell little.
	siftDim = 512
	// siftSigmas is how sure a walk is of passing over a neighbour rightly. With 1
	// one in six of those that are just near enough is passed over, but hardly any
	// of the near ones that are searched for: with 30,000 vectors of 1,536
	// dimensions recall falls by less than 0.0005, and a fifth is measured.
	siftSigmas = 1
)

// hasBits reports whether rows have 1-bit codes.
func (c *Config) hasBits() bool {
	return c.Tier == Bits || c.Metric == Cosine && c.Dim >= siftDim && c.EfConstruction != Unlinked
}

// sifts reports whether a walk sifts neighbours before it measures them.
func (v *view) sifts() bool { return v.shape.words > 0 && v.cfg.Tier != Bits }

// newReach returns, for each number of n signs that may differ, the largest cosine
// to be expected. It is the same on every processor: explicit conversions forbid
// fusing a product into a sum.
func newReach(n int) []float64 {
	const z = siftSigmas
	reach := make([]float64, n+1)
	all := float64(n)
	for differing := range reach {
		p := float64(differing) / all
		spread := math.Sqrt(float64(p*(1-p))/all + float64(z*z)/float64(4*all*all))
		low := (p + float64(z*z)/float64(2*all) - float64(z*spread)) / (1 + float64(z*z)/all)
		reach[differing] = cosine(float64(math.Pi * max(low, 0)))
	}
	return reach
}

// cosine returns the cosine of x in 0..π, by the power series of the sine of its
// half. math.Cos may differ between processors in the last bit.
func cosine(x float64) float64 {
	half := x / 2
	square := float64(half * half)
	sine, term := half, half
	for i := 2.0; i < 24; i += 2 {
		term = -float64(term*square) / float64(i*(i+1))
		sine += term
	}
	return 1 - float64(2*float64(sine*sine))
}

// sift takes those out of s.rows that are, by their 1-bit codes, not nearer than
// key.
func (v *view) sift(s *scratch, q *query, key uint32) {
	nearer := v.coder.signsWithin(v.cosineOf(q, key))
	keys := s.keys[:len(s.rows)]
	simd.Hammings(keys, q.bits, v.bits, v.shape.words, s.rows)
	n := 0
	for i, differing := range keys { // without branches, see nearer
		s.rows[n] = s.rows[i]
		_, less := bits.Sub32(differing, nearer, 0)
		n += int(less)
	}
	s.rows = s.rows[:n]
}

// cosineOf returns the cosine that a key stands for, if rows have unit length.
func (v *view) cosineOf(q *query, key uint32) float64 {
	return float64(dotOf(key)) * float64(q.step*v.coder.step)
}

// signsWithin returns the least number of differing signs that a cosine above
// this one is not to be expected with.
func (c *coder) signsWithin(cosine float64) uint32 {
	low, high := 0, len(c.reach)
	for low < high {
		if middle := (low + high) / 2; c.reach[middle] > cosine {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return uint32(low)
}
