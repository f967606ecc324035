// Package linear classifies text with logistic regression over hashed words,
// word pairs and letter n-grams: a few microseconds per request, in pure Go.
// Its weights in this tree are the learned part of the ethical audit.
//
// # How it works
//
// A text is folded and cut into words (model/lexical), longer texts into
// overlapping windows. Every label has one weight per hash bucket; a window's
// logit is the sum of its features' weights, brought to a probability by a line
// fitted on texts that the weights were not trained on (Platt, "Probabilistic
// outputs for support vector machines", 1999). A text's score is its worst
// window's, so padding a request with harmless text does not hide it.
//
// # Guarantees
//
// Scores lie in [0,1] and are never NaN. The same text gives the same scores. A
// Classifier is immutable and safe for concurrent use, and allocates nothing
// but its answer.
//
// # Limits
//
// It knows the words, spellings and word pairs it was trained on, in English and
// Spanish. It does not follow an argument, notice irony or read between the
// lines: docs/QUALITY.md shows where it fails. It is a first filter before rules
// and human guardians, not a judge.
package linear

import (
	"context"
	"math"
	"slices"
	"sync"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/model/weights"
)

// lanes is the number of weights stored per bucket, the most labels there can be.
const lanes = 8

// Classifier is a model.Classifier. Make one with Default or New.
type Classifier struct {
	id     string
	labels []string
	scale  [lanes]float32 // of the label's integer weights
	slope  [lanes]float32 // calibration: probability = sigmoid(slope logit + offset)
	offset [lanes]float32
	cells  []int8 // weights of bucket i are cells[i*lanes : (i+1)*lanes]

	scratch sync.Pool // of *scratch
}

var _ model.Classifier = (*Classifier)(nil)

type scratch struct {
	words    lexical.Words
	features Features
}

// Default returns the audit classifier whose weights are in the binary.
func Default() (*Classifier, error) { return New(weights.Audit) }

// ID names the weights by a digest of their bytes.
func (c *Classifier) ID() string { return c.id }

// Labels lists the labels in the order of Classify's answer.
func (c *Classifier) Labels() []string { return slices.Clone(c.labels) }

// Classify returns every label's probability.
func (c *Classifier) Classify(ctx context.Context, text string) (model.Scores, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := lexical.Check(text); err != nil {
		return nil, err
	}
	s, ok := c.scratch.Get().(*scratch)
	if !ok {
		s = new(scratch)
	}
	defer c.scratch.Put(s)
	s.words.Cut(text)
	var worst [lanes]float32
	for k := range worst {
		worst[k] = float32(math.Inf(-1))
	}
	Windows(s.words.Len(), func(from, to int) {
		s.features.Extract(&s.words, from, to)
		logits := c.logits(&s.features)
		for k := range worst {
			worst[k] = max(worst[k], logits[k])
		}
	})
	scores := make(model.Scores, len(c.labels))
	for k, name := range c.labels {
		scores[k] = model.Score{Name: name, Score: sigmoid(c.slope[k]*worst[k] + c.offset[k])}
	}
	return scores, nil
}

// logits sums integers, which makes the sum independent of the order.
func (c *Classifier) logits(f *Features) [lanes]float32 {
	words, grams := c.sum(f.Words), c.sum(f.Grams)
	wordScale, gramScale := f.Scales()
	var out [lanes]float32
	for k := range out {
		out[k] = c.scale[k] * (float32(wordScale*float32(words[k])) + float32(gramScale*float32(grams[k])))
	}
	return out
}

func (c *Classifier) sum(buckets []uint32) [lanes]int32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 int32
	for _, b := range buckets {
		w := c.cells[int(b)*lanes : int(b)*lanes+lanes]
		s0 += int32(w[0])
		s1 += int32(w[1])
		s2 += int32(w[2])
		s3 += int32(w[3])
		s4 += int32(w[4])
		s5 += int32(w[5])
		s6 += int32(w[6])
		s7 += int32(w[7])
	}
	return [lanes]int32{s0, s1, s2, s3, s4, s5, s6, s7}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }
