package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// A snapshot that was frozen before an archive is whole, and is no longer held
// afterwards. One that was frozen after it has what is left.
func TestSnapshotsAroundAnArchive(t *testing.T) {
	m := covered(t, t.TempDir())
	take := func() (*Snapshot, string, [32]byte) {
		t.Helper()
		hash := must(m.StateHash())
		return must(m.Snapshot()), t.TempDir(), hash
	}
	before, beforeDir, beforeHash := take()
	m.archive(0)
	if !exists(m.segments.path(0)) {
		t.Fatal("a snapshot needs the segment")
	}
	if _, err := m.Record(0); !tap.IsKind(err, tap.NotFound) {
		t.Fatalf("the archive waits for the snapshot: %v", err)
	}
	files, err := before.WriteTo(beforeDir)
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, beforeDir, files)
	before.Release()
	if exists(m.segments.path(0)) {
		t.Fatal("the segment stayed")
	}
	after, afterDir, afterHash := take()
	files, err = after.WriteTo(afterDir)
	if err != nil || !exists(filepath.Join(afterDir, "00000000.leaves")) || exists(filepath.Join(afterDir, "00000000.segment")) {
		t.Fatal(err)
	}
	checkFiles(t, afterDir, files)
	after.Release()

	restored := func(m *machine, dir string, hash [32]byte, archived uint64) {
		t.Helper()
		if err := m.Restore(dir); err != nil {
			t.Fatal(err)
		}
		if h, err := m.StateHash(); err != nil || h != hash {
			t.Fatalf("the restored state differs: %v", err)
		}
		if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 || report.Segments != 2 {
			t.Fatalf("%+v %v", report, err)
		}
		for number := range uint64(2) {
			if exists(m.segments.path(number)) == (number < archived) || exists(m.leavesPath(number)) != (number < archived) {
				t.Fatalf("segment %d of %d archived", number, archived)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(m.segments.dir, "*"+incomingSuffix)); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
	other := open(t, t.TempDir())
	for range 2 { // to and fro: a node that has the segment learns that it is archived, and back
		restored(other, beforeDir, beforeHash, 0)
		checkLedger(t, other)
		restored(other, afterDir, afterHash, 1)
	}
	held := must(other.Snapshot())
	restored(other, afterDir, afterHash, 1)
	if err := other.Restore(beforeDir); err != nil {
		t.Fatal(err)
	}
	heldDir := t.TempDir()
	if _, err := held.WriteTo(heldDir); err != nil {
		t.Fatalf("a snapshot that was taken before: %v", err)
	}
	held.Release()
	checkLedger(t, other)
	restored(open(t, t.TempDir()), heldDir, afterHash, 1)

	// A file that is to go when a snapshot is released stays when it counts again.
	held = must(other.Snapshot())
	for _, dir := range []string{afterDir, beforeDir} {
		if err := other.Restore(dir); err != nil {
			t.Fatal(err)
		}
	}
	held.Release()
	checkLedger(t, other)
}

// Damage of what is left is found like that of a segment, and mended from
// another member, which has no more either.
func TestDamagedLeavesAreMended(t *testing.T) {
	m, peer := covered(t, t.TempDir()), covered(t, t.TempDir())
	gone := must(m.SegmentSum(0))
	for _, one := range []*machine{m, peer} {
		one.archive(0)
	}
	if _, err := peer.Part(gone); !errors.Is(err, ErrNoPart) {
		t.Fatalf("it has the segment still: %v", err)
	}
	raw := must(os.ReadFile(m.leavesPath(0)))
	info := m.ledger.file(0)
	leaf := bookpi.Hash(must(m.TileBytes(0, 0, 1)))
	read := func(raw []byte) error {
		f := &segmentFile{file: nopCloser{bytes.NewReader(raw)}, number: 0, info: info}
		if err := f.readLeavesDirectory(int64(len(raw))); err != nil {
			return err
		}
		for i := range f.leaves {
			if err := errors.Join(second(f.tile(uint64(i))), second(f.read(f.index[i]))); err != nil {
				return err
			}
		}
		_, ok, err := f.find(leaf)
		if err == nil && !ok {
			err = errors.New("a leaf is not found")
		}
		return err
	}
	if err := read(raw); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(8, 9))
	for at := 0; at < len(raw); at += 1 + random.IntN(4000) {
		raw[at] ^= 1 << random.IntN(8)
		if err := read(raw); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
		copy(raw[at:at+1], mustRead(t, m.leavesPath(0), at))
	}
	for _, cut := range []int{0, 64, len(raw) / 2, len(raw) - 1} {
		if err := read(raw[:cut]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", cut, err)
		}
	}
	// A file that has its hash and says something else.
	for name, swap := range map[string]func(*segmentFile){
		"nothing": func(*segmentFile) {},
		"index":   func(f *segmentFile) { f.index[0], f.index[1] = f.index[1], f.index[0] },
		"leaves":  func(f *segmentFile) { f.leaves[0], f.leaves[1] = f.leaves[1], f.leaves[0] },
	} {
		f := must(openSegment(m.leavesPath(0), 0, info))
		swap(f)
		if err := (&scrub{store: m.Store, pace: noPace}).leaves(f); errors.Is(err, ErrDamaged) == (name == "nothing") {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.file.Close()
	}
	flip(t, m.leavesPath(0), 5000)
	report, err := m.Scrub(t.Context(), noPace)
	if err != nil || len(report.Damaged) != 1 || report.Damaged[0].Kind != DamagedSegment || report.Segments != 1 {
		t.Fatalf("%+v %v", report, err)
	}
	part := must(peer.Part(must(m.SegmentSum(0))))
	defer part.Close()
	if err := m.RepairSegment(0, part); err != nil {
		t.Fatal(err)
	}
	if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
}

// A member that cannot read the segment stops at its archive, and is rebuilt
// from one that could.
func TestAnArchiveOfADamagedSegmentStops(t *testing.T) {
	m := covered(t, t.TempDir())
	sum := must(m.SegmentSum(0))
	flip(t, m.segments.path(0), m.ledger.sealed[0].size-int64(segmentTiles*(leafTileBytes+indexPageBytes)))
	if _, err := m.Archive(0); !errors.Is(err, ErrDamaged) {
		t.Fatalf("it would be proposed here: %v", err)
	}
	c := must(EncodeBatch(batch(archiveOp(0, sum))))
	if _, err := m.Apply(m.Applied()+1, m.stamp+1, [][]byte{c}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("went on: %v", err)
	}
	if _, archived := m.Segments(); archived != 0 {
		t.Fatal("it is archived all the same")
	}
}

// What is not kept of a segment need not be whole here: the copy is, whose hash the batch
// states.
func TestAnArchiveReadsWhatItKeeps(t *testing.T) {
	m := covered(t, t.TempDir())
	f := must(openSegment(m.segments.path(0), 0, m.ledger.sealed[0]))
	first, second := f.blocks[0].offset, f.blocks[1].offset // of the four below a leaf tile
	if err := f.file.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, m.segments.path(0), second)
	m.archive(0)
	if _, archived := m.Segments(); archived != 1 || !exists(m.leavesPath(0)) {
		t.Fatal("it is not archived")
	}
	flip(t, m.segments.path(1), first)
	if _, err := m.Archive(1); !errors.Is(err, ErrDamaged) {
		t.Fatalf("the time of a tile's first entry is kept: %v", err)
	}
}

// A file that was to go when a snapshot is released and that was made anew since
// stays: the state went back and archived the same segment again.
func TestAFileThatWasMadeAnewStays(t *testing.T) {
	m := covered(t, t.TempDir())
	dir := t.TempDir()
	early := must(m.Snapshot())
	if _, err := early.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	early.Release()
	m.archive(0)
	held := must(m.Snapshot())
	if err := m.Restore(dir); err != nil {
		t.Fatal(err)
	}
	m.archive(0)
	held.Release()
	if exists(m.segments.path(0)) || !exists(m.leavesPath(0)) {
		t.Fatal("the wrong file went")
	}
	if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
}
