package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"tamv.internal/tamv/store/bookpi"
)

// opened is how often the files of segments were used.
func (m *machine) opened() uint64 {
	m.segments.mu.Lock()
	defer m.segments.mu.Unlock()
	return m.segments.uses
}

// Every entry is found wherever it is, and what is nowhere costs hardly a look at a
// file.
func TestFindOpensNoSegmentInVain(t *testing.T) {
	m := covered(t, t.TempDir())
	archived := false
	leaves := map[uint64]bookpi.Hash{}
	for position := uint64(0); position < 2*segmentEntries; position += 97 {
		leaves[position] = bookpi.LeafHash(must(m.Record(position)).Entry)
	}
	for range 2 {
		for position, leaf := range leaves {
			if found, ok, err := m.Find(leaf); err != nil || !ok || found != position {
				t.Fatalf("entry %d is found at %d, %v, archived %v: %v", position, found, ok, archived, err)
			}
		}
		before := m.opened()
		const strange = 1000
		for i := range strange {
			if _, ok, err := m.Find(sha256.Sum256(fmt.Append(nil, "no entry ", i))); ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if n := m.opened() - before; n > 2*strange/20 {
			t.Errorf("%d strange hashes opened segments %d times", strange, n)
		}
		if !archived {
			m.archive(0) // its hashes are found as before
			archived = true
		}
	}
}

// A segment that cannot be read hides nothing, and one that was mended is read anew.
func TestFindInADamagedSegment(t *testing.T) {
	m := covered(t, t.TempDir())
	leaf := bookpi.LeafHash(must(m.Record(5)).Entry)
	f := must(openSegment(m.segments.path(0), 0, m.ledger.sealed[0]))
	at := f.index
	if err := f.file.Close(); err != nil {
		t.Fatal(err)
	}
	for _, page := range at {
		flip(t, m.segments.path(0), page.offset)
	}
	m.segments.replaced(0)
	if _, ok, err := m.Find(leaf); ok || !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v, %v", ok, err)
	}
	for _, page := range at {
		flip(t, m.segments.path(0), page.offset)
	}
	if found, ok, err := m.Find(leaf); !ok || found != 5 || err != nil {
		t.Fatalf("%d, %v, %v", found, ok, err)
	}
}

func TestFiltersOfTheNewestSegmentsAreKept(t *testing.T) {
	h := hashFilters{of: map[uint64]*hashFilter{}}
	const sealed = maxFilters + 50
	for number := range uint64(sealed) {
		h.keep(number, number+1, &hashFilter{})
	}
	if len(h.of) > maxFilters+1 || h.of[sealed-1] == nil || h.of[0] != nil {
		t.Errorf("%d filters", len(h.of))
	}
}
