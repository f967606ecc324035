package memory

import (
	"hash/maphash"
	"slices"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// filter says which documents a search is about. Its zero value lets all
// through.
type filter struct {
	Type        string            `json:"type"`
	Metadata    map[string]string `json:"metadata"` // all of these pairs
	CreatedFrom string            `json:"createdFrom"`
	CreatedTo   string            `json:"createdTo"`
	UpdatedFrom string            `json:"updatedFrom"`
	UpdatedTo   string            `json:"updatedTo"`
}

// span is a time range: from <= t < to, in microseconds.
type span struct{ from, to int64 }

func (s span) holds(t int64) bool { return t >= s.from && t < s.to }

const (
	distantPast   = -1 << 63
	distantFuture = 1<<63 - 1
)

func parseSpan(from, to string) (span, error) {
	s := span{distantPast, distantFuture}
	for _, end := range []struct {
		text string
		at   *int64
	}{{from, &s.from}, {to, &s.to}} {
		if end.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, end.text)
		if err != nil {
			return s, tap.E("memory.search", tap.Invalid, "a time of the filter is not in RFC 3339").WithCode("time")
		}
		// A record's time is the start of its microsecond, so a bound within one
		// counts from the next.
		*end.at = t.Add(time.Microsecond - 1).UnixMicro()
	}
	return s, nil
}

// empty says that no time is within.
func (s span) empty() bool { return s.from >= s.to }

// always is the span without bounds.
var always = span{distantPast, distantFuture}

// accepts is a filter that has been read.
type accepts struct {
	kind             string
	created, updated span
	pairs            []uint64
	others           bool // it asks for more than the type
}

func (f *filter) compile() (a accepts, err error) {
	if a.created, err = parseSpan(f.CreatedFrom, f.CreatedTo); err != nil {
		return a, err
	}
	if a.updated, err = parseSpan(f.UpdatedFrom, f.UpdatedTo); err != nil {
		return a, err
	}
	a.kind, a.pairs = f.Type, hashPairs(f.Metadata)
	a.others = len(a.pairs) > 0 || a.created != always || a.updated != always
	return a, nil
}

// rule is a filter for one tenant.
type rule struct {
	kind    uint16   // of the tenant; 0 = any
	pairs   []uint64 // all of these
	updated span
	accept  func(number uint32) bool // what decides beside the kind; nil = nothing
}

// on is the filter for one tenant. Not ok = no document passes.
func (a *accepts) on(t *index) (r rule, ok bool) {
	r.updated, r.pairs = always, a.pairs
	if a.kind != "" {
		if r.kind, ok = t.kinds[a.kind]; !ok {
			return r, false
		}
	}
	if r.kind == manyKinds {
		r.pairs = append(slices.Clip(r.pairs), hashPair("", a.kind))
	}
	if !a.others && r.kind != manyKinds {
		return r, true
	}
	created := always
	if a.others {
		created, r.updated = a.created, a.updated
	}
	if created.empty() || r.updated.empty() {
		return r, false
	}
	updated, pairs := r.updated, r.pairs
	r.accept = func(number uint32) bool {
		if at := &t.times[number]; !created.holds(at.created) || !updated.holds(at.updated) {
			return false
		}
		for _, p := range pairs {
			if _, found := slices.BinarySearch(t.entries[number].pairs, p); !found {
				return false
			}
		}
		return true
	}
	return r, true
}

func (r *rule) passes(t *index, number uint32) bool {
	return (r.accept == nil || r.accept(number)) && (r.kind == 0 || t.entries[number].kind == r.kind)
}

// among is the rows of the documents that pass, ascending, unless there are more
// than most. With pairs it looks at the documents that have the rarest, else at
// all.
func (r *rule) among(t *index, v *vectors, most int) (rows []uint32, ok bool) {
	take := func(number uint32) bool {
		if !r.passes(t, number) {
			return true
		}
		e := &t.entries[number]
		if e.id == "" || e.stale || e.space != v.space {
			return true
		}
		if row := rowOf(v.rows, number); row != vector.NoRow {
			rows = append(rows, row)
		}
		return len(rows) <= most
	}
	if len(r.pairs) == 0 {
		for number := range t.entries {
			if !take(uint32(number)) {
				return nil, false
			}
		}
	} else {
		list := t.pairs[r.pairs[0]]
		for _, p := range r.pairs[1:] {
			if other := t.pairs[p]; other == nil || list == nil || other.count < list.count {
				list = other
			}
		}
		if list == nil {
			return nil, true
		}
		for _, block := range list.blocks {
			for _, e := range block {
				if !take(e.number) {
					return nil, false
				}
			}
		}
	}
	slices.Sort(rows)
	return rows, true
}

// pairSeed makes hashes of metadata differ from process to process, so that
// nobody can prepare two pairs that look alike.
var pairSeed = maphash.MakeSeed()

func hashPair(name, value string) uint64 { return maphash.String(pairSeed, name+"\x00"+value) }

// hashPairs are the hashes of metadata pairs, sorted.
func hashPairs(metadata map[string]string) []uint64 {
	hashes := make([]uint64, 0, len(metadata)+1)
	for name, value := range metadata {
		hashes = append(hashes, hashPair(name, value))
	}
	slices.Sort(hashes)
	return hashes
}
