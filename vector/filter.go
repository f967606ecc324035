package vector

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Filter says which vectors a search may return. Its zero value lets all
// through; every condition that is set must hold.
type Filter struct {
	Tags  []uint32 // one of these; empty: any
	Kinds []uint16 // one of these; empty: any
	// From and Until bound the time: From <= Time < Until. Both zero: any time.
	From, Until int64
	// Accept decides about an id, last. It must not use the index.
	Accept func(id string) bool
}

// attributes are what a Filter looks at.
type attributes struct {
	time int64
	tag  uint32
	kind uint16
	_    uint16
}

// group is a tag and a kind as one number, ordered by tag, then kind.
type group uint64

func (a attributes) group() group { return group(a.tag)<<16 | group(a.kind) }

func (g group) kind() uint16 { return uint16(g) }

// posting lists the rows of one group. The writer appends to it; rows that died
// stay until the next consolidation.
type posting struct {
	group group
	live  atomic.Int64
	rows  atomic.Pointer[[]uint32]
}

func (p *posting) list() []uint32 {
	if rows := p.rows.Load(); rows != nil {
		return *rows
	}
	return nil
}

// posting returns the list of a group. The slice of all lists is shared with
// views, so a new list makes a new slice.
func (x *Index) posting(g group) *posting {
	at, ok := slices.BinarySearchFunc(x.postings, g, comparePosting)
	if !ok {
		x.postings = slices.Insert(slices.Clone(x.postings), at, &posting{group: g})
	}
	return x.postings[at]
}

func comparePosting(p *posting, g group) int {
	switch {
	case p.group < g:
		return -1
	case p.group > g:
		return 1
	}
	return 0
}

// add appends rows. A search that holds the old list does not see beyond its end.
func (p *posting) add(row uint32) {
	rows := append(p.list(), row)
	p.rows.Store(&rows)
	p.live.Add(1)
}

// matcher is a Filter applied to one view.
type matcher struct {
	view   *view
	filter Filter
	all    bool       // every row is in lists
	lists  []*posting // of the groups that pass
	most   int        // at least as many rows match as to tag and kind
}

// match prepares a filter, or returns ErrOptions.
func (v *view) match(f Filter) (matcher, error) {
	m := matcher{view: v, filter: f}
	if f.From > f.Until {
		return m, fmt.Errorf("%w: time from %d until %d", ErrOptions, f.From, f.Until)
	}
	if len(f.Tags) == 0 && len(f.Kinds) == 0 {
		m.all, m.most = true, v.live
		return m, nil
	}
	collect := func(from, to int) {
		for _, p := range v.postings[from:to] {
			if len(f.Kinds) == 0 || slices.Contains(f.Kinds, p.group.kind()) {
				m.lists = append(m.lists, p)
				m.most += int(p.live.Load())
			}
		}
	}
	if len(f.Tags) == 0 {
		collect(0, len(v.postings))
		return m, nil
	}
	tags := slices.Clone(f.Tags)
	slices.Sort(tags)
	for _, tag := range slices.Compact(tags) {
		from, _ := slices.BinarySearchFunc(v.postings, attributes{tag: tag}.group(), comparePosting)
		to, found := slices.BinarySearchFunc(v.postings, attributes{tag: tag, kind: 1<<16 - 1}.group(), comparePosting)
		if found {
			to++
		}
		collect(from, to)
	}
	return m, nil
}

// admits reports whether a row is in the view and passes all but Accept.
func (m *matcher) admits(row uint32) bool {
	if int(row) >= m.view.rows || !m.view.visible(row) {
		return false
	}
	f := &m.filter
	if m.all && f.From == 0 && f.Until == 0 {
		return true
	}
	a := &m.view.attrs[row]
	if f.From != 0 || f.Until != 0 {
		if a.time < f.From || a.time >= f.Until {
			return false
		}
	}
	return (len(f.Tags) == 0 || slices.Contains(f.Tags, a.tag)) && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, a.kind))
}

// accepts asks the caller's function, if there is one.
func (m *matcher) accepts(row uint32) bool {
	return m.filter.Accept == nil || m.filter.Accept(m.view.id(row))
}
