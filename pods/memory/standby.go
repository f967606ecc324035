package memory

import (
	"context"
	"errors"
	"slices"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/vector"
)

// standby is an index on its way into use: one that was saved, or a new one. Nobody
// searches it yet, and one goroutine has it.
type standby struct {
	index   *vector.Index
	marker  marker
	kinds   map[string]uint16
	rows    []uint32 // by number of a document
	saved   []known  // what the index has, until it is compared
	space   vectorSpace
	built   built
	changed int // since the marker
	unsaved int

	substitute bool // it has no graph, and another is to take its place
}

// reopen loads the index that was saved last. Without one that can be used it
// returns the reason.
func (p *Pod) reopen(tenant string, s vectorSpace, m marker) (*standby, error) {
	x, c, err := p.shelf(tenant, s).open(m.config(s.dim))
	if x == nil {
		return nil, err
	}
	if err != nil {
		p.config.Log.Warn("a saved index of memory is damaged; an older one is used", "tenant", tenant, "model", s.model, "error", err)
	}
	return &standby{index: x, marker: m, kinds: c.kinds, saved: c.documents, space: s, built: c.built, changed: c.changed}, nil
}

// compareStep is how many documents are compared while Apply waits.
const compareStep = 4096

// compare holds what was saved against the documents that there are: gone has what
// is no more, missing what is new or has changed. Changes meanwhile are noted by
// those who make them.
func (b *standby) compare(t *index) (gone, missing []string) {
	for some := range slices.Chunk(b.saved, compareStep) {
		t.mu.RLock()
		for i := range some {
			d := &some[i]
			number, ok := t.numbers[d.id]
			switch {
			case !ok || t.entries[number].stale || t.entries[number].space != b.space:
				gone = append(gone, d.id)
			case d.holds(&t.entries[number]):
				b.rows = setRow(b.rows, number, d.row)
			}
		}
		t.mu.RUnlock()
	}
	b.saved = nil
	for from, more := 0, true; more; from += compareStep {
		t.mu.RLock()
		for number := from; number < min(from+compareStep, len(t.entries)); number++ {
			e := &t.entries[number]
			if e.id != "" && !e.stale && e.space == b.space && rowOf(b.rows, uint32(number)) == vector.NoRow {
				missing = append(missing, e.id)
			}
		}
		more = from+compareStep < len(t.entries)
		t.mu.RUnlock()
	}
	b.changed += len(gone) + len(missing)
	b.unsaved += len(gone) + len(missing)
	return gone, missing
}

// fetch brings documents up to date with the state. progress is told of each
// batch.
func (b *standby) fetch(ctx context.Context, p *Pod, tenant string, t *index, ids []string, progress func(documents int)) error {
	slices.Sort(ids)
	for some := range slices.Chunk(ids, buildBatch) {
		var gone []string
		items := make([]vector.Item, 0, len(some))
		for _, id := range some {
			item, ok, err := p.view.Get(store.K(tenant, space, id))
			if err != nil {
				return err
			}
			var r record
			if ok {
				r, err = decodeRecord(item.Value)
			}
			s, v := p.indexes.vectorOf(&r)
			if !ok || err != nil || v == nil || s != b.space {
				gone = append(gone, id)
				continue
			}
			items = append(items, vector.Item{ID: id, Vector: v, Kind: kindNumber(b.kinds, r.Type), Time: r.Updated})
		}
		b.index.DeleteBatch(gone)
		if err := errors.Join(b.index.AddBatch(items), ctx.Err()); err != nil {
			return err
		}
		rows := b.index.Rows(some)
		t.mu.RLock()
		for i, id := range some {
			if number, ok := t.numbers[id]; ok {
				b.rows = setRow(b.rows, number, rows[i])
			}
		}
		t.mu.RUnlock()
		progress(len(some))
	}
	return nil
}

// use puts a standby in the place of the index in use, which it returns. The
// tenant's lock is held.
func (v *vectors) use(b *standby) (old *vector.Index) {
	old = v.index
	v.index, v.marker, v.kinds, v.rows = b.index, b.marker, b.kinds, b.rows
	v.built, v.changed, v.asked, v.unsaved = b.built, b.changed, b.changed, b.unsaved
	v.substitute = b.substitute
	v.dead, v.differs = b.index.Stats().Dead, false
	return old
}
