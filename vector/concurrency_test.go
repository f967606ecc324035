package vector

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
)

// Searches run beside a writer that updates, deletes, consolidates and makes
// arenas move. Each must see one moment: of the steady documents all, each
// once, and of the changing ones nothing that was deleted before it began.
func TestSearchesBesideAWriter(t *testing.T) {
	for _, heap := range []bool{true, false} { // the race detector sees only Go's heap
		t.Run(fmt.Sprintf("heap=%v", heap), func(t *testing.T) {
			const steady, dim = 60, 12
			all := clustered(61, 1500, dim, 9)
			x := build(t, sparse(Config{Dim: dim, Range: 1, Threads: 2}), nil)
			x.space.heap = heap || !offHeap
			walker(x)
			batch := items(0, all[:steady])
			for i := range batch {
				batch[i].Tag = 1
			}
			if err := x.AddBatch(batch); err != nil {
				t.Fatal(err)
			}
			var readers sync.WaitGroup
			stop := make(chan struct{})
			for reader := range 3 {
				readers.Go(func() {
					for i := reader; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						o := Options{K: 2 * steady, Filter: Filter{Tags: []uint32{1}}}
						switch i % 3 {
						case 1:
							o = Options{K: 2000, Recall: 1}
						case 2:
							o = Options{K: 20, EF: 40}
						}
						hits, err := x.Search(all[i%len(all)], o)
						if err != nil {
							t.Error(err)
							return
						}
						if problem := inspect(hits, steady, i%3); problem != "" {
							t.Error(problem)
							return
						}
					}
				})
			}
			for round := range 8 {
				if err := x.AddBatch(items(1000+100*round, all[100*round:100*round+100])); err != nil {
					t.Error(err)
				}
				updates := items(round*5%steady, all[1300+round:1310+round])
				for i := range updates {
					updates[i].ID, updates[i].Tag = fmt.Sprintf("doc-%06d", (round*5+i)%steady), 1
				}
				if err := x.AddBatch(updates); err != nil {
					t.Error(err)
				}
				for i := range 70 {
					x.Delete(fmt.Sprintf("doc-%06d", 1000+100*round+i))
				}
				if round%2 == 1 {
					if err := x.Consolidate(); err != nil {
						t.Error(err)
					}
				}
			}
			close(stop)
			readers.Wait()
			if s := x.Stats(); s.Vectors != steady+8*30 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// inspect says what is wrong with the hits of a search for all steady documents
// (0), all documents (1) or some (2).
func inspect(hits []Hit, steady, kind int) string {
	ids := make([]string, len(hits))
	found := 0
	for i, h := range hits {
		if ids[i] = h.ID; h.ID < "doc-001000" {
			found++
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(hits) {
		return fmt.Sprintf("a document comes twice among %v", hits)
	}
	if kind < 2 && found != steady {
		return fmt.Sprintf("%d of the %d steady documents", found, steady)
	}
	if kind == 2 && len(hits) != 20 {
		return fmt.Sprintf("%d hits, want 20", len(hits))
	}
	return ""
}

// A deleted document is not found by any search that begins afterwards.
func TestDeletedIsGoneAtOnce(t *testing.T) {
	n := sized(400, 270)
	all := clustered(63, n, 10, 4)
	x := build(t, sparse(Config{Dim: 10}), all)
	walker(x)
	for i := 0; i < n; i += 3 {
		id := fmt.Sprintf("doc-%06d", i)
		x.Delete(id)
		for _, o := range []Options{{K: 3, EF: 20}, {K: 3, Recall: 1}, {K: n}} {
			if slices.ContainsFunc(search(t, x, all[i], o), func(h Hit) bool { return h.ID == id }) {
				t.Fatalf("%s is found after it was deleted, with %+v", id, o)
			}
		}
	}
}

func TestCountOfViewsStartsAnew(t *testing.T) {
	all := clustered(65, 300, 8, 4)
	x := build(t, Config{Dim: 8}, all[:280])
	x.Delete("doc-000000")
	x.mu.Lock()
	x.seq = lastSeq - 2
	x.publish()
	x.mu.Unlock()
	for i := 280; i < 300; i++ {
		add(t, x, fmt.Sprint(i), all[i]...)
		x.Delete(fmt.Sprintf("doc-%06d", i-200))
		if hits := search(t, x, all[i], Options{K: 500}); len(hits) != 279 {
			t.Fatalf("%d hits with %d views, want 279", len(hits), x.seq)
		}
	}
	if x.seq > 50 {
		t.Errorf("%d views", x.seq)
	}
}

func TestClosedIndex(t *testing.T) {
	x := build(t, Config{Dim: 8}, clustered(67, 300, 8, 4))
	x.Close()
	x.Close()
	q := make([]float32, 8)
	q[0] = 1
	_, searching := x.Search(q, Options{K: 1})
	_, saving := x.Save(t.TempDir())
	for name, err := range map[string]error{
		"search": searching, "save": saving, "add": x.Add("a", q), "consolidate": x.Consolidate(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	if x.Delete("doc-000001") || x.Len() != 0 || x.Stats().Vectors != 0 {
		t.Error("a closed index holds something")
	}
}

func TestArenasMoveAndGrow(t *testing.T) {
	for _, c := range []struct {
		heap   bool
		shared bool
	}{{true, false}, {false, false}, {false, true}} {
		if (!c.heap || c.shared) && !offHeap {
			continue
		}
		s := &space{rows: 40000, heap: c.heap, regions: map[*byte][]byte{}}
		a := arena[uint32]{perRow: 1, shared: c.shared}
		if c.shared {
			s.rowsDir = t.TempDir()
		}
		moved := 0
		for n := 1; n < 2_000_000; n = n*3 + 1 {
			before := len(a.data)
			left, err := a.grow(s, n)
			if err != nil {
				t.Fatal(err)
			}
			if left != nil {
				moved++
				s.release(left)
			}
			if len(a.data) < n || len(a.reserved()) < len(a.data) {
				t.Fatalf("%d elements, want %d", len(a.data), n)
			}
			for i := range before {
				if a.data[i] != uint32(i)+7 {
					t.Fatalf("element %d is lost at %d", i, n)
				}
			}
			for i := before; i < len(a.data); i++ {
				if a.data[i] != 0 {
					t.Fatalf("new element %d is %d", i, a.data[i])
				}
				a.data[i] = uint32(i) + 7
			}
		}
		if !c.heap && moved == 0 {
			t.Error("the arena did not outgrow its first region")
		}
		s.close()
	}
	if !offHeap {
		return
	}
	s := &space{rows: 1, regions: map[*byte][]byte{}}
	a := arena[uint32]{perRow: 1}
	if _, err := a.grow(s, math.MaxInt/16); !errors.Is(err, ErrFull) || len(a.data) != 0 {
		t.Errorf("more than there are addresses: %v", err)
	}
	a = arena[uint32]{perRow: 1, shared: true}
	s.rowsDir = t.TempDir() + "/missing"
	if _, err := a.grow(s, 10); !errors.Is(err, ErrFull) || len(s.regions) != 0 {
		t.Errorf("no directory for rows: %v", err)
	}
}

func TestRowsInAFile(t *testing.T) {
	all := clustered(69, sized(1200, 500), 32, 12)
	cfg := sparse(Config{Dim: 32, RowsDir: t.TempDir(), Capacity: 10})
	x, plain := build(t, cfg, all), build(t, sparse(Config{Dim: 32}), all)
	for _, q := range all[:20] {
		if got, want := search(t, x, q, Options{K: 5}), search(t, plain, q, Options{K: 5}); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	dir := t.TempDir()
	if save(t, x, dir) != save(t, plain, t.TempDir()) {
		t.Error("where rows lie shows in the digest")
	}
	y := open(t, dir, cfg)
	if err := y.AddBatch(items(5000, all)); err != nil {
		t.Fatal(err)
	}
}
