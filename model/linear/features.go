package linear

import (
	"math"

	"tamv.internal/tamv/model/lexical"
)

// Buckets is the size of the hashed feature space. Features that fall into the
// same bucket share a weight (Weinberger and others, "Feature hashing for large
// scale multitask learning", 2009).
const Buckets = 1 << 16

const (
	minGram = 3
	maxGram = 5
	// Windows of a long text: a short harmful request stays visible however much
	// harmless text surrounds it.
	windowWords  = 40
	windowStride = 20
)

// Features is a window of text as two groups of buckets: words with their pairs,
// and letter n-grams. Each group is a vector of length 1 in which a bucket
// counts as often as it occurs. The zero value is ready for use.
type Features struct {
	Words, Grams []uint32

	hashes []uint64
}

// Scales returns the value of one occurrence in each group.
func (f *Features) Scales() (words, grams float32) {
	return groupScale(len(f.Words)), groupScale(len(f.Grams))
}

func groupScale(n int) float32 {
	if n == 0 {
		return 0
	}
	return float32(1 / math.Sqrt(float64(n)))
}

// Extract replaces the features with those of the words from (included) to (not
// included).
func (f *Features) Extract(w *lexical.Words, from, to int) {
	f.Words, f.Grams = f.Words[:0], f.Grams[:0]
	const start = 0x243f6a8885a308d3 // stands for the word before the first
	before, last := uint64(start), uint64(start)
	for i := from; i < to; i++ {
		word := w.At(i)
		h := lexical.Hash(word)
		f.Words = append(f.Words, bucket(h), bucket(lexical.Pair(last, h)))
		if i > from {
			f.Words = append(f.Words, bucket(lexical.Pair(before+1, h))) // with a gap of one word
		}
		before, last = last, h
		f.hashes = lexical.Grams(f.hashes[:0], word, minGram, maxGram)
		for _, g := range f.hashes {
			f.Grams = append(f.Grams, bucket(g))
		}
	}
}

func bucket(h uint64) uint32 { return uint32(h>>24) % Buckets }

// Windows calls visit with the bounds of each window of n words: the whole text
// if it is short.
func Windows(n int, visit func(from, to int)) {
	for from := 0; ; from += windowStride {
		to := from + windowWords
		if to >= n {
			visit(from, n)
			return
		}
		visit(from, to)
	}
}
