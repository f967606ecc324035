package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// fill grows the ledger by n entries in batches of 64; the same seed gives the
// same log. flush says after which packs to flush.
func fill(m *machine, seed uint64, n int, flush func(pack int) bool) {
	m.t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	for pack := range n / 64 {
		b := batch(Put(key("last"), u64(uint64(pack))))
		b.RequestID = uuid.UUID{byte(pack), byte(pack >> 8), byte(seed)}
		b.Evidence = nil
		for range 64 {
			b.Evidence = append(b.Evidence, Evidence{Actor: "ana", Action: "test.act", Outcome: "ok", Payload: u64(random.Uint64())})
		}
		if pack%40 == 7 { // so that a block is full by its bytes
			b.Evidence[5].Payload = make([]byte, blockBytes)
		}
		m.ok(b)
		if flush(pack) {
			if err := m.Flush(); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	if err := m.Flush(); err != nil {
		m.t.Fatal(err)
	}
}

func never(int) bool { return false }

// sealedStore has two sealed segments and some more.
func sealedStore(t testing.TB) *machine {
	t.Helper()
	m := open(t, t.TempDir())
	fill(m, 1, 2*segmentEntries+640, never)
	if n := m.sealedCount(); n != 2 {
		t.Fatalf("%d segments are sealed", n)
	}
	return m
}

// Replicas flush when they like: the files of their ledgers are the same, and
// so are their states.
func TestSegmentsDependOnTheEntriesAlone(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	fill(a, 3, segmentEntries+1280, never)
	random := rand.New(rand.NewPCG(5, 6))
	fill(b, 3, segmentEntries+1280, func(int) bool { return random.IntN(9) == 0 })
	first, err := os.ReadFile(a.segments.path(0))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(b.segments.path(0))
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("the segments differ: %v", err)
	}
	if a.ledger.sealed[0].sum != sha256.Sum256(first) {
		t.Fatal("the recorded hash is not the file's")
	}
	ha, err1 := a.StateHash()
	hb, err2 := b.StateHash()
	if err := errors.Join(err1, err2); err != nil || ha != hb {
		t.Fatalf("the states differ: %v", err)
	}
	for _, m := range []*machine{a, b} {
		checkLedger(t, m)
		if report, err := m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 || report.Segments != 1 || report.Entries != segmentEntries+1280 {
			t.Fatalf("%+v %v", report, err)
		}
	}
}

// A crash, or a full disk, between a segment's file and the transaction that
// counts on it leaves the state as it was; the next flush makes the same file.
func TestASealThatIsCutOffIsDoneAgain(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	fill(m, 2, segmentEntries-64, never)
	m.stop()
	<-m.done
	writable := m.db
	m.db = readOnlyCopy(t, m.path)
	for range 2 {
		b := batch()
		for range 63 {
			b.Evidence = append(b.Evidence, b.Evidence[0])
		}
		m.ok(b)
	}
	if err := m.Flush(); !tap.IsKind(err, tap.Unavailable) {
		t.Fatal(err)
	}
	first, err := os.ReadFile(m.segments.path(0))
	if err != nil || m.sealedCount() != 0 {
		t.Fatalf("%d sealed: %v", m.sealedCount(), err)
	}
	checkLedger(t, m)
	m.db = writable
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(m.segments.path(0))
	if err != nil || !bytes.Equal(first, second) || m.sealedCount() != 1 {
		t.Fatalf("sealed again, the segment differs: %v", err)
	}
	checkLedger(t, m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	checkLedger(t, open(t, dir))
}

// readAll reads every part of a segment file, as readers do.
func readAll(raw []byte, number uint64, info segmentInfo, leaf bookpi.Hash) error {
	s := &segmentFile{file: nopCloser{bytes.NewReader(raw)}, number: number, info: info}
	if err := s.readDirectory(int64(len(raw))); err != nil {
		return err
	}
	for entry := uint32(0); entry < segmentEntries; {
		records, err := s.block(entry)
		if err != nil {
			return err
		}
		entry += uint32(len(records))
	}
	for i := range s.leaves {
		if _, err := s.tile(uint64(i)); err != nil {
			return err
		}
		if _, err := s.read(s.index[i]); err != nil {
			return err
		}
	}
	if _, ok, err := s.find(leaf); err != nil || !ok {
		return fmt.Errorf("a leaf is not found: %w", err)
	}
	return nil
}

type nopCloser struct{ io.ReaderAt }

func (nopCloser) Close() error { return nil }

// Whatever byte of a segment changes, a read that meets it is an error that
// names the segment.
func TestEveryFlippedByteOfASegmentIsFound(t *testing.T) {
	m := sealedStore(t)
	raw, err := os.ReadFile(m.segments.path(1))
	if err != nil {
		t.Fatal(err)
	}
	info := m.ledger.sealed[1]
	r, err := m.Record(segmentEntries + 99)
	if err != nil {
		t.Fatal(err)
	}
	leaf := bookpi.LeafHash(r.Entry)
	if err := readAll(raw, 1, info, leaf); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(8, 9))
	offsets := []int{len(raw) - 1, len(raw) - 5}
	for at := range segmentHeader + 40 {
		offsets = append(offsets, at)
	}
	for range 150 {
		offsets = append(offsets, random.IntN(len(raw)), len(raw)-1-random.IntN(segmentTiles*(leafTileBytes+indexPageBytes)))
	}
	for _, at := range offsets {
		raw[at] ^= 1 << random.IntN(8)
		var bad *Damage
		if err := readAll(raw, 1, info, leaf); !errors.As(err, &bad) || bad.Kind != DamagedSegment || bad.Number != 1 {
			t.Fatalf("byte %d of %d: %v", at, len(raw), err)
		}
		copy(raw[at:at+1], mustRead(t, m.segments.path(1), at))
	}
	for _, cut := range []int{0, 5, segmentHeader, len(raw) / 2, len(raw) - 1} {
		if err := readAll(raw[:cut], 1, info, leaf); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", cut, err)
		}
	}
	if err := readAll(raw, 0, info, leaf); !errors.Is(err, ErrDamaged) {
		t.Fatalf("took another segment's file: %v", err)
	}
}

