package memory

import (
	"cmp"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/vector"
)

// loadChunk is how many records are read before they are parsed together.
const loadChunk = 256

// Load indexes every document that the view holds, of every tenant. It is called
// once, after the state is open and before batches are applied. Records are read
// in order and parsed on every processor; words are indexed anew. Vectors come from
// the indexes that were saved, but for those of documents that changed afterwards.
func (p *Pod) Load(view store.View) error {
	if p.view != view {
		p.view = view
	}
	p.indexes.clear()
	l := loader{indexes: p.indexes, progress: p.config.Progress}
	var keep []shelf
	from := store.Key("")
	for {
		tenant, found := "", false
		err := view.Scan("", from, func(i store.Item) bool {
			tenant, found = i.Key.Tenant(), true
			return false
		})
		if err != nil {
			return err
		}
		if !found {
			break
		}
		err = view.Scan(store.K(tenant, space).Prefix(), "", func(i store.Item) bool {
			l.add(store.Change{Key: i.Key, Value: i.Value, Version: i.Version})
			return true
		})
		l.finish(tenant)
		if err == nil {
			err = p.settle(tenant, &l, &keep)
		}
		if err != nil {
			return err
		}
		from = store.Key(tenant + "\x01") // behind every key of this tenant
	}
	l.progress(l.documents)
	if p.config.Dir != "" {
		if err := sweep(p.config.Dir, keep); err != nil {
			p.config.Log.Warn("old files of memory cannot be removed", "error", err)
		}
	}
	for _, begin := range l.later { // once nothing unfinished is swept away
		begin()
	}
	return nil
}

// settle gives every index of a tenant its vectors.
func (p *Pod) settle(tenant string, l *loader, keep *[]shelf) error {
	var marked []vectorSpace
	err := p.view.Scan(store.K(tenant, SpaceIndex, partMarker).Prefix(), "", func(i store.Item) bool {
		if _, _, s, ok := parseIndexKey(i.Key); ok {
			marked = append(marked, s)
		}
		return true
	})
	if err != nil {
		return err
	}
	t := p.indexes.tenant(tenant)
	if t == nil {
		if len(marked) == 0 {
			return nil
		}
		t = p.indexes.open(tenant)
	}
	for _, s := range marked {
		t.mu.Lock()
		t.space(s)
		t.mu.Unlock()
	}
	for _, s := range slices.SortedFunc(maps.Keys(t.vectors), compareSpaces) {
		*keep = append(*keep, p.shelf(tenant, s))
		if err := p.equip(tenant, t, s, l); err != nil {
			return err
		}
	}
	return nil
}

func compareSpaces(a, b vectorSpace) int {
	return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.dim, b.dim))
}

// equip gives one index its vectors: the saved one, brought up to date, or a new
// one of all documents.
func (p *Pod) equip(tenant string, t *index, s vectorSpace, l *loader) error {
	m, version, err := readMarker(p.view, tenant, s)
	if errors.Is(err, errMarker) {
		p.config.Log.Warn("an index of memory does without its marker", "tenant", tenant, "model", s.model, "dimensions", s.dim, "error", err)
		err = nil
	}
	if err != nil {
		return err
	}
	next, err := p.resume(tenant, s, m)
	if err != nil {
		return err
	}
	if !next.built.of(&m, version) {
		next.built = built{}
	}
	gone, missing := next.compare(t)
	if len(missing) > p.atOnce && len(missing) > next.index.Len()-len(gone) {
		if next, err = substitute(next); err != nil {
			return err
		}
		gone, missing = next.compare(t)
	}
	next.index.DeleteBatch(gone)
	l.indexed(-len(missing))
	err = next.fetch(p.running, p, tenant, t, missing, l.indexed)
	t.mu.Lock()
	if errors.Is(err, vector.ErrFull) {
		t.forsake(slices.DeleteFunc(missing, func(id string) bool { return rowOf(next.rows, t.numbers[id]) != vector.NoRow }))
		err = nil
	}
	v := t.vectors[s]
	v.use(next).Close()
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if next.substitute && m.Number > 0 {
		l.later = append(l.later, func() { p.begin(tenant, s, m, 0) })
	}
	if v.unsaved >= saveFrom {
		if err := p.save(tenant, t, v); err != nil {
			p.config.Log.Warn("an index of memory cannot be saved", "tenant", tenant, "model", s.model, "error", err)
		}
	}
	return p.verify(tenant, s)
}

