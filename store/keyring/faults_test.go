package keyring

import (
	"io/fs"
	"os"
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
