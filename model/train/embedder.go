package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/static"
	"tamv.internal/tamv/model/train/corpus"
)

// material is everything that training reads, held-out texts removed.
type material struct {
	clinc, banking []dataset.Labeled
	clincOthers    []dataset.Labeled // audit only
	moderation     []dataset.Moderated
	behaviors      []string
	own            []corpus.Text
	pairs          []corpus.Pair
	bitext         bitext
	manual         []passage
}

// embedderSettings shape the table.
type embedderSettings struct {
	Dim      int
	Rows     int // most words to keep
	Common   int // common directions to take out
	Contrast contrastive
}

// trainEmbedder returns the table without its relevance threshold.
func trainEmbedder(m material, s embedderSettings, log io.Writer) static.Table {
	v := newVocabulary(s.Dim)
	t := encodeTexts(v, m)
	v.prepare(t.english, t.spanish)
	fmt.Fprintf(log, "embedder: %d words, %d English and %d Spanish texts, %d translations\n",
		len(v.words), len(t.english), len(t.spanish), len(t.aligned))
	s.Contrast.train(v, t.shares(), log)

	table := static.Table{Dim: s.Dim, Unknown: float32(rareWeight), Words: make(map[string][]float32)}
	for _, w := range v.mostUseful(s.Rows) {
		scaled := make([]float32, s.Dim)
		addScaled(scaled, v.vector(w), v.weight[w])
		table.Words[v.words[w]] = scaled
	}
	table.Common = v.commonDirections(append(t.english, t.spanish...), s.Common)
	return table
}

// encoded is the material as word numbers.
type encoded struct {
	english, spanish [][]int32
	aligned, related [][2][]int32
	own              [][2][]int32 // the project's own translations
	answers          [][2][]int32 // the manual's questions with their passages, in and across languages
	classes          [][][]int32  // texts of the same intent
}

func encodeTexts(v *vocabulary, m material) encoded {
	var t encoded
	class := make(map[string]int)
	labeled := func(prefix string, texts []dataset.Labeled) {
		for _, x := range texts {
			words := v.encode(x.Text)
			t.english = append(t.english, words)
			key := prefix + x.Class
			n, ok := class[key]
			if !ok {
				n = len(t.classes)
				class[key] = n
				t.classes = append(t.classes, nil)
			}
			t.classes[n] = append(t.classes[n], words)
		}
	}
	labeled("clinc ", m.clinc)
	labeled("banking ", m.banking)
	for _, x := range m.moderation {
		words := v.encode(x.Text)
		t.english = append(t.english, words[:min(len(words), 100)])
	}
	for _, x := range m.behaviors {
		t.english = append(t.english, v.encode(x))
	}
	for _, x := range m.own {
		words := v.encode(x.Text)
		if x.Lang == "es" {
			t.spanish = append(t.spanish, words)
		} else {
			t.english = append(t.english, words)
		}
	}
	both := func(en, es string) [2][]int32 {
		p := [2][]int32{v.encode(en), v.encode(es)}
		t.english, t.spanish = append(t.english, p[0]), append(t.spanish, p[1])
		return p
	}
	for _, p := range m.pairs {
		t.own = append(t.own, both(p.English, p.Spanish))
	}
	for _, p := range m.bitext.aligned {
		t.aligned = append(t.aligned, both(p[0], p[1]))
	}
	for _, p := range m.manual {
		for _, pair := range p.translations() {
			t.own = append(t.own, both(pair[0], pair[1]))
		}
		for _, title := range p.title {
			for _, content := range p.content {
				t.answers = append(t.answers, [2][]int32{v.encode(title), v.encode(content)})
			}
		}
	}
	for _, p := range m.bitext.related {
		t.related = append(t.related, [2][]int32{v.encode(p[0]), v.encode(p[1])})
	}
	return t
}

// shares says from which sources a batch is drawn.
func (t encoded) shares() []share {
	const keyRange = 1 << 20 // keeps the keys of different sources apart
	pairs := func(list [][2][]int32, base int) drawer {
		return func(rng *rand.Rand) (a, b []int32, key int) {
			n := rng.IntN(len(list))
			return dropout(rng, list[n][0], 0.1), dropout(rng, list[n][1], 0.1), base*keyRange + n
		}
	}
	self := func(list [][]int32, base int) drawer {
		return func(rng *rand.Rand) (a, b []int32, key int) {
			n := rng.IntN(len(list))
			return dropout(rng, list[n], 0.3), dropout(rng, list[n], 0.3), base*keyRange + n
		}
	}
	classes := func(rng *rand.Rand) (a, b []int32, key int) {
		n := rng.IntN(len(t.classes))
		list := t.classes[n]
		return list[rng.IntN(len(list))], list[rng.IntN(len(list))], 5*keyRange + n
	}
	candidates := []struct {
		percent, size int
		draw          drawer
	}{
		{shareAligned, len(t.aligned), pairs(t.aligned, 0)},
		{shareRelated, len(t.related), pairs(t.related, 1)},
		{shareOwn, len(t.own), pairs(t.own, 2)},
		{shareEnglish, len(t.english), self(t.english, 3)},
		{shareSpanish, len(t.spanish), self(t.spanish, 4)},
		{shareClasses, len(t.classes), classes},
		{shareAnswers, len(t.answers), pairs(t.answers, 6)},
	}
	var out []share
	for _, c := range candidates {
		if c.size > 0 {
			out = append(out, share{c.percent, c.draw})
		}
	}
	return out
}

// How many of a hundred pairs come from which source.
const (
	shareAligned = 34
	shareRelated = 13
	shareOwn     = 9
	shareAnswers = 4
	shareEnglish = 15
	shareSpanish = 15
	shareClasses = 10
)

// mostUseful returns the numbers of the most frequent words that have a weight
// or direction of their own.
func (v *vocabulary) mostUseful(limit int) []int32 {
	var out []int32
	for w := range v.words {
		if v.count[w] > 1 || v.moved[w] > 0 {
			out = append(out, int32(w))
		}
	}
	slices.SortStableFunc(out, func(a, b int32) int { return v.count[b] - v.count[a] })
	return out[:min(limit, len(out))]
}

// commonDirections returns the first principal directions of the texts' unit
// vectors by power iteration with deflation.
func (v *vocabulary) commonDirections(texts [][]int32, n int) [][]float32 {
	units := make([]float32, len(texts)*v.dim)
	for i, text := range texts {
		u := row(units, i, v.dim)
		v.sentence(u, text)
		normalize(u)
	}
	var out [][]float32
	for k := range n {
		d := make([]float32, v.dim)
		for i := range d {
			d[i] = float32(math.Cos(float64(i*(k+1)) + 0.5))
		}
		normalize(d)
		for range 30 {
			next := make([]float32, v.dim)
			for i := range texts {
				u := row(units, i, v.dim)
				addScaled(next, u, float32(dot(u, d)))
			}
			for _, known := range out {
				addScaled(next, known, -float32(dot(next, known)))
			}
			normalize(next)
			d = next
		}
		out = append(out, d)
	}
	return out
}
