package store

import (
	"fmt"
	"testing"

	"tamv.internal/tamv/store/bookpi"
)

// BenchmarkApplyEvidence applies packs of 64 batches that only leave evidence:
// the time is that of one entry, with the flusher beside it.
func BenchmarkApplyEvidence(b *testing.B) {
	m := open(b, b.TempDir())
	batches := make([]Batch, 64)
	b.ResetTimer()
	for range b.N / len(batches) {
		for i := range batches {
			batches[i] = batch()
		}
		m.pack(batches...)
	}
	if err := m.Flush(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkApplyRecords applies packs of 64 batches of what a request does: a
// new record, one that is overwritten, a counter, a value of a sequence.
func BenchmarkApplyRecords(b *testing.B) {
	m := open(b, b.TempDir())
	batches := make([]Batch, 64)
	value := make([]byte, 200)
	b.ResetTimer()
	for n := range b.N / len(batches) {
		for i := range batches {
			batches[i] = batch(Put(key("new", fmt.Sprint(n), fmt.Sprint(i)), value),
				Put(key("old", fmt.Sprint((n*64+i)%5000)), value), Add(key("n", fmt.Sprint(i)), 1), Append(key("s"), value))
		}
		m.pack(batches...)
	}
	if err := m.Flush(); err != nil {
		b.Fatal(err)
	}
}

// filled is the folder of a closed store with a ledger of n entries.
func filled(b *testing.B, n int) string {
	b.Helper()
	dir := b.TempDir()
	m := open(b, dir)
	one := batch()
	for range 63 {
		one.Evidence = append(one.Evidence, one.Evidence[0])
	}
	for range n / 64 / 16 {
		batches := make([]Batch, 16)
		for i := range batches {
			batches[i] = one.renamed()
		}
		m.pack(batches...)
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

const manyEntries = 1 << 20

func BenchmarkOpenMillionEntries(b *testing.B) {
	dir := filled(b, manyEntries)
	for b.Loop() {
		m := open(b, dir)
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadMillionEntries(b *testing.B) {
	m := open(b, filled(b, manyEntries))
	size, _ := m.Size()
	at := func(i int) uint64 { return uint64(i) * 7919 % size }
	b.Run("record", func(b *testing.B) {
		for i := range b.N {
			if _, err := m.Record(at(i)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proof", func(b *testing.B) {
		for i := range b.N {
			if _, err := bookpi.InclusionProof(size, at(i), m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		r, err := m.Record(size / 2)
		if err != nil {
			b.Fatal(err)
		}
		leaf := bookpi.LeafHash(r.Entry)
		for b.Loop() {
			if _, ok, err := m.Find(leaf); err != nil || !ok {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkScrubMillionEntries(b *testing.B) {
	m := open(b, filled(b, manyEntries))
	for b.Loop() {
		report, err := m.Scrub(b.Context(), noPace)
		if err != nil || len(report.Damaged) > 0 {
			b.Fatal(report.Damaged, err)
		}
		b.SetBytes(report.Bytes)
	}
}

// BenchmarkOpenRecords opens a state of 200,000 records, every one checked.
func BenchmarkOpenRecords(b *testing.B) {
	dir := b.TempDir()
	m := open(b, dir)
	value := make([]byte, 200)
	for n := range 200 {
		ops := make([]Op, 1000)
		for i := range ops {
			ops[i] = Put(key(fmt.Sprint(n*1000+i)), value)
		}
		m.ok(batch(ops...))
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		found, err := inspectFile(m.path)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(found.bytes)
	}
}
