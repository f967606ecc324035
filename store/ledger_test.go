package store

import (
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func checkLedger(t testing.TB, m *machine) {
	t.Helper()
	size, root := m.Size()
	var tree bookpi.Tree
	var previous bookpi.Hash
	next := uint64(0)
	err := m.Records(0, false, func(r Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil || r.Position != next || e.Previous != previous || e.PayloadDigest != bookpi.PayloadDigest(r.Payload) {
			t.Fatalf("entry %d: %v %+v", r.Position, err, e)
		}
		next++
		previous = bookpi.LeafHash(r.Entry)
		tree.Append(previous, func(uint8, uint64, bookpi.Hash) {})
		return true
	})
	if err != nil || next != size || tree.Root() != root {
		t.Fatalf("ledger of %d entries walks to %d: %v", size, next, err)
	}
	for _, position := range []uint64{0, size / 3, size - 1} {
		r, err := m.Record(position)
		if err != nil {
			t.Fatal(err)
		}
		leaf := bookpi.LeafHash(r.Entry)
		proof, err := bookpi.InclusionProof(size, position, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := bookpi.VerifyInclusion(leaf, position, size, proof, root); err != nil {
			t.Fatal(err)
		}
		if found, ok, err := m.Find(leaf); err != nil || !ok || found != position {
			t.Fatalf("leaf of %d found at %d %v %v", position, found, ok, err)
		}
	}
}

func TestLedgerAcrossBlocksTilesAndSegments(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	write := func(n int) {
		for range n / 8 {
			b := batch()
			for range 7 {
				b.Evidence = append(b.Evidence, b.Evidence[0])
			}
			m.pack(b, b.renamed())
		}
	}
	write(segmentEntries / 2)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	write(segmentEntries)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	write(800)
	checkLedger(t, m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	checkLedger(t, m)
	if _, ok, err := m.Find(bookpi.Hash{1}); ok || err != nil {
		t.Fatal("found what is not there")
	}
	if _, err := m.Record(1 << 40); !tap.IsKind(err, tap.NotFound) {
		t.Fatal(err)
	}
	var down []uint64
	_ = m.Records(130, true, func(r Record) bool { down = append(down, r.Position); return len(down) < 131 })
	if len(down) != 131 || down[0] != 130 || down[130] != 0 {
		t.Fatalf("walked down %d entries", len(down))
	}
}

func (b Batch) renamed() Batch { b.RequestID = uuid.New(); return b }