// resume is the index that was saved, or an empty one.
func (p *Pod) resume(tenant string, s vectorSpace, m marker) (*standby, error) {
	if p.config.Dir != "" && m.Number > 0 {
		next, err := p.reopen(tenant, s, m)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, errNothingSaved) {
			p.config.Log.Warn("a saved index of memory cannot be used and is made anew", "tenant", tenant, "model", s.model, "dimensions", s.dim, "error", err)
		}
	}
	x, err := vector.New(m.config(s.dim))
	return &standby{index: x, marker: m, kinds: map[string]uint16{}, space: s}, err
}

// atOnce is how many documents a start links into a graph before it serves. Where
// there are more, and most of all, an index without a graph stands in, which searches
// compare whole, until a job has made the other.
const atOnce = 16_384

// substitute is an empty index without a graph, in the place of one with too little.
func substitute(b *standby) (*standby, error) {
	b.index.Close()
	cfg := b.marker.config(b.space.dim)
	cfg.EfConstruction = vector.Unlinked
	x, err := vector.New(cfg)
	return &standby{index: x, marker: b.marker, kinds: map[string]uint16{}, space: b.space, substitute: true}, err
}

// saveFrom is how many changes are worth saving an index while nobody waits; at
// the end of the process also one in a hundred.
const saveFrom = 4096

func (p *Pod) saveAtEnd(tenant string, s vectorSpace) error {
	t := p.indexes.tenant(tenant)
	t.mu.RLock()
	v := t.vectors[s]
	enough := v.unsaved >= saveFrom || v.unsaved > 0 && 100*v.unsaved >= v.index.Len()
	t.mu.RUnlock()
	if !enough {
		return nil
	}
	return p.save(tenant, t, v)
}

// save saves an index that nobody writes to. Without a marker it has no seed that
// would last, without a graph there is little to save.
func (p *Pod) save(tenant string, t *index, v *vectors) error {
	if p.config.Dir == "" || v.marker.Number == 0 || v.substitute {
		return nil
	}
	t.mu.RLock()
	c := &catalogue{built: v.built, changed: v.changed, kinds: v.kinds}
	for number := range t.entries {
		if e := &t.entries[number]; e.id != "" && !e.stale && e.space == v.space {
			c.documents = append(c.documents, known{e.id, e.version, e.sum, rowOf(v.rows, uint32(number))})
		}
	}
	t.mu.RUnlock()
	err := p.shelf(tenant, v.space).save(v.index, c, func(vector.Digest) {})
	if err == nil {
		t.mu.Lock()
		v.unsaved = 0
		t.mu.Unlock()
	}
	return err
}

// loader collects records for [Pod.Load]. While one chunk is put into the index
// the next is parsed.
type loader struct {
	indexes   *indexes
	progress  func(int)
	chunk     []store.Change
	ready     []parsed // on their way into the index
	documents int      // that can be searched
	reported  int
	later     []func() // starts the jobs that make what has a substitute
}

func (l *loader) add(c store.Change) {
	if l.chunk = append(l.chunk, c); len(l.chunk) == loadChunk {
		l.flush()
	}
}

// flush parses the chunk, a share on each processor, and indexes the one before.
func (l *loader) flush() {
	ready := make([]parsed, len(l.chunk))
	workers := min(runtime.GOMAXPROCS(0), len(l.chunk))
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(l.chunk); i += workers {
				ready[i] = l.indexes.parse(&l.chunk[i])
				ready[i].vector = nil // equip sees to it
			}
		})
	}
	l.indexes.put(l.ready, true)
	group.Wait()
	l.ready = ready
	l.documents += len(ready)
	l.chunk = l.chunk[:0]
}

// finish indexes what is left of a tenant.
func (l *loader) finish(tenant string) {
	l.flush()
	l.flush()
	if t := l.indexes.tenant(tenant); t != nil {
		t.mu.Lock()
		t.lexicon.settle()
		t.mu.Unlock()
	}
}

// indexed counts documents that can be searched now.
func (l *loader) indexed(documents int) {
	if l.documents += documents; l.documents/progressStep > l.reported/progressStep {
		l.reported = l.documents
		l.progress(l.documents)
	}
}
