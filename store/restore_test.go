package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/tap"
)

func TestSnapshotOfSegments(t *testing.T) {
	m := sealedStore(t)
	hash, err := m.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	files, err := s.WriteTo(folder)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	checkFiles(t, folder, files)
	same := func(a, b string) bool {
		one, err1 := os.Stat(a)
		two, err2 := os.Stat(b)
		return err1 == nil && err2 == nil && os.SameFile(one, two)
	}
	if !same(filepath.Join(folder, segmentName(1)), m.segments.path(1)) {
		t.Fatal("a segment was copied")
	}

	// One segment is in place and good, one is damaged and must be replaced.
	other := open(t, t.TempDir())
	for n, at := range []int64{-1, 500} {
		if err := linkOrCopy(filepath.Join(folder, segmentName(uint64(n))), other.segments.path(uint64(n))); err != nil {
			t.Fatal(err)
		}
		if at < 0 {
			continue
		}
		raw, _ := os.ReadFile(other.segments.path(uint64(n)))
		raw[at] ^= 1
		if err := errors.Join(os.Remove(other.segments.path(uint64(n))), os.WriteFile(other.segments.path(uint64(n)), raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	held, err := other.Snapshot() // of the state that goes away
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, over itself
		if err := other.Restore(folder); err != nil {
			t.Fatal(err)
		}
		if h, err := other.StateHash(); err != nil || h != hash {
			t.Fatalf("the restored state differs: %v", err)
		}
		checkLedger(t, other)
		if report, err := other.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
			t.Fatalf("%+v %v", report, err)
		}
	}
	if _, err := held.WriteTo(t.TempDir()); err != nil {
		t.Fatalf("a snapshot that was taken before: %v", err)
	}
	held.Release()
	other.index, other.stamp = other.Applied(), other.Clock()
	fill(other, 9, 640, never)
	checkLedger(t, other)
	checkFiles(t, folder, files)

	// A snapshot whose segment is altered or missing changes nothing.
	for _, harm := range []func() error{
		func() error {
			return errors.Join(os.Remove(filepath.Join(folder, segmentName(0))), os.WriteFile(filepath.Join(folder, segmentName(0)), []byte("x"), 0o600))
		},
		func() error { return os.Remove(filepath.Join(folder, segmentName(0))) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		fresh := open(t, t.TempDir())
		if err := fresh.Restore(folder); !tap.IsKind(err, tap.Unavailable) || fresh.Applied() != 0 {
			t.Fatalf("restored without a segment: %v", err)
		}
		for _, where := range []string{filepath.Dir(fresh.path), fresh.segments.dir} {
			if left, _ := filepath.Glob(filepath.Join(where, "*"+incomingSuffix)); len(left) > 0 {
				t.Fatalf("left behind: %v", left)
			}
		}
		if err := fresh.Close(); err != nil {
			t.Fatal(err)
		}
		if err := fresh.Restore(folder); !tap.IsKind(err, tap.Unavailable) {
			t.Fatalf("restored a closed store: %v", err)
		}
	}
}

// A crash during a restore leaves the old state or the new one. What is staged
// counts only for the state that names it.
func TestARestoreThatIsCutOff(t *testing.T) {
	m := sealedStore(t)
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if _, err := s.WriteTo(folder); err != nil {
		t.Fatal(err)
	}
	s.Release()
	hash, _ := m.StateHash()

	dir := t.TempDir()
	old := open(t, dir)
	fill(old, 77, segmentEntries+64, never) // another history
	before, _ := old.StateHash()
	incoming := old.path + incomingSuffix
	stage := func() {
		t.Helper()
		found, err := assemble(folder, incoming)
		if err == nil {
			err = old.segments.stage(folder, found.segments, old.ledger.sealed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stage()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	old = open(t, dir)
	if h, _ := old.StateHash(); h != before {
		t.Fatal("the old state changed")
	}
	checkLedger(t, old)
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*"+incomingSuffix)); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
	stage()
	if err := errors.Join(old.Close(), os.Rename(incoming, old.path)); err != nil {
		t.Fatal(err)
	}
	renewed := open(t, dir)
	if h, _ := renewed.StateHash(); h != hash {
		t.Fatal("the new state is not whole")
	}
	checkLedger(t, renewed)
	if report, err := renewed.Scrub(t.Context(), noPace); err != nil || len(report.Damaged) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
}

func TestLinkOrCopyAcrossFileSystems(t *testing.T) {
	from := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		t.Skip("there is no second file system")
	}
	defer os.RemoveAll(elsewhere)
	to := filepath.Join(elsewhere, "b")
	for range 2 {
		if err := linkOrCopy(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := os.ReadFile(to); err != nil || string(raw) != "content" {
		t.Fatal(err)
	}
	if err := linkOrCopy(filepath.Join(elsewhere, "none"), to); err == nil {
		t.Fatal("copied what is not there")
	}
}

func TestPartsOfASnapshot(t *testing.T) {
	dir := t.TempDir()
	w := partWriter{dir: dir}
	content := make([]byte, 2*PartBytes+5)
	for i := range content {
		content[i] = byte(i >> 10)
	}
	for at := 0; at < len(content); at += 7 << 20 {
		if _, err := w.Write(content[at:min(at+7<<20, len(content))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil || len(w.files) != 3 || w.files[0].Size != PartBytes || w.files[2].Size != 5 {
		t.Fatalf("%+v %v", w.files, err)
	}
	checkFiles(t, dir, w.files)
	if again := (partWriter{dir: dir}); true {
		if _, err := again.Write(content[:9]); err == nil {
			t.Fatal("overwrote a part")
		}
	}
}
