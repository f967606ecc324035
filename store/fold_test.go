package store

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// plain hides that a store knows subtrees: proofs are folded from its tiles.
type plain struct{ bookpi.TileReader }

// sameProofs compares what a store answers from what it keeps with what its
// tiles give, and checks it against the root.
func sameProofs(t interface{ Fatalf(string, ...any) }, m *machine, size, position, old uint64) {
	root, err := bookpi.RootAt(size, plain{m})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if fast, err := bookpi.RootAt(size, m); err != nil || fast != root {
		t.Fatalf("root at %d: %v", size, err)
	}
	want, err1 := bookpi.InclusionProof(size, position, plain{m})
	got, err2 := bookpi.InclusionProof(size, position, m)
	if err := errors.Join(err1, err2); err != nil || !slices.Equal(got, want) {
		t.Fatalf("entry %d of %d: %v", position, size, err)
	}
	want, err1 = bookpi.ConsistencyProof(old, size, plain{m})
	got, err2 = bookpi.ConsistencyProof(old, size, m)
	if err := errors.Join(err1, err2); err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d in %d: %v", old, size, err)
	}
}

// What is kept of tiles gives the proofs that the tiles give, however the
// ledger grows meanwhile and however little is kept.
func TestProofsFromFoldedTiles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := open(t, t.TempDir())
		m.folds.Store(newFoldCache(rapid.SampledFrom([]int{0, 20_000, foldBytes}).Draw(rt, "kept bytes")))
		for range rapid.IntRange(1, 4).Draw(rt, "turns") {
			b := batch()
			for range rapid.IntRange(0, 400).Draw(rt, "entries") {
				b.Evidence = append(b.Evidence, b.Evidence[0])
			}
			m.ok(b)
			if rapid.Bool().Draw(rt, "flush") {
				if err := m.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
			last, _ := m.Size()
			for range 6 {
				size := rapid.Uint64Range(1, last).Draw(rt, "size")
				sameProofs(rt, m, size, rapid.Uint64Range(0, size-1).Draw(rt, "position"), rapid.Uint64Range(0, size).Draw(rt, "old"))
			}
		}
		if err := m.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestProofsFromSealedSegments(t *testing.T) {
	m := sealedStore(t)
	random := rand.New(rand.NewPCG(3, 4))
	last, _ := m.Size()
	for _, limit := range []int{foldBytes, 50_000} {
		m.folds.Store(newFoldCache(limit))
		for range 150 {
			size := 1 + random.Uint64N(last)
			sameProofs(t, m, size, random.Uint64N(size), random.Uint64N(size+1))
		}
	}
	if c := m.folds.Load(); c.bytes > c.limit || len(c.ring) != len(c.tiles) || c.bytes == 0 {
		t.Fatalf("%d bytes for %d tiles", c.bytes, len(c.tiles))
	}
	for _, err := range []error{
		second(m.Subtree(16, 0)), second(m.Subtree(0, last)), second(m.Subtree(62, 0)), second(m.Siblings(nil, last, 1)), second(m.Siblings(nil, 0, 30)),
	} {
		if !errors.Is(err, bookpi.ErrTile) {
			t.Errorf("beyond the end: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A leaf that changes on disk after its tile was read is found by the proof
// that passes it.
func TestADamagedLeafIsNoProof(t *testing.T) {
	m := sealedStore(t)
	size, _ := m.Size()
	const position = segmentEntries + 5*tileWidth + 77
	if _, err := bookpi.InclusionProof(size, position, m); err != nil {
		t.Fatal(err)
	}
	h, err := m.segments.acquire(1, m.ledger.sealed[1])
	if err != nil {
		t.Fatal(err)
	}
	at := h.leaves[5].offset + 79*bookpi.HashSize
	m.segments.release(h)
	flip(t, m.segments.path(1), at)
	var bad *Damage
	if _, err := bookpi.InclusionProof(size, position, m); !errors.As(err, &bad) || bad.Kind != DamagedSegment || bad.Number != 1 {
		t.Fatalf("proved with a damaged leaf: %v", err)
	} else if tap.AsError(err).RetryAfter == 0 {
		t.Fatalf("nobody hears when to come back: %v", err)
	}
	if _, err := m.Subtree(0, position); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	flip(t, m.segments.path(1), at)
	if _, err := bookpi.InclusionProof(size, position, m); err != nil {
		t.Fatal(err)
	}
}

// What is kept of one history is not used for another.
func TestARestoreForgetsWhatTilesFoldTo(t *testing.T) {
	m, other := open(t, t.TempDir()), open(t, t.TempDir())
	fill(m, 1, 640, never)
	fill(other, 2, 640, never)
	s, err := other.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if _, err := s.WriteTo(folder); err != nil {
		t.Fatal(err)
	}
	s.Release()
	sameProofs(t, m, 640, 100, 300)
	if err := m.Restore(folder); err != nil {
		t.Fatal(err)
	}
	sameProofs(t, m, 640, 100, 300)
	if root, err := bookpi.RootAt(512, m); err != nil || root != must(bookpi.RootAt(512, other)) {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
