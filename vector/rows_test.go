package vector

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A search among rows is an exact search of an index that has nothing else.
func TestSearchRows(t *testing.T) {
	for _, cfg := range []Config{{Dim: 16}, {Dim: 16, Metric: L2}, {Dim: 4}, {Dim: 64, Tier: Bits}} {
		x, stored, queries := library(t, sparse(cfg), sized(900, 500))
		rapid.Check(t, func(t *rapid.T) {
			some := rapid.SliceOfNDistinct(rapid.SampledFrom(stored), 0, 200, func(i Item) string { return i.ID }).Draw(t, "among")
			f := Filter{Kinds: []uint16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, From: 100, Until: 900}
			only, err := New(Config{Dim: cfg.Dim, Metric: cfg.Metric})
			if err == nil {
				defer only.Close()
				err = only.AddBatch(some)
			}
			if err != nil {
				t.Fatal(err)
			}
			ids := make([]string, len(some))
			for i := range some {
				ids[i] = some[i].ID
			}
			rows := x.Rows(ids)
			slices.Sort(rows)
			q := rapid.SampledFrom(queries).Draw(t, "query")
			k := rapid.IntRange(1, 40).Draw(t, "k")
			got, err := x.SearchRows(q, rows, Options{K: k, Filter: f})
			if err != nil {
				t.Fatal(err)
			}
			want, err := only.Search(q, Options{K: k, Recall: 1, Filter: f})
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%v\nwant %v, %v", got, want, err)
			}
		})
		x.Close()
	}
}

func TestRowsThatAreNoVectors(t *testing.T) {
	x := build(t, Config{Dim: 8}, clustered(5, 400, 8, 3))
	ids := []string{"doc-000003", "nothing", "doc-000007", "doc-000009"}
	rows := x.Rows(ids)
	if rows[1] != NoRow || slices.Contains([]uint32{rows[0], rows[2], rows[3]}, NoRow) {
		t.Fatalf("rows %v", rows)
	}
	q := clustered(6, 1, 8, 1)[0]
	search := func(rows ...uint32) ([]Hit, error) { return x.SearchRows(q, rows, Options{K: 5}) }
	x.Delete(ids[2])
	if hits, err := search(rows[0], rows[2], rows[3], 100_000, NoRow); err != nil || len(hits) != 2 {
		t.Errorf("%v, %v", hits, err)
	}
	if err := x.Consolidate(); err != nil {
		t.Fatal(err)
	}
	if again := x.Rows(ids); !slices.Equal(again, []uint32{rows[0], NoRow, NoRow, rows[3]}) {
		t.Errorf("rows %v after %v", again, rows)
	}
	if hits, err := search(); err != nil || len(hits) != 0 {
		t.Errorf("%v, %v", hits, err)
	}
	for _, bad := range [][]uint32{{3, 3}, {3, 2}} {
		if _, err := search(bad...); !errors.Is(err, ErrOptions) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := x.SearchRows(q, nil, Options{}); !errors.Is(err, ErrK) {
		t.Error(err)
	}
	if _, err := x.SearchRows(q[:3], nil, Options{K: 1}); !errors.Is(err, ErrDimension) {
		t.Error(err)
	}
	if _, err := x.SearchRows(q, nil, Options{K: 1, Filter: Filter{From: 1}}); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
	x.Close()
	if _, err := search(rows[0]); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if rows := x.Rows(ids); rows[0] != NoRow {
		t.Errorf("rows of a closed index: %v", rows)
	}
}
