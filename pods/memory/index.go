package memory

import (
	"cmp"
	"slices"
	"sync"

	"tamv.internal/tamv/store"
)

// space names the vectors that can be compared with each other.
type vectorSpace struct {
	model string
	dim   int
}

// indexes is what is kept in memory of every tenant's documents.
type indexes struct {
	embedder    vectorSpace
	consolidate int // see vectors.tidy

	mu       sync.RWMutex // guards byTenant
	byTenant map[string]*index
}

// index is one tenant's documents. Apply's goroutine writes, and a job that puts
// an index made anew in its place.
type index struct {
	mu      sync.RWMutex // guards all below
	numbers map[string]uint32
	entries []entry  // by number
	times   []times  // likewise
	free    []uint32 // numbers without a document
	vectors map[vectorSpace]*vectors
	kinds   map[string]uint16    // document types by number, from 1
	pairs   map[uint64]*postings // documents by the hash of a pair
	lexicon *lexicon
	stale   int
	own     int
}

// entry is what finding needs of a document without reading it. A number without
// a document has none.
type entry struct {
	id      string
	version uint64   // of the record
	sum     uint32   // of what an index holds of it, see checksum
	kind    uint16   // see index.kinds
	pairs   []uint64 // metadata and the type, hashed, sorted
	words   []uint32 // places in the lexicon
	length  int      // words, with repetitions
	space   vectorSpace
	stale   bool // without a vector that can be searched
	own     bool // the vector came with the document
}

// times is when a document was made and written last, in microseconds. They lie
// beside the entries, so that a filter by time reads only them.
type times struct{ created, updated int64 }

func newIndexes(model string, dim int) *indexes {
	return &indexes{embedder: vectorSpace{model, dim}, consolidate: consolidateSoon, byTenant: map[string]*index{}}
}

func (x *indexes) clear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.byTenant)
}

// tenant is a tenant's index, nil when it has no documents yet.
func (x *indexes) tenant(name string) *index {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byTenant[name]
}

// open is a tenant's index, made when it is not there.
func (x *indexes) open(name string) *index {
	if t := x.tenant(name); t != nil {
		return t
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	t := &index{
		numbers: map[string]uint32{}, vectors: map[vectorSpace]*vectors{}, kinds: map[string]uint16{},
		pairs: map[uint64]*postings{}, lexicon: newLexicon(),
	}
	x.byTenant[name] = t
	return t
}

// parsed is a change of a document in the form that the index takes it. Making
// one needs no lock.
type parsed struct {
	tenant, id string
	removed    bool
	kind       string
	entry      entry
	times      times
	words      bag
	vector     []float32
}

func (x *indexes) parse(c *store.Change) parsed {
	p := parsed{tenant: c.Key.Tenant(), id: c.Key.Last(), removed: c.Value == nil}
	if p.removed {
		return p
	}
	r, err := decodeRecord(c.Value)
	p.kind, p.words = r.Type, newBag(r.text())
	p.entry = entry{
		id: p.id, version: c.Version, sum: r.checksum(),
		pairs: append(hashPairs(r.Metadata), hashPair("", r.Type)), length: p.words.length, stale: true, own: r.Own,
	}
	p.times = times{r.Created, r.Updated}
	slices.Sort(p.entry.pairs)
	p.entry.pairs = slices.Compact(p.entry.pairs)
	if err == nil {
		p.entry.space, p.vector = x.vectorOf(&r)
		p.entry.stale = p.vector == nil
	}
	return p
}

// vectorOf is a record's vector and what it can be compared with; nil when it
// cannot be searched.
func (x *indexes) vectorOf(r *record) (vectorSpace, []float32) {
	if !r.Own && r.Model != x.embedder.model {
		return vectorSpace{}, nil
	}
	v := decodeVector(r.Vector)
	s := vectorSpace{r.Model, len(v)}
	if unusable(v) != "" || !r.Own && s != x.embedder {
		return vectorSpace{}, nil
	}
	return s, v
}

// apply follows changes of the space in order.
func (x *indexes) apply(changes []store.Change) {
	ready := make([]parsed, len(changes))
	for i := range changes {
		ready[i] = x.parse(&changes[i])
	}
	x.put(ready, false)
}

// put replaces what is known of documents, in order. A load, of documents that were
// not there, sees to their vectors later and settles the lexicon.
func (x *indexes) put(changes []parsed, load bool) {
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].tenant == changes[0].tenant {
			n++
		}
		t := x.open(changes[0].tenant)
		t.mu.Lock()
		for i := range changes[:n] {
			t.put(&changes[i], load)
		}
		t.flush(x.consolidate)
		t.mu.Unlock()
		changes = changes[n:]
	}
}

