package vector

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// library is an index whose rows have attributes of very different frequency,
// and the same as a plain list.
func library(t testing.TB, cfg Config, n int) (*Index, []Item, [][]float32) {
	t.Helper()
	all := clustered(51, n+50, cfg.Dim, 30)
	batch := items(0, all[:n])
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range batch {
		batch[i].Tag = uint32(math.Sqrt(float64(rng.IntN(400)))) // 0..19, the higher the more
		batch[i].Kind = uint16(i % 30)                           // goes with the cluster
		batch[i].Time = int64(rng.IntN(1000))
	}
	x := build(t, cfg, nil)
	for part := range slices.Chunk(batch, 700) {
		if err := x.AddBatch(part); err != nil {
			t.Fatal(err)
		}
	}
	x.advantage = 1
	for i := 0; i < n; i += 13 {
		x.Delete(batch[i].ID)
		batch[i].ID = ""
	}
	return x, slices.DeleteFunc(batch, func(i Item) bool { return i.ID == "" }), all[n:]
}

func (f *Filter) passes(i *Item) bool {
	return (len(f.Tags) == 0 || slices.Contains(f.Tags, i.Tag)) && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, i.Kind)) &&
		(f.From == 0 && f.Until == 0 || i.Time >= f.From && i.Time < f.Until) && (f.Accept == nil || f.Accept(i.ID))
}

// Whatever the filter, a search returns min(k, matches) hits, all of which match,
// in order; and with recall 1 the same as filtering all vectors.
func TestFilteredSearchIsComplete(t *testing.T) {
	for _, cfg := range []Config{{Dim: 16}, {Dim: 16, Metric: L2, Tier: Codes}, {Dim: 64, Tier: Bits}} {
		x, stored, queries := library(t, sparse(cfg), sized(2000, 700))
		exact := build(t, Config{Dim: cfg.Dim, Metric: cfg.Metric, M: minM, EfConstruction: minM}, nil)
		if err := exact.AddBatch(stored); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			var f Filter
			if rapid.Bool().Draw(t, "by tag") {
				f.Tags = rapid.SliceOfN(rapid.Uint32Range(0, 22), 1, 4).Draw(t, "tags")
			}
			if rapid.Bool().Draw(t, "by kind") {
				f.Kinds = rapid.SliceOfN(rapid.Uint16Range(0, 31), 1, 20).Draw(t, "kinds")
			}
			if rapid.Bool().Draw(t, "by time") {
				f.From = rapid.Int64Range(-10, 1010).Draw(t, "from")
				f.Until = f.From + rapid.Int64Range(0, 500).Draw(t, "long")
			}
			if divisor := rapid.SampledFrom([]int{0, 0, 2, 50}).Draw(t, "divisor"); divisor > 0 {
				f.Accept = func(id string) bool {
					var n int
					_, err := fmt.Sscanf(id, "doc-%d", &n)
					return err == nil && n%divisor == 0
				}
			}
			o := Options{K: rapid.SampledFrom([]int{1, 10, 100, 3000}).Draw(t, "k"), Filter: f}
			o.EF = rapid.SampledFrom([]int{0, 10, 64}).Draw(t, "ef")
			o.Recall = rapid.SampledFrom([]float64{0, 0.8, 1}).Draw(t, "recall")
			if o.Recall == 1 {
				o.EF = 0
			}
			q := rapid.SampledFrom(queries).Draw(t, "query")
			hits, err := x.Search(q, o)
			if err != nil {
				t.Fatal(err)
			}
			matching := make(map[string]*Item)
			for i := range stored {
				if f.passes(&stored[i]) {
					matching[stored[i].ID] = &stored[i]
				}
			}
			if len(hits) != min(o.K, len(matching)) {
				t.Fatalf("%d hits, want %d of %d that match", len(hits), min(o.K, len(matching)), len(matching))
			}
			for _, h := range hits {
				if matching[h.ID] == nil {
					t.Fatalf("%s does not match, or comes twice", h.ID)
				}
				delete(matching, h.ID)
			}
			if !slices.IsSortedFunc(hits, func(a, b Hit) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.ID, b.ID)) }) {
				t.Fatalf("out of order: %v", hits)
			}
			if o.Recall == 1 && cfg.Tier != Codes {
				if want, err := exact.Search(q, o); err != nil || !slices.Equal(hits, want) {
					t.Fatalf("%v, want %v (%v)", hits, want, err)
				}
			}
		})
	}
}

// Matches that lie elsewhere than the query must not be missed for it.
func TestFilterAgainstTheQuery(t *testing.T) {
	x, stored, _ := library(t, sparse(Config{Dim: 16}), sized(2000, 1000))
	exact := build(t, Config{Dim: 16, M: minM, EfConstruction: minM}, nil)
	if err := exact.AddBatch(stored); err != nil {
		t.Fatal(err)
	}
	found, all := 0, 0
	for i := range sized(60, 25) {
		// A query from one cluster, the kinds of five others.
		o := Options{K: 10, EF: 48, Filter: Filter{Kinds: []uint16{5, 11, 17, 23, 29}}}
		want := search(t, exact, stored[30*i].Vector, Options{K: 10, Recall: 1, Filter: o.Filter})
		for _, h := range search(t, x, stored[30*i].Vector, o) {
			if h.Score >= want[len(want)-1].Score {
				found++
			}
		}
		all += len(want)
	}
	if recall := float64(found) / float64(all); recall < 0.95 {
		t.Errorf("recall %.3f", recall)
	}
}

func TestBadOptions(t *testing.T) {
	x := build(t, Config{Dim: 2}, [][]float32{{1, 0}})
	for _, o := range []Options{
		{K: 1, Recall: -0.1},
		{K: 1, Recall: 1.1},
		{K: 1, Recall: math.NaN()},
		{K: 1, EF: -1},
		{K: 1, EF: MaxEF + 1},
		{K: 1, Filter: Filter{From: 2, Until: 1}},
	} {
		if _, err := x.Search([]float32{1, 0}, o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v, want ErrOptions", o, err)
		}
	}
}

func TestGroupsComeAndGo(t *testing.T) {
	x := build(t, Config{Dim: 2}, nil)
	for i := range 50 {
		if err := x.AddBatch([]Item{{ID: fmt.Sprint(i), Vector: []float32{1, float32(i)}, Tag: math.MaxUint32, Kind: uint16(i % 2 * math.MaxUint16)}}); err != nil {
			t.Fatal(err)
		}
	}
	tagged := Options{K: 100, Filter: Filter{Tags: []uint32{math.MaxUint32, 1, math.MaxUint32}}}
	if hits := search(t, x, []float32{1, 0}, tagged); len(hits) != 50 {
		t.Errorf("%d hits by tag", len(hits))
	}
	for i := 0; i < 50; i += 2 {
		x.Delete(fmt.Sprint(i))
	}
	if err := x.Consolidate(); err != nil {
		t.Fatal(err)
	}
	if s := x.Stats(); s.Groups != 1 || s.Vectors != 25 {
		t.Errorf("%+v", s)
	}
	if hits := search(t, x, []float32{1, 0}, Options{K: 100, Filter: Filter{Kinds: []uint16{0}}}); len(hits) != 0 {
		t.Errorf("hits of a group that is gone: %v", hits)
	}
	if hits := search(t, x, []float32{1, 0}, tagged); len(hits) != 25 {
		t.Errorf("%d hits by tag, want 25", len(hits))
	}
}
