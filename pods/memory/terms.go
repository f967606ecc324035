package memory

import (
	"math"
	"slices"
	"unicode"
)

// BM25 constants.
const (
	saturation = 1.2  // k1: how fast repeating a word stops to count
	lengthNorm = 0.75 // b: how much long documents are held back
)

// term is a word of a document, by the 64-bit FNV-1a hash of its folded form,
// and how often it stands there.
type term struct {
	hash  uint64
	count uint32
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

// words calls fn with the hash of each word of the text: runs of letters and
// digits, lower case, without accents and without a final s, so that "Acción"
// and "acciones" stay apart but "rooms" finds "room". Single letters are not
// words.
func words(text string, fn func(hash uint64)) {
	hash, size := uint64(fnvOffset), 0
	last := rune(0)
	beforeS := hash
	end := func() {
		if last == 's' && size > 3 {
			hash = beforeS
		}
		if size > 1 {
			fn(hash)
		}
		hash, size, last = fnvOffset, 0, 0
	}
	for _, r := range text {
		if r >= 0x80 || r >= 'A' && r <= 'Z' {
			r = fold(r)
		}
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r >= 0x80 && (unicode.IsLetter(r) || unicode.IsNumber(r)):
			beforeS = hash
			for _, b := range [4]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)} {
				hash = (hash ^ uint64(b)) * fnvPrime
			}
			size, last = size+1, r
		case r >= 0x300 && r <= 0x36f: // a combining accent belongs to the letter before it
		default:
			end()
		}
	}
	end()
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
	var hashes []uint64
	words(text, func(h uint64) { hashes = append(hashes, h) })
	slices.Sort(hashes)
	b := bag{length: len(hashes)}
	for _, h := range hashes {
		if n := len(b.terms); n > 0 && b.terms[n-1].hash == h {
			b.terms[n-1].count++
			continue
		}
		b.terms = append(b.terms, term{h, 1})
	}
	b.terms = slices.Clip(b.terms)
	return b
}

// lexicon counts in how many documents each word stands.
type lexicon struct {
	documents map[uint64]int
	count     int // documents
	length    int // words of all documents
}

func (l *lexicon) add(b *bag) {
	for _, t := range b.terms {
		l.documents[t.hash]++
	}
	l.count++
	l.length += b.length
}

func (l *lexicon) remove(b *bag) {
	for _, t := range b.terms {
		if l.documents[t.hash]--; l.documents[t.hash] == 0 {
			delete(l.documents, t.hash)
		}
	}
	l.count--
	l.length -= b.length
}

// weight is a word's inverse document frequency, always positive.
func (l *lexicon) weight(hash uint64) float64 {
	n := float64(l.documents[hash])
	return math.Log1p((float64(l.count) - n + 0.5) / (n + 0.5))
}

// overlap is BM25 of the query's words in a document divided by the most that
// any document could score: 0 = no word in common, towards 1 = all of them,
// often.
func (l *lexicon) overlap(query []weighted, b *bag) float64 {
	if l.length == 0 {
		return 0
	}
	norm := saturation * (1 - lengthNorm + lengthNorm*float64(b.length)*float64(l.count)/float64(l.length))
	sum, most := 0.0, 0.0
	// Both are in order of their hashes, so one walk finds every match: cheaper
	// than a search for each word, which the processor cannot foresee.
	rest := b.terms
	for _, q := range query {
		for len(rest) > 0 && rest[0].hash < q.hash {
			rest = rest[1:]
		}
		count := 0.0
		if len(rest) > 0 && rest[0].hash == q.hash {
			count = float64(rest[0].count)
		}
		sum += q.weight * count * (saturation + 1) / (count + norm)
		most += q.weight * (saturation + 1)
	}
	if most == 0 {
		return 0
	}
	return sum / most
}

// weighted is a word of a query.
type weighted struct {
	hash   uint64
	weight float64
}

func (l *lexicon) query(text string) []weighted {
	b := newBag(text)
	query := make([]weighted, len(b.terms))
	for i, t := range b.terms {
		query[i] = weighted{t.hash, l.weight(t.hash)}
	}
	return query
}
