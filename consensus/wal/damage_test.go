package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// finalAppend is the number of entries in the last append of build.
const finalAppend = 2

// build makes a log with several segments, a removed head and a vote, and returns what it holds.
func build(t testing.TB, d *memDisk, closed bool) (s state) {
	t.Helper()
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 7))
	for term := uint64(1); len(s.entries) < 14; term++ {
		entries := make([]*raft.Log, 1+term%3)
		for i := range entries {
			data := make([]byte, 300+r.IntN(600))
			for k := range data {
				data[k] = byte(1 + r.IntN(255)) // no zeros: no sector can pass for one that was not written
			}
			entries[i] = &raft.Log{Index: s.last() + 1 + uint64(i), Term: term, Data: data}
		}
		if s.empty() {
			for i := range entries {
				entries[i].Index = uint64(i + 1)
			}
		}
		if err := l.StoreLogs(entries); err != nil {
			t.Fatal(err)
		}
		s = s.appended(entries, len(entries))
	}
	if err := errors.Join(l.DeleteRange(1, 2), l.Set([]byte("LastVoteCand"), []byte("n2"))); err != nil {
		t.Fatal(err)
	}
	s = s.deleted(1, 2)
	s.vote = "n2"
	e := &raft.Log{Index: s.last() + 1, Term: 99, Data: bytes.Repeat([]byte{1}, 700)}
	f := &raft.Log{Index: s.last() + 2, Term: 99, Data: bytes.Repeat([]byte{2}, 700)}
	if err := l.StoreLogs([]*raft.Log{e, f}); err != nil {
		t.Fatal(err)
	}
	s = s.appended([]*raft.Log{e, f}, finalAppend)
	if closed {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// segmentsOf returns the names of the segments, oldest first.
func segmentsOf(d *memDisk) []string {
	names, _ := d.list()
	return slices.DeleteFunc(names, func(name string) bool { _, ok := parseSegmentName(name); return !ok })
}

// writtenEnd is behind the last byte of a file that is not zero, up to a whole frame.
func writtenEnd(b []byte) int { return padded(len(bytes.TrimRight(b, "\x00"))) }

// Every byte of every frame and header is changed, once after a clean stop and once after a crash.
func TestEveryChangedByteIsNamed(t *testing.T) {
	for _, closed := range []bool{true, false} {
		d := newMemDisk()
		s := build(t, d, closed)
		d = d.kill()
		names := segmentsOf(d)
		if len(names) < 3 {
			t.Fatalf("only %d segments", len(names))
		}
		for n, name := range names {
			data := d.names[name].data
			for at := range writtenEnd(data) {
				data[at] ^= byte(1 << (at % 8))
				// Open changes nothing when there is damage, so that one disk serves for all.
				l, err := Open("", memOptions(d))
				var damage *DamageError
				if !errors.As(err, &damage) || !errors.Is(err, ErrDamaged) {
					last, _ := l.LastIndex()
					t.Fatalf("byte %d of %s, closed %v: the log opened and reaches %d of %d: %v", at, name, closed, last, s.last(), err)
				}
				if damage.Segment != name || damage.Offset > int64(at) {
					t.Fatalf("byte %d of %s: %v", at, name, damage)
				}
				// After a crash the length of the last append may have no other trace.
				if damage.LastIndex != s.last() && (closed || n < len(names)-1 || damage.LastIndex+finalAppend < s.last()) {
					t.Fatalf("byte %d of %s: the log reached %d: %v", at, name, s.last(), damage)
				}
				data[at] ^= byte(1 << (at % 8))
			}
		}
	}
}

// One of the two records may take any damage; without either nobody knows the vote.
func TestMetaSurvivesDamageToOneRecord(t *testing.T) {
	d := newMemDisk()
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	s := state{}.appended([]*raft.Log{{Index: 1, Term: 99}}, 1)
	s.vote = "n2"
	if err := errors.Join(l.StoreLog(&s.entries[0]), l.Set([]byte("LastVoteCand"), []byte(s.vote)), l.Close()); err != nil {
		t.Fatal(err)
	}
	data := d.names[metaName].data
	for at := range data {
		data[at] ^= 0x10
		after := d.kill()
		mustBeOneOf(t, fmt.Sprint("byte ", at), after, []state{s})
		if b := after.names[metaName].data; !bytes.Equal(b[:slotSize], b[slotSize:]) {
			t.Fatal("the damaged record was not replaced")
		}
		data[at] ^= 0x10
	}
	data[100]++
	data[slotSize+100]++
	if _, err := Open("", memOptions(d)); !errors.Is(err, ErrDamaged) {
		t.Errorf("both damaged: %v", err)
	}
	in, err := inspect(d)
	if err != nil || in.Stable != nil || in.Complete || in.Last != s.last() || in.Term != 99 || !errors.Is(in.Damage, ErrDamaged) {
		t.Errorf("inspection %+v, %v", in, err)
	}
}

func TestMetaCutShort(t *testing.T) {
	for _, size := range []int{0, 10, slotSize, 2*slotSize - 1} {
		d := newMemDisk()
		build(t, d, true)
		d.names[metaName].data = d.names[metaName].data[:size]
		var damage *DamageError
		if _, err := Open("", memOptions(d)); !errors.As(err, &damage) || damage.Segment != metaName {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestMissingFilesAreNamed(t *testing.T) {
	d := newMemDisk()
	s := build(t, d, true)
	names := segmentsOf(d)
	for i, name := range append(names, metaName) {
		after := d.kill()
		if err := after.remove(name); err != nil {
			t.Fatal(err)
		}
		_, err := Open("", memOptions(after))
		var damage *DamageError
		if !errors.As(err, &damage) || damage.Segment != name {
			t.Errorf("without %s: %v", name, err)
		}
		in, err := inspect(after)
		if err != nil || in.Complete != (i < len(names)-1) || in.Last != s.last() {
			t.Errorf("without %s: %+v, %v", name, in, err)
		}
		if lost := name == metaName; (in.Stable == nil) != lost || !lost && string(in.Stable["LastVoteCand"]) != "n2" {
			t.Errorf("without %s: stable %v", name, in.Stable)
		}
	}
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { return b[:100] },
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return bytes.Clone(d.names[names[0]].data) },
		func(b []byte) []byte { b[len(b)-1] = 1; return b }, // not zero behind the last entry
	} {
		after := d.kill()
		f := after.names[names[1]]
		f.data = change(f.data)
		if _, err := Open("", memOptions(after)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", len(f.data), err)
		}
	}
}

// An append that power loss tore is cut off; one that was acknowledged is not, whatever it looks like.
func TestTornAppend(t *testing.T) {
	frame := func(first uint64, sizes ...int) (entries []*raft.Log) {
		for i, n := range sizes {
			entries = append(entries, &raft.Log{Index: first + uint64(i), Term: 1, Data: bytes.Repeat([]byte{5}, n)})
		}
		return entries
	}
	acked, last := frame(1, 400, 400), frame(3, 700, 700, 700)
	var end, sector int
	write := func(d *memDisk) []byte {
		l, err := Open("", memOptions(d))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.StoreLogs(acked); err != nil {
			t.Fatal(err)
		}
		end = int(l.tail().end)
		if err := l.StoreLogs(last); err != nil {
			t.Fatal(err)
		}
		sector = (end/sectorSize + 1) * sectorSize
		return d.names[segmentName(1)].data
	}
	wipe := func(b []byte, from, to int) { clear(b[from:to]) }
	for _, test := range []struct {
		name    string
		harm    func(b []byte)
		entries int // 0 means damage
	}{
		{"nothing of it", func(b []byte) { wipe(b, end, len(b)) }, 2},
		{"not its first sector", func(b []byte) { wipe(b, end, sector) }, 2},
		{"not its second sector", func(b []byte) { wipe(b, sector, sector+sectorSize) }, 2},
		{"only its first sector", func(b []byte) { wipe(b, sector, len(b)) }, 2},
		{"not its last sectors", func(b []byte) { wipe(b, sector+3*sectorSize, len(b)) }, 4},
		{"a flipped bit in it", func(b []byte) { b[end+100] ^= 1 }, 0},
		{"a flipped bit in a header", func(b []byte) { b[end+9] ^= 1 }, 0},
		{"half a sector of it", func(b []byte) { wipe(b, end, sector-8) }, 0},
		{"a sector of the one before", func(b []byte) { wipe(b, 2*sectorSize, 3*sectorSize) }, 0},
		{"the one before", func(b []byte) { wipe(b, headerSize, end) }, 0},
		{"a good entry that does not belong here", func(b []byte) { copy(b[end:], b[headerSize:end]) }, 0},
		{"a bit where nothing was written yet", func(b []byte) { b[writtenEnd(b)+4] = 1 }, 0},
	} {
		d := newMemDisk()
		data := write(d)
		test.harm(data)
		l, err := Open("", memOptions(d))
		if test.entries == 0 {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if n, _ := l.LastIndex(); n != uint64(test.entries) {
			t.Errorf("%s: %d entries", test.name, n)
		}
		if tail := l.tail(); !allZero(data[tail.end:]) {
			t.Errorf("%s: remains were not zeroed", test.name)
		}
	}
}

func TestDamageAtRunTime(t *testing.T) {
	d := newMemDisk()
	s := build(t, d, true)
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	total := 0
	count := func(n int) error { total += n; return nil }
	if err := l.Verify(t.Context(), count); err != nil || total < 8_000 {
		t.Fatalf("%d bytes verified: %v", total, err)
	}
	name := segmentsOf(d)[1]
	data := d.names[name].data
	var damage *DamageError
	data[9]++
	if err := l.Verify(t.Context(), count); !errors.As(err, &damage) || damage.Segment != name {
		t.Errorf("header: %v", err)
	}
	data[9]--
	data[headerSize+60]++
	index, _ := parseSegmentName(name)
	if err := l.Verify(t.Context(), count); !errors.As(err, &damage) || damage.Index != index || damage.LastIndex != s.last() {
		t.Errorf("entry: %v", err)
	}
	var e raft.Log
	if err := l.GetLog(index, &e); !errors.As(err, &damage) || damage.Segment != name || damage.Offset != headerSize {
		t.Errorf("GetLog: %v", err)
	}
	data[headerSize+60]--

	d.names[metaName].data[50]++
	if err := l.Verify(t.Context(), count); err != nil || d.names[metaName].data[50] != d.names[metaName].data[slotSize+50] {
		t.Errorf("a copy of meta was not replaced: %v", err)
	}
	stop := errors.New("stop")
	if err := l.Verify(t.Context(), func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("pace: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Verify(ctx, count); !errors.Is(err, context.Canceled) {
		t.Errorf("context: %v", err)
	}
	d.reads = func(string) error { return syscall.EIO }
	if err := l.GetLog(index, &e); !errors.Is(err, syscall.EIO) {
		t.Errorf("unreadable: %v", err)
	}
	if err := l.Verify(t.Context(), count); !errors.Is(err, syscall.EIO) {
		t.Errorf("verify, unreadable: %v", err)
	}
	d.reads = func(name string) error {
		if name == metaName {
			return nil
		}
		return syscall.EIO
	}
	if err := l.Verify(t.Context(), count); !errors.Is(err, syscall.EIO) {
		t.Errorf("verify, segments unreadable: %v", err)
	}
	if _, err := Open("", memOptions(d)); !errors.Is(err, ErrDamaged) {
		t.Errorf("open, segments unreadable: %v", err)
	}
}

// Verify leaves out what is removed while it runs.
func TestVerifyBesideRemoval(t *testing.T) {
	d := newMemDisk()
	l, err := Open("", memOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 64 << 10
	for i := range uint64(20) {
		if err := l.StoreLog(&raft.Log{Index: i + 1, Data: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	err = l.Verify(t.Context(), func(n int) error {
		if seen++; seen == 1 {
			return l.DeleteRange(1, 15)
		}
		return nil
	})
	if err != nil || seen != 3 { // 4 entries, then 16 to 20 in two steps
		t.Errorf("%d steps: %v", seen, err)
	}
	err = l.Verify(t.Context(), func(int) error { return l.DeleteRange(1, 20) })
	if err != nil {
		t.Error(err)
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{SegmentSize: minSegmentSize})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.StoreLog(&raft.Log{Index: 1, Term: 3, Data: []byte("x")}), l.SetUint64([]byte("CurrentTerm"), 5), l.Close()); err != nil {
		t.Fatal(err)
	}
	path := dir + "/" + segmentName(1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[headerSize+50]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := Inspect(dir)
	if err != nil || in.First != 1 || in.Last != 1 || !in.Complete || !errors.Is(in.Damage, ErrDamaged) || be.Uint64(in.Stable["CurrentTerm"]) != 5 {
		t.Fatalf("inspection %+v, %v", in, err)
	}
	for _, lost := range []bool{false, true} {
		if err := Reset(dir); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Options{SegmentSize: minSegmentSize})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := l.LastIndex(); n != 0 || err != nil {
			t.Errorf("last index %d, %v", n, err)
		}
		term, err := l.GetUint64([]byte("CurrentTerm"))
		if lost && !errors.Is(err, ErrKeyNotFound) || !lost && term != 5 {
			t.Errorf("term %d, %v", term, err)
		}
		if err := errors.Join(l.StoreLog(&raft.Log{Index: 70}), l.Close()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+metaName, make([]byte, 2*slotSize), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The places of entries in their appends count up from 0; anything else was not written by an append.
func TestPlacesCountUp(t *testing.T) {
	h := header{segmentRef: segmentRef{9, 1}, size: minSegmentSize}
	for _, test := range []struct {
		places []uint32
		good   int
	}{{[]uint32{0, 1, 2, 0, 0, 1}, 6}, {[]uint32{1}, 0}, {[]uint32{0, 0, 2}, 2}, {[]uint32{0, 1, 1}, 2}} {
		b := h.encode()
		for i, place := range test.places {
			b = appendFrame(b, seedOf(h.id), &raft.Log{Index: uint64(i + 1)}, place)
		}
		if s := walk(b, h, 0); len(s.offsets) != test.good {
			t.Errorf("places %v: %d entries", test.places, len(s.offsets))
		}
	}
}
