package vector

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// checkGraph holds the graph to what it must be between two calls: every link
// leads to another node of that level, once; every row that is in use and was
// not deleted before it was linked is a node or hangs behind one with its code.
func checkGraph(t rapid.TB, x *Index) (nodes, twins int) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	v := x.view()
	if v.coder == nil {
		return 0, 0
	}
	hangs := make(map[uint32]bool)
	for row := range uint32(v.rows) {
		if v.lives[row].born == unborn || v.isTwin(row) {
			continue
		}
		nodes++
		for level := range v.levels(row) + 1 {
			count, links := v.neighbours(row, level)
			seen := make(map[uint32]bool)
			for _, to := range links[:count] {
				if int(to) >= v.rows || v.lives[to].born == unborn || v.isTwin(to) || v.levels(to) < level || to == row || seen[to] {
					t.Fatalf("node %d links to %d at level %d", row, to, level)
				}
				seen[to] = true
			}
		}
		for next, ok := v.twin(row); ok; next, ok = v.twin(next) {
			if hangs[next] || !v.isTwin(next) || v.compareCodes(row, next) != 0 {
				t.Fatalf("%d hangs behind %d", next, row)
			}
			hangs[next] = true
		}
	}
	for row := range uint32(v.rows) {
		if v.lives[row].died == 0 && v.lives[row].born != unborn && v.isTwin(row) && !hangs[row] {
			t.Fatalf("%d hangs nowhere", row)
		}
	}
	return nodes, len(hangs)
}

// A search that began before a batch goes on in the arenas as they were, though
// the batch changes links and chains under it.
func TestOldViewStaysWhole(t *testing.T) {
	before, n := sized(1900, 600), sized(4700, 1300)
	all := clustered(81, n, 12, 30)
	for i := 1; i < 20; i++ {
		all[i] = all[0] // a chain
	}
	for _, heap := range []bool{true, false} {
		if racing && !heap {
			continue // the race detector sees only the heap
		}
		x := build(t, sparse(Config{Dim: 12, Range: 1}), nil)
		x.space.heap = heap || !offHeap
		if err := x.AddBatch(items(0, all[:before])); err != nil {
			t.Fatal(err)
		}
		v := walker(x).pin()
		release := sync.OnceFunc(v.release)
		t.Cleanup(release) // before Close, which waits for it
		later := items(2000, all[before:])
		const equals = 50
		for i := range equals {
			later[i*len(later)/equals].Vector = all[0]
		}
		blocked := make(chan error)
		go func() { blocked <- x.AddBatch(later) }() // waits for v if an arena has to move
		for x.current.Load() == v {                  // until all is linked and published
			runtime.Gosched()
		}
		for _, q := range all[:sized(60, 20)] {
			unit, err := x.prepare(nil, q)
			if err != nil {
				t.Fatal(err)
			}
			s := x.borrow(v)
			s.query.ask(v, unit)
			m := matcher{view: v, all: true, most: v.live}
			if !v.walk(s, &m, Options{K: 40, EF: 100}) || len(s.best) != 40 {
				t.Fatalf("a walk finds %d", len(s.best))
			}
			equal := 0
			for _, b := range s.best {
				if int(b.row) >= before {
					t.Fatalf("row %d is newer than the view", b.row)
				}
				if v.id(b.row) < "doc-000020" {
					equal++
				}
			}
			if slices.Equal(q, all[0]) && equal != 20 {
				t.Fatalf("%d of 20 equal vectors", equal)
			}
			x.scratch.Put(s)
		}
		release()
		if err := <-blocked; err != nil {
			t.Fatal(err)
		}
		if nodes, twins := checkGraph(t, x); nodes != n-19-equals || twins != 19+equals {
			t.Errorf("%d nodes, %d twins", nodes, twins)
		}
	}
}

// A row that turned out to be a twin must not be linked to.
func TestLinksToTwinsAreReplaced(t *testing.T) {
	x := build(t, Config{Dim: 12, Range: 1}, clustered(85, 40, 12, 5))
	v := x.view()
	v.setNeighbours(7, 0, []uint32{1, 2, 3, 4})
	v.replaceTwins(7, 0, map[uint32]uint32{2: 20, 3: 1, 4: 20})
	if count, links := v.neighbours(7, 0); !slices.Equal(links[:count], []uint32{1, 20}) {
		t.Errorf("links to %v, want 1 and 20", links[:count])
	}
}

// A vector that is stored again and again leaves nothing behind.
func TestUpdatesWithoutChange(t *testing.T) {
	all := clustered(87, 50, 12, 5)
	x := build(t, Config{Dim: 12, Range: 1}, all)
	for range 5 {
		if err := x.AddBatch(items(0, all[:20])); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Consolidate(); err != nil {
		t.Fatal(err)
	}
	if s := x.Stats(); s.Vectors != 50 || s.Dead != 0 || s.Memory.Total() <= 0 {
		t.Errorf("%+v", s)
	}
	if nodes, twins := checkGraph(t, x); nodes != 50 || twins != 0 {
		t.Errorf("%d nodes, %d twins", nodes, twins)
	}
}

// Slots must not be used again while a search holds their numbers.
func TestConsolidateWaitsForSearches(t *testing.T) {
	x := build(t, Config{Dim: 12, Range: 1}, clustered(83, 300, 12, 5))
	for i := range 100 {
		x.Delete(fmt.Sprintf("doc-%06d", i))
	}
	v := x.pin()
	done := make(chan error)
	go func() { done <- x.Consolidate() }()
	for x.current.Load() == v { // until it has published
		runtime.Gosched()
	}
	select {
	case <-done:
		t.Error("Consolidate did not wait")
	default:
	}
	if !v.visible(150) || v.visible(50) {
		t.Error("the view changed")
	}
	v.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkGraph(t, x)
}
