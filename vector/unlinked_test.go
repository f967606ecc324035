package vector

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Without a graph, searches find the true nearest, through updates, deletions and
// consolidations; and such an index is not taken for one that has a graph.
func TestUnlinked(t *testing.T) {
	const dim, n = 16, 3 * sampleRows
	r := rand.New(rand.NewPCG(3, 9))
	random := func() []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	for _, tier := range []Tier{Full, Codes, Bits} {
		x, err := New(Config{Dim: dim, Tier: tier, EfConstruction: Unlinked})
		if err != nil {
			t.Fatal(err)
		}
		stored := map[string][]float32{}
		for round := range 3 {
			var items []Item
			for i := range n / 3 {
				id := fmt.Sprintf("%d-%d", round, i)
				stored[id] = random()
				items = append(items, Item{ID: id, Vector: stored[id]})
			}
			if err := x.AddBatch(items); err != nil {
				t.Fatal(err)
			}
			for i := range n / 6 {
				id := fmt.Sprintf("%d-%d", round, 2*i)
				x.Delete(id)
				delete(stored, id)
			}
			if err := x.Consolidate(); err != nil {
				t.Fatal(err)
			}
			query := random()
			hits, err := x.Search(query, Options{K: 5})
			want := nearestOf(stored, query, 5)
			// Codes alone order by scores within a hundredth of the true ones.
			if err != nil || len(hits) != 5 || tier != Codes && !slices.EqualFunc(hits, want, func(h Hit, id string) bool { return h.ID == id }) {
				t.Errorf("%s, round %d: %v, want %v, %v", tier, round, hits, want, err)
			}
		}
		if s := x.Stats(); s.Levels != 0 || s.Vectors != len(stored) || s.Dead != 0 {
			t.Errorf("%s: %+v", tier, s)
		}
		dir := t.TempDir()
		if _, err := x.Save(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Config{Dim: dim, Tier: tier}); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: opened as one with a graph: %v", tier, err)
		}
		x.Close()
	}
	if _, err := New(Config{Dim: dim, EfConstruction: -2}); !errors.Is(err, ErrConfig) {
		t.Error("an EfConstruction of -2")
	}
}

func nearestOf(stored map[string][]float32, query []float32, k int) (ids []string) {
	for id := range stored {
		ids = append(ids, id)
	}
	score := func(id string) (s float64) {
		for i, c := range stored[id] {
			s += float64(c) * float64(query[i])
		}
		return s / norm(stored[id])
	}
	slices.SortFunc(ids, func(a, b string) int {
		if score(a) > score(b) {
			return -1
		}
		return 1
	})
	return ids[:k]
}
