package store

import (
	"testing"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func TestPositionsByTime(t *testing.T) {
	m := open(t, t.TempDir())
	if at, err := m.At(0); at != 0 || err != nil {
		t.Fatal(at, err)
	}
	var want []int64 // the timestamp of each entry
	for i := range 200 {
		m.stamp += int64(i%3) * 1000
		b := batch()
		for range i % 4 {
			b.Evidence = append(b.Evidence, b.Evidence[0])
		}
		r := m.ok(b)
		for range r.Entries {
			want = append(want, r.Time)
		}
		if i == 150 {
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, near := range append(want, 0, 1<<62) {
		for _, time := range []int64{near - 1, near, near + 1} {
			first := 0
			for first < len(want) && want[first] < time {
				first++
			}
			if at, err := m.At(time); at != uint64(first) || err != nil {
				t.Fatalf("at %d: %d instead of %d: %v", time, at, first, err)
			}
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestGrownWakesEverybodyOnce(t *testing.T) {
	m := raised(t, t.TempDir())
	size, root := m.Size()
	if !isClosed(m.Grown(0)) {
		t.Fatal("the ledger has an entry")
	}
	waiting, same, far := m.Grown(size), m.Grown(size), m.Grown(size+100)
	if waiting != same {
		t.Fatal("one who waits costs a channel")
	}
	m.ok(signed(t, size, root)) // no entry
	m.pack()
	if isClosed(waiting) || isClosed(far) {
		t.Fatal("nothing was appended")
	}
	m.ok(batch())
	if !isClosed(waiting) || !isClosed(far) {
		t.Fatal("the ledger has grown")
	}
	if isClosed(m.Grown(size + 1)) {
		t.Fatal("not yet")
	}
}

func TestTilesAsBytes(t *testing.T) {
	m := open(t, t.TempDir())
	for range 70 {
		b := batch()
		b.Evidence = append(b.Evidence, b.Evidence[0], b.Evidence[0], b.Evidence[0])
		m.ok(b)
	}
	size, _ := m.Size()
	for _, c := range []struct {
		level uint8
		index uint64
		width int
	}{{0, 0, 256}, {0, 0, 3}, {0, 1, int(size % 256)}, {1, 0, 1}} {
		raw, err := m.TileBytes(c.level, c.index, c.width)
		hashes, _ := m.Tile(c.level, c.index)
		if err != nil || len(raw) != c.width*bookpi.HashSize {
			t.Fatalf("%+v: %d bytes, %v", c, len(raw), err)
		}
		for i := range c.width {
			if bookpi.Hash(raw[i*bookpi.HashSize:]) != hashes[i] {
				t.Fatalf("%+v: hash %d differs", c, i)
			}
		}
	}
	for _, c := range []struct {
		level uint8
		index uint64
		width int
	}{{0, 1, int(size%256) + 1}, {0, 2, 1}, {1, 0, 2}, {2, 0, 1}, {9, 0, 1}, {0, 1 << 60, 1}} {
		if _, err := m.TileBytes(c.level, c.index, c.width); !tap.IsKind(err, tap.NotFound) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, width := range []int{-1, 0, 257} {
		if _, err := m.TileBytes(0, 0, width); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%d hashes: %v", width, err)
		}
	}
	if _, err := m.RootAt(size + 1); !tap.IsKind(err, tap.NotFound) {
		t.Fatal(err)
	}
}
