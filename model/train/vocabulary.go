package main

import (
	"math"
	"math/rand/v2"

	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/model/static"
)

// rareProbability is the share of words below which a word counts as rare: all
// rare words weigh the same, as do words that training never saw.
const rareProbability = 1e-4

// rareWeight is the inverse document frequency weight of a rare word.
var rareWeight = -math.Log(rareProbability)

// vocabulary numbers the words of the training texts and holds what the
// contrastive loss moves: a direction per word. Words keep their order of first
// appearance, so the same texts give the same vocabulary.
type vocabulary struct {
	dim     int
	number  map[string]int32
	words   []string
	count   []int
	weight  []float32 // inverse document frequency
	initial []float32 // directions before training, len(words) x dim
	vectors []float32 // directions, len(words) x dim
	moved   []float32 // sum of squared gradients of each word, for the step size
	cut     lexical.Words
}

func newVocabulary(dim int) *vocabulary {
	return &vocabulary{dim: dim, number: make(map[string]int32)}
}

// encode returns the numbers of a text's words, giving new words a number.
func (v *vocabulary) encode(text string) []int32 {
	v.cut.Cut(text)
	out := make([]int32, v.cut.Len())
	for i := range out {
		word := v.cut.At(i)
		n, ok := v.number[string(word)]
		if !ok {
			n = int32(len(v.words))
			v.number[string(word)] = n
			v.words = append(v.words, string(word))
			v.count = append(v.count, 0)
		}
		v.count[n]++
		out[i] = n
	}
	return out
}

// prepare gives every word its weight and its first direction. Each language's
// texts vote on how common a word is, and the higher vote counts, so that a
// function word of one language is light even if the other hardly has it.
func (v *vocabulary) prepare(languages ...[][]int32) {
	probability := make([]float64, len(v.words))
	for _, texts := range languages {
		in := make([]int, len(v.words))
		last := make([]int, len(v.words))
		for i, text := range texts {
			for _, w := range text {
				if last[w] != i+1 {
					last[w] = i + 1
					in[w]++
				}
			}
		}
		for w, n := range in {
			probability[w] = max(probability[w], float64(n)/float64(len(texts)+1))
		}
	}
	v.weight = make([]float32, len(v.words))
	v.vectors = make([]float32, len(v.words)*v.dim)
	v.moved = make([]float32, len(v.words))
	var scratch []uint64
	for w, word := range v.words {
		v.weight[w] = float32(-math.Log(max(probability[w], rareProbability)))
		scratch = static.Compose(v.vector(int32(w)), []byte(word), 1, scratch)
	}
	v.initial = append([]float32(nil), v.vectors...)
}

func (v *vocabulary) vector(w int32) []float32 {
	return v.vectors[int(w)*v.dim : (int(w)+1)*v.dim]
}

// sentence writes the weighted sum of the words' directions to acc.
func (v *vocabulary) sentence(acc []float32, words []int32) {
	clear(acc)
	for _, w := range words {
		weight, row := v.weight[w], v.vector(w)
		for i, c := range row {
			acc[i] += float32(weight * c)
		}
	}
}

// dropout returns the words with some left out, at least one kept.
func dropout(rng *rand.Rand, words []int32, share float64) []int32 {
	var out []int32
	for _, w := range words {
		if rng.Float64() >= share {
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		return words
	}
	return out
}
