package vector

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func makeIndex(t testing.TB, dim int, metric Metric) *Index {
	t.Helper()
	x, err := New(Config{Dim: dim, Metric: metric})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func add(t testing.TB, x *Index, id string, vec ...float32) {
	t.Helper()
	if err := x.Add(id, vec); err != nil {
		t.Fatalf("add %q: %v", id, err)
	}
}

func TestNewRefusesBadConfigurations(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Dim: -1},
		{Dim: MaxDim + 1},
		{Dim: 3, Metric: 3},
		{Dim: 3, Tier: 3},
		{Dim: 300, Tier: Bits, Metric: L2},
		{Dim: 3, M: 3},
		{Dim: 3, M: 65},
		{Dim: 3, M: 20, EfConstruction: 19},
		{Dim: 3, EfConstruction: 1025},
		{Dim: 3, Range: -1},
		{Dim: 3, Range: float32(math.NaN())},
		{Dim: 3, Range: 2 * MaxComponent},
		{Dim: 3, Range: 1e-40},
		{Dim: 3, Capacity: -1},
		{Dim: 3, Threads: -1},
	} {
		if _, err := New(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: got %v, want ErrConfig", cfg, err)
		}
	}
	if x := makeIndex(t, MaxDim, L2); x.Dim() != MaxDim || x.Len() != 0 {
		t.Errorf("dim %d, len %d", x.Dim(), x.Len())
	}
}

func TestMetricNames(t *testing.T) {
	got := fmt.Sprint(Cosine, InnerProduct, L2, Metric(9), Full, Codes, Bits, Tier(9))
	if got != "cosine inner_product l2 Metric(9) full codes bits Tier(9)" {
		t.Errorf("got %s", got)
	}
}

func TestBadVectorsAreRefusedAndChangeNothing(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name   string
		metric Metric
		vec    []float32
		want   error
	}{
		{"nil", Cosine, nil, ErrDimension},
		{"short", L2, []float32{1}, ErrDimension},
		{"long", InnerProduct, []float32{1, 2, 3}, ErrDimension},
		{"NaN", Cosine, []float32{1, nan}, ErrNotFinite},
		{"infinite", L2, []float32{inf, 0}, ErrNotFinite},
		{"minus infinite", InnerProduct, []float32{0, -inf}, ErrNotFinite},
		{"beyond the bound", InnerProduct, []float32{2 * MaxComponent, 0}, ErrNotFinite},
		{"zero under cosine", Cosine, []float32{0, 0}, ErrZeroVector},
	} {
		x := makeIndex(t, 2, c.metric)
		add(t, x, "a", 3, 4)
		if err := x.Add("a", c.vec); !errors.Is(err, c.want) {
			t.Errorf("%s: Add gave %v, want %v", c.name, err, c.want)
		}
		if _, err := x.Search(c.vec, Options{K: 1}); !errors.Is(err, c.want) {
			t.Errorf("%s: Search gave %v, want %v", c.name, err, c.want)
		}
		hits, err := x.Search([]float32{3, 4}, Options{K: 1})
		if err != nil || len(hits) != 1 || x.Len() != 1 {
			t.Errorf("%s: the index changed: %v, %v", c.name, hits, err)
		}
	}
}

