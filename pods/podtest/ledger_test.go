package podtest

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func grown(t *testing.T, entries int) *State {
	t.Helper()
	s := NewState()
	for range entries {
		grow(t, s)
	}
	return s
}

func grow(t *testing.T, s *State) {
	t.Helper()
	_, err := s.Commit(t.Context(), store.Batch{
		RequestID: uuid.New(), Tenant: "main",
		Evidence: []store.Evidence{{Actor: "ana", Action: "test.act", Outcome: "ok"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newKeys(t *testing.T) bookpi.LogKeys {
	t.Helper()
	keys, err := bookpi.GenerateKeys(rand.Reader, "tamv.test/log")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The fake records what the store would, and refuses what it would.
func TestCheckpointsAreRecorded(t *testing.T) {
	s, keys := grown(t, 300), newKeys(t)
	record := func(size uint64, root bookpi.Hash) (store.Receipt, error) {
		t.Helper()
		cp := bookpi.Checkpoint{Origin: keys.Origin(), Size: size, Root: root}
		note, err := keys.Sign(cp, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return s.Commit(t.Context(), store.CheckpointBatch("main", uuid.New(), cp, note))
	}
	if _, _, ok := s.Checkpoint(); ok {
		t.Fatal("one is recorded in the beginning")
	}
	size, root := s.Size()
	older, err := s.RootAt(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		size uint64
		root bookpi.Hash
	}{{size, older}, {100, root}, {size + 1, root}} {
		_, err := record(c.size, c.root)
		WantKind(t, err, tap.Conflict, "split_view")
	}
	for _, known := range []bool{false, true} {
		for size, root := range map[uint64]bookpi.Hash{size: root, 100: older} {
			if r, err := record(size, root); err != nil || r.Duplicate != known || r.Entries != 0 {
				t.Fatalf("%+v %v", r, err)
			}
		}
	}
	if now, _ := s.Size(); now != size {
		t.Fatal("a checkpoint is an entry")
	}
	cp, note, ok := s.Checkpoint()
	if again, err := store.ReadCheckpoint(note); !ok || cp.Size != size || err != nil || again != cp {
		t.Fatalf("%+v %v", cp, err)
	}
	for asked, want := range map[uint64]uint64{0: 100, 100: 100, 101: size, size: size} {
		if cp, _, ok, err := s.CheckpointFor(asked); !ok || err != nil || cp.Size != want {
			t.Fatalf("for %d: %+v %v", asked, cp, err)
		}
	}
	if _, _, ok, err := s.CheckpointFor(size + 1); ok || err != nil {
		t.Fatal(err)
	}
	var sizes []uint64
	_ = s.Checkpoints(func(cp bookpi.Checkpoint, _ []byte) bool { sizes = append(sizes, cp.Size); return true })
	if !slices.Equal(sizes, []uint64{100, size}) {
		t.Fatal(sizes)
	}
}

func TestTilesAndTimesOfTheLedger(t *testing.T) {
	s := grown(t, 300)
	raw, err := s.TileBytes(0, 1, 44)
	hashes, _ := s.Tile(0, 1)
	if err != nil || len(raw) != 44*bookpi.HashSize || bookpi.Hash(raw[43*bookpi.HashSize:]) != hashes[43] {
		t.Fatal(len(raw), err)
	}
	_, err = s.TileBytes(0, 1, 45)
	WantKind(t, err, tap.NotFound, "")
	_, err = s.TileBytes(0, 0, 257)
	WantKind(t, err, tap.Invalid, "")
	_, err = s.RootAt(301)
	WantKind(t, err, tap.NotFound, "")
	r, err := s.Record(17)
	e, err2 := bookpi.ParseEntry(r.Entry)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for time, want := range map[int64]uint64{0: 0, e.Timestamp: 17, e.Timestamp + 1: 18, 1 << 60: 300} {
		if at, err := s.At(time); at != want || err != nil {
			t.Fatalf("at %d: %d %v", time, at, err)
		}
	}
}

func TestGrownIsClosedByTheNextEntry(t *testing.T) {
	s := grown(t, 1)
	open := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return false
		default:
			return true
		}
	}
	waiting := s.Grown(1)
	if open(s.Grown(0)) || !open(waiting) {
		t.Fatal("it is not about the size")
	}
	grow(t, s)
	if open(waiting) || !open(s.Grown(2)) {
		t.Fatal("it is not about the next entry")
	}
}
