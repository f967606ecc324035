package memory

import (
	"hash/maphash"
	"slices"
	"time"

	"tamv.internal/tamv/tap"
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
	always := span{distantPast, distantFuture}
	a.kind, a.pairs = f.Type, hashPairs(f.Metadata)
	a.others = len(a.pairs) > 0 || a.created != always || a.updated != always
	return a, nil
}

// on is the filter for one tenant: the number of its type, 0 for any, and what
// else decides about a document, nil for nothing. Not ok = no document passes.
func (a *accepts) on(t *index) (kind uint16, accept func(*entry) bool, ok bool) {
	if a.kind != "" {
		if kind, ok = t.kinds[a.kind]; !ok {
			return 0, nil, false
		}
	}
	pairs := a.pairs
	if kind == manyKinds {
		pairs = append(slices.Clip(pairs), hashPair("", a.kind))
	} else if !a.others {
		return kind, nil, true
	}
	return kind, func(e *entry) bool {
		if !a.created.holds(e.created) || !a.updated.holds(e.updated) {
			return false
		}
		for _, p := range pairs {
			if _, found := slices.BinarySearch(e.pairs, p); !found {
				return false
			}
		}
		return true
	}, true
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
