package wal

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
	_ raft.StableStore       = (*Log)(nil)
)

func openTest(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mustStore(t testing.TB, l *Log, first uint64, sizes ...int) {
	t.Helper()
	entries := make([]*raft.Log, len(sizes))
	for i, n := range sizes {
		entries[i] = &raft.Log{Index: first + uint64(i), Term: 1, Data: bytes.Repeat([]byte{byte(first) + byte(i)}, n)}
	}
	if err := l.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
}

func TestEntryKeepsItsFields(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{SegmentSize: minSegmentSize})
	want := []*raft.Log{
		{Index: 7, Term: 3, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(9, 8).UTC()},
		{Index: 8, Term: math.MaxUint64, Type: raft.LogNoop},
		{Index: 9, Data: make([]byte, 100_000)}, // a segment of its own size
	}
	if err := l.StoreLogs(want); err != nil {
		t.Fatal(err)
	}
	for _, e := range want {
		var got raft.Log
		if err := l.GetLog(e.Index, &got); err != nil || !sameEntry(got, *e) {
			t.Errorf("entry %d: %+v, %v", e.Index, got, err)
		}
	}
	for _, index := range []uint64{0, 6, 10} {
		if err := l.GetLog(index, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("entry %d: %v", index, err)
		}
	}
	if !l.IsMonotonic() {
		t.Error("not monotonic")
	}
}

