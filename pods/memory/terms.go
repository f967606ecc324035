package memory

import (
	"cmp"
	"slices"
	"unicode"
)

// term is a word of a document, by the 64-bit FNV-1a hash of its folded form,
// and how often it stands there.
type term struct {
	hash  uint64
	count uint32
	code  bool // see words
}

// bag is a document's words, sorted by hash.
type bag struct {
	terms  []term
	length int // words, with repetitions
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// run is a word on its way through a text.
type run struct {
	hash, beforeS uint64 // with and without the last letter
	size          int    // letters and digits
	last          rune
	digits        bool
	letters       bool
}

func (w *run) take(r rune) {
	w.beforeS = w.hash
	for _, b := range [4]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)} {
		w.hash = (w.hash ^ uint64(b)) * fnvPrime
	}
	w.size, w.last = w.size+1, r
	if unicode.IsDigit(r) {
		w.digits = true
	} else {
		w.letters = true
	}
}

// end hands the word to fn and starts the next one.
func (w *run) end(fn func(hash uint64, code bool)) {
	if w.last == 's' && w.size > 3 {
		w.hash = w.beforeS
	}
	if w.size > 1 {
		fn(w.hash, w.digits && (w.letters || w.size >= longNumber))
	}
	*w = run{hash: fnvOffset}
}

// longNumber is from how many digits on a number names one thing.
const longNumber = 5

// words calls fn with the hash of each word of the text: runs of letters and
// digits, lower case, without accents and without a final s, so that "Acción"
// and "acciones" stay apart but "rooms" finds "room". Single letters are not
// words.
//
// A code, which is several runs joined by single signs and has a digit, is one
// more word without the signs: "ORD-2291" is "ord", "2291" and "ord2291". Words of
// letters and digits and long numbers are codes too.
func words(text string, fn func(hash uint64, code bool)) {
	word, code := run{hash: fnvOffset}, run{hash: fnvOffset}
	parts, joined := 0, false // runs of the code; whether a sign came last
	endCode := func() {
		if parts > 1 && code.digits {
			code.end(fn)
		}
		code, parts, joined = run{hash: fnvOffset}, 0, false
	}
	for _, r := range text {
		if r >= 0x80 || r >= 'A' && r <= 'Z' {
			r = fold(r)
		}
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r >= 0x80 && (unicode.IsLetter(r) || unicode.IsNumber(r)):
			if word.size == 0 {
				parts++
			}
			word.take(r)
			code.take(r)
			joined = false
		case r >= 0x300 && r <= 0x36f: // a combining accent belongs to the letter before it
		case joins(r) && !joined && parts > 0:
			word.end(fn)
			joined = true
		default:
			word.end(fn)
			endCode()
		}
	}
	word.end(fn)
	endCode()
}

// joins says whether a sign holds the parts of a code together.
func joins(r rune) bool {
	switch r {
	case '-', '_', '.', '/', ':', '#', '\u2010', '\u2011':
		return true
	}
	return false
}

// folded maps the accented letters of Spanish and its neighbours to plain ones.
var folded = map[rune]rune{
	'á': 'a', 'à': 'a', 'â': 'a', 'ä': 'a', 'ã': 'a', 'é': 'e', 'è': 'e', 'ê': 'e', 'ë': 'e',
	'í': 'i', 'ì': 'i', 'î': 'i', 'ï': 'i', 'ó': 'o', 'ò': 'o', 'ô': 'o', 'ö': 'o', 'õ': 'o',
	'ú': 'u', 'ù': 'u', 'û': 'u', 'ü': 'u', 'ñ': 'n', 'ç': 'c',
}

func fold(r rune) rune {
	r = unicode.ToLower(r)
	if plain, ok := folded[r]; ok {
		return plain
	}
	return r
}

func newBag(text string) bag {
	found := make([]term, 0, 4+len(text)/6)
	words(text, func(hash uint64, code bool) { found = append(found, term{hash, 1, code}) })
	slices.SortFunc(found, func(a, b term) int { return cmp.Compare(a.hash, b.hash) })
	b := bag{terms: found[:0], length: len(found)}
	for _, t := range found {
		if n := len(b.terms); n > 0 && b.terms[n-1].hash == t.hash {
			b.terms[n-1].count++
			continue
		}
		b.terms = append(b.terms, t) // never beyond what was read
	}
	return b
}