func (t *index) put(p *parsed, load bool) {
	space := vectorSpace{}
	if !p.removed {
		space = p.entry.space
	}
	t.remove(p.id, space)
	if p.removed {
		return
	}
	number := t.number()
	e := &p.entry
	e.kind = kindNumber(t.kinds, p.kind)
	if load {
		e.words = t.lexicon.collect(number, &p.words)
	} else {
		e.words = t.lexicon.add(number, &p.words)
	}
	for _, pair := range e.pairs {
		list := t.pairs[pair]
		if list == nil {
			list = new(postings)
			t.pairs[pair] = list
		}
		list.add(posting{number: number})
	}
	t.entries[number], t.times[number] = *e, p.times
	t.numbers[p.id] = number
	t.count(e, 1)
	if !e.stale {
		if v := t.space(e.space); !load {
			v.add(number, p)
		}
	}
}

func (t *index) count(e *entry, n int) {
	if e.stale {
		t.stale += n
	}
	if e.own {
		t.own += n
	}
}

// remove forgets a document, but for its vector when that is about to be replaced
// in the space next.
func (t *index) remove(id string, next vectorSpace) {
	number, ok := t.numbers[id]
	if !ok {
		return
	}
	e := &t.entries[number]
	t.count(e, -1)
	switch {
	case e.stale:
	case e.space == next:
		t.vectors[e.space].dead++
	default:
		t.vectors[e.space].remove(id)
	}
	t.lexicon.remove(number, e.words, e.length)
	for _, pair := range e.pairs {
		if list := t.pairs[pair]; list != nil {
			if list.remove(number); list.count == 0 {
				delete(t.pairs, pair)
			}
		}
	}
	*e = entry{}
	delete(t.numbers, id)
	t.free = append(t.free, number)
}

// flush makes everything that was put findable.
func (t *index) flush(consolidate int) {
	for _, v := range t.vectors {
		t.forsake(v.store())
		v.tidy(consolidate)
	}
}

// forsake makes documents stale: there is no memory left for their vectors.
func (t *index) forsake(ids []string) {
	for _, id := range ids {
		e := &t.entries[t.numbers[id]]
		e.stale, e.space = true, vectorSpace{}
		t.stale++
	}
}

// number is one without a document.
func (t *index) number() uint32 {
	if n := len(t.free); n > 0 {
		number := t.free[n-1]
		t.free = t.free[:n-1]
		return number
	}
	t.entries, t.times = append(t.entries, entry{}), append(t.times, times{})
	return uint32(len(t.entries) - 1)
}

func (t *index) space(s vectorSpace) *vectors {
	v := t.vectors[s]
	if v == nil {
		v = newVectors(s, marker{})
		t.vectors[s] = v
	}
	return v
}

// dimensions are those that a model's vectors have in a tenant, ascending.
func (x *indexes) dimensions(tenant, model string) []int {
	t := x.tenant(tenant)
	if t == nil {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var dims []int
	for s, v := range t.vectors {
		if s.model == model && v.index.Len() > 0 {
			dims = append(dims, s.dim)
		}
	}
	slices.Sort(dims)
	return dims
}

// tenantSpace names the index of a tenant.
type tenantSpace struct {
	tenant string
	space  vectorSpace
}

// spaces are all indexes, in order.
func (x *indexes) spaces() []tenantSpace {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []tenantSpace
	for name, t := range x.byTenant {
		t.mu.RLock()
		for s := range t.vectors {
			all = append(all, tenantSpace{name, s})
		}
		t.mu.RUnlock()
	}
	slices.SortFunc(all, func(a, b tenantSpace) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), compareSpaces(a.space, b.space))
	})
	return all
}
