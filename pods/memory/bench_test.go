package memory

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"tamv.internal/tamv/store"
)

// What BenchmarkLoad and BenchmarkSearch fill memory with:
//
//	go test ./pods/memory -run - -bench 'Load|Search|Start' -benchtime 1x -documents 100000 -dimensions 256
var (
	benchDocuments  = flag.Int("documents", 5_000, "documents in memory, for benchmarks")
	benchDimensions = flag.Int("dimensions", 256, "dimensions of their vectors")
)

// library is a view of documents: sixty words of a Zipf distribution, and a vector
// near one of a thousand centres.
type library struct {
	store.View
	dim   int
	items *[]store.Item
}

func newLibrary(b *testing.B, documents, dim int) library {
	b.Helper()
	l := library{dim: dim, items: new([]store.Item)}
	r := rand.New(rand.NewPCG(1, 2))
	words := rand.NewZipf(r, 1.1, 4, 200_000)
	for i := range documents {
		value, err := l.record(r, words, i).encode()
		if err != nil {
			b.Fatal(err)
		}
		*l.items = append(*l.items, store.Item{Key: store.K("main", space, fmt.Sprintf("d%07d", i)), Value: value, Version: uint64(i + 1)})
	}
	return l
}

func (l library) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	if prefix == store.K("main", SpaceIndex, partMarker).Prefix() || prefix == "" && from > "main" {
		return nil
	}
	for _, i := range *l.items {
		if !fn(i) {
			return nil
		}
	}
	return nil
}

func (l library) Get(k store.Key) (store.Item, bool, error) {
	at, ok := slices.BinarySearchFunc(*l.items, k, func(i store.Item, k store.Key) int { return cmp.Compare(i.Key, k) })
	if !ok {
		return store.Item{}, false, nil
	}
	return (*l.items)[at], true, nil
}

func (l library) record(r *rand.Rand, words *rand.Zipf, i int) *record {
	var text strings.Builder
	for range 60 {
		fmt.Fprintf(&text, "w%d ", words.Uint64())
	}
	fmt.Fprintf(&text, "ORD-%d", i)
	return &record{
		Type: []string{"CODEX", "MANUAL"}[i%2], Content: text.String(), Model: "site", Own: true, Created: int64(i), Updated: int64(i),
		Metadata: map[string]string{"page": fmt.Sprint(i % 100)}, Vector: encodeVector(l.vector(r, i%1000)),
	}
}

// vector is one near a centre.
func (l library) vector(r *rand.Rand, centre int) []float32 {
	c, v := rand.New(rand.NewPCG(3, uint64(centre))), make([]float32, l.dim)
	for j := range v {
		v[j] = float32(c.NormFloat64() + 0.7*r.NormFloat64())
	}
	return v
}

func BenchmarkLoad(b *testing.B) {
	l := newLibrary(b, *benchDocuments, *benchDimensions)
	for b.Loop() {
		p := newPod(b, "m1")
		if err := p.Load(l); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(p.Status().Bytes)/float64(*benchDocuments), "B/document")
	}
}

func BenchmarkSearch(b *testing.B) {
	p, l := newPod(b, "m1"), newLibrary(b, *benchDocuments, *benchDimensions)
	if err := p.Load(l); err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for name, q := range map[string]query{
		"vector":          {ranking: meaning},
		"hybrid":          {ranking: hybrid, text: "w0 w1 w17 w480 w9001 w3"},
		"words":           {ranking: lexical, text: "w0 w1 w17 w480 w9001 w3"},
		"vector+type":     {ranking: meaning, accepts: accepts{kind: "CODEX"}},
		"vector+metadata": {ranking: meaning, accepts: accepts{pairs: hashPairs(map[string]string{"page": "7"}), created: always, updated: always, others: true}},
		"vector+updated":  {ranking: meaning, accepts: accepts{created: always, updated: span{0, int64(*benchDocuments / 50)}, others: true}},
		"vector+created":  {ranking: meaning, accepts: accepts{created: span{0, int64(*benchDocuments / 2)}, updated: always, others: true}},
	} {
		b.Run(name, func(b *testing.B) {
			q.space, q.threshold, q.limit = vectorSpace{"site", l.dim}, -1, 10
			b.ReportAllocs()
			for b.Loop() {
				if q.ranking != lexical {
					q.vector = l.vector(r, r.IntN(1000))
				}
				found, err := p.indexes.candidates("main", &q)
				if err != nil {
					b.Fatal(err)
				}
				got, err := q.choose(found, func(string) (float32, error) { return 0, nil })
				if err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

// BenchmarkStart opens a state and loads memory from it: with the index that a
// marker left, and without, as after damage.
func BenchmarkStart(b *testing.B) {
	s := newSite(b, b.TempDir())
	l := newLibrary(b, *benchDocuments, *benchDimensions)
	for some := range slices.Chunk(*l.items, 500) {
		var ops []store.Op
		for _, i := range some {
			ops = append(ops, store.Put(i.Key, i.Value))
		}
		s.apply(siteBatch(ops...))
	}
	m := marker{Number: 1, Seed: make([]byte, seedSize), Own: true}
	value, err := msgpack.Marshal(&m)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	s.apply(siteBatch(store.Put(indexKey(partMarker, "main", vectorSpace{"site", l.dim}), value)))
	held := time.Since(began)
	s.settle()
	b.Logf("a marker holds Apply up for %v and takes %v", held, time.Since(began))
	s.kill()
	for _, saved := range []bool{true, false} {
		b.Run(fmt.Sprintf("saved=%t", saved), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if !saved {
					if err := os.RemoveAll(s.dir + "/vector"); err != nil {
						b.Fatal(err)
					}
				}
				state, err := store.Open(s.dir, nil)
				if err != nil {
					b.Fatal(err)
				}
				p, err := New(s.pod.config)
				if err != nil {
					b.Fatal(err)
				}
				used := processorTime(b)
				b.StartTimer()
				if err := p.Load(state); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.ReportMetric((processorTime(b) - used).Seconds(), "CPU-s")
				if got := p.Status().Vectors.Live; got != *benchDocuments {
					b.Fatal(got)
				}
				if err := state.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// processorTime is what this process has used, on all processors.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
