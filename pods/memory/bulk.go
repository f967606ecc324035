package memory

import "math"

// bulk is postings that a load has collected for a lexicon. Adding them one by one
// would touch three places of memory for each; sorted by word first they cost a
// tenth.
type bulk struct {
	all    []placed // in order of their documents
	counts []uint32 // by place: how many of all
}

type placed struct {
	place uint32
	posting
}

// bulkPostings is how many postings are collected at once.
const bulkPostings = 4 << 20

// collect is add for documents whose numbers ascend. What it collects is found
// after settle.
func (l *lexicon) collect(number uint32, b *bag) []uint32 {
	places := make([]uint32, len(b.terms))
	length := uint16(min(b.length, math.MaxUint16))
	for i, t := range b.terms {
		at, ok := l.ids[t.hash]
		if !ok {
			at = l.place(t.hash)
		}
		places[i] = at
		for int(at) >= len(l.bulk.counts) {
			l.bulk.counts = append(l.bulk.counts, 0)
		}
		l.bulk.counts[at]++
		l.bulk.all = append(l.bulk.all, placed{at, posting{number, uint16(min(t.count, math.MaxUint16)), length}})
	}
	l.entries += len(places)
	l.documents++
	l.length += b.length
	if len(l.bulk.all) >= bulkPostings {
		l.settle()
	}
	return places
}

// settle adds what was collected to the lists: a counting sort by place.
func (l *lexicon) settle() {
	sorted := make([]posting, len(l.bulk.all))
	from := make([]uint32, len(l.bulk.counts))
	sum := uint32(0)
	for at, n := range l.bulk.counts {
		from[at], sum = sum, sum+n
	}
	next := append([]uint32{}, from...)
	for i := range l.bulk.all {
		e := &l.bulk.all[i]
		sorted[next[e.place]] = e.posting
		next[e.place]++
	}
	for at, n := range l.bulk.counts {
		if n > 0 {
			l.lists[at].extend(sorted[from[at]:][:n:n])
		}
	}
	l.bulk = bulk{}
}
