package store

import (
	"fmt"
	"testing"
)

// A flush that ends between two look-ups moves what it wrote from memory into
// the file, where a transaction that began before does not see it.
func TestLookupsSeeWhatWasFlushedMeanwhile(t *testing.T) {
	m := open(t, t.TempDir())
	m.ok(batch(Add(key("first"), 1)))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	l := lookups{store: m.Store}
	defer l.end()
	count := func(name string) uint64 {
		raw, err := l.read(bucketCounters, string(key(name)))
		if err != nil {
			t.Fatal(err)
		}
		return readU64(raw)
	}
	for n := range uint64(3) {
		name := fmt.Sprint("new", n)
		if got := count(name); got != 0 || l.tx == nil {
			t.Fatalf("%s is %d before it was written; transaction %v", name, got, l.tx)
		}
		m.ok(batch(Add(key(name), int64(n)+1), Add(key("first"), 1)))
		for _, state := range []string{"in memory", "in the file"} {
			if got, first := count(name), count("first"); got != n+1 || first != n+2 {
				t.Fatalf("%s: %s is %d, first %d", state, name, got, first)
			}
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Of a bucket that is not made before it is needed.
	if raw, err := l.read(bucketArchives, string(u64(0))); raw != nil || err != nil {
		t.Fatal(raw, err)
	}
	l.end()
	if l.tx != nil || count("first") != 4 {
		t.Fatal("no transaction after the end of one")
	}
}

// Blocks get their memory at once: growing them took a fifth of what an append
// allocates.
func TestBlocksAreNotGrown(t *testing.T) {
	tail := make([]Record, 3*blockEntries/2)
	for i := range tail {
		tail[i] = Record{Entry: make([]byte, 100+i), Payload: make([]byte, 1<<(i%14))}
	}
	starts, encoded := blocks(0, tail)
	for i, block := range encoded {
		from := int(starts[i])
		if room := blockRoom(tail[from:]); len(block) > room || cap(block) > room+room/4 {
			t.Errorf("block %d takes %d bytes and has memory for %d; %d were expected", i, len(block), cap(block), room)
		}
		if records, err := parseBlock(block, starts[i]); err != nil || len(records[0].Entry) != len(tail[from].Entry) {
			t.Errorf("block %d: %v", i, err)
		}
	}
}
