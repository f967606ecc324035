package chat

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/pods"
)

// How much of what is there an answer takes.
const (
	maxPassages  = 16  // of the recalled ones
	maxSentences = 64  // looked at, of each passage
	maxAnswer    = 3   // sentences
	maxSentence  = 600 // bytes; a longer one is cut at a word
	// keepFrom is the share of the best sentence's score that another needs to
	// stand beside it.
	keepFrom = 0.6
)

// BM25's parameters, and what a passage's similarity counts beside a matched
// word.
const (
	k1           = 1.2
	b            = 0.75
	similarityBy = 1.0
)

// sentence is a piece of a passage.
type sentence struct {
	statement
	source  *pods.Passage
	passage int // its passage's place among the recalled
	place   int // its place in the passage
	score   float64
}

// choose returns the sentences that answer a question best: the best first
// passage first, the sentences of a passage in their order.
func choose(r *reader, question string, passages []pods.Passage) []sentence {
	var all []sentence
	for i := range passages[:min(len(passages), maxPassages)] {
		for place, s := range r.read(passages[i].Content) {
			all = append(all, sentence{statement: s, source: &passages[i], passage: i, place: place})
		}
	}
	score(all, stems(question))
	slices.SortStableFunc(all, func(x, y sentence) int {
		return cmp.Or(cmp.Compare(y.score, x.score), cmp.Compare(x.passage, y.passage), cmp.Compare(x.place, y.place))
	})
	n := 0
	for n < min(len(all), maxAnswer) && all[n].score >= keepFrom*all[0].score && all[n].score > 0 {
		n++
	}
	best := all[:n]
	// Read in an order that makes sense: passages by their best sentence, within
	// one as written.
	rank := map[int]int{}
	for i, s := range best {
		if _, seen := rank[s.passage]; !seen {
			rank[s.passage] = i
		}
	}
	slices.SortStableFunc(best, func(x, y sentence) int {
		return cmp.Or(cmp.Compare(rank[x.passage], rank[y.passage]), cmp.Compare(x.place, y.place))
	})
	return best
}

// score gives each sentence its BM25 for the question plus its passage's
// similarity.
func score(all []sentence, question []uint64) {
	total := 0
	for _, s := range all {
		total += len(s.stems)
	}
	mean := float64(total) / float64(max(len(all), 1))
	weights := make([]float64, len(question))
	for i, stem := range question {
		df := 0
		for _, s := range all {
			if slices.Contains(s.stems, stem) {
				df++
			}
		}
		weights[i] = math.Log(1 + (float64(len(all)-df)+0.5)/(float64(df)+0.5))
	}
	for i := range all {
		s := &all[i]
		s.score = similarityBy * max(float64(s.source.Similarity), 0)
		norm := k1 * (1 - b + b*float64(len(s.stems))/max(mean, 1))
		for q, stem := range question {
			tf := 0.0
			for _, other := range s.stems {
				if other == stem {
					tf++
				}
			}
			s.score += weights[q] * tf * (k1 + 1) / (tf + norm)
		}
	}
}

// statements leaves out headings, which name the matter without saying anything
// of it, unless a passage has nothing else.
func statements(all []string) []string {
	if !slices.ContainsFunc(all, func(s string) bool { return !heading(s) }) {
		return all
	}
	return slices.DeleteFunc(all, heading)
}

// heading says whether a line is too short for a statement and ends like none.
func heading(line string) bool {
	const short = 60
	return len(line) < short && !strings.ContainsRune(".!?…:;)", lastRune(line))
}

func lastRune(s string) rune {
	r, _ := utf8.DecodeLastRuneInString(s)
	return r
}

// sentences cuts a passage at line breaks and after '.', '!' and '?' that a
// space and a capital letter, an opening mark or a digit follow.
func sentences(passage string) []string {
	var out []string
	for line := range strings.Lines(passage) {
		line = strings.TrimLeft(strings.TrimSpace(line), "#*- ")
		for start := 0; start < len(line) && len(out) < maxSentences; {
			end := start + ending(line[start:])
			out = append(out, shorten(strings.TrimSpace(line[start:end])))
			start = end
			for start < len(line) && line[start] == ' ' {
				start++
			}
		}
	}
	return out
}

// ending is the length of the first sentence of a line.
func ending(line string) int {
	for i := 0; i+2 < len(line); i++ {
		if !strings.ContainsRune(".!?", rune(line[i])) || line[i+1] != ' ' {
			continue
		}
		if next := line[i+2]; next >= 'A' && next <= 'Z' || next >= '0' && next <= '9' || next >= 0x80 {
			return i + 1
		}
	}
	return len(line)
}

// shorten cuts an overlong sentence at a space and marks the cut.
func shorten(s string) string {
	if len(s) <= maxSentence {
		return s
	}
	kept := strings.ToValidUTF8(s[:maxSentence], "")
	if cut := strings.LastIndexByte(kept, ' '); cut > 0 {
		kept = kept[:cut]
	}
	return kept + " …"
}

// stemLength is where words are cut: long enough to tell words apart, short
// enough to join "revoke", "revoked" and "revocation"'s kin in both languages.
const stemLength = 5

// stems lists the content words of a text, folded and cut, as hashes.
func stems(text string) []uint64 {
	var words lexical.Words
	words.Cut(text)
	out := make([]uint64, 0, words.Len())
	for i := range words.Len() {
		w := words.At(i)
		if functionWords[string(w)] != "" {
			continue
		}
		if len(w) > 3 && w[len(w)-1] == 's' {
			w = w[:len(w)-1]
		}
		out = append(out, lexical.Hash(w[:min(len(w), stemLength)]))
	}
	return out
}
