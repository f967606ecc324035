package keyring

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"tamv.internal/tamv/tap"
)

// faults makes a disk fail.
type faults struct {
	mu    sync.Mutex
	write func(path string, b []byte) (n int, err error) // n bytes are written, then err; nil error = all
	sync  error
	lazy  bool // never syncs: for tests that make many rings and crash none
}

func (d *faults) set(write func(string, []byte) (int, error), sync error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write, d.sync = write, sync
}

func (d *faults) open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return &faultFile{File: f, path: path, disk: d}, err
}

type faultFile struct {
	*os.File
	path string
	disk *faults
}

func (f *faultFile) WriteAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.write != nil {
		if n, err := f.disk.write(f.path, b); err != nil {
			n, _ = f.File.WriteAt(b[:n], at)
			return n, err
		}
	}
	return f.File.WriteAt(b, at)
}

func (f *faultFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.sync != nil || f.disk.lazy {
		return f.disk.sync
	}
	return f.File.Sync()
}

func (f *faultFile) Stat() (fs.FileInfo, error) { return f.File.Stat() }

var sealing = SealingKey{1, 2, 3, 4}

func openRing(t testing.TB, dir string) *Ring { return openRingOn(t, dir, nil) }

func openRingOn(t testing.TB, dir string, d *faults) *Ring {
	t.Helper()
	c := Config{Dir: dir, Sealing: sealing}
	if d != nil {
		c.OpenFile = d.open
	}
	r, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// subjectKey is a key whose bytes are easy to find.
func subjectKey(name string, generation uint64, fill byte) Secret {
	value := make([]byte, keyBytes)
	for i := range value {
		value[i] = fill + byte(i)
	}
	return Secret{Kind: SubjectKey, Tenant: "main", Subject: name, Generation: generation, Value: value}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, kind tap.Kind, code string) {
	t.Helper()
	if e := tap.AsError(err); err == nil || e.Kind != kind || e.StableCode() != code {
		t.Fatalf("%v, want %s %s", err, kind, code)
	}
}

// worn is a disk with one place that is neither read nor written any more.
type worn struct {
	*os.File
	at int64
}

var errWorn = errors.New("input/output error")

func (w worn) ReadAt(b []byte, at int64) (int, error) {
	if at <= w.at && w.at < at+int64(len(b)) {
		return 0, errWorn
	}
	return w.File.ReadAt(b, at)
}

func (w worn) WriteAt(b []byte, at int64) (int, error) {
	if at <= w.at && w.at < at+int64(len(b)) {
		return 0, errWorn
	}
	return w.File.WriteAt(b, at)
}

// A place of the disk that is lost costs the key that was there, and not the node its
// start; the ring says that it could not be overwritten.
func TestAWornDisk(t *testing.T) {
	dir := t.TempDir()
	r := openRingOn(t, dir, &faults{lazy: true})
	for i := range 20 {
		must(t, r.Put(subjectKey("ana", 0, byte(i))))
	}
	must(t, r.Close())
	open := func(slot int64) (*Ring, error) {
		return Open(Config{Dir: dir, Sealing: sealing, OpenFile: func(path string) (File, error) {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if filepath.Base(path) != SubjectsFile {
				return f, err
			}
			return worn{f, slot * subjectSlot}, err
		}})
	}
	r, err := open(5)
	must(t, err)
	if s := r.Status(); s.Secrets != 19 || s.Damaged != 1 || s.Wiping != 1 || !errors.Is(s.Err, errWorn) {
		t.Errorf("%+v", s)
	}
	must(t, r.Put(subjectKey("ana", 0, 100)))
	_ = r.Close()
	_, err = open(0)
	wantCode(t, err, tap.Unavailable, "keyring_write")
}
