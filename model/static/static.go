// Package static embeds text with a table of word vectors and no neural network:
// a microsecond or so per sentence, in pure Go, without a GPU and without memory
// beyond its table.
//
// # How it works
//
// A text is folded and cut into words (model/lexical). A known word has a row of
// int8 numbers times a scale. A word that is not in the table is composed of
// pseudo-random directions of itself and its letter n-grams, so that unknown
// inflections, names and typing errors still find their relatives. The rows are
// added up, the directions common to all text are taken out (Arora, Liang and
// Ma, "A simple but tough-to-beat baseline for sentence embeddings", 2017), and
// the sum is scaled to length 1.
//
// Rows start as the same composition times the word's inverse document
// frequency; model/train then moves them with a contrastive loss over
// translations, paraphrases and synonyms, which is what brings "evidence" and
// "prueba" together.
//
// # Guarantees
//
// Rows have length 1 within 1e-6. The same text gives the same bits on every
// architecture: every product is rounded before it is added, and sums run in a
// fixed order. An Embedder is immutable and safe for concurrent use.
//
// # Limits
//
// Word order and negation are invisible, a word has one meaning, and a long
// text is the average of its words: embed passages, not chapters. The measured
// quality is in docs/QUALITY.md.
package static

import (
	"context"
	"fmt"
	"math"
	"sync"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/model/weights"
)

// Embedder is a model.Embedder. Make one with Default or New.
type Embedder struct {
	id        string
	dim       int
	threshold float32
	unknown   float32          // weight of a word without a row
	common    [][]float32      // unit directions to take out
	row       map[uint32]int32 // low half of a word's hash -> row
	scales    []float32        // of each row
	cells     []int8           // row i is cells[i*dim : (i+1)*dim]

	scratch sync.Pool // of *scratch
}

var _ model.Embedder = (*Embedder)(nil)

// scratch is what one call needs and the next can reuse.
type scratch struct {
	words lexical.Words
	grams []uint64
}

// Default returns the embedder whose weights are in the binary.
func Default() (*Embedder, error) { return New(weights.Static) }

// ID names the weights by a digest of their bytes.
func (e *Embedder) ID() string { return e.id }

// Dim returns the length of a row.
func (e *Embedder) Dim() int { return e.dim }

// Languages returns English and Spanish.
func (e *Embedder) Languages() []string { return []string{"en", "es"} }

// RelevanceThreshold returns the cosine above which a passage is worth showing.
// Training sets it so that of questions which no passage answers, one in ten
// finds a passage above it among 48 calibration passages.
func (e *Embedder) RelevanceThreshold() float32 { return e.threshold }

// Embed returns a row of length 1 for each text.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	cells := make([]float32, len(texts)*e.dim)
	rows := make([][]float32, len(texts))
	s, ok := e.scratch.Get().(*scratch)
	if !ok {
		s = new(scratch)
	}
	defer e.scratch.Put(s)
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := lexical.Check(text); err != nil {
			return nil, fmt.Errorf("text %d of %d: %w", i+1, len(texts), err)
		}
		rows[i] = cells[i*e.dim : (i+1)*e.dim : (i+1)*e.dim]
		e.embed(rows[i], text, s)
	}
	return rows, nil
}

// embed writes the row of a checked text to acc, which is zero.
func (e *Embedder) embed(acc []float32, text string, s *scratch) {
	s.words.Cut(text)
	for i := range s.words.Len() {
		word := s.words.At(i)
		if row, ok := e.row[uint32(lexical.Hash(word))]; ok {
			addScaled(acc, e.cells[int(row)*e.dim:], e.scales[row])
		} else {
			s.grams = Compose(acc, word, e.unknown, s.grams)
		}
	}
	Normalize(acc, e.common)
}

// addScaled adds scale times row to acc; row is at least as long as acc, whose
// length is a multiple of 4.
func addScaled(acc []float32, row []int8, scale float32) {
	row = row[:len(acc)]
	for len(acc) >= 4 && len(row) >= 4 {
		acc[0] += float32(scale * float32(row[0]))
		acc[1] += float32(scale * float32(row[1]))
		acc[2] += float32(scale * float32(row[2]))
		acc[3] += float32(scale * float32(row[3]))
		acc, row = acc[4:], row[4:]
	}
}

// Normalize takes the given unit directions out of v and scales v to length 1.
// If nothing would be left it keeps the directions; a vector of zeros becomes
// the first axis, so that the result always has a direction.
func Normalize(v []float32, directions [][]float32) {
	whole := norm(v)
	for _, d := range directions {
		p := float32(dot(v, d))
		for i := range v {
			v[i] -= float32(p * d[i])
		}
	}
	length := norm(v)
	if length < 1e-3*whole {
		for _, d := range directions {
			for i := range v {
				v[i] += float32(float32(whole) * d[i])
			}
		}
		length = norm(v)
	}
	if length == 0 {
		v[0] = 1
		return
	}
	scale := 1 / length
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
}

func norm(v []float32) float64 { return math.Sqrt(dot(v, v)) }

func dot(a, b []float32) float64 {
	b = b[:len(a)]
	var s0, s1 float64
	for i := 0; i+1 < len(a); i += 2 {
		s0 += float64(float64(a[i]) * float64(b[i]))
		s1 += float64(float64(a[i+1]) * float64(b[i+1]))
	}
	return s0 + s1
}
