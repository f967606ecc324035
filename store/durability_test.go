package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/tap"
)

func TestReopenAndReplay(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 200 {
		m.ok(batch(Put(key(fmt.Sprint(i)), []byte("v"))))
	}
	size, root := m.Size()
	applied := m.Applied()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir)
	if s, r := m.Size(); s != size || r != root || m.Applied() != applied {
		t.Fatalf("reopened at %d %v, want %d %v", s, r, size, root)
	}
	// Replaying an applied entry changes nothing.
	c, _ := EncodeBatch(batch(Put(key("late"), nil)))
	if out, err := m.Apply(applied, m.stamp, [][]byte{c}); err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	if _, ok := m.value(key("late")); ok {
		t.Fatal("an applied entry was applied again")
	}
	m.ok(batch(Put(key("next"), nil)))
	checkLedger(t, m)
}

func TestSnapshotAndRestore(t *testing.T) {
	m := open(t, t.TempDir())
	for i := range 300 {
		m.ok(batch(Put(key(fmt.Sprint(i)), []byte("v")), Add(key("n"), 1)))
	}
	snapshot, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := m.StateHash()
	m.ok(batch(Put(key("after"), nil)))
	folder := t.TempDir()
	files, err := snapshot.WriteTo(folder)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	snapshot.Release()
	checkFiles(t, folder, files)

	resets := 0
	dir := t.TempDir()
	s, err := Open(dir, map[string][]Observer{"test": {func(_ []Change, reset bool) {
		if reset {
			resets++
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	whole, err := os.ReadFile(filepath.Join(folder, files[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(whole)
	at := bytes.Index(altered, []byte(key("299")))
	altered[at] ^= 1
	for name, bad := range map[string][]byte{"altered": altered, "cut": whole[:len(whole)-1], "empty": nil} {
		if err := s.Restore(folderOf(t, bad)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s snapshot: %v", name, err)
		}
	}
	if s.Applied() != 0 || resets != 0 {
		t.Fatal("a bad snapshot changed the state")
	}
	if err := s.Restore(folder); err != nil {
		t.Fatal(err)
	}
	restored := &machine{Store: s, t: t, index: s.Applied(), stamp: s.Clock()}
	if h, _ := s.StateHash(); h != hash || resets != 1 {
		t.Fatal("the restored state differs")
	}
	if _, ok := restored.value(key("after")); ok {
		t.Fatal("the snapshot was not frozen")
	}
	restored.ok(batch(Put(key("goes on"), nil)))
	checkLedger(t, restored)
	checkFiles(t, folder, files)
}

// folderOf is the folder of a snapshot with one part.
func folderOf(t *testing.T, part []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, partName(0)), part, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// checkFiles compares a snapshot's folder with its list of files.
func checkFiles(t *testing.T, dir string, files []File) {
	t.Helper()
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil || int64(len(raw)) != f.Size || sha256.Sum256(raw) != f.Sum {
			t.Fatalf("%s is not as listed: %v", f.Name, err)
		}
	}
	if in, err := os.ReadDir(dir); err != nil || len(in) != len(files) {
		t.Fatalf("%d files in the folder, %d listed: %v", len(in), len(files), err)
	}
}

func TestDamageIsNamedOnOpen(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	m.ok(batch(Put(key("a"), nil)))
	m.meta.head[0] ^= 1 // what a flipped bit in the file would do
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("opened a damaged ledger: %v", err)
	}
	garbage := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbage, "state.db"), bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(garbage, nil); !tap.IsKind(err, tap.Unavailable) || !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestAFlushThatFailsLosesNothing(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), []byte("1"))))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	m.stop() // the background flusher must not race with what follows
	<-m.done
	writable := m.db
	m.db = readOnlyCopy(t, m.path)
	m.ok(batch(Put(key("a"), []byte("2")), Delete(key("b"))))
	if err := m.Flush(); !tap.IsKind(err, tap.Unavailable) || m.Health() == nil {
		t.Fatalf("the failure is not reported: %v", err)
	}
	m.db = writable
	m.ok(batch(Put(key("c"), []byte("3"))))
	if v, _ := m.value(key("a")); v != "2" {
		t.Fatalf("lost a write: %q", v)
	}
	if err := m.Flush(); err != nil || m.Health() != nil {
		t.Fatal(err)
	}
	checkLedger(t, m)

	// Beyond what memory may hold Apply waits for the disk; a stop ends that.
	m.pending = maxPending + 1
	applied := make(chan error)
	go func() {
		_, err := m.Apply(m.index+1, m.stamp+1, nil)
		applied <- err
	}()
	m.StopWaiting()
	if err := <-applied; !tap.IsKind(err, tap.Unavailable) {
		t.Fatalf("applied beyond what memory may hold: %v", err)
	}
}

func TestApplyResumesWhenTheDiskTakesWrites(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), nil)))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	m.flushMu.Lock() // as if the disk were full: nothing is flushed
	full := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 80 {
			m.ok(batch(Put(key("big", fmt.Sprint(i)), make([]byte, MaxValueBytes))))
			if i == 40 {
				close(full)
			}
		}
	}()
	<-full
	m.flushMu.Unlock()
	<-ended
	if _, ok := m.value(key("big", "79")); !ok {
		t.Fatal("the last write is not there")
	}
}

func TestLongReadsDoNotStopTheMachine(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Put(key("a"), nil), Put(key("b"), nil)))
	snapshot, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	err = m.Scan(key("a"), "", func(Item) bool {
		for i := range 20 { // far beyond bbolt's first map
			m.ok(batch(Put(key("big", fmt.Sprint(i)), make([]byte, MaxValueBytes))))
			if err := m.Flush(); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	snapshot.Release()
}

func readOnlyCopy(t *testing.T, path string) *bolt.DB {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dup := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(dup, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(dup, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
