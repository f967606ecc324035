package memory

import (
	"cmp"
	"math"
	"slices"

	"tamv.internal/tamv/vector"
)

// A search looks at this many documents at least: the nearest by meaning, and
// those with the best words.
const (
	nearest   = 64
	bestWords = 32
)

// A document's rank is its cosine + overlapWeight * its overlap + coverWeight *
// what it covers (see wordMatch). On XQuAD (632 questions, 120 paragraphs per
// language, and both languages together), with the static embedder, the right
// paragraph comes first for so many per cent of the questions:
//
//	                                     English  Spanish  both
//	cosine alone                           74.4     72.6   69.3
//	BM25 alone                             92.7     92.9   91.5
//	reciprocal rank fusion, k = 60         81.8     81.6   79.0
//	cosine + overlap                       91.1     91.1   88.9
//	cosine + overlap + 0.25 covered        93.5     93.4   92.0
//	cosine + 2 overlap + covered           94.6     93.4   93.1
//
// Fusing ranks throws away by how much words decide, which is most of what is
// known here. XQuAD's questions were written beside their paragraphs and repeat
// their words; of questions in other words, such as the manual's titles, more are
// answered with less weight on words: the last line but one is the compromise.
// BenchmarkQuality repeats the measurement.
const (
	overlapWeight = 1.0
	coverWeight   = 0.25
	fullRank      = 1 + overlapWeight + coverWeight
)

// fusionConstant is k of reciprocal rank fusion (Cormack, Clarke and Büttcher,
// SIGIR 2009).
const fusionConstant = 60

// wordsAlone is how much of a query a document must cover to be found by its
// words although its vector is not near: names and codes have no meaning that an
// embedder knows. With 0.7, 331 and 288 of XQuAD's 632 questions would find their
// paragraph without vectors at all; of 1,616 questions about other matters
// (BANKING77, CLINC150's out-of-scope) 17 and 3 would find one. It takes a word
// that at most one document in twenty has; when that is a code, it is enough.
const wordsAlone = 0.7

// ranking says how results are ordered and found.
type ranking string

const (
	hybrid  ranking = "hybrid"  // meaning and words together
	rrf     ranking = "rrf"     // the same, by reciprocal rank fusion
	meaning ranking = "meaning" // vectors alone
	lexical ranking = "words"   // words alone
)

// query is a search as the index takes it.
type query struct {
	text      string    // may be empty with a vector
	vector    []float32 // may be nil for words alone
	space     vectorSpace
	accepts   accepts
	threshold float32
	limit     int
	ranking   ranking
	recall    float64 // of the nearest, 0 = the index's own
}

// candidate is a document that may be among the results.
type candidate struct {
	id      string
	cosine  float32 // of the vectors
	unknown bool    // the cosine is to be read, and at most the ceiling
	apart   bool    // there is no vector that could be compared
	words   wordMatch
	named   bool // the words alone make it relevant, if they reach the threshold
	rank    float64
}

// candidates is what the index knows about a query. No cosine that it does not
// know is above the ceiling.
type candidates struct {
	all     []candidate
	ceiling float32
}

