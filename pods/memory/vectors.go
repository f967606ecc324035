package memory

import (
	"maps"
	"math"
	"slices"

	"tamv.internal/tamv/vector"
)

// vectors is what can be compared with each other: those of one tenant and one
// model. It is guarded by its tenant's lock.
type vectors struct {
	space  vectorSpace
	index  *vector.Index
	marker marker            // that the index's configuration follows
	kinds  map[string]uint16 // document types by number, from 1, as the index knows them
	rows   []uint32          // by number of a document of this space: its row

	pending []vector.Item
	waiting map[string]uint32 // the ids in pending and their documents' numbers

	dead    int // rows that were replaced or removed since the last consolidation
	changed int // documents that were written or removed since the marker
	asked   int // changed, when the leader last asked
	unsaved int // changes that no snapshot has

	job   *job                // that makes the index anew
	since map[string]struct{} // ids that have changed since the job looked; nil = none looks
	built built               // what was made at a marker, for comparing

	substitute bool   // see standby
	lost       uint64 // the marker at which that failed
	differs    bool   // built is not what the site has recorded
}

// built is an index as a marker made it.
type built struct {
	number    uint64 // of the marker; 0 = none
	version   uint64 // of the marker's record: another one in another history of the state
	documents int
	digest    vector.Digest
}

func newVectors(s vectorSpace, m marker) *vectors {
	index, err := vector.New(m.config(s.dim))
	if err != nil {
		panic("memory: " + err.Error()) // parse lets no other dimensions through
	}
	return &vectors{space: s, index: index, marker: m, kinds: map[string]uint16{}, waiting: map[string]uint32{}}
}

// add notes a document's vector, which store will store.
func (v *vectors) add(number uint32, p *parsed) {
	v.pending = append(v.pending, vector.Item{ID: p.id, Vector: p.vector, Kind: kindNumber(v.kinds, p.kind), Time: p.times.updated})
	v.waiting[p.id] = number
	v.touch(p.id)
}

// touch counts a change.
func (v *vectors) touch(id string) {
	v.changed++
	v.unsaved++
	if v.since != nil {
		v.since[id] = struct{}{}
	}
}

func (v *vectors) remove(id string) {
	if _, ok := v.waiting[id]; ok {
		v.store()
	}
	v.index.Delete(id)
	v.dead++
	v.touch(id)
}

// consolidateFrom is from how many dead rows on they are cleared away on the spot,
// when they are also so many per cent of the living: soon where nothing else does
// it, late where markers do.
const (
	consolidateFrom = 1024
	consolidateSoon = 25
	consolidateLate = 100
)

// store stores what is pending, as one batch, and returns the ids that there was
// no memory for.
func (v *vectors) store() (failed []string) {
	if len(v.pending) == 0 {
		return nil
	}
	ids := slices.Collect(maps.Keys(v.waiting))
	if err := v.index.AddBatch(v.pending); err != nil {
		v.index.DeleteBatch(ids)
		failed = ids
	} else {
		for i, row := range v.index.Rows(ids) {
			v.rows = setRow(v.rows, v.waiting[ids[i]], row)
		}
	}
	v.pending = v.pending[:0]
	clear(v.waiting)
	return failed
}

// tidy clears dead rows away when they are too many per cent of the living.
func (v *vectors) tidy(percent int) {
	if v.dead >= consolidateFrom && 100*v.dead >= percent*v.index.Len() {
		// Without memory for it the dead rows stay, which costs time and nothing else.
		_ = v.index.Consolidate()
		v.dead = 0
	}
}

// setRow notes the row of a document.
func setRow(rows []uint32, number, row uint32) []uint32 {
	for int(number) >= len(rows) {
		rows = append(rows, vector.NoRow)
	}
	rows[number] = row
	return rows
}

// rowOf is the row of a document, NoRow when it has none.
func rowOf(rows []uint32, number uint32) uint32 {
	if int(number) < len(rows) {
		return rows[number]
	}
	return vector.NoRow
}

// manyKinds is the number that document types share once there are too many. A
// filter for one of them goes by the hash among an entry's pairs.
const manyKinds = 1<<16 - 1

// kindNumber is the number of a document type, which stays its own for good.
func kindNumber(kinds map[string]uint16, name string) uint16 {
	if k, ok := kinds[name]; ok {
		return k
	}
	k := uint16(min(len(kinds)+1, manyKinds))
	kinds[name] = k
	return k
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
