package memory

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The inverted index gives what counting by hand gives, whatever was added and
// removed before, and an emptied one holds nothing.
func TestLexiconAgainstCounting(t *testing.T) {
	text := rapid.Map(rapid.SliceOfN(rapid.StringMatching(`[a-f]{2}`), 1, 15), func(w []string) string { return strings.Join(w, " ") })
	rapid.Check(t, func(t *rapid.T) {
		l, bags, places := newLexicon(), map[uint32]bag{}, map[uint32][]uint32{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			number := rapid.Uint32Range(0, 5).Draw(t, "number")
			if old, ok := bags[number]; ok {
				l.remove(number, places[number], old.length)
				delete(bags, number)
				continue
			}
			b := newBag(text.Draw(t, "text"))
			bags[number], places[number] = b, l.add(number, &b)
		}
		query := text.Draw(t, "query")
		q := l.query(query)
		for number := range uint32(6) {
			b, ok := bags[number]
			want := counted(bags, newBag(query), b)
			if !ok {
				want = wordMatch{}
			}
			got := q.match(number)
			if math.Abs(got.overlap-want.overlap) > 1e-9 || math.Abs(got.covered-want.covered) > 1e-9 || got.overlap < 0 || got.overlap >= 1 || got.covered > 1+1e-9 {
				t.Fatalf("document %d: %+v, want %+v", number, got, want)
			}
		}
		checkBest(t, &q, bags)
		for number, b := range bags {
			l.remove(number, places[number], b.length)
		}
		if l.documents != 0 || l.length != 0 || l.entries != 0 || len(l.ids) != 0 || len(l.free) != len(l.lists) {
			t.Fatalf("left over: %+v", l)
		}
	})
}

// checkBest wants the candidates in order and complete.
func checkBest(t *rapid.T, q *wordQuery, bags map[uint32]bag) {
	all := q.best(10, 6, false, nil)
	for i, s := range all {
		if math.Abs(float64(s.score)-q.match(s.number).overlap*q.most) > 1e-4 || i > 0 && compareScored(all[i-1], s) >= 0 {
			t.Fatalf("candidates %+v", all)
		}
	}
	for number := range bags {
		shares := q.match(number).overlap > 0
		if shares != slices.ContainsFunc(all, func(s scored) bool { return s.number == number }) {
			t.Fatalf("document %d shares words: %v; candidates %+v", number, shares, all)
		}
	}
	odd := func(number uint32) bool { return number%2 == 1 }
	want := slices.DeleteFunc(slices.Clone(all), func(s scored) bool { return !odd(s.number) })
	if got := q.best(1, 6, false, odd); !slices.Equal(got, want[:min(1, len(want))]) {
		t.Fatalf("best odd one %+v of %+v", got, want)
	}
}

// counted is BM25 by its formula.
func counted(bags map[uint32]bag, query, b bag) (m wordMatch) {
	length := 0
	for _, other := range bags {
		length += other.length
	}
	most, telling := 0.0, 0.0
	for _, term := range query.terms {
		n, count := 0.0, 0.0
		for _, other := range bags {
			if has(other, term.hash) > 0 {
				n++
			}
		}
		count = has(b, term.hash)
		idf := math.Log(1 + (float64(len(bags))-n+0.5)/(n+0.5))
		average := float64(length) / float64(len(bags))
		m.overlap += idf * count * (saturation + 1) / (count + saturation*(1-lengthNorm+lengthNorm*float64(b.length)/average))
		most += idf * (saturation + 1)
		if count > 0 && !functionWords[term.hash] {
			m.covered += idf
		}
		if !functionWords[term.hash] {
			telling += idf
		}
	}
	m.overlap /= most
	if telling > 0 {
		m.covered /= telling
	}
	return m
}

func has(b bag, hash uint64) float64 {
	for _, t := range b.terms {
		if t.hash == hash {
			return float64(t.count)
		}
	}
	return 0
}

// Postings are a sorted list, in blocks that stay within their size.
func TestPostingsAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p postings
		model := map[uint32]bool{}
		step := rapid.Uint32Range(1, 7919).Draw(t, "step")
		n := rapid.Uint32Range(1, 2000).Draw(t, "documents")
		for i := range n {
			number := i * step % 2003
			if model[number] = !model[number]; model[number] {
				p.add(posting{number: number})
			} else {
				delete(model, number)
				p.remove(number)
			}
		}
		for i := range rapid.Uint32Range(0, n).Draw(t, "removed") {
			number := i * step % 2003
			p.remove(number)
			delete(model, number)
		}
		last, count := int64(-1), 0
		for _, b := range p.blocks {
			if len(b) == 0 || len(b) > blockSize {
				t.Fatalf("a block of %d", len(b))
			}
			for _, e := range b {
				if int64(e.number) <= last || !model[e.number] {
					t.Fatalf("%d after %d, of the set: %v", e.number, last, model[e.number])
				}
				last, count = int64(e.number), count+1
				if _, ok := p.find(e.number); !ok {
					t.Fatalf("%d is not found", e.number)
				}
			}
		}
		if count != len(model) || p.count != count {
			t.Fatalf("%d postings, counted %d, want %d", count, p.count, len(model))
		}
		if _, ok := p.find(2003); ok {
			t.Fatal("found what was never there")
		}
	})
}

