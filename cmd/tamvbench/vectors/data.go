package vectors

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
	"tamv.internal/tamv/vector/simd"
)

// DataConfig says which sets are made.
type DataConfig struct {
	Out       string // folder
	Words     [][]float32
	Rows      int // of the set glove
	LiftRows  int // of the set lift; 0: none
	LargeRows int // of the set large; 0: none
	Threads   int
	Progress  io.Writer
}

const (
	// Queries is how many queries each set gets.
	Queries = 1000
	// WordDim is the length of a word vector.
	WordDim = 100
	// LiftDim is the length of a lifted vector.
	LiftDim = 1536
)

// MakeData writes the sets, each as NAME.fbin, NAME.query.fbin and the exact
// answer NAME.truth.ibin. All rows have length 1, so cosine, inner product and
// L2 order them alike.
//
//   - glove: real. The first Rows+Queries words by frequency, every n-th of which
//     is a query and not part of the base.
//   - lift: semi-real. The first LiftRows rows of glove and its queries through
//     one fixed random layer tanh(Wx+b) from 100 to 1536 dimensions. Neighbourhoods
//     stay those of the words, but unlike the vectors of a language model the
//     directions are used evenly.
//   - large: all words, then variants of them until there are LargeRows+Queries: a
//     random word plus noise of length 0.5 on average in a random direction, as the
//     versions of a text lie around it. The noise is so long that the set is as hard
//     as the words alone: a local intrinsic dimension of 24, like glove's (see
//     LocalDimension).
func MakeData(c DataConfig) error {
	if len(c.Words) < c.Rows+Queries {
		return tap.E(opWrite, tap.Invalid, "there are %d words: --rows can be at most %d", len(c.Words), len(c.Words)-Queries)
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return tap.Wrap(opWrite, tap.Invalid, err, "%s cannot be made", c.Out)
	}
	base, queries := split(c.Rows, func(i int) []float32 { return c.Words[i] })
	if err := c.set("glove", WordDim, base, queries); err != nil {
		return err
	}
	if c.LiftRows > 0 {
		layer := newLayer()
		lift := func(of rows) rows {
			return rows{of.n, func(i int) []float32 { return layer.apply(of.row(i)) }}
		}
		if err := c.set("lift", LiftDim, lift(rows{min(c.LiftRows, base.n), base.row}), lift(queries)); err != nil {
			return err
		}
	}
	if c.LargeRows > 0 {
		base, queries := split(c.LargeRows, variants(c.Words))
		return c.set("large", WordDim, base, queries)
	}
	return nil
}

// rows is a sequence of vectors. One that row returned is valid until the next
// call.
type rows struct {
	n   int
	row func(i int) []float32
}

// split takes every n-th of the first base+Queries vectors as a query.
func split(base int, all func(i int) []float32) (_, queries rows) {
	step := (base + Queries) / Queries
	return rows{base, func(i int) []float32 {
			if passed := i / (step - 1); passed < Queries {
				return all(i + passed + 1)
			}
			return all(i + Queries)
		}},
		rows{Queries, func(i int) []float32 { return all(i * step) }}
}

// set writes the three files of a set.
func (c DataConfig) set(name string, dim int, base, queries rows) error {
	path := func(end string) string { return filepath.Join(c.Out, name+end) }
	if err := WriteRows(path(".fbin"), base.n, dim, base.row); err != nil {
		return err
	}
	if err := WriteRows(path(".query.fbin"), queries.n, dim, queries.row); err != nil {
		return err
	}
	fmt.Fprintf(c.Progress, "%s: %d x %d and %d queries written; comparing all for the truth ...\n", name, base.n, dim, queries.n)
	return MakeTruth(path(".fbin"), path(".query.fbin"), path(".truth.ibin"), vector.InnerProduct, c.Threads)
}

// MakeTruth writes the exact answer to queries.
func MakeTruth(base, queries, out string, metric vector.Metric, threads int) error {
	asked, err := ReadRows(queries)
	if err != nil {
		return err
	}
	all, err := OpenRows(base)
	if err != nil {
		return err
	}
	defer all.Close() // it was only read
	truth, err := Truth(all, asked, metric, TruthDepth, threads)
	if err != nil {
		return err
	}
	return WriteTruth(out, truth)
}

// layer is a random map from words to longer vectors: tanh(Wx+b), then length 1.
// The entries of W are normal with deviation 1.5, those of b with 0.3, from
// SplitMix64 seeded with 42 by the method of Box and Muller.
type layer struct {
	weights [][]float32
	bias    []float32
	out     []float32
}

func newLayer() *layer {
	l := &layer{weights: make([][]float32, LiftDim), bias: make([]float32, LiftDim), out: make([]float32, LiftDim)}
	state := uint64(42)
	uniform := func() float64 {
		state += 0x9E3779B97F4A7C15
		z := state
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		return float64((z^z>>31)>>11) / (1 << 53)
	}
	normal := func() float64 {
		radius := math.Sqrt(-2 * math.Log(uniform()+1e-300))
		return radius * math.Cos(2*math.Pi*uniform())
	}
	for i := range l.weights {
		l.weights[i] = make([]float32, WordDim)
		for j := range l.weights[i] {
			l.weights[i][j] = float32(normal() * 1.5)
		}
	}
	for i := range l.bias {
		l.bias[i] = float32(normal() * 0.3)
	}
	return l
}

func (l *layer) apply(x []float32) []float32 {
	for i, w := range l.weights {
		l.out[i] = float32(math.Tanh(float64(simd.Dot(w, x) + l.bias[i])))
	}
	return normalise(l.out)
}

// variantNoise is how far a variant lies from its word, on average.
const variantNoise = 0.5

// variants returns the sequence of the set large. Row i depends on the words and i
// alone; it is valid until the next call.
func variants(words [][]float32) func(i int) []float32 {
	out := make([]float32, WordDim)
	return func(i int) []float32 {
		if i < len(words) {
			return words[i]
		}
		rng := rand.New(rand.NewPCG(42, uint64(i)))
		for j, c := range words[rng.IntN(len(words))] {
			out[j] = float32(float64(c) + rng.NormFloat64()*variantNoise/math.Sqrt(WordDim))
		}
		return normalise(out)
	}
}

// normalise gives v length 1, in place. The zero vector stays.
func normalise(v []float32) []float32 {
	var square float64
	for _, c := range v {
		square += float64(c) * float64(c)
	}
	if square == 0 {
		return v
	}
	inverse := 1 / math.Sqrt(square)
	for i, c := range v {
		v[i] = float32(float64(c) * inverse)
	}
	return v
}

// unit returns v with length 1, rounded once; nil for the zero vector and one
// whose length is no finite number.
func unit(v []float64) []float32 {
	var square float64
	for _, c := range v {
		square += float64(c * c)
	}
	if square == 0 || math.IsInf(square, 0) || math.IsNaN(square) {
		return nil
	}
	inverse := 1 / math.Sqrt(square)
	out := make([]float32, len(v))
	for i, c := range v {
		out[i] = float32(c * inverse)
	}
	return out
}
