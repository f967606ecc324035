package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"tamv.internal/tamv/model/static"
)

// contrastive holds the settings of the embedder's training. Two texts that
// mean the same are pulled together and all others of the batch pushed away
// (InfoNCE: van den Oord, Li and Vinyals, "Representation learning with
// contrastive predictive coding", 2018).
type contrastive struct {
	Steps       int
	Batch       int
	Temperature float64
	Rate        float64 // step length of a word's direction (AdaGrad, one rate per word)
	Anchor      float64 // pull towards the untrained direction, per update
	Seed        uint64
}

// drawer makes one pair of texts that mean the same, and a key: no two pairs of
// a batch may have the same key, since the other pairs are negatives.
type drawer func(rng *rand.Rand) (a, b []int32, key int)

// share is a source of pairs and how many of a batch's hundred it gives.
type share struct {
	percent int
	draw    drawer
}

// train moves the vocabulary's directions. It is sequential on purpose: the same
// input gives the same bits.
func (c contrastive) train(v *vocabulary, shares []share, log io.Writer) {
	rng := rand.New(rand.NewPCG(c.Seed, 1))
	var table []drawer
	for _, s := range shares {
		for range s.percent {
			table = append(table, s.draw)
		}
	}
	b := newBatch(c.Batch, v.dim)
	total := 0.0
	for step := range c.Steps {
		b.fill(rng, table)
		total += b.gradients(v, c.Temperature)
		rate := c.Rate * (1 - 0.9*float64(step)/float64(c.Steps))
		b.apply(v, rate, c.Anchor)
		if (step+1)%200 == 0 {
			fmt.Fprintf(log, "  step %d of %d: loss %.4f\n", step+1, c.Steps, total/200)
			total = 0
		}
	}
}

// batch is one step's texts, their unit vectors and gradients. Text i of side 0
// means the same as text i of side 1.
type batch struct {
	size, dim int
	texts     [2][][]int32
	unit      [2][]float32 // size x dim
	length    [2][]float64
	grad      [2][]float32 // of the loss by the unit vectors
	logits    []float64    // size x size
	word      []float32    // gradient of one text by its sum
}

func newBatch(size, dim int) *batch {
	b := &batch{size: size, dim: dim, logits: make([]float64, size*size), word: make([]float32, dim)}
	for side := range 2 {
		b.texts[side] = make([][]int32, size)
		b.unit[side] = make([]float32, size*dim)
		b.grad[side] = make([]float32, size*dim)
		b.length[side] = make([]float64, size)
	}
	return b
}

// fill draws the batch. With too few different pairs for a batch it gives up on
// distinct keys rather than never ending.
func (b *batch) fill(rng *rand.Rand, table []drawer) {
	used := make(map[int]bool, b.size)
	for i, tries := 0, 0; i < b.size; tries++ {
		x, y, key := table[rng.IntN(len(table))](rng)
		if len(x) == 0 || len(y) == 0 || used[key] && tries < 100*b.size {
			continue
		}
		used[key] = true
		b.texts[0][i], b.texts[1][i] = x, y
		i++
	}
}

func row(m []float32, i, dim int) []float32 { return m[i*dim : (i+1)*dim] }

// gradients computes the symmetric loss and its gradient by every unit vector.
func (b *batch) gradients(v *vocabulary, temperature float64) float64 {
	for side := range 2 {
		clear(b.grad[side])
		for i, text := range b.texts[side] {
			u := row(b.unit[side], i, b.dim)
			v.sentence(u, text)
			b.length[side][i] = normalize(u)
		}
	}
	for i := range b.size {
		for j := range b.size {
			b.logits[i*b.size+j] = dot(row(b.unit[0], i, b.dim), row(b.unit[1], j, b.dim)) / temperature
		}
	}
	loss := 0.0
	scale := 1 / (2 * float64(b.size) * temperature)
	for i := range b.size {
		loss += b.softmax(i, i*b.size, 1, scale, 0) // text i of side 0 looks for its pair
		loss += b.softmax(i, i, b.size, scale, 1)   // and the other way round
	}
	return loss / float64(2*b.size)
}

// softmax adds the gradient of one row (stride 1) or column (stride size) of the
// logits and returns its loss. The text that looks is number i of the side.
func (b *batch) softmax(i, start, stride int, scale float64, side int) float64 {
	largest := math.Inf(-1)
	for j := range b.size {
		largest = max(largest, b.logits[start+j*stride])
	}
	sum := 0.0
	for j := range b.size {
		sum += math.Exp(b.logits[start+j*stride] - largest)
	}
	mine, myGrad := row(b.unit[side], i, b.dim), row(b.grad[side], i, b.dim)
	for j := range b.size {
		p := math.Exp(b.logits[start+j*stride]-largest) / sum
		if j == i {
			p--
		}
		if p < 1e-5 && p > -1e-5 {
			continue
		}
		g := float32(p * scale)
		addScaled(myGrad, row(b.unit[1-side], j, b.dim), g)
		addScaled(row(b.grad[1-side], j, b.dim), mine, g)
	}
	return largest + math.Log(sum) - b.logits[start+i*stride]
}

// apply carries the gradients back to the words' directions.
func (b *batch) apply(v *vocabulary, rate, anchor float64) {
	for side := range 2 {
		for i, text := range b.texts[side] {
			u, g := row(b.unit[side], i, b.dim), row(b.grad[side], i, b.dim)
			// Only the part across u changes the unit vector.
			along := float32(dot(u, g))
			for k := range b.word {
				b.word[k] = g[k] - float32(along*u[k])
			}
			inverse := 1 / b.length[side][i]
			for _, w := range text {
				v.step(w, b.word, float64(v.weight[w])*inverse, rate, anchor)
			}
		}
	}
}

// step moves one word against its gradient, factor times g.
func (v *vocabulary) step(w int32, g []float32, factor, rate, anchor float64) {
	squared := float32(factor * factor * dot(g, g))
	if squared == 0 {
		return
	}
	v.moved[w] += squared
	step := float32(rate * factor / math.Sqrt(float64(v.moved[w])))
	pull := float32(anchor)
	vector, initial := v.vector(w), row(v.initial, int(w), v.dim)
	for i := range vector {
		vector[i] -= float32(step*g[i]) + float32(pull*(vector[i]-initial[i]))
	}
}

func addScaled(acc, v []float32, scale float32) {
	v = v[:len(acc)]
	for i := range acc {
		acc[i] += float32(scale * v[i])
	}
}

func normalize(v []float32) float64 {
	length := math.Sqrt(dot(v, v))
	static.Normalize(v, nil)
	return max(length, 1e-9)
}

// dot sums in four lanes of a fixed order.
func dot(a, b []float32) float64 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		s0 += float32(a[0] * b[0])
		s1 += float32(a[1] * b[1])
		s2 += float32(a[2] * b[2])
		s3 += float32(a[3] * b[3])
		a, b = a[4:], b[4:]
	}
	return float64((s0 + s1) + (s2 + s3))
}
