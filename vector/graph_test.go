package vector

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// clustered returns vectors around centres, as embeddings of documents are.
func clustered(seed uint64, n, dim, centres int) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	at := make([][]float32, centres)
	for i := range at {
		at[i] = randomVector(rng, dim)
	}
	out := make([][]float32, n)
	for i := range out {
		out[i] = randomVector(rng, dim)
		for j, c := range at[i%centres] {
			out[i][j] = c + float32(0.6*out[i][j]) // not fused: the same on every processor
		}
	}
	return out
}

// items gives vectors the ids first, first+1, ...
func items(first int, vectors [][]float32) []Item {
	out := make([]Item, len(vectors))
	for i, v := range vectors {
		out[i] = Item{ID: fmt.Sprintf("doc-%06d", first+i), Vector: v}
	}
	return out
}

func build(t testing.TB, cfg Config, vectors [][]float32) *Index {
	t.Helper()
	x, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	if err := x.AddBatch(items(0, vectors)); err != nil {
		t.Fatal(err)
	}
	return x
}

func search(t testing.TB, x *Index, q []float32, o Options) []Hit {
	t.Helper()
	hits, err := x.Search(q, o)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// sparse returns a configuration that links with less care under the race
// detector, for tests that ask for whole answers and not for good graphs.
func sparse(cfg Config) Config {
	cfg.EfConstruction = sized(cfg.EfConstruction, 32)
	return cfg
}

// recall is the share of the 10 nearest that a search with ef candidates finds.
func recall(t testing.TB, x *Index, queries [][]float32, ef int) float64 {
	t.Helper()
	const k = 10
	found := 0
	walker(x)
	for _, q := range queries {
		truth := search(t, x, q, Options{K: k, Recall: 1})
		for _, h := range search(t, x, q, Options{K: k, EF: ef}) {
			if h.Score >= truth[k-1].Score {
				found++
			}
		}
	}
	return float64(found) / float64(k*len(queries))
}

func TestRecall(t *testing.T) {
	if racing {
		t.Skip("numbers only")
	}
	const n, queries = 1500, 50
	for _, c := range []struct {
		cfg  Config
		want float64
	}{
		{Config{Dim: 24, Metric: Cosine}, 0.99},
		{Config{Dim: 24, Metric: L2}, 0.99},
		{Config{Dim: 24, Metric: InnerProduct}, 0.99},
		{Config{Dim: 24, Metric: Cosine, Tier: Codes}, 0.98},
		{Config{Dim: 24, Metric: L2, Range: 6, M: 8, EfConstruction: 60}, 0.97},
		{Config{Dim: 256, Metric: Cosine, Tier: Bits}, 0.9},
	} {
		t.Run(fmt.Sprintf("%v/%v/%d", c.cfg.Metric, c.cfg.Tier, c.cfg.Dim), func(t *testing.T) {
			t.Parallel()
			all := clustered(7, n+queries, c.cfg.Dim, 40)
			for i, v := range all[:n] { // lengths differ, which only the inner product minds
				for j := range v {
					v[j] *= float32(1+i%8) / 4
				}
				if c.cfg.Metric == L2 {
					break
				}
			}
			x := build(t, c.cfg, all[:n])
			if got := recall(t, x, all[n:], 96); got < c.want {
				t.Errorf("recall %.3f, want %.3f", got, c.want)
			}
		})
	}
}

// The exact scan over codes must give what comparing all floats gives.
func TestScanIsExact(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		all := clustered(3, 1040, 17, 9)
		for i := range all[:1000] { // lengths over three orders of magnitude, some clamped
			for j := range all[i] {
				all[i][j] *= float32(math.Pow(10, float64(i%7)/2-1))
			}
		}
		x := build(t, sparse(Config{Dim: 17, Metric: metric, Range: 20}), all[:1000])
		if metric != Cosine && x.Stats().Clamped == 0 {
			t.Error("no vector was clamped: the test shows less than it should")
		}
		v := x.current.Load()
		for _, q := range all[1000:] {
			unit, err := x.prepare(nil, q)
			if err != nil {
				t.Fatal(err)
			}
			s := x.borrow(v)
			s.query.ask(v, unit)
			s.best = s.best[:0]
			for row := range v.rows {
				s.best.offer(v, scored{score: v.score(&s.query, uint32(row)), row: uint32(row)}, 25)
			}
			s.best.sort(v)
			for i, h := range search(t, x, q, Options{K: 25, Recall: 1}) {
				if want := s.best[i]; h.ID != v.id(want.row) || h.Score != want.score {
					t.Fatalf("%v: hit %d is %v, want %s %v", metric, i, h, v.id(want.row), want.score)
				}
			}
		}
	}
}

