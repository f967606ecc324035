package vector

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Item is one vector to store.
type Item struct {
	ID     string // 1..MaxID bytes
	Vector []float32
	// What a Filter can ask for, all of the caller's meaning.
	Tag  uint32
	Kind uint16
	Time int64
}

// Add stores a copy of vec under id without attributes. See AddBatch.
func (x *Index) Add(id string, vec []float32) error {
	return x.AddBatch([]Item{{ID: id, Vector: vec}})
}

// AddBatch stores copies of the items' vectors, replacing those with the same
// ids; of two items with one id the later counts. Searches that begin after it
// returns see all of them, earlier ones none. It returns ErrID, ErrDimension,
// ErrNotFinite, ErrZeroVector (under Cosine), ErrFull or ErrClosed, and then
// has changed nothing.
//
// The index depends on how items are cut into batches, not on the number of
// threads that work on one.
func (x *Index) AddBatch(items []Item) error {
	vectors := make([][]float32, len(items))
	text := 0
	for i := range items {
		if n := len(items[i].ID); n < 1 || n > MaxID {
			return fmt.Errorf("item %d: %w", i, ErrID)
		}
		var err error
		if vectors[i], err = x.prepare(nil, items[i].Vector); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		text += len(items[i].ID)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	if len(items) == 0 {
		return nil
	}
	hashes := make([]uint64, len(items))
	upper := 0
	for i := range items {
		hashes[i] = x.hasher.hash([]byte(items[i].ID))
		if l := level(hashes[i], x.cfg.M); l > 0 {
			upper += 1 + l*x.shape.upper
		}
	}
	if err := x.room(len(items), text, upper); err != nil {
		return err
	}
	v := x.view() // arenas have room: they do not move below
	rows := make([]uint32, 0, len(items))
	for i := range items {
		rows = append(rows, x.store(v, &items[i], vectors[i], hashes[i]))
	}
	rows = slices.DeleteFunc(rows, func(row uint32) bool { return x.arenas.lives.data[row].died != 0 })
	if x.coder != nil {
		x.link(rows)
	}
	x.seq++
	x.learn()
	if x.hasGrown() {
		x.calibrate()
	}
	x.publish()
	x.renumber()
	return nil
}

// prepare checks a vector and, under Cosine, returns a copy of length 1, for which
// it uses into if that is long enough.
func (x *Index) prepare(into, vec []float32) ([]float32, error) {
	if len(vec) != x.cfg.Dim {
		return nil, fmt.Errorf("%w: got %d, want %d", ErrDimension, len(vec), x.cfg.Dim)
	}
	if !(largestOf(vec) <= MaxComponent) { // written so that NaN fails it too
		return nil, ErrNotFinite
	}
	if x.cfg.Metric != Cosine {
		return vec, nil
	}
	length := norm(vec)
	if length == 0 {
		return nil, ErrZeroVector
	}
	unit := slices.Grow(into[:0], len(vec))[:len(vec)]
	inverse := 1 / length
	for i, c := range vec {
		unit[i] = float32(float64(c) * inverse)
	}
	return unit, nil
}

// room makes room for n more items. A batch that brings the first codes codes
// all rows.
func (x *Index) room(n, text, upper int) error {
	fresh := max(0, n-len(x.free))
	if fresh > MaxRows-x.rows {
		return fmt.Errorf("%w: %d rows", ErrFull, MaxRows)
	}
	rows := x.rows + fresh
	if err := x.reserve(rows, x.textEnd+text, x.upperEnd+upper); err != nil {
		return err
	}
	if x.learning() && rows >= sampleRows {
		g := grower{space: x.space}
		growCoded(&g, &x.arenas, x.shape, x.cfg.Tier, rows, x.upperEnd+x.upperNeed()+upper)
		x.retired = append(x.retired, g.left...)
		if g.err != nil {
			return g.err
		}
	}
	return x.growTable(x.live + n)
}

// learning reports whether the index will have codes but does not yet.
func (x *Index) learning() bool { return x.coder == nil && x.cfg.Dim >= minGraphDim }

// upperNeed is how many words the links of all rows need on the upper levels.
func (x *Index) upperNeed() (words int) {
	for row := range x.rows {
		if l := level(x.hasher.hash(x.name(uint32(row))), x.cfg.M); l > 0 {
			words += 1 + l*x.shape.upper
		}
	}
	return words
}

// store writes all of an item but its links into a slot. What it replaces dies
// with the next view, in which it is born.
func (x *Index) store(v *view, item *Item, vec []float32, hash uint64) uint32 {
	id := []byte(item.ID)
	place, old, ok := x.find(id, hash)
	if ok {
		x.kill(old)
	}
	row := uint32(x.rows)
	if len(x.free) > 0 {
		row, x.free = x.free[0], x.free[1:]
	} else {
		x.rows++
	}
	a := &x.arenas
	a.table.data[place] = row + 1
	a.names.data[row] = uint64(x.textEnd)<<16 | uint64(len(id))
	x.textEnd += copy(a.text.data[x.textEnd:], id)
	a.attrs.data[row] = attributes{time: item.Time, tag: item.Tag, kind: item.Kind}
	if x.coder == nil || x.cfg.Tier != Codes {
		copy(a.floats.data[int(row)*x.cfg.Dim:], vec)
	}
	if x.coder != nil {
		x.encode(v, row, vec, hash)
	}
	life := &a.lives.data[row]
	atomic.StoreUint32(&life.died, 0)
	atomic.StoreUint32(&life.born, x.seq+1)
	x.live++
	x.posting(a.attrs.data[row].group()).add(row)
	return row
}

// kill lets a row die with the next view.
func (x *Index) kill(row uint32) {
	atomic.StoreUint32(&x.arenas.lives.data[row].died, x.seq+1)
	x.posting(x.arenas.attrs.data[row].group()).live.Add(-1)
	x.live--
}

// encode writes a row's code and gives it an empty block of upper links.
func (x *Index) encode(v *view, row uint32, vec []float32, hash uint64) {
	s := x.borrow(v)
	q := &s.probe
	if x.coder.clamps(vec) {
		x.clamped++
	}
	if x.cfg.hasBits() {
		q.shapeBits(v)
		x.coder.signs(v.bitCode(row), vec, q.work)
	}
	if x.cfg.Tier != Bits {
		q.codes = slices.Grow(q.codes[:0], x.shape.stride)[:x.shape.stride]
		square, loss := quantize(q.codes, vec, x.coder.step)
		flipSign(v.code(row), q.codes)
		v.facts[row] = fact{square: square, norm: float32(norm(vec)), loss: float32(sqrtUp(loss))}
	}
	x.scratch.Put(s)
	v.blocks[row] = 0
	if l := level(hash, x.cfg.M); l > 0 {
		v.blocks[row] = uint32(x.upperEnd)
		v.upper[x.upperEnd] = uint32(l)
		x.upperEnd += 1 + l*x.shape.upper
	}
}

// learn makes the coder, the codes and the graph once there are enough vectors.
func (x *Index) learn() {
	if !x.learning() || x.rows < sampleRows {
		return
	}
	x.coder = newCoder(x.cfg, learnRange(x.cfg.Metric, x.arenas.floats.data[:x.rows*x.cfg.Dim]))
	v := x.view()
	rows := make([]uint32, x.rows)
	for i := range rows {
		rows[i] = uint32(i)
		x.encode(v, uint32(i), v.vector(uint32(i)), x.hasher.hash(x.name(uint32(i))))
	}
	x.link(slices.DeleteFunc(rows, func(row uint32) bool { return v.lives[row].died != 0 }))
	if x.cfg.Tier == Codes {
		if region := x.arenas.floats.region; region != nil {
			x.retired = append(x.retired, region)
		}
		x.arenas.floats.closeFile()
		x.arenas.floats = arena[float32]{perRow: x.cfg.Dim}
	}
}

// renumber starts the count of views anew before it overflows.
func (x *Index) renumber() {
	if x.seq < lastSeq {
		return
	}
	x.synchronize()
	for row := range x.arenas.lives.data[:x.rows] {
		// The current view shows the same rows before and after.
		life := &x.arenas.lives.data[row]
		if life.born == unborn {
			continue
		}
		if life.died != 0 {
			atomic.StoreUint32(&life.died, 1)
		}
		atomic.StoreUint32(&life.born, 0)
	}
	x.seq = 1
	x.publish()
	x.synchronize()
}

// lastSeq leaves unborn free.
const lastSeq = math.MaxUint32 - 1

// parallelGrain is how many pieces of work are worth a goroutine.
const parallelGrain = 8

// parallel calls work for 0..n-1 on up to cfg.Threads goroutines.
func (x *Index) parallel(v *view, n int, work func(s *scratch, i int)) {
	run := func(next *atomic.Int64) {
		s := x.borrow(v)
		defer x.scratch.Put(s)
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			work(s, i)
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(x.cfg.Threads, n/parallelGrain) - 1 {
		workers.Go(func() { run(&next) })
	}
	run(&next)
	workers.Wait()
}