func TestEdges(t *testing.T) {
	x := makeIndex(t, 2, InnerProduct)
	if hits, err := x.Search([]float32{1, 0}, Options{K: 3}); err != nil || len(hits) != 0 {
		t.Errorf("empty index: %v, %v", hits, err)
	}
	for _, id := range []string{"", strings.Repeat("x", MaxID+1)} {
		if err := x.Add(id, []float32{1, 0}); !errors.Is(err, ErrID) {
			t.Errorf("id of %d bytes: %v", len(id), err)
		}
	}
	long := strings.Repeat("\xff\x00", MaxID/2)
	add(t, x, long, 1, 0)
	if hits, err := x.Search([]float32{1, 0}, Options{K: 3}); err != nil || len(hits) != 1 || hits[0].ID != long {
		t.Errorf("the longest id: %v", err)
	}
	if !x.Delete(long) || x.AddBatch(nil) != nil || x.Consolidate() != nil || x.Consolidate() != nil {
		t.Error("back to an empty index")
	}
	add(t, x, "b", 1, 0)
	add(t, x, "a", 1, 0)
	add(t, x, "zero", 0, 0) // allowed where direction does not matter
	for _, k := range []int{0, -1, math.MinInt} {
		if _, err := x.Search([]float32{1, 0}, Options{K: k}); !errors.Is(err, ErrK) {
			t.Errorf("k = %d: %v", k, err)
		}
	}
	hits, err := x.Search([]float32{1, 0}, Options{K: math.MaxInt})
	if err != nil || fmt.Sprint(hits) != "[{a 1} {b 1} {zero 0}]" {
		t.Errorf("ties by id: %v, %v", hits, err)
	}
	hits, err = x.Search([]float32{1, 0}, Options{K: 2, Filter: Filter{Accept: func(id string) bool { return id != "a" }}})
	if err != nil || fmt.Sprint(hits) != "[{b 1} {zero 0}]" {
		t.Errorf("filter: %v, %v", hits, err)
	}
	if hits, err := x.Search([]float32{1, 0}, Options{K: 2, Filter: Filter{Accept: func(string) bool { return false }}}); err != nil || len(hits) != 0 {
		t.Errorf("filter that accepts nothing: %v, %v", hits, err)
	}
	if x.Delete("nobody") || !x.Delete("b") || x.Delete("b") || x.Len() != 2 {
		t.Error("delete reports wrongly")
	}
}

func TestScoresStayFiniteAtTheBound(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		x := makeIndex(t, MaxDim, metric)
		low, high := slices.Repeat([]float32{-MaxComponent}, MaxDim), slices.Repeat([]float32{MaxComponent}, MaxDim)
		tiny := make([]float32, MaxDim)
		tiny[0] = math.SmallestNonzeroFloat32
		add(t, x, "low", low...)
		add(t, x, "tiny", tiny...)
		hits, err := x.Search(high, Options{K: 3})
		if err != nil || len(hits) != 2 {
			t.Fatalf("%v: %v, %v", metric, hits, err)
		}
		for _, h := range hits {
			if s := float64(h.Score); math.IsNaN(s) || math.IsInf(s, 0) {
				t.Errorf("%v: score of %s is %v", metric, h.ID, s)
			}
		}
	}
}

func TestStoredVectorsAreCopies(t *testing.T) {
	x := makeIndex(t, 2, InnerProduct)
	vec := []float32{1, 0}
	add(t, x, "a", vec...)
	if err := x.Add("b", vec); err != nil {
		t.Fatal(err)
	}
	vec[0] = 100
	hits, _ := x.Search([]float32{1, 0}, Options{K: 2})
	if fmt.Sprint(hits) != "[{a 1} {b 1}]" {
		t.Errorf("got %v", hits)
	}
}