func TestWords(t *testing.T) {
	same := func(a, b string) bool { return slices.Equal(newBag(a).terms, newBag(b).terms) }
	for _, pair := range [][2]string{
		{"Acción", "accion"},
		{"acción", "accio\u0301n"},
		{"rooms", "room"},
		{"¿QUÉ?", "que"},
		{"a b c", ""},
		{"año 2026!", "ano, 2026"},
		{"Ünïcode", "unicode"},
		{"ORD-2291", "ord/2291"},
		{"ORD-2291", "ord 2291 ord2291"},
		{"10.0.0.12,", "10 12 100012"},
		{"well-known", "well known"},
		{"A-7", "a7"},
		{"AB--12", "AB 12"},
		{"2291-", "2291"},
		{"-2291", "2291"},
		{"x. 12", "12"},
	} {
		if !same(pair[0], pair[1]) {
			t.Errorf("%q and %q have different words", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"gas", "ga"}, {"room", "broom"}, {"one two", "two"}, {"日本", "中国"}, {"ORD-2291", "ORD-2292"}, {"ORD-2291", "ORD 2291"}} {
		if same(pair[0], pair[1]) {
			t.Errorf("%q and %q have the same words", pair[0], pair[1])
		}
	}
	if b := newBag("one two two"); b.length != 3 || len(b.terms) != 2 {
		t.Errorf("%+v", b)
	}
	if got := newLexicon().query("a word"); got.match(0) != (wordMatch{}) || len(got.best(3, 0, false, nil)) != 0 {
		t.Errorf("an empty lexicon matches: %+v", got)
	}
}

// Past the limit, words that stand everywhere are left to those candidates that
// the rarer ones found.
func TestFrequentWordsDoNotFindCandidates(t *testing.T) {
	l := newLexicon()
	frequent, rare := newBag("everywhere"), newBag("everywhere seldom")
	for number := range uint32(maxPostings + 10) {
		b := &frequent
		if number%30_000 == 7 {
			b = &rare
		}
		l.add(number, b)
	}
	q := l.query("everywhere seldom")
	got := q.best(10, maxPostings+10, false, nil)
	if len(got) != 3 || got[0].number != 7 || q.match(7).covered < 1 {
		t.Errorf("candidates %+v", got)
	}
	// A search by words alone has nothing else to find documents by.
	if got := q.best(10, maxPostings+10, true, nil); len(got) != 10 || got[0].number != 7 || got[3].number != 0 {
		t.Errorf("candidates of words alone %+v", got)
	}
	one := func(number uint32) bool { return number == 5 || number == 7 }
	if got := q.best(10, maxPostings+10, true, one); len(got) != 2 || got[1].number != 5 {
		t.Errorf("candidates of words alone that a filter lets through %+v", got)
	}
	if got := q.best(2, maxPostings+10, true, nil); len(got) != 2 || got[1].number != 30_007 {
		t.Errorf("the rare word finds enough: %+v", got)
	}
	if l.bytes() < maxPostings*8 {
		t.Errorf("%d bytes for %d postings", l.bytes(), l.entries)
	}
}

func FuzzWords(f *testing.F) {
	for _, seed := range []string{"", "ORD-2291", "a.b.c-1", "¿Qué?", "\xff\xfe", "日本-1", strings.Repeat("x-", 50) + "1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBag(text)
		if b.length > len(text)+1 {
			t.Errorf("%d words in %d bytes", b.length, len(text))
		}
		total := 0
		for i, term := range b.terms {
			total += int(term.count)
			if i > 0 && term.hash <= b.terms[i-1].hash {
				t.Error("terms are not in order")
			}
		}
		if total != b.length {
			t.Errorf("terms count %d words of %d", total, b.length)
		}
	})
}

// A lexicon that was loaded is the one that grew.
func TestLoadedLexicon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grown, loaded := newLexicon(), newLexicon()
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		cut := rapid.IntRange(1, 300).Draw(t, "cut")
		for i := range rapid.IntRange(0, 900).Draw(t, "documents") {
			text := ""
			for range r.IntN(6) {
				text += fmt.Sprintf("w%d ", r.IntN(1+r.IntN(50)))
			}
			b := newBag(text)
			one, other := grown.add(uint32(i), &b), loaded.collect(uint32(i), &b)
			if !slices.Equal(one, other) {
				t.Fatal("other places")
			}
			if i%cut == 0 {
				loaded.settle()
			}
		}
		loaded.settle()
		if !maps.Equal(grown.ids, loaded.ids) || grown.entries != loaded.entries || grown.length != loaded.length {
			t.Fatal("other words")
		}
		for at := range grown.lists {
			a, b := slices.Concat(grown.lists[at].blocks...), slices.Concat(loaded.lists[at].blocks...)
			if !slices.Equal(a, b) || grown.lists[at].count != loaded.lists[at].count || len(b) != loaded.lists[at].count {
				t.Fatalf("list %d: %v, want %v", at, b, a)
			}
			for _, block := range loaded.lists[at].blocks {
				if len(block) < 1 || len(block) > blockSize {
					t.Fatalf("a block of %d", len(block))
				}
			}
		}
	})
}
