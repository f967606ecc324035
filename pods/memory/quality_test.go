package memory

import (
	"cmp"
	"context"
	"flag"
	"slices"
	"testing"

	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/static"
)

var qualityData = flag.String("quality-data", "", "directory with the public sets that model/dataset names, for BenchmarkQuality")

// BenchmarkQuality reports for how many per cent of XQuAD's questions each way of
// ranking puts the right paragraph first:
//
//	go test ./pods/memory -run - -bench Quality -benchtime 1x -quality-data DIR
func BenchmarkQuality(b *testing.B) {
	if *qualityData == "" {
		b.Skip("-quality-data names no directory")
	}
	english, spanish := readQuestions(b, "en"), readQuestions(b, "es")
	both := english.join(spanish)
	for name, set := range map[string]*questions{"en": english, "es": spanish, "both": both} {
		scores := set.scores()
		for way, rank := range ways {
			b.Run(name+"/"+way, func(b *testing.B) {
				for b.Loop() {
					b.ReportMetric(100*set.first(scores, rank), "%first")
				}
			})
		}
	}
}

type questions struct {
	paragraphs, texts     []string
	right                 []int
	vectors, textsVectors [][]float32
}

func readQuestions(b *testing.B, lang string) *questions {
	paragraphs, list, err := dataset.ReadXQuAD(*qualityData, lang)
	if err != nil {
		b.Fatal(err)
	}
	s := &questions{paragraphs: paragraphs}
	for _, q := range list {
		s.texts, s.right = append(s.texts, q.Text), append(s.right, q.Paragraph)
	}
	e, err := static.Default()
	if err != nil {
		b.Fatal(err)
	}
	if s.vectors, err = e.Embed(context.Background(), s.paragraphs); err != nil {
		b.Fatal(err)
	}
	if s.textsVectors, err = e.Embed(context.Background(), s.texts); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *questions) join(o *questions) *questions {
	j := &questions{
		paragraphs: slices.Concat(s.paragraphs, o.paragraphs), texts: slices.Concat(s.texts, o.texts),
		vectors: slices.Concat(s.vectors, o.vectors), textsVectors: slices.Concat(s.textsVectors, o.textsVectors),
		right: slices.Clone(s.right),
	}
	for _, r := range o.right {
		j.right = append(j.right, r+len(s.paragraphs))
	}
	return j
}

// score is how a paragraph fits a question.
type score struct {
	candidate
	byCosine, byOverlap int // places, from 1
}

var ways = map[string]func(s *score) float64{
	"cosine": func(s *score) float64 { return float64(s.cosine) },
	"bm25":   func(s *score) float64 { return s.words.overlap },
	"rrf":    func(s *score) float64 { return 1/float64(60+s.byCosine) + 1/float64(60+s.byOverlap) },
	"cosine+overlap": func(s *score) float64 {
		return float64(s.cosine) + s.words.overlap
	},
	"hybrid": func(s *score) float64 { return (&query{ranking: hybrid}).rank(&s.candidate) },
}

func (s *questions) scores() [][]score {
	l := newLexicon()
	for i, p := range s.paragraphs {
		words := newBag(p)
		l.add(uint32(i), &words)
	}
	all := make([][]score, len(s.texts))
	for i := range s.texts {
		q := l.query(s.texts[i])
		row := make([]score, len(s.paragraphs))
		for j := range row {
			row[j].cosine, row[j].words = cosine(s.textsVectors[i], s.vectors[j]), q.match(uint32(j))
		}
		place := func(value func(*score) float64, at func(*score) *int) {
			order := make([]*score, len(row))
			for j := range row {
				order[j] = &row[j]
			}
			slices.SortStableFunc(order, func(a, b *score) int { return cmp.Compare(value(b), value(a)) })
			for place, s := range order {
				*at(s) = place + 1
			}
		}
		place(ways["cosine"], func(s *score) *int { return &s.byCosine })
		place(ways["bm25"], func(s *score) *int { return &s.byOverlap })
		all[i] = row
	}
	return all
}

// first is the share of questions whose paragraph has the highest rank.
func (s *questions) first(scores [][]score, rank func(*score) float64) float64 {
	hits := 0
	for i, row := range scores {
		want, better := rank(&row[s.right[i]]), false
		for j := range row {
			better = better || j != s.right[i] && rank(&row[j]) >= want
		}
		if !better {
			hits++
		}
	}
	return float64(hits) / float64(len(scores))
}
