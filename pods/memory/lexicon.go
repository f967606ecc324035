package memory

import (
	"cmp"
	"math"
	"slices"
	"sync"
)

// BM25 constants.
const (
	saturation = 1.2  // k1: how fast repeating a word stops to count
	lengthNorm = 0.75 // b: how much long documents are held back
)

// lexicon is the inverted index of a tenant: which words stand in which
// documents. A document is its number; numbers are reused.
type lexicon struct {
	ids       map[uint64]uint32 // hash of a word -> place in lists
	lists     []postings
	free      []uint32 // places that hold nothing
	documents int
	length    int // words of all documents, with repetitions
	entries   int // postings of all words
	bulk      bulk
}

func newLexicon() *lexicon { return &lexicon{ids: map[uint64]uint32{}} }

// add takes a document in and returns the places of its words, which remove
// needs.
func (l *lexicon) add(number uint32, b *bag) []uint32 {
	places := make([]uint32, len(b.terms))
	length := uint16(min(b.length, math.MaxUint16))
	for i, t := range b.terms {
		at, ok := l.ids[t.hash]
		if !ok {
			at = l.place(t.hash)
		}
		places[i] = at
		l.lists[at].add(posting{number, uint16(min(t.count, math.MaxUint16)), length})
	}
	l.entries += len(places)
	l.documents++
	l.length += b.length
	return places
}

// place makes room for a new word.
func (l *lexicon) place(hash uint64) uint32 {
	at := uint32(len(l.lists))
	if n := len(l.free); n > 0 {
		at, l.free = l.free[n-1], l.free[:n-1]
	} else {
		l.lists = append(l.lists, postings{})
	}
	l.lists[at].hash = hash
	l.ids[hash] = at
	return at
}

// remove takes out a document of so many words, which stand at these places.
func (l *lexicon) remove(number uint32, places []uint32, length int) {
	for _, at := range places {
		p := &l.lists[at]
		if p.remove(number); p.count == 0 {
			delete(l.ids, p.hash)
			*p = postings{}
			l.free = append(l.free, at)
		}
	}
	l.entries -= len(places)
	l.documents--
	l.length -= length
}

// bytes estimates the memory that the lexicon takes: postings with the room that
// blocks grow into, and for each word its list and its place in the map.
func (l *lexicon) bytes() int64 {
	const perEntry, perWord = 14, 100
	return int64(l.entries)*perEntry + int64(len(l.lists))*perWord
}

// weighted is a word of a query that stands in some document.
type weighted struct {
	list    *postings
	weight  float64
	telling float64 // the weight, unless it is a function word
	code    bool
}

// wordQuery is a query's words, the rarest first.
type wordQuery struct {
	words   []weighted
	most    float64 // that any document could score
	telling float64 // weight of all words but function words, unknown ones included
	norm    float64 // saturation * lengthNorm / average length
}

func (l *lexicon) query(text string) wordQuery {
	var q wordQuery
	if l.length == 0 {
		return q
	}
	q.norm = saturation * lengthNorm * float64(l.documents) / float64(l.length)
	b := newBag(text)
	for _, t := range b.terms {
		w := weighted{code: t.code}
		n := 0.0
		if at, ok := l.ids[t.hash]; ok {
			w.list = &l.lists[at]
			n = float64(w.list.count)
		}
		// The inverse document frequency, kept positive.
		w.weight = math.Log1p((float64(l.documents) - n + 0.5) / (n + 0.5))
		if !functionWords[t.hash] {
			w.telling = w.weight
		}
		q.most += w.weight * (saturation + 1)
		q.telling += w.telling
		if w.list != nil {
			q.words = append(q.words, w)
		}
	}
	slices.SortFunc(q.words, func(a, b weighted) int {
		return cmp.Or(cmp.Compare(a.list.count, b.list.count), cmp.Compare(a.list.hash, b.list.hash))
	})
	return q
}

// bm25 is what a word adds to a document's score.
func (q *wordQuery) bm25(w *weighted, e posting) float64 {
	norm := saturation*(1-lengthNorm) + q.norm*float64(e.length)
	return w.weight * float64(e.count) * (saturation + 1) / (float64(e.count) + norm)
}

// wordMatch is how well the words of a query fit a document.
type wordMatch struct {
	// overlap is BM25 divided by the most that any document could score: 0 = no
	// word in common, towards 1 = all of them, often.
	overlap float64
	// covered is the share of the query's telling words that the document has, by
	// weight: 1 = all of them.
	covered float64
}

func (q *wordQuery) match(number uint32) wordMatch {
	sum, telling := 0.0, 0.0
	for i := range q.words {
		w := &q.words[i]
		if e, ok := w.list.find(number); ok {
			sum += q.bm25(w, e)
			telling += w.telling
		}
	}
	var m wordMatch
	if q.most > 0 {
		m.overlap = sum / q.most
	}
	if q.telling > 0 {
		m.covered = telling / q.telling
	}
	return m
}

// names says whether the document has a word of the query that tells it from
// most others, standing in at most so many, and whether one of these is a code.
func (q *wordQuery) names(number uint32, rare int) (name, code bool) {
	for i := range q.words {
		w := &q.words[i]
		if w.list.count > rare {
			break
		}
		if _, ok := w.list.find(number); ok && w.telling > 0 {
			name, code = true, code || w.code
		}
	}
	return name, code
}

// maxPostings bounds how many postings a query reads to find its candidates. It
// reads the rarest words first and at least one; a word that no longer fits
// stands in so many documents that it tells little. A query by words alone reads on
// while it has too few.
const maxPostings = 1 << 16

// tally is what a query needs while it runs.
type tally struct {
	sums    []float32 // by document; all zero between queries
	touched []uint32  // documents with a sum
}

var tallies = sync.Pool{New: func() any { return new(tally) }}

// holds says whether n of the documents with a sum are accepted.
func (t *tally) holds(n int, accept func(number uint32) bool) bool {
	for _, number := range t.touched {
		if n == 0 {
			break
		}
		if accept == nil || accept(number) {
			n--
		}
	}
	return n == 0
}

// scored is a document with what the words read add up to.
type scored struct {
	number uint32
	score  float32
}

// best returns up to n documents that share words with the query, of those that
// accept lets through (nil = all), best first, equal ones by number. numbers is
// one more than the largest number in use. When enough are asked for, no word stays
// unread while there are fewer.
func (q *wordQuery) best(n, numbers int, enough bool, accept func(number uint32) bool) []scored {
	all := tallies.Get().(*tally)
	defer tallies.Put(all)
	if len(all.sums) < numbers {
		all.sums = make([]float32, numbers+numbers/4)
	}
	all.touched = all.touched[:0]
	read := 0
	for i := range q.words {
		w := &q.words[i]
		if read += w.list.count; i > 0 && read > maxPostings && (!enough || all.holds(n, accept)) {
			break
		}
		for _, b := range w.list.blocks {
			for _, e := range b {
				if all.sums[e.number] == 0 {
					all.touched = append(all.touched, e.number)
				}
				all.sums[e.number] += float32(q.bm25(w, e))
			}
		}
	}
	found := make([]scored, 0, n+1)
	for _, number := range all.touched {
		s := scored{number, all.sums[number]}
		all.sums[number] = 0
		if len(found) == n && compareScored(s, found[n-1]) > 0 || accept != nil && !accept(number) {
			continue
		}
		at, _ := slices.BinarySearchFunc(found, s, compareScored)
		if found = slices.Insert(found, at, s); len(found) > n {
			found = found[:n]
		}
	}
	return found
}

func compareScored(a, b scored) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.number, b.number))
}
