package vector

import "tamv.internal/tamv/vector/simd"

// Stats describes an index at one moment.
type Stats struct {
	Vectors int // stored
	Dead    int // deleted or replaced, not yet consolidated
	Free    int // slots for reuse
	Groups  int // pairs of a tag and a kind

	Levels  int     // of the graph; 0: there is none yet
	Range   float32 // largest component that codes distinguish; 0: there are none yet
	Clamped int     // rows ever stored with a component beyond: many call for a new index
	EF      int     // candidates that the default recall takes; 0: comparing all
	Kernels string  // instruction sets in use

	Memory Memory
}

// Memory is what an index occupies, in bytes. Float rows of RowsDir and of an
// opened snapshot are counted, though the kernel may evict them.
type Memory struct {
	Floats int64
	Codes  int64
	Links  int64
	Names  int64 // ids and their table
	Other  int64 // times, attributes, lists of groups
}

// Total is the sum.
func (m Memory) Total() int64 { return m.Floats + m.Codes + m.Links + m.Names + m.Other }

// Stats returns figures about the index. It waits for a writer.
func (x *Index) Stats() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := &x.arenas
	s := Stats{
		Vectors: x.live, Dead: x.rows - x.live - len(x.free), Free: len(x.free), Groups: len(x.postings),
		Levels: x.top + 1, Clamped: x.clamped, Kernels: simd.Features(),
		Memory: Memory{
			Floats: occupied(&a.floats),
			Codes:  occupied(&a.codes) + occupied(&a.bits) + occupied(&a.facts),
			Links:  occupied(&a.ground) + occupied(&a.upper) + occupied(&a.blocks),
			Names:  occupied(&a.names) + occupied(&a.text) + occupied(&a.table),
			Other:  occupied(&a.lives) + occupied(&a.attrs),
		},
	}
	if x.coder != nil {
		s.Range = x.coder.limit
	}
	if x.top >= 0 {
		s.EF = x.effort.ef(DefaultRecall, nearest, x.live)
	}
	for _, p := range x.postings {
		s.Memory.Other += int64(4 * cap(p.list()))
	}
	return s
}

func occupied[T any](a *arena[T]) int64 { return int64(len(a.data) * a.size()) }