// naive is the index's specification: sort everything, in float64.
func naive(model map[string][]float32, metric Metric, q []float32, filter func(string) bool) []Hit {
	inner := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	var out []Hit
	for id, v := range model {
		if filter != nil && !filter(id) {
			continue
		}
		var score float64
		switch metric {
		case Cosine:
			score = inner(q, v) / math.Sqrt(inner(q, q)*inner(v, v))
		case InnerProduct:
			score = inner(q, v)
		case L2:
			for i := range q {
				d := float64(q[i]) - float64(v[i])
				score -= d * d
			}
		}
		out = append(out, Hit{ID: id, Score: float32(score)})
	}
	slices.SortFunc(out, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Feature: tamv-hardened-backend, Property 18: Vector Memory Incremental Updates
//
// After any sequence of additions, replacements, deletions, consolidations and
// restarts the index answers as the naive model does; in particular a vector just
// added is found at once.
func TestSearchAgreesWithTheNaiveModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 19).Draw(t, "dim")
		metric := Metric(rapid.IntRange(0, 2).Draw(t, "metric"))
		cfg := Config{Dim: dim, Metric: metric}
		if rapid.Bool().Draw(t, "codes from the start") {
			cfg.Range = 3
		}
		x, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { x.Close() }()
		// Small whole numbers make ties frequent and sums exact.
		component := rapid.Map(rapid.IntRange(-4, 4), func(i int) float32 { return float32(i) })
		vec := rapid.SliceOfN(component, dim, dim).Filter(func(v []float32) bool {
			return metric != Cosine || slices.ContainsFunc(v, func(c float32) bool { return c != 0 })
		})
		id := rapid.Map(rapid.IntRange(0, 12), func(i int) string { return fmt.Sprintf("id%02d", i) })
		model := make(map[string][]float32)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			key := id.Draw(t, "id")
			switch rapid.IntRange(0, 9).Draw(t, "action") {
			case 0:
				if err := x.Consolidate(); err != nil {
					t.Fatal(err)
				}
			case 1:
				_, err := x.Save(dir)
				if x.Close(); err != nil {
					t.Fatal(err)
				}
				reopened, err := Open(dir, cfg)
				if err != nil {
					t.Fatal(err)
				}
				x = reopened
			case 2, 3:
				_, want := model[key]
				if got := x.Delete(key); got != want {
					t.Fatalf("Delete(%s) = %v, want %v", key, got, want)
				}
				delete(model, key)
				continue
			}
			v := vec.Draw(t, "vector")
			if err := x.Add(key, v); err != nil {
				t.Fatal(err)
			}
			model[key] = v
			hits, err := x.Search(v, Options{K: 20, Filter: Filter{Accept: func(other string) bool { return other == key }}})
			if err != nil || len(hits) != 1 {
				t.Fatalf("%s is not found right after Add: %v, %v", key, hits, err)
			}
		}
		checkGraph(t, x)
		if x.Len() != len(model) {
			t.Fatalf("Len = %d, want %d", x.Len(), len(model))
		}
		var filter func(string) bool
		if rapid.Bool().Draw(t, "filtered") {
			odd := rapid.Bool().Draw(t, "odd")
			filter = func(id string) bool { return (id[len(id)-1]%2 == 1) == odd }
		}
		q, k := vec.Draw(t, "query"), rapid.IntRange(1, 15).Draw(t, "k")
		walked, err := walker(x).Search(q, Options{K: k, EF: 30, Filter: Filter{Accept: filter}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.Search(q, Options{K: k, Recall: 1, Filter: Filter{Accept: filter}})
		if err != nil {
			t.Fatal(err)
		}
		want := naive(model, metric, q, filter)
		if len(walked) != len(got) || len(walked) > 0 && walked[0] != got[0] {
			t.Fatalf("a walk finds %v, a scan %v", walked, got)
		}
		if len(got) != min(k, len(want)) {
			t.Fatalf("%d hits, want %d", len(got), min(k, len(want)))
		}
		for i, h := range got {
			if !slices.IsSortedFunc(got[:i+1], func(a, b Hit) int {
				return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ID, b.ID))
			}) {
				t.Fatalf("hits are not sorted: %v", got)
			}
			// Under Cosine rounding may order near ties differently from the model.
			if math.Abs(float64(h.Score-want[i].Score)) > 1e-5 {
				t.Fatalf("hit %d is %v, want %v", i, h, want[i])
			}
			if metric != Cosine && h != want[i] {
				t.Fatalf("hit %d is %v, want %v", i, h, want[i])
			}
		}
		again, err := x.Search(q, Options{K: k, Recall: 1, Filter: Filter{Accept: filter}})
		if err != nil || !slices.Equal(got, again) {
			t.Fatalf("the same search gave %v, then %v", got, again)
		}
	})
}

// walker makes searches walk the graph, however small the index.
func walker(x *Index) *Index {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.advantage = 0
	x.publish()
	return x
}

func TestManyReadersOneWriter(t *testing.T) {
	const dim, writes = 16, 300
	x := makeIndex(t, dim, Cosine)
	rng := rand.New(rand.NewPCG(1, 2))
	vectors := make([][]float32, writes)
	for i := range vectors {
		vectors[i] = randomVector(rng, dim)
	}
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				hits, err := x.Search(vectors[0], Options{K: 5})
				if err != nil || len(hits) > 5 || len(hits) > writes {
					t.Errorf("search beside a writer: %v, %v", hits, err)
					return
				}
			}
		})
	}
	for i, v := range vectors {
		if err := x.Add(fmt.Sprint(i), v); err != nil {
			t.Error(err)
		}
		if i%3 == 2 {
			x.Delete(fmt.Sprint(i - 1))
		}
	}
	close(done)
	readers.Wait()
	if x.Len() != writes-writes/3 {
		t.Errorf("Len = %d, want %d", x.Len(), writes-writes/3)
	}
}

// randomVector returns components around zero, almost normal: sums of whole
// numbers, so that they are the same on every processor.
func randomVector(rng *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		sum := 0
		for range 4 {
			sum += rng.IntN(2001) - 1000
		}
		v[i] = float32(sum) / 1024
	}
	return v
}
