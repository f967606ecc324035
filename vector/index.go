package vector

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"tamv.internal/tamv/vector/simd"
)

// Index is a set of vectors of one length. Create it with New or Open.
type Index struct {
	cfg   Config
	shape shape
	space *space

	advantage int // scanAdvantage, but for tests

	current atomic.Pointer[view] // what a search that begins now sees
	scratch sync.Pool            // of *scratch
	saving  sync.Mutex           // held by Save, before mu: snapshots are written one at a time

	mu       sync.Mutex // held by the one writer; guards all below
	arenas   arenas
	coder    *coder // nil until there are codes
	seq      uint32 // counts publications; see lifespan
	rows     int    // slots ever used
	live     int    // vectors
	free     []uint32
	textEnd  int // end of the ids in arenas.text
	upperEnd int // end of the links in arenas.upper; 0 never begins a block
	tableLen int // a power of two, or zero
	entry    uint32
	top      int // level of entry; -1 while there is no graph
	clamped  int // rows with a component beyond the range of codes
	effort   effort
	postings []*posting
	hasher   hasher
	draining []*view  // superseded views that may still be read
	retired  [][]byte // regions that superseded views may still read
	closed   bool
}

// New returns an empty index, or ErrConfig.
func New(cfg Config) (*Index, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	x := newIndex(cfg)
	x.publish()
	return x, nil
}

func newIndex(cfg Config) *Index {
	x := &Index{
		cfg: cfg,
		shape: shape{
			dim:    cfg.Dim,
			stride: roundUp(cfg.Dim, simd.Block),
			ground: 2 + 2*cfg.M,
			upper:  1 + cfg.M,
		},
		space:     newSpace(cfg),
		advantage: scanAdvantage,
		upperEnd:  1,
		top:       -1,
		hasher:    hasher{seed: cfg.Seed},
	}
	if cfg.hasBits() {
		x.shape.words, x.advantage = bitWords(cfg.Dim), scanAdvantageSifted
	}
	if cfg.Tier == Bits {
		x.advantage = scanAdvantageBits
	}
	x.arenas = x.shape.arenas()
	x.arenas.floats.shared = cfg.RowsDir != "" && offHeap
	x.scratch.New = func() any { return new(scratch) }
	if cfg.Range > 0 && cfg.Dim >= minGraphDim {
		x.coder = newCoder(cfg, cfg.Range)
	}
	runtime.AddCleanup(x, (*space).close, x.space)
	return x
}

// Dim returns the number of dimensions of every vector in the index.
func (x *Index) Dim() int { return x.cfg.Dim }

// Len returns the number of stored vectors.
func (x *Index) Len() int { return x.current.Load().live }

// Close releases the index's memory once running searches have ended. Writing
// to it and searching it then returns ErrClosed.
func (x *Index) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	x.closed = true
	x.arenas = x.shape.arenas()
	x.rows, x.live, x.top, x.coder, x.postings = 0, 0, -1, nil, nil
	x.publish()
	x.synchronize()
	x.space.close()
}

// lifespan says in which views a row is: those with born <= seq < died. Both are
// written by the writer and read by searches without a lock.
type lifespan struct {
	born uint32 // unborn while the slot is free
	died uint32 // 0 while the row lives
}

// unborn is later than any view.
const unborn = ^uint32(0)

// view is the index at one moment. A search holds one while it runs and sees
// the rows of that moment, whatever the writer does meanwhile: rows stored later
// are not born, rows deleted later have not died, and neither slots nor regions
// that the view shows are used for something else until it is released.
//
// Links are no part of the moment: the writer changes them in place, and a
// search may follow newer ones.
type view struct {
	refs    atomic.Int64  // searches, and one for being current
	drained chan struct{} // closed when refs reaches zero

	cfg       *Config
	shape     shape
	advantage int
	seq       uint32
	rows      int
	live      int
	used      int // rows that are not free: living and dead
	closed    bool
	coder     *coder
	entry     uint32
	top       int
	effort    effort

	floats   []float32
	codes    []byte
	bits     []uint64
	facts    []fact
	ground   []uint32
	upper    []uint32
	blocks   []uint32
	lives    []lifespan
	attrs    []attributes
	names    []uint64
	text     []byte
	postings []*posting // sorted by key
}

// view returns the index as the writer sees it now.
func (x *Index) view() *view {
	a := &x.arenas
	return &view{
		cfg: &x.cfg, shape: x.shape, advantage: x.advantage, seq: x.seq, rows: x.rows, live: x.live, used: x.rows - len(x.free), closed: x.closed,
		coder: x.coder, entry: x.entry, top: x.top, effort: x.effort,
		floats: a.floats.data, codes: a.codes.data, bits: a.bits.data, facts: a.facts.data,
		// A chain of twins may lead through rows that are newer than the view.
		ground: a.ground.reserved(), upper: a.upper.data, blocks: a.blocks.data, lives: a.lives.data,
		attrs: a.attrs.data, names: a.names.data, text: a.text.data, postings: x.postings,
	}
}

// publish makes what was written visible to searches that begin from now on.
func (x *Index) publish() {
	next := x.view()
	next.refs.Store(1)
	next.drained = make(chan struct{})
	if old := x.current.Swap(next); old != nil {
		old.release()
		x.draining = append(x.draining, old)
	}
	for len(x.draining) > 0 && x.draining[0].refs.Load() == 0 {
		x.draining[0] = nil
		x.draining = x.draining[1:]
	}
	if len(x.retired) > 0 {
		x.synchronize()
	}
}

// synchronize waits until no search reads a superseded view, and releases the
// regions that only those showed. Searches take milliseconds at most, and none
// has to wait for the writer.
func (x *Index) synchronize() {
	for _, v := range x.draining {
		<-v.drained
	}
	clear(x.draining)
	x.draining = x.draining[:0]
	x.space.release(x.retired...)
	clear(x.retired)
	x.retired = x.retired[:0]
}

// pin returns the current view. The caller must release it.
func (x *Index) pin() *view {
	for {
		v := x.current.Load()
		for n := v.refs.Load(); n > 0; n = v.refs.Load() {
			if v.refs.CompareAndSwap(n, n+1) {
				return v
			}
		}
	}
}

func (v *view) release() {
	if v.refs.Add(-1) == 0 {
		close(v.drained)
	}
}

// visible reports whether the view contains the row.
func (v *view) visible(row uint32) bool {
	life := &v.lives[row]
	if atomic.LoadUint32(&life.born) > v.seq {
		return false
	}
	died := atomic.LoadUint32(&life.died)
	return died == 0 || died > v.seq
}

// id returns a copy of a row's id.
func (v *view) id(row uint32) string { return string(v.name(row)) }

func (v *view) name(row uint32) []byte {
	at := v.names[row]
	return v.text[at>>16:][:at&MaxID]
}

// vector returns a row's float32 vector.
func (v *view) vector(row uint32) []float32 {
	return v.floats[int(row)*v.shape.dim:][:v.shape.dim]
}

// code returns a row's 8-bit code.
func (v *view) code(row uint32) []byte {
	return v.codes[int(row)*v.shape.stride:][:v.shape.stride]
}

// bitCode returns a row's 1-bit code.
func (v *view) bitCode(row uint32) []uint64 {
	return v.bits[int(row)*v.shape.words:][:v.shape.words]
}

// words64 returns bytes, a multiple of eight of them, as 64-bit words in the
// machine's order: for operations that treat all bytes alike.
func words64[T byte | int8](b []T) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}

// leading64 is the first eight bytes of a hash as a number.
func leading64(h []byte) uint64 { return binary.LittleEndian.Uint64(h) }