// candidates collects the documents nearest by meaning and those with the best
// words.
func (x *indexes) candidates(tenant string, q *query) (candidates, error) {
	found := candidates{ceiling: -1}
	t := x.tenant(tenant)
	if t == nil {
		return found, nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := q.accepts.on(t)
	if !ok {
		return found, nil
	}
	byNumber := map[uint32]int{}
	if v := t.vectors[q.space]; v != nil && q.ranking != lexical {
		if err := t.near(v, q, &r, &found, byNumber); err != nil {
			return found, err
		}
	}
	if q.text != "" && q.ranking != meaning {
		t.worded(q, &r, &found, byNumber)
	}
	return found, nil
}

// near adds the documents nearest by meaning.
func (t *index) near(v *vectors, q *query, r *rule, found *candidates, byNumber map[uint32]int) error {
	k := q.limit
	if q.text != "" && q.ranking != meaning {
		k = max(nearest, k)
	}
	hits, err := t.search(v, q, r, k)
	if err != nil {
		return err
	}
	for _, h := range hits {
		byNumber[t.numbers[h.ID]] = len(found.all)
		found.all = append(found.all, candidate{id: h.ID, cosine: max(-1, min(h.Score, 1))})
	}
	if len(hits) == k {
		found.ceiling = hits[k-1].Score
	}
	return nil
}

// search is the k vectors nearest to a query of those that pass.
//
// What the index of vectors does not know of a document, the filter's metadata and
// when it was created, would be asked of every vector that a walk passes, and of
// most when few match. So the documents that pass are listed first, and where a
// comparison with all of them costs less than a walk they are all compared.
func (t *index) search(v *vectors, q *query, r *rule, k int) ([]vector.Hit, error) {
	o := vector.Options{K: k, Recall: q.recall}
	shared := false
	if r.kind != 0 {
		kind, ok := v.kinds[q.accepts.kind]
		if !ok {
			return nil, nil
		}
		o.Filter.Kinds, shared = []uint16{kind}, kind == manyKinds
	}
	if r.accept != nil || shared {
		if rows, ok := r.among(t, v, worthComparing(v.index.Len())); ok {
			return v.index.SearchRows(q.vector, rows, o)
		}
		if r.updated != always {
			o.Filter.From, o.Filter.Until = r.updated.from, r.updated.to
		}
		o.Filter.Accept = func(id string) bool { return r.passes(t, t.numbers[id]) }
	}
	return v.index.Search(q.vector, o)
}

// worthComparing is how many of so many vectors are compared in the time of a walk that
// finds as many of them as an unfiltered one: that handles about a hundred
// candidates, times vectors over matches, each in the time of fifty comparisons.
func worthComparing(vectors int) int {
	const walk = 100 * 50
	return max(walk, int(math.Sqrt(walk*float64(vectors))))
}

// worded adds the documents with the best words, and how the words of all fit.
func (t *index) worded(q *query, r *rule, found *candidates, byNumber map[uint32]int) {
	words := t.lexicon.query(q.text)
	passes := func(number uint32) bool { return r.passes(t, number) }
	for _, s := range words.best(max(bestWords, q.limit), len(t.entries), q.ranking == lexical, passes) {
		if _, known := byNumber[s.number]; known {
			continue
		}
		e := &t.entries[s.number]
		compared := q.vector != nil && e.space == q.space
		byNumber[s.number] = len(found.all)
		found.all = append(found.all, candidate{id: e.id, cosine: found.ceiling, unknown: compared, apart: !compared})
	}
	rare := max(3, t.lexicon.documents/20)
	for number, i := range byNumber {
		c := &found.all[i]
		c.words = words.match(number)
		name, code := words.names(number, rare)
		c.named = code || name && c.words.covered >= wordsAlone
	}
}

// match is a document that a search found.
type match struct {
	id         string
	similarity float32 // cosine, or what is covered when found by words
	byWords    bool
	score      float64 // by which results are ordered, best first
}

// choose ranks the candidates and returns the best that pass the threshold, or
// whose words do. cosine reads a document's vector and compares it; it is asked
// only about documents that may still be among the results.
func (q *query) choose(found candidates, cosine func(id string) (float32, error)) ([]match, error) {
	for i := range found.all {
		found.all[i].rank = q.rank(&found.all[i])
	}
	slices.SortFunc(found.all, byRank)
	kept := make([]candidate, 0, len(found.all))
	for _, c := range found.all {
		if q.ranking != rrf && len(kept) >= q.limit && c.rank < kept[q.limit-1].rank {
			break // no later one has a higher rank, whatever its cosine
		}
		if !q.passes(&c) {
			continue
		}
		if c.unknown {
			var err error
			if c.cosine, err = cosine(c.id); err != nil {
				return nil, err
			}
			if c.rank = q.rank(&c); !q.passes(&c) {
				continue
			}
		}
		at, _ := slices.BinarySearchFunc(kept, c, byRank)
		kept = slices.Insert(kept, at, c)
	}
	if q.ranking == rrf {
		fuse(kept)
	}
	matches := make([]match, 0, min(q.limit, len(kept)))
	for _, c := range kept[:min(q.limit, len(kept))] {
		m := match{c.id, c.cosine, false, c.rank}
		if c.apart || c.cosine < q.threshold {
			m.similarity, m.byWords = float32(c.words.covered), true
		}
		matches = append(matches, m)
	}
	return matches, nil
}

func byRank(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.id, b.id))
}

// rank is what results are ordered by. With a cosine that is not known it is the
// highest that it can be.
func (q *query) rank(c *candidate) float64 {
	switch {
	case q.ranking == meaning:
		return float64(c.cosine)
	case q.ranking == lexical:
		return c.words.overlap
	case c.apart:
		return (overlapWeight*c.words.overlap + coverWeight*c.words.covered) / fullRank
	}
	return (float64(c.cosine) + overlapWeight*c.words.overlap + coverWeight*c.words.covered) / fullRank
}

// passes says whether a document is relevant.
func (q *query) passes(c *candidate) bool {
	covered := float32(c.words.covered) >= q.threshold
	return !c.apart && c.cosine >= q.threshold || covered && (c.named || q.ranking == lexical)
}

// fuse orders by the sum of 1/(k + place) over the order by cosine and the order
// by words.
func fuse(all []candidate) {
	orders := []func(*candidate) float64{
		func(c *candidate) float64 {
			if c.apart {
				return -2 // behind every cosine
			}
			return float64(c.cosine)
		},
		func(c *candidate) float64 { return c.words.overlap },
	}
	ranks := make(map[string]float64, len(all))
	for _, value := range orders {
		slices.SortFunc(all, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(value(&b), value(&a)), cmp.Compare(a.id, b.id))
		})
		for place := range all {
			ranks[all[place].id] += 1 / float64(fusionConstant+1+place)
		}
	}
	for i := range all {
		all[i].rank = ranks[all[i].id]
	}
	slices.SortFunc(all, byRank)
}
