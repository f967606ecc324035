package static

import (
	"math"

	"tamv.internal/tamv/model/lexical"
)

const (
	minGram = 3
	maxGram = 5
	// gramShare is the length of the sum of a word's letter n-grams relative to
	// the word's own direction.
	gramShare = 1.5
	// spots is how many dimensions a feature touches. A sparse random projection
	// keeps inner products nearly as well as a dense one (Li, Hastie and Church,
	// "Very sparse random projections", 2006) for a fraction of the additions.
	spots = 8
)

// project adds weight times the pseudo-random direction of feature h to acc,
// whose length must be a power of two of at most 256. The direction has spots
// entries of +1 or -1.
func project(acc []float32, h uint64, weight float32) {
	mask := uint64(len(acc) - 1)
	signs := lexical.Mix(h ^ 0x6a09e667f3bcc909)
	for range spots {
		w := weight
		if signs&1 != 0 {
			w = -w
		}
		acc[h&mask] += w
		h >>= 8
		signs >>= 1
	}
}

// Compose adds to acc the direction that a word has without any training: its
// own feature and those of its letter n-grams, so that words which share letters
// are close. The result has about length weight. len(acc) must be a power of
// two of at most 256. The n-gram hashes are made in scratch, which is returned.
func Compose(acc []float32, word []byte, weight float32, scratch []uint64) []uint64 {
	scratch = lexical.Grams(scratch[:0], word, minGram, maxGram)
	// Features are close to orthogonal, so the squared lengths add up.
	share := 0.0
	if len(scratch) > 0 {
		share = gramShare
	}
	unit := float64(weight) / math.Sqrt(spots*(1+share*share))
	project(acc, lexical.Hash(word), float32(unit))
	if len(scratch) > 0 {
		each := float32(unit * share / math.Sqrt(float64(len(scratch))))
		for _, h := range scratch {
			project(acc, h, each)
		}
	}
	return scratch
}
