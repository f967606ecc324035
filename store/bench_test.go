package store

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

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

// BenchmarkInclusionProof makes proofs for entries all over a ledger of a
// million, in the tree of its last size: first with nothing in memory, then
// with what the proofs before have left there.
func BenchmarkInclusionProof(b *testing.B) {
	m := open(b, filled(b, manyEntries+37*64*16))
	size, root := m.Size()
	random := rand.New(rand.NewPCG(1, 2))
	var tiles bookpi.TileReader = m
	prove := func(b *testing.B, position func() uint64) {
		b.ReportAllocs()
		begin := cpuTime()
		for range b.N {
			if _, err := bookpi.InclusionProof(size, position(), tiles); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/(cpuTime()-begin).Seconds(), "proofs/cpu-s")
	}
	anywhere := func() uint64 { return random.Uint64N(size) }
	for range 100 {
		position := anywhere()
		r, err := m.Record(position)
		if err != nil {
			b.Fatal(err)
		}
		proof, err := bookpi.InclusionProof(size, position, m)
		if err != nil || bookpi.VerifyInclusion(bookpi.LeafHash(r.Entry), position, size, proof, root) != nil {
			b.Fatal(position, err)
		}
	}
	m.folds.Store(newFoldCache(1 << 20)) // the upper levels, and a few of the leaf tiles
	b.Run("cold", func(b *testing.B) { prove(b, anywhere) })
	m.folds.Store(newFoldCache(foldBytes))
	for position := uint64(0); position < size; position += tileWidth {
		if _, err := bookpi.InclusionProof(size, position, m); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("warm", func(b *testing.B) {
		prove(b, anywhere)
		b.ReportMetric(float64(m.folds.Load().bytes)/(1<<20), "MiB")
	})
	b.Run("newest", func(b *testing.B) { prove(b, func() uint64 { return size - 1 - random.Uint64N(100) }) })
	tiles = plain{m}
	b.Run("unfolded", func(b *testing.B) { prove(b, anywhere) }) // as before tiles were folded
}

func BenchmarkConsistencyProof(b *testing.B) {
	m := open(b, filled(b, manyEntries+37*64*16))
	size, _ := m.Size()
	random := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	begin := cpuTime()
	for b.Loop() {
		if _, err := bookpi.ConsistencyProof(random.Uint64N(size), size, m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/(cpuTime()-begin).Seconds(), "proofs/cpu-s")
}

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
