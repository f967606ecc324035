package store

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
)

// The newest stay, and for good the first one at or beyond the end of each
// segment.
func TestWhichCheckpointsAreKept(t *testing.T) {
	const s = segmentEntries
	var r recorded
	add := func(sizes ...uint64) {
		for _, size := range sizes {
			before := slices.Clone(r.sizes)
			next, dropped := r.add(bookpi.Checkpoint{Size: size}, []byte("note"))
			if !slices.Equal(before, r.sizes) {
				t.Fatal("a list that readers hold was changed")
			}
			if len(next.sizes)+len(dropped) != len(before)+1 || !slices.IsSorted(next.sizes) {
				t.Fatalf("%v and %v dropped", next.sizes, dropped)
			}
			r = next
		}
	}
	add(5, s-1, s, s+1, 3*s+7, 3*s+9) // nothing was signed at the second boundary
	for i := range uint64(KeptCheckpoints) {
		add(10*s + i)
	}
	if got := r.sizes[:len(r.sizes)-KeptCheckpoints+1]; !slices.Equal(got, []uint64{s, 3*s + 7, 10 * s}) {
		t.Fatal(got)
	}
	add(10*s+KeptCheckpoints, 3*s+2, 12) // late ones: the first at a boundary is another then
	if got := r.sizes[:len(r.sizes)-KeptCheckpoints+1]; !slices.Equal(got, []uint64{s, 3*s + 2, 10 * s, 10*s + 1}) {
		t.Fatal(got)
	}
	if r.newest.Size != 10*s+KeptCheckpoints {
		t.Fatal(r.newest)
	}
}

// Old checkpoints go from the state too, and a snapshot has what is left.
func TestCheckpointsInSnapshots(t *testing.T) {
	m := raised(t, t.TempDir())
	for range KeptCheckpoints + 9 {
		m.ok(batch())
		size, root := m.Size()
		m.ok(signed(t, size, root))
	}
	kept := m.sizes()
	if len(kept) != KeptCheckpoints || kept[0] != 11 {
		t.Fatalf("%d are kept from %d on", len(kept), kept[0])
	}
	hash, err := m.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if _, err := s.WriteTo(folder); err != nil {
		t.Fatal(err)
	}
	s.Release()
	other := open(t, t.TempDir())
	if err := other.Restore(folder); err != nil {
		t.Fatal(err)
	}
	if h, err := other.StateHash(); err != nil || h != hash || !slices.Equal(other.sizes(), kept) {
		t.Fatalf("%v %v", other.sizes(), err)
	}
	if report, err := other.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
	// A recorded checkpoint that is not one of this ledger is damage, however
	// well it is stored.
	forged := signed(t, kept[5], bookpi.Hash{9}).Ops[0].Value
	other.active.put(bucketCheckpoints, string(u64(kept[5])), forged)
	if report, err := other.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) != 0 {
		t.Fatal("it is not on disk yet", report, err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if report, err := other.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) != 1 {
		t.Fatalf("%+v %v", report, err)
	}
	other.active.put(bucketCheckpoints, string(u64(kept[5])), signed(t, kept[6], bookpi.Hash{9}).Ops[0].Value)
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := inspectFile(other.path); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func FuzzReadCheckpoint(f *testing.F) {
	f.Add(signed(f, 7, bookpi.Hash{1}).Ops[0].Value)
	f.Add([]byte("a\n1\n\n\n— "))
	f.Fuzz(func(t *testing.T, note []byte) {
		cp, err := ReadCheckpoint(note)
		if err != nil {
			return
		}
		b := CheckpointBatch("main", uuid.New(), cp, note)
		if _, err := EncodeBatch(b); err != nil {
			t.Fatalf("read but cannot be proposed: %v", err)
		}
	})
}
