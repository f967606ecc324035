package vector

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// deleteSome deletes about a share of all items and consolidates.
func deleteSome(t testing.TB, x *Index, all []Item, share float64, round int) (deleted, left []Item) {
	t.Helper()
	rng := rand.New(rand.NewPCG(11, uint64(round)))
	var ids []string
	for _, item := range all {
		if rng.Float64() < share {
			deleted, ids = append(deleted, item), append(ids, item.ID)
		} else {
			left = append(left, item)
		}
	}
	if got := x.DeleteBatch(ids); got != len(ids) {
		t.Fatalf("deleted %d of %d", got, len(ids))
	}
	if err := x.Consolidate(); err != nil {
		t.Fatal(err)
	}
	return deleted, left
}

// Vectors without any structure are the hardest to walk among: a graph that
// loses a little with every round shows it here first. What is left after a
// consolidation must be found as well as in an index that never held more.
func TestChurnKeepsRecallOfHardData(t *testing.T) {
	if racing {
		t.Skip("numbers only")
	}
	const n, queries, dim = 7000, 400, 64
	rng := rand.New(rand.NewPCG(13, 1))
	all := make([][]float32, n+queries)
	for i := range all {
		all[i] = randomVector(rng, dim)
	}
	stored := items(0, all[:n])
	for _, c := range []struct {
		share  float64
		rounds int
	}{{0.5, 4}, {0.1, 3}, {0.8, 1}} {
		if testing.Short() && c.share != 0.5 {
			continue
		}
		t.Run(fmt.Sprint(c.share), func(t *testing.T) {
			t.Parallel()
			x := build(t, Config{Dim: dim}, all[:n])
			whole := recalls(t, x, all[n:])
			for round := range c.rounds {
				deleted, left := deleteSome(t, x, stored, c.share, round)
				if round == c.rounds-1 {
					fresh := build(t, Config{Dim: dim}, nil)
					if err := fresh.AddBatch(left); err != nil {
						t.Fatal(err)
					}
					compareRecalls(t, "what is left", recalls(t, x, all[n:]), recalls(t, fresh, all[n:]))
				}
				if err := x.AddBatch(deleted); err != nil {
					t.Fatal(err)
				}
			}
			checkGraph(t, x)
			compareRecalls(t, "all", recalls(t, x, all[n:]), whole)
		})
	}
}

// hardEfs are the numbers of candidates that recall is compared with.
var hardEfs = [...]int{32, 64, 128}

// recalls is recall for each of hardEfs.
func recalls(t testing.TB, x *Index, queries [][]float32) (found [len(hardEfs)]float64) {
	t.Helper()
	const k = 10
	walker(x)
	for _, q := range queries {
		truth := search(t, x, q, Options{K: k, Recall: 1})
		for i, ef := range hardEfs {
			for _, h := range search(t, x, q, Options{K: k, EF: ef}) {
				if h.Score >= truth[k-1].Score {
					found[i] += 1 / float64(k*len(queries))
				}
			}
		}
	}
	return found
}

func compareRecalls(t *testing.T, of string, got, fresh [len(hardEfs)]float64) {
	t.Helper()
	t.Logf("%s: recall %.4f, fresh %.4f", of, got, fresh)
	for i, ef := range hardEfs {
		if got[i] < fresh[i]-0.01 {
			t.Errorf("%s: recall %.4f with %d candidates, %.4f in a fresh index", of, got[i], ef, fresh[i])
		}
	}
}

// The effort is that of the graph as it is, not as it was before most of it went.
func TestEffortIsMeasuredAfterMuchIsGone(t *testing.T) {
	if racing {
		t.Skip("numbers only")
	}
	const n = 2 * measuredFrom
	x := build(t, Config{Dim: 12, EfConstruction: 32}, clustered(15, n, 12, 30))
	stored := items(0, clustered(15, n, 12, 30))
	whole := x.effort
	if whole.rows != n {
		t.Fatalf("measured with %d vectors, want %d", whole.rows, n)
	}
	if _, left := deleteSome(t, x, stored, 0.1, 0); x.effort != whole {
		t.Errorf("measured anew with %d vectors left", len(left))
	}
	if err := x.AddBatch(stored); err != nil { // every vector is another row now
		t.Fatal(err)
	}
	_, left := deleteSome(t, x, stored, 0.3, 1)
	if got := x.effort; int(got.rows) != len(left) || got.of == 0 {
		t.Errorf("measured with %d vectors, %d are left", got.rows, len(left))
	}
	if deleteSome(t, x, left, 0.7, 2); x.effort != (effort{}) {
		t.Errorf("%d vectors are too few for the effort of %d", x.Len(), x.effort.rows)
	}
	if err := x.AddBatch(stored); err != nil {
		t.Fatal(err)
	}
	if x.effort.rows != n {
		t.Errorf("measured with %d vectors, want %d", x.effort.rows, n)
	}
}
