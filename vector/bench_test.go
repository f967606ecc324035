package vector

import (
	"fmt"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
)

// The benchmarks report per second of processor time, not of the wall: the
// machines they run on have other things to do.

func processorSeconds(b *testing.B) float64 {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// latent returns vectors that vary in a few directions only, as embeddings do.
func latent(seed uint64, n, dim, few int) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 2))
	axes := make([][]float32, few)
	for i := range axes {
		axes[i] = randomVector(rng, dim)
	}
	out := make([][]float32, n)
	for i := range out {
		out[i] = randomVector(rng, dim)
		for j := range out[i] {
			out[i][j] *= 0.2
		}
		for _, axis := range axes {
			weight := float32(rng.NormFloat64())
			for j, a := range axis {
				out[i][j] += weight * a
			}
		}
	}
	return out
}

// BenchmarkSearch searches 20,000 vectors of 100 dimensions for 10 neighbours.
func BenchmarkSearch(b *testing.B) {
	const n, queries, k = 20000, 200, 10
	all := latent(71, n+queries, 100, 20)
	x, err := New(Config{Dim: 100})
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	began := processorSeconds(b)
	if err := x.AddBatch(items(0, all[:n])); err != nil {
		b.Fatal(err)
	}
	insert := (processorSeconds(b) - began) / n
	truth := make([]float32, queries)
	for i, q := range all[n:] {
		truth[i] = search(b, x, q, Options{K: k, Recall: 1})[k-1].Score
	}
	for _, target := range []float64{0.9, 0.95, 0.99, 1} {
		b.Run(fmt.Sprintf("recall=%v", target), func(b *testing.B) {
			searches, found := 0, 0
			b.ReportAllocs()
			began := processorSeconds(b)
			for b.Loop() {
				at := searches % queries
				for _, h := range search(b, x, all[n+at], Options{K: k, Recall: target}) {
					if h.Score >= truth[at] {
						found++
					}
				}
				searches++
			}
			b.ReportMetric(float64(searches)/(processorSeconds(b)-began), "searches/cpu-s")
			b.ReportMetric(float64(found)/float64(k*searches), "recall")
			b.ReportMetric(math.Round(insert*1e6), "cpu-us/insert")
			b.ReportMetric(float64(x.Stats().Memory.Total())/n, "B/vector")
		})
	}
}