func TestRecallTargetIsReached(t *testing.T) {
	if racing {
		t.Skip("numbers only")
	}
	const n, queries = 4200, 60
	all := latent(5, n+queries, 40, 16)
	x := build(t, Config{Dim: 40}, all[:n])
	if got := x.effort; got.rows == 0 {
		t.Fatal("the index has not measured itself")
	}
	var last int
	for _, target := range []float64{0.8, 0.95, 0.99} {
		ef := x.effort.ef(target, 10, n)
		if ef < last || ef == 0 {
			t.Errorf("%d candidates for recall %v after %d for less", ef, target, last)
		}
		last = ef
		if got := recall(t, x, all[n:], ef); got < target {
			t.Errorf("recall %.3f with the %d candidates for %v", got, ef, target)
		}
	}
	if ef := x.effort.ef(1, 10, n); ef != 0 {
		t.Errorf("recall 1 takes a scan, not %d candidates", ef)
	}
	if a, b := x.effort.ef(0.95, 10, n), x.effort.ef(0.95, 10, 64*n); b <= a {
		t.Errorf("%d candidates among 64 times as many rows, %d before", b, a)
	}
}

// More recall never takes fewer candidates, nor do more rows, and the rungs that
// were tried are kept to.
func TestEffortRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := effort{rows: 5000, of: 2560}
		found, tried := uint32(0), len(rungs)
		for i := range e.hits {
			if i > 0 && e.lastTried(i-1) {
				tried = min(tried, i)
			} else {
				found = rapid.Uint32Range(found, e.of).Draw(t, "found")
			}
			e.hits[i] = found
		}
		low := rapid.Float64Range(0.01, 0.9999).Draw(t, "recall")
		high := rapid.Float64Range(low, 0.9999).Draw(t, "more recall")
		a, b := e.climb((1-low)*float64(e.of)), e.climb((1-high)*float64(e.of))
		if a < int(rungs[0]) || b < a {
			t.Fatalf("%d candidates for %v, %d for %v", a, low, b, high)
		}
		for i, ef := range rungs[:tried] {
			if float64(e.hits[i]) < low*float64(e.of) && a <= int(ef) {
				t.Fatalf("%d candidates for %v, but %d find %d of %d", a, low, ef, e.hits[i], e.of)
			}
		}
		rows := rapid.IntRange(5000, 5_000_000).Draw(t, "rows")
		if now, then := e.ef(low, nearest, 5000), e.ef(low, nearest, rows); then != 0 && (now == 0 || then < now) {
			t.Fatalf("%d candidates among %d rows, %d among 5000", then, rows, now)
		}
	})
}

// Four rounds of deleting half, consolidating and storing it again.
func TestChurnKeepsRecall(t *testing.T) {
	n, queries := sized(1500, 500), sized(60, 20)
	all := clustered(9, n+queries, 24, 50)
	x := build(t, Config{Dim: 24}, all[:n])
	fresh := recall(t, x, all[n:], 48)
	for round := range sized(4, 1) {
		var again []Item
		for _, item := range items(0, all[:n]) {
			if splitmix64(uint64(round)<<32+uint64(len(item.ID)+int(item.ID[len(item.ID)-1])*7919+int(item.ID[7])*31+int(item.ID[8])))&1 == 0 {
				again = append(again, item)
			}
		}
		ids := make([]string, len(again))
		for i := range again {
			ids[i] = again[i].ID
		}
		if got := x.DeleteBatch(ids); got != len(ids) {
			t.Fatalf("deleted %d of %d", got, len(ids))
		}
		deleted := make(map[string]bool)
		for _, id := range ids {
			deleted[id] = true
		}
		check := func(when string) {
			for _, q := range all[n:] {
				for _, h := range search(t, x, q, Options{K: 10, EF: 48}) {
					if deleted[h.ID] {
						t.Fatalf("%s: the deleted %s is found", when, h.ID)
					}
				}
			}
		}
		check("after deleting")
		if got := recall(t, x, all[n:], 96); got < fresh-0.01 {
			t.Errorf("round %d: recall %.4f among tombstones, %.4f fresh", round, got, fresh)
		}
		if err := x.Consolidate(); err != nil {
			t.Fatal(err)
		}
		check("after consolidating")
		checkGraph(t, x)
		if s := x.Stats(); s.Dead != 0 || s.Free != len(ids) {
			t.Errorf("round %d: %d dead, %d free of %d deleted", round, s.Dead, s.Free, len(ids))
		}
		if err := x.AddBatch(again); err != nil {
			t.Fatal(err)
		}
		checkGraph(t, x)
		if got := recall(t, x, all[n:], 48); got < fresh-0.01 {
			t.Errorf("round %d: recall %.4f, fresh %.4f", round, got, fresh)
		}
		if s := x.Stats(); s.Vectors != n || x.rows != n {
			t.Errorf("round %d: %d vectors in %d slots, want %d", round, s.Vectors, x.rows, n)
		}
	}
}