func TestRefusals(t *testing.T) {
	l := openTest(t, t.TempDir(), Options{SegmentSize: minSegmentSize})
	if err := l.StoreLogs(nil); err != nil {
		t.Error(err)
	}
	mustStore(t, l, 5, 10, 10, 10, 10)
	huge := make([]byte, maxAppend/2)
	for _, test := range []struct {
		name    string
		entries []*raft.Log
		want    error
	}{
		{"a gap behind the last", []*raft.Log{{Index: 10}}, ErrOrder},
		{"an entry that is there", []*raft.Log{{Index: 8}}, ErrOrder},
		{"index 0", []*raft.Log{{Index: 0}}, ErrOrder},
		{"a gap inside", []*raft.Log{{Index: 9}, {Index: 11}}, ErrOrder},
		{"more than a segment can hold", []*raft.Log{{Index: 9, Data: huge}, {Index: 10, Data: huge}}, ErrTooLarge},
	} {
		if err := l.StoreLogs(test.entries); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := l.DeleteRange(6, 7); !errors.Is(err, ErrOrder) {
		t.Errorf("a hole: %v", err)
	}
	for _, r := range [][2]uint64{{1, 4}, {9, 20}, {7, 6}} {
		if err := l.DeleteRange(r[0], r[1]); err != nil {
			t.Errorf("removing %v: %v", r, err)
		}
	}
	if first, last, err := l.bounds(); first != 5 || last != 8 || err != nil {
		t.Errorf("log from %d to %d, %v", first, last, err)
	}
	for _, o := range []Options{{SegmentSize: 100}, {SegmentSize: maxAppend + 1}, {Spares: -1}} {
		if _, err := Open(t.TempDir(), o); err == nil {
			t.Errorf("options %+v", o)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Options{}); err == nil {
		t.Error("a file was opened as a folder")
	}
	if _, err := Inspect(file); err == nil {
		t.Error("a file was inspected as a folder")
	}
	if err := Reset(file); err == nil {
		t.Error("a file was reset as a folder")
	}
}

func TestStable(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{})
	key := []byte("CurrentTerm")
	if _, err := l.GetUint64(key); !errors.Is(err, ErrKeyNotFound) || err.Error() != "not found" {
		t.Errorf("missing: %v", err)
	}
	if err := errors.Join(l.SetUint64(key, 7), l.Set([]byte("who"), []byte("n1")), l.Set(nil, nil)); err != nil {
		t.Fatal(err)
	}
	before := l.Counters().Syncs
	if err := l.SetUint64(key, 7); err != nil || l.Counters().Syncs != before {
		t.Errorf("writing what is there: %d syncs, %v", l.Counters().Syncs-before, err)
	}
	if _, err := l.GetUint64([]byte("who")); err == nil || errors.Is(err, ErrKeyNotFound) {
		t.Errorf("a text as a number: %v", err)
	}
	for _, n := range []int{4000, 70_000} {
		if err := l.Set([]byte("large"), make([]byte, n)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, dir, Options{})
	term, err1 := l.GetUint64(key)
	who, err2 := l.Get([]byte("who"))
	if term != 7 || string(who) != "n1" || err1 != nil || err2 != nil {
		t.Errorf("term %d of %q, %v, %v", term, who, err1, err2)
	}
}

func TestClosed(t *testing.T) {
	l := openTest(t, t.TempDir(), Options{SegmentSize: minSegmentSize})
	mustStore(t, l, 1, 10)
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	_, err1 := l.FirstIndex()
	_, err2 := l.LastIndex()
	_, err3 := l.Get([]byte("k"))
	for i, err := range []error{
		err1, err2, err3, l.GetLog(1, new(raft.Log)), l.StoreLog(&raft.Log{Index: 2}), l.DeleteRange(1, 1), l.Set(nil, nil),
		l.Verify(t.Context(), func(int) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := openTest(t, dir, Options{SegmentSize: minSegmentSize})
		begin := time.Now()
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
			t.Errorf("open: %v", err)
		}
		if took := time.Since(begin); took < lockTimeout || took > lockTimeout+2*lockRetry {
			t.Errorf("refused after %v", took)
		}
		if _, err := Inspect(dir); !errors.Is(err, ErrLocked) {
			t.Errorf("inspect: %v", err)
		}
		if err := Reset(dir); !errors.Is(err, ErrLocked) {
			t.Errorf("reset: %v", err)
		}
		time.AfterFunc(lockTimeout/2, func() { l.Close() })
		openTest(t, dir, Options{}) // waits until the first one is gone
	})
}

func TestInspectOfNothing(t *testing.T) {
	in, err := Inspect(t.TempDir())
	if err != nil || in.First != 0 || in.Last != 0 || in.Damage != nil || !in.Complete {
		t.Errorf("%+v, %v", in, err)
	}
}

// Files go round: what a trim gives up is used again, nothing is left behind, and appends rarely wait for a file.
func TestSegmentsAreRecycled(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{SegmentSize: minSegmentSize})
	const rounds = 60
	for i := range uint64(rounds) {
		mustStore(t, l, 4*i+1, 800, 800, 800, 800)
		if i%5 == 4 {
			if err := l.DeleteRange(1, 4*i-3); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(files(t, dir)); n > 5+2+3 { // live, spare, meta, lock and one being made
			t.Fatalf("%d files: %v", n, files(t, dir))
		}
	}
	c := l.Counters()
	if c.Rolls != rounds || c.Appends != rounds || c.Entries != 4*rounds || c.Bytes != 4*848*rounds || c.Syncs < 2*rounds {
		t.Errorf("counters %+v", c)
	}
	if c.Segments != 2 || c.Spares > 3 {
		t.Errorf("%d segments, %d spare", c.Segments, c.Spares)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 4 { // two segments, meta, lock
		t.Errorf("after Close: %v", got)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	names, err := disk{dir}.list()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOpenRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir, Options{SegmentSize: minSegmentSize})
	mustStore(t, l, 1, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{segmentName(2), "spare-7", metaFresh, "raft.wal.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openTest(t, dir, Options{SegmentSize: minSegmentSize})
	if got := strings.Join(files(t, dir), " "); got != segmentName(1)+" lock meta raft.wal.txt" {
		t.Errorf("left: %s", got)
	}
}

// Readers, a verifier and trims go on beside appends. It is the race detector that judges here, and every entry read.
func TestConcurrentUse(t *testing.T) {
	l := openTest(t, t.TempDir(), Options{SegmentSize: minSegmentSize})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				first, last, err := l.bounds()
				for i := first; i <= last && i > 0 && err == nil; i++ {
					var e raft.Log
					if err = l.GetLog(i, &e); errors.Is(err, raft.ErrLogNotFound) {
						err = nil
					} else if err == nil && (e.Index != i || len(e.Data) != 300 || e.Data[0] != byte(i)) {
						t.Errorf("entry %d is another: %d", i, e.Index)
					}
				}
				if err == nil {
					err = l.Verify(t.Context(), func(int) error { return nil })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := uint64(1)
	for i := range uint64(150) {
		mustStore(t, l, next, 300, 300)
		next += 2
		if i%7 == 6 {
			if err := l.DeleteRange(next-1, next-1); err != nil {
				t.Error(err)
			}
			next--
		}
		if i%20 == 19 {
			if err := l.DeleteRange(1, next-10); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	readers.Wait()
}
