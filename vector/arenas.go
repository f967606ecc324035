package vector

// arenas holds everything an index knows about its rows, one array for each
// fact, so that a search touches only what it needs.
type arenas struct {
	floats arena[float32]  // row*dim: the vector, of unit length under Cosine; empty in tier Codes once codes exist
	codes  arena[byte]     // row*stride: 8-bit codes
	bits   arena[uint64]   // row*words: 1-bit codes
	facts  arena[fact]     // row: what codes do not tell
	ground arena[uint32]   // row*groundStride: links of the ground level
	upper  arena[uint32]   // links of the upper levels, one block for each node that has any
	blocks arena[uint32]   // row: where its block in upper begins; 0: it has none
	lives  arena[lifespan] // row: when it was stored and deleted
	attrs  arena[attributes]
	names  arena[uint64] // row: where its id lies in text: offset<<16 | length
	text   arena[byte]
	table  arena[uint32] // hash table of ids: row+1, 0 = free
}

// fact is what exact bounds and Euclidean distances need beside a code.
type fact struct {
	square uint32  // the code's squared length
	norm   float32 // the vector's length
	loss   float32 // the length of what quantisation took away
}

// shape is how many elements of an arena belong to a row.
type shape struct {
	dim    int
	stride int // bytes of codes: a multiple of simd.Block
	words  int // of 1-bit codes
	ground int // words of links: count, twin, 2*M links
	upper  int // words of links of one upper level: count, M links
}

func (s shape) arenas() arenas {
	return arenas{
		floats: arena[float32]{perRow: s.dim},
		codes:  arena[byte]{perRow: s.stride},
		bits:   arena[uint64]{perRow: s.words},
		facts:  arena[fact]{perRow: 1},
		ground: arena[uint32]{perRow: s.ground},
		upper:  arena[uint32]{perRow: s.upper/8 + 1},
		blocks: arena[uint32]{perRow: 1},
		lives:  arena[lifespan]{perRow: 1},
		attrs:  arena[attributes]{perRow: 1},
		names:  arena[uint64]{perRow: 1},
		text:   arena[byte]{perRow: 32},
		table:  arena[uint32]{perRow: 2},
	}
}

// grower grows arenas until one fails and collects the regions they leave.
type grower struct {
	space *space
	left  [][]byte
	err   error
}

func growTo[T any](g *grower, a *arena[T], n int) {
	if g.err != nil {
		return
	}
	left, err := a.grow(g.space, n)
	if left != nil {
		g.left = append(g.left, left)
	}
	g.err = err
}

// reserve makes room for the given numbers of rows, bytes of ids and words of
// upper links. On failure the index is as it was.
func (x *Index) reserve(rows, text, upper int) error {
	g := grower{space: x.space}
	a := &x.arenas
	growTo(&g, &a.lives, rows)
	growTo(&g, &a.attrs, rows)
	growTo(&g, &a.names, rows)
	growTo(&g, &a.text, text)
	if x.coder == nil || x.cfg.Tier != Codes {
		growTo(&g, &a.floats, rows*x.shape.dim)
	}
	if x.coder != nil {
		growCoded(&g, a, x.shape, x.cfg.Tier, rows, upper)
	}
	x.retired = append(x.retired, g.left...)
	return g.err
}

// growCoded makes room for what rows have once there are codes.
func growCoded(g *grower, a *arenas, s shape, tier Tier, rows, upper int) {
	growTo(g, &a.bits, rows*s.words)
	if tier != Bits {
		growTo(g, &a.codes, rows*s.stride)
		growTo(g, &a.facts, rows)
	}
	growTo(g, &a.ground, rows*s.ground)
	growTo(g, &a.blocks, rows)
	growTo(g, &a.upper, upper)
}
