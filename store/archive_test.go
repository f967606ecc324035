package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// covered is a store with two sealed segments, some more, and a checkpoint over
// all of it.
func covered(t testing.TB, dir string) *machine {
	t.Helper()
	m := open(t, dir)
	raise := batch(Raise(Version))
	raise.RequestID = uuid.UUID{1} // the same ledger every time
	m.ok(raise)
	fill(m, 1, 2*segmentEntries+640, never)
	size, root := m.Size()
	cp := bookpi.Checkpoint{Origin: "tamv.test/log", Size: size, Root: root}
	note := must(logKeys.Sign(cp, time.Unix(1_800_000_000, 0)))
	m.ok(CheckpointBatch("main", uuid.UUID{2}, cp, note))
	return m
}

// archived archives a segment and waits until it is done.
func (m *machine) archive(number uint64) {
	m.t.Helper()
	op, err := m.Archive(number)
	if err != nil {
		m.t.Fatal(err)
	}
	b := batch(op)
	b.RequestID = uuid.UUID{byte(number), 0, 9}
	m.ok(b)
	if err := m.Flush(); err != nil {
		m.t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (m *machine) leavesPath(number uint64) string {
	return m.segments.file(number, segmentInfo{archived: true})
}

func isArchived(err error, segment uint64, sum [32]byte) bool {
	var e *tap.Error
	return errors.As(err, &e) && e.Kind == tap.NotFound && e.StableCode() == "archived" &&
		e.Details["segment"] == segment && e.Details["sha256"] == hex.EncodeToString(sum[:])
}

// seen is what the ledger says of an entry, whether or not its segment is archived.
type seen struct {
	leaf  bookpi.Hash
	proof []bookpi.Hash
	tile  []byte
}

// look finds the entry of a leaf and proves it in the tree of a size.
func (m *machine) look(size, position uint64, leaf bookpi.Hash) seen {
	m.t.Helper()
	found, ok, err := m.Find(leaf)
	if err != nil || !ok || found != position {
		m.t.Fatalf("entry %d is found at %d: %v", position, found, err)
	}
	return seen{leaf, must(bookpi.InclusionProof(size, position, m)), must(m.TileBytes(0, position/tileWidth, 1))}
}

// What is left of an archived segment proves its entries as before, also after a
// start.
func TestAnArchivedSegmentIsStillProved(t *testing.T) {
	dir := t.TempDir()
	m := covered(t, dir)
	size, root := m.Size()
	before := map[uint64]seen{}
	for _, position := range []uint64{0, 7, 255, 256, segmentEntries/2 + 3, segmentEntries - 1, segmentEntries, size - 1} {
		r, err := m.Record(position)
		if err != nil {
			t.Fatal(err)
		}
		before[position] = m.look(size, position, bookpi.LeafHash(r.Entry))
	}
	m.archive(0)
	for range 2 {
		for position, then := range before {
			if now := m.look(size, position, then.leaf); !slices.Equal(now.proof, then.proof) || !bytes.Equal(now.tile, then.tile) {
				t.Fatalf("entry %d has another proof", position)
			}
		}
		if r, err := m.RootAt(size); err != nil || r != root {
			t.Fatal(err)
		}
		if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 || report.Segments != 2 {
			t.Fatalf("%+v %v", report, err)
		}
		m = m.again(dir)
	}
}

// again starts the store once more.
func (m *machine) again(dir string) *machine {
	m.t.Helper()
	if err := m.Close(); err != nil {
		m.t.Fatal(err)
	}
	return open(m.t, dir)
}

// Whoever asks for what an archived segment held is told where that is.
func TestAnArchivedSegmentIsNamed(t *testing.T) {
	dir := t.TempDir()
	m := covered(t, dir)
	segment, err := m.Segment(0)
	if err != nil || segment.Archived || segment.First != 0 || segment.Last != segmentEntries-1 {
		t.Fatalf("%+v %v", segment, err)
	}
	entries, _, _ := m.DiskUse()
	m.archive(0)
	if exists(m.segments.path(0)) || !exists(m.leavesPath(0)) || !exists(m.segments.path(1)) {
		t.Fatal("the files are not those of an archived segment")
	}
	for range 2 {
		m.named(segment)
		left, leaves, gone := m.DiskUse()
		if left+gone != entries || gone != segment.Bytes || leaves != int64(leavesBytes) {
			t.Fatalf("%d, %d and %d bytes of %d", left, leaves, gone, entries)
		}
		if sealed, archived := m.Segments(); sealed != 2 || archived != 1 {
			t.Fatal(sealed, archived)
		}
		m = m.again(dir)
	}
}

// named asks in every way for what the first segment held.
func (m *machine) named(segment Segment) {
	m.t.Helper()
	for _, position := range []uint64{0, 7, segmentEntries - 1} {
		if _, err := m.Record(position); !isArchived(err, 0, segment.SHA256) {
			m.t.Fatalf("entry %d: %v", position, err)
		}
	}
	if _, err := m.Record(segmentEntries); err != nil {
		m.t.Fatal(err)
	}
	var down []uint64
	err := m.Records(segmentEntries+2, true, func(r Record) bool { down = append(down, r.Position); return true })
	if !isArchived(err, 0, segment.SHA256) || !slices.Equal(down, []uint64{segmentEntries + 2, segmentEntries + 1, segmentEntries}) {
		m.t.Fatalf("%v %v", down, err)
	}
	if _, _, err := m.OpenSegment(0); !isArchived(err, 0, segment.SHA256) {
		m.t.Fatal(err)
	}
	if now, err := m.Segment(0); err != nil || !now.Archived || now.SHA256 != segment.SHA256 {
		m.t.Fatalf("%+v %v", now, err)
	}
}

// The file that was copied out is that part of the log, and everything of it.
func TestACopiedSegmentIsThatPartOfTheLog(t *testing.T) {
	m := covered(t, t.TempDir())
	copied, segment, err := m.OpenSegment(0)
	if known, err2 := m.Segment(0); err != nil || err2 != nil || segment != known {
		t.Fatalf("%+v %v %v", segment, err, err2)
	}
	raw := must(io.ReadAll(copied))
	_ = copied.Close()
	if sha256.Sum256(raw) != segment.SHA256 || int64(len(raw)) != segment.Bytes {
		t.Fatal("what was copied is not the segment")
	}
	m.archive(0)
	next := uint64(0)
	read, err := bookpi.ReadSegment(bytes.NewReader(raw), func(position uint64, _, payload []byte) error {
		if position != next || len(payload) == 0 {
			t.Fatalf("entry %d with %d bytes", position, len(payload))
		}
		next++
		return nil
	})
	if err != nil || next != segmentEntries || read.SHA256 != segment.SHA256 || read.Number != 0 {
		t.Fatalf("%+v %v", read, err)
	}
	if err := bookpi.CheckSegment(read, m); err != nil {
		t.Fatal(err)
	}
	read.Number = 1
	if err := bookpi.CheckSegment(read, m); err == nil {
		t.Fatal("it is taken for another part of the log")
	}
}

func TestPositionsByTimeInAnArchive(t *testing.T) {
	m := covered(t, t.TempDir())
	size, _ := m.Size()
	var times []int64
	err := m.Records(0, false, func(r Record) bool {
		times = append(times, must(bookpi.ParseEntry(r.Entry)).Timestamp)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	m.archive(0)
	check := func() {
		t.Helper()
		for position := 0; position < int(size); position += 97 {
			want, _ := slices.BinarySearch(times, times[position])
			at, err := m.At(times[position])
			archived := uint64(want) < m.ledger.left*segmentEntries
			if err != nil || !archived && at != uint64(want) || archived && (at > uint64(want) || at+tileWidth < uint64(want)) {
				t.Fatalf("time of %d, first at %d: %d %v", position, want, at, err)
			}
		}
	}
	check()
	m.archive(1)
	check()
	if at, err := m.At(m.Clock() + 1); err != nil || at != size+2 { // with those about the archives
		t.Fatal(at, err)
	}
	if at, err := m.At(0); at != 0 || err != nil {
		t.Fatal(at, err)
	}
}

func TestRefusedArchives(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Raise(Version)))
	refused := func(name string, b Batch, code string) {
		t.Helper()
		var e *tap.Error
		if err, ok := m.pack(b)[0].(error); !ok || !errors.As(err, &e) || e.Kind != tap.Conflict && e.Kind != tap.NotFound || e.StableCode() != code {
			t.Errorf("%s: %v", name, err)
		}
	}
	var sum [32]byte
	refused("nothing is sealed", batch(archiveOp(0, sum)), "archive")
	fill(m, 1, 2*segmentEntries, never)
	sum0, sum1 := must(m.SegmentSum(0)), must(m.SegmentSum(1))
	refused("no checkpoint", batch(archiveOp(0, sum0)), "archive")
	m.ok(signed(t, segmentEntries-1, must(m.RootAt(segmentEntries-1))))
	refused("a checkpoint over all but one", batch(archiveOp(0, sum0)), "archive")
	m.ok(signed(t, segmentEntries, must(m.RootAt(segmentEntries))))
	refused("another hash", batch(archiveOp(0, sum1)), "archive")
	refused("not the next one", batch(archiveOp(1, sum1)), "archive")
	refused("half of a batch", batch(archiveOp(0, sum0), Check(key("absent"), 7)), "conflict")
	if _, archived := m.Segments(); archived != 0 || len(m.ledger.archives) != 0 {
		t.Fatal("a refused batch archived")
	}
	m.ok(batch(archiveOp(0, sum0)))
	refused("again", batch(archiveOp(0, sum0)), "archived")
	refused("not covered", batch(archiveOp(1, sum1)), "archive")
	size, root := m.Size()
	m.ok(signed(t, size, root))
	m.ok(batch(archiveOp(1, sum1)))
	refused("still growing", batch(archiveOp(2, sum)), "archive")
	two := covered(t, t.TempDir())
	if err, ok := two.pack(batch(archiveOp(1, must(two.SegmentSum(1)))))[0].(error); !ok || tap.AsError(err).Details["next"] != uint64(0) {
		t.Errorf("the second before the first: %v", err)
	}
	for name, op := range map[string]Op{
		"key":       {Type: OpArchive, Key: key("a"), Value: sum[:]},
		"negative":  {Type: OpArchive, Number: -1, Value: sum[:]},
		"huge":      {Type: OpArchive, Number: 1 << 62, Value: sum[:]},
		"short sum": {Type: OpArchive, Value: sum[:31]},
	} {
		if _, err := EncodeBatch(batch(op)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	checkArchived(t, m)
}

// checkArchived reads what there is of a ledger whose sealed segments are all
// archived.
func checkArchived(t testing.TB, m *machine) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(m.segments.dir, "*.segment*")); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
	report, err := m.Scrub(t.Context(), noPace)
	if sealed, archived := m.Segments(); err != nil || len(report.Damaged) > 0 || report.Segments != sealed || archived != sealed {
		t.Fatalf("%+v %v", report, err)
	}
	size, root := m.Size()
	leaf := bookpi.Hash(must(m.TileBytes(0, 1, 9))[8*bookpi.HashSize:])
	if err := bookpi.VerifyInclusion(leaf, tileWidth+8, size, must(bookpi.InclusionProof(size, tileWidth+8, m)), root); err != nil {
		t.Fatal(err)
	}
}

// replay applies what another machine has applied.
func (m *machine) replay(log []logEntry, between func(i int)) {
	m.t.Helper()
	for i, e := range log {
		if _, err := m.Apply(e.index, e.stamp, e.commands); err != nil {
			m.t.Fatal(err)
		}
		between(i)
	}
	m.index, m.stamp = m.Applied(), m.Clock()
}

// Replicas that flush at other times, or meet an archive before they have
// sealed the segment, leave the same bytes.
func TestArchivesDependOnTheEntriesAlone(t *testing.T) {
	a := covered(t, t.TempDir())
	a.archive(0)
	a.archive(1)
	late, busy := open(t, t.TempDir()), open(t, t.TempDir())
	late.replay(a.log, func(int) {})
	random := rand.New(rand.NewPCG(5, 6))
	busy.replay(a.log, func(i int) {
		if random.IntN(20) == 0 || i > len(a.log)-4 {
			if err := busy.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	})
	want := must(a.StateHash())
	for name, m := range map[string]*machine{"late": late, "busy": busy} {
		if h, err := m.StateHash(); err != nil || h != want {
			t.Fatalf("%s: the states differ: %v", name, err)
		}
		for number := range uint64(2) {
			if !bytes.Equal(must(os.ReadFile(a.leavesPath(number))), must(os.ReadFile(m.leavesPath(number)))) {
				t.Fatalf("%s: the leaves of segment %d differ", name, number)
			}
		}
		checkArchived(t, m)
	}
}

// A crash at any moment of an archive leaves the segment or what is left of it,
// and the next start finishes.
func TestAnArchiveThatIsCutOff(t *testing.T) {
	dir := t.TempDir()
	m := covered(t, dir)
	segment := must(os.ReadFile(m.segments.path(0)))
	m.stop()
	<-m.done
	writable := m.db
	m.db = readOnlyCopy(t, m.path)
	m.ok(batch(archiveOp(0, sha256.Sum256(segment))))
	if err := m.Flush(); !tap.IsKind(err, tap.Unavailable) {
		t.Fatal(err)
	}
	// The leaves are written and do not count.
	if !exists(m.leavesPath(0)) || !exists(m.segments.path(0)) {
		t.Fatal("the transaction failed and the segment is gone")
	}
	if _, err := m.Record(5); err != nil {
		t.Fatal(err)
	}
	checkLedger(t, m)
	m.db = writable
	if err := m.Flush(); err != nil || exists(m.segments.path(0)) {
		t.Fatal(err)
	}
	// The transaction was the last thing that happened.
	if err := errors.Join(m.Close(), os.WriteFile(m.segments.path(0), segment, 0o600)); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	if exists(m.segments.path(0)) {
		t.Fatal("the segment stayed")
	}
	m.archive(1)
	checkArchived(t, m)
	// Leaves of a segment that is not archived do not stay.
	fill(m, 4, segmentEntries, never)
	if err := errors.Join(m.Close(), os.WriteFile(m.leavesPath(2), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	if exists(m.leavesPath(2)) {
		t.Fatal("leaves of a whole segment stayed")
	}
}