func mustRead(t *testing.T, path string, at int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	return b
}

// flip changes one byte of a file where it is.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A damaged segment is named, never read, and mended from another replica's
// file by its hash.
func TestADamagedSegmentIsMended(t *testing.T) {
	m, peer := sealedStore(t), sealedStore(t)
	last, err := m.Record(segmentEntries - 1)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, m.segments.path(0), m.ledger.sealed[0].size/3)
	flip(t, m.segments.path(1), 60)
	report, err := m.Scrub(t.Context(), noPace)
	if err != nil || len(report.Damaged) != 2 || report.Damaged[0].Number != 0 || report.Damaged[1].Number != 1 || report.Segments != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	var bad *Damage
	if _, err := m.Record(segmentEntries); !errors.As(err, &bad) || bad.Number != 1 || !tap.IsKind(err, tap.Unavailable) {
		t.Fatalf("read a damaged block: %v", err)
	}
	for _, d := range report.Damaged {
		sum := m.ledger.sealed[d.Number].sum
		part, err := peer.Part(sum)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.RepairSegment(d.Number, io.LimitReader(part, 1000)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("mended with a part of it: %v", err)
		}
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := m.RepairSegment(d.Number, io.MultiReader(part, bytes.NewReader([]byte{0}))); !errors.Is(err, ErrDamaged) {
			t.Fatalf("mended with more than it: %v", err)
		}
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := m.RepairSegment(d.Number, part); err != nil {
			t.Fatal(err)
		}
		if err := part.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if report, err = m.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 || report.Segments != 2 {
		t.Fatalf("%+v %v", report, err)
	}
	if r, err := m.Record(segmentEntries - 1); err != nil || !bytes.Equal(r.Entry, last.Entry) {
		t.Fatal(err)
	}
	checkLedger(t, m)
	if names, _ := filepath.Glob(filepath.Join(m.segments.dir, "*"+partialSuffix)); len(names) > 0 {
		t.Fatalf("left behind: %v", names)
	}
	if sum, err := m.SegmentSum(1); err != nil || sum != m.ledger.sealed[1].sum {
		t.Fatal(err)
	}
	if _, err := m.Part([32]byte{1}); !errors.Is(err, ErrNoPart) {
		t.Fatal(err)
	}
	if err := m.RepairSegment(2, nil); !tap.IsKind(err, tap.NotFound) {
		t.Fatal(err)
	}
	if err := m.RepairSegment(0, errorReader{}); !tap.IsKind(err, tap.Unavailable) {
		t.Fatal("mended with a reader that fails")
	}
	if err := os.Remove(m.segments.path(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Part(m.ledger.sealed[1].sum); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("link down") }

// Few files are open, however many are read, and a reader keeps the one that
// it has.
func TestOpenSegmentsAreBounded(t *testing.T) {
	m := sealedStore(t)
	m.segments.limit = 1
	h, err := m.segments.acquire(0, m.ledger.sealed[0])
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, position := range []uint64{1, segmentEntries + 1} {
			if _, err := m.Record(position); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(m.segments.open); n != 1 {
			t.Fatalf("%d segments are open", n)
		}
	}
	if _, err := h.block(5); err != nil {
		t.Fatalf("the file was closed under its reader: %v", err)
	}
	m.segments.release(h)
	if _, err := h.block(5); err == nil {
		t.Fatal("a file that nobody reads stayed open")
	}
}

// A chain that is broken within a sealed segment has the right hashes and is
// found all the same.
func TestScrubFollowsTheChainThroughSegments(t *testing.T) {
	m := open(t, t.TempDir())
	fill(m, 1, 6400, never)
	m.meta.head[3] ^= 1
	fill(m, 2, 2*segmentEntries-6400, never)
	m.meta.head[3] ^= 1
	fill(m, 3, 64, never)
	report, err := m.Scrub(t.Context(), noPace)
	if err != nil || len(report.Damaged) != 1 || report.Damaged[0].Number != 0 || report.Damaged[0].Kind != DamagedSegment {
		t.Fatalf("%+v %v", report, err)
	}
}

// No bytes make reading a segment panic or allocate without bounds, even with
// checksums that hold.
func FuzzSegment(f *testing.F) {
	directory := make([]byte, blockRefBytes+segmentTiles*(4+pageRefBytes))
	binary.BigEndian.PutUint32(directory[4:], 3)
	f.Add([]byte("abc"), directory, uint32(1), uint32(0))
	f.Add([]byte{}, []byte{}, uint32(0), uint32(9))
	f.Fuzz(func(t *testing.T, body, directory []byte, blocks, entry uint32) {
		header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte(segmentMagic), 4), segmentEntries)
		footer := binary.BigEndian.AppendUint32(nil, blocks)
		crc := footerChecksum(header, directory, footer)
		raw := bytes.Join([][]byte{header, body, directory, binary.BigEndian.AppendUint32(footer, crc)}, nil)
		s := &segmentFile{file: nopCloser{bytes.NewReader(raw)}, number: 4, info: segmentInfo{size: int64(len(raw)), crc: crc}}
		if err := s.readDirectory(int64(len(raw))); err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		_, err1 := s.block(entry % segmentEntries)
		_, err2 := s.tile(uint64(entry % segmentTiles))
		_, _, err3 := s.find(bookpi.Hash{byte(entry)})
		for _, err := range []error{err1, err2, err3} {
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
		}
	})
}
