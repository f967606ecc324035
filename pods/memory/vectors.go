package memory

import (
	"math"

	"tamv.internal/tamv/vector"
)

// vectors is what can be compared with each other: those of one tenant and one
// model. It is guarded by its tenant's lock.
type vectors struct {
	index    *vector.Index
	pending  []vector.Item
	waiting  map[string]bool // the ids in pending
	replaced int             // rows that were replaced or removed since the last consolidation
}

func newVectors(dim int) *vectors {
	index, err := vector.New(vector.Config{Dim: dim, Metric: vector.Cosine})
	if err != nil {
		panic("memory: " + err.Error()) // parse lets no other dimensions through
	}
	return &vectors{index: index, waiting: map[string]bool{}}
}

// add notes a vector that flush will store.
func (v *vectors) add(item vector.Item) {
	v.pending = append(v.pending, item)
	v.waiting[item.ID] = true
}

func (v *vectors) remove(id string) {
	if v.waiting[id] {
		v.flush()
	}
	v.index.Delete(id)
	v.replaced++
}

// consolidateFrom is how many dead rows are worth a consolidation, when they are
// also a fifth of all.
const consolidateFrom = 1024

// flush stores what is pending, as one batch, and returns the ids that there was
// no memory for. When too many rows are dead it clears them away.
func (v *vectors) flush() (failed []string) {
	if len(v.pending) > 0 {
		if err := v.index.AddBatch(v.pending); err != nil {
			for id := range v.waiting {
				v.index.Delete(id)
				failed = append(failed, id)
			}
		}
		v.pending = v.pending[:0]
		clear(v.waiting)
	}
	if v.replaced >= consolidateFrom && 4*v.replaced >= v.index.Len() {
		// Without memory for it the dead rows stay, which costs time and nothing else.
		_ = v.index.Consolidate()
		v.replaced = 0
	}
	return failed
}

// search is the k vectors nearest to a query of those that pass.
func (v *vectors) search(q *query, k int, kind uint16, accept func(id string) bool) ([]vector.Hit, error) {
	o := vector.Options{K: k, Recall: q.recall, Filter: vector.Filter{Accept: accept}}
	if kind != 0 {
		o.Filter.Kinds = []uint16{kind}
	}
	return v.index.Search(q.vector, o)
}

// unusable says what is wrong with a vector, empty when nothing is.
func unusable(v []float32) string {
	if len(v) < 1 || len(v) > vector.MaxDim {
		return "the number of its dimensions"
	}
	zero := true
	for _, x := range v {
		if !(math.Abs(float64(x)) <= vector.MaxComponent) {
			return "a component that is too large or no number"
		}
		zero = zero && x == 0
	}
	if zero {
		return "being zero, which is no direction"
	}
	return ""
}