func TestManyEqualVectors(t *testing.T) {
	others := sized(400, 200)
	all := clustered(13, others, 16, 20)
	same := clustered(14, 1, 16, 1)[0]
	for metric, equal := range map[Metric]int{Cosine: 10000, InnerProduct: 2000, L2: 2000} {
		equal = sized(equal, 600)
		x, err := New(Config{Dim: 16, Metric: metric, Range: 8})
		if err != nil {
			t.Fatal(err)
		}
		var batch []Item
		for i := range equal {
			batch = append(batch, Item{ID: fmt.Sprintf("same-%05d", i), Vector: same})
			if each := equal / others; i%each == 0 {
				batch = append(batch, items(i/each, all[i/each:i/each+1])...)
			}
			if len(batch) > 700 || i == equal-1 {
				if err := x.AddBatch(batch); err != nil {
					t.Fatal(err)
				}
				batch = batch[:0]
			}
		}
		walker(x)
		add(t, x, "last", same...)
		if nodes, twins := checkGraph(t, x); (nodes != others+1 || twins != equal) &&
			(metric != InnerProduct || nodes > others+1+equal/100) { // longer vectors may hide the node
			t.Errorf("%v: %d nodes, %d twins", metric, nodes, twins)
		}
		for i, q := range all {
			want := fmt.Sprintf("doc-%06d", i)
			o := Options{K: 1, EF: 64}
			if metric == InnerProduct { // a longer vector may well score higher
				o.Filter.Accept = func(id string) bool { return id == want }
			}
			if hits := search(t, x, q, o); len(hits) != 1 || hits[0].ID != want {
				t.Fatalf("%v: %s is not found beside equal vectors: %v", metric, want, hits)
			}
		}
		if hits := search(t, x, same, Options{K: 500, EF: 64}); len(hits) != 500 {
			t.Errorf("%v: %d of the equal vectors", metric, len(hits))
		}
		if hits := search(t, x, same, Options{K: 20000}); len(hits) != equal+others+1 {
			t.Errorf("%v: %d hits of all", metric, len(hits))
		}
		// The node that all hang behind goes first.
		for i := range equal - 1 {
			x.Delete(fmt.Sprintf("same-%05d", i))
			if i == 3 || i == equal/2 {
				if err := x.Consolidate(); err != nil {
					t.Fatal(err)
				}
				checkGraph(t, x)
			}
		}
		if hits := search(t, x, same, Options{K: 2, EF: 64, Filter: Filter{Accept: func(id string) bool { return id[0] != 'd' }}}); len(hits) != 2 {
			t.Errorf("%v: the two that are left: %v", metric, hits)
		}
		x.Close()
	}
}

// Who does not know the seed cannot choose ids whose nodes all reach high levels.
func TestLevelsNeedTheSeed(t *testing.T) {
	guess, real := hasher{seed: [32]byte{1}}, hasher{seed: [32]byte{2}}
	var counts [maxLevel + 1]int
	chosen := 0
	for i := 0; chosen < 2000; i++ {
		id := []byte(fmt.Sprint("chosen-", i))
		if level(guess.hash(id), 4) < 2 {
			continue
		}
		chosen++
		counts[level(real.hash(id), 4)]++
	}
	if counts[0] < 1400 || counts[0] > 1600 || counts[1] < 300 || counts[1] > 450 {
		t.Errorf("levels of chosen ids: %v, want about 1500, 375, 94", counts)
	}
	if level(0, 4) > maxLevel {
		t.Error("the highest level is exceeded")
	}
}

// Rows whose neighbours, and theirs, are all deleted must not be cut off.
func TestFewSurvivors(t *testing.T) {
	all := clustered(19, 800, 12, 8)
	x := build(t, Config{Dim: 12, M: 4, EfConstruction: 20}, all)
	for i := range all {
		if i%80 != 7 {
			x.Delete(fmt.Sprintf("doc-%06d", i))
		}
	}
	if err := x.Consolidate(); err != nil {
		t.Fatal(err)
	}
	walker(x)
	for i := 7; i < len(all); i += 80 {
		hits := search(t, x, all[i], Options{K: 1, EF: 10})
		if len(hits) != 1 || hits[0].ID != fmt.Sprintf("doc-%06d", i) {
			t.Errorf("survivor %d: %v", i, hits)
		}
	}
	if err := x.AddBatch(items(1000, all)); err != nil {
		t.Fatal(err)
	}
	if got := recall(t, x, all[:100], 64); got < 0.98 {
		t.Errorf("recall %.3f after storing anew", got)
	}
}

func TestEmptiedIndexTakesVectorsAgain(t *testing.T) {
	all := clustered(21, 700, 12, 5)
	for _, consolidate := range []bool{false, true} {
		x := build(t, Config{Dim: 12}, all[:350])
		for i := range 350 {
			x.Delete(fmt.Sprintf("doc-%06d", i))
		}
		if hits := search(t, x, all[0], Options{K: 5}); len(hits) != 0 {
			t.Errorf("hits of an emptied index: %v", hits)
		}
		if consolidate {
			if err := x.Consolidate(); err != nil {
				t.Fatal(err)
			}
			if s := x.Stats(); s.Dead != 0 || s.Free != 350 || s.Levels != 0 {
				t.Errorf("after consolidating nothing: %+v", s)
			}
		}
		if err := x.AddBatch(items(1000, all[350:])); err != nil {
			t.Fatal(err)
		}
		if got := recall(t, x, all[:50], 64); got < 0.99 {
			t.Errorf("recall %.3f after storing anew, consolidated: %v", got, consolidate)
		}
	}
}
