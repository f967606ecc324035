package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt trusts its file: a page number out of range, a cycle or a length that
// is wrong ends the process, from a goroutine of its own if need be. So
// the file is walked here first, by reading and not by mapping, with every number
// checked before it is followed. The layout is that of bbolt 1.x, in the byte
// order of the machine:
//
//	page    id u64 | flags u16 | elements u16 | overflow u32 (pages that follow it)
//	branch  element: position u32 | key length u32 | child u64
//	leaf    element: flags u32 | position u32 | key length u32 | value length u32
//	meta    magic u32 | version u32 | page size u32 | flags u32 | root u64 |
//	        sequence u64 | freelist u64 | pages u64 | transaction u64 | FNV-64a of these
//
// Positions count from the element. A nested bucket is a leaf element with
// flag 1 and the value root u64 | sequence u64, with the page itself behind it
// when root is 0.
const (
	pageHeader   = 16
	pageElement  = 16
	bucketHeader = 16
	metaBytes    = 64 // of a meta page, after its header

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	pageMagic   = 0xED0CDAED
	pageVersion = 2
	noFreelist  = 1<<64 - 1

	maxPageBytes = 64 << 20 // with overflow; far beyond the largest record
	maxDepth     = 64
)

var native = binary.NativeEndian

// pageWalk goes once over one committed state of a bbolt file.
type pageWalk struct {
	file     io.ReaderAt
	pageSize int64
	pages    uint64 // every page number is below
	root     uint64
	seen     []uint64 // one bit per page
	buffers  [maxDepth][]byte
	current  uint64 // the page at hand, for messages
	pace     func(bytes int) error
}

// element is one entry of a leaf page, valid until the next one.
type element struct {
	bucket     bool // the value is a nested bucket
	key, value []byte
}

// metaPage is one committed state of the file.
type metaPage struct {
	pageSize                    uint32
	root, freelist, pages, txid uint64
}

// committed finds the newest committed state of a file of so many bytes, or
// that of one transaction when txid is not 0. A damaged newest meta page looks
// like one that a crash cut short: the state before it is whole, and the log
// has what came after.
func committed(file io.ReaderAt, size int64, txid uint64) (metaPage, error) {
	pageSize := int64(os.Getpagesize())
	first, err := readMetaPage(file, 0)
	if err == nil {
		pageSize = int64(first.pageSize)
	}
	second, _ := readMetaPage(file, pageSize)
	state := first // an unreadable meta page is all zeroes
	if txid == 0 && second.txid > first.txid || txid != 0 && first.txid != txid {
		state = second
	}
	switch {
	case state.pageSize == 0 || txid != 0 && state.txid != txid:
		return state, &Damage{DamagedState, 0, "it has no valid meta page"}
	case int64(state.pageSize) != pageSize || state.pages > uint64(size/pageSize):
		return state, &Damage{DamagedState, 0, fmt.Sprintf("the file of %d bytes is cut short: it had %d pages", size, state.pages)}
	}
	return state, nil
}

func readMetaPage(file io.ReaderAt, offset int64) (metaPage, error) {
	var b [pageHeader + metaBytes]byte
	if _, err := file.ReadAt(b[:], offset); err != nil {
		return metaPage{}, err
	}
	m := b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(m[:56])
	size := native.Uint32(m[8:])
	if native.Uint32(m) != pageMagic || native.Uint32(m[4:]) != pageVersion || sum.Sum64() != native.Uint64(m[56:]) || size < 512 || size > 1<<20 {
		return metaPage{}, errors.New("not a meta page")
	}
	return metaPage{size, native.Uint64(m[16:]), native.Uint64(m[32:]), native.Uint64(m[40:]), native.Uint64(m[48:])}, nil
}

// walkPages prepares a walk over a committed state. pace is told of every read
// before it is done and may wait.
func walkPages(file io.ReaderAt, state metaPage, pace func(bytes int) error) (*pageWalk, error) {
	w := &pageWalk{
		file: file, pageSize: int64(state.pageSize), pages: state.pages, root: state.root,
		seen: make([]uint64, state.pages/64+1), pace: pace,
	}
	if state.freelist == noFreelist {
		return w, nil
	}
	// Only a file that was never written to has a list of free pages, an empty one.
	page, err := w.page(state.freelist, 0)
	if err == nil && (native.Uint16(page[8:]) != flagFreelist || native.Uint16(page[10:]) != 0) {
		err = w.damage("the list of free pages is not one of ours")
	}
	return w, err
}

func (w *pageWalk) damage(format string, args ...any) error {
	return &Damage{DamagedState, w.current, fmt.Sprintf(format, args...)}
}

// page reads a page with its overflow, once in a walk.
func (w *pageWalk) page(id uint64, depth int) ([]byte, error) {
	w.current = id
	if id < 2 || id >= w.pages {
		return nil, w.damage("it is referred to and out of range")
	}
	if depth >= maxDepth {
		return nil, w.damage("the tree is too deep")
	}
	b, err := w.read(id, w.pageSize, depth)
	if err != nil {
		return nil, err
	}
	if native.Uint64(b) != id {
		return nil, w.damage("it says that it is page %d", native.Uint64(b))
	}
	count := 1 + uint64(native.Uint32(b[12:]))
	if count > w.pages-id || int64(count)*w.pageSize > maxPageBytes {
		return nil, w.damage("it is longer than the file")
	}
	for p := id; p < id+count; p++ {
		if w.seen[p/64]>>(p%64)&1 == 1 {
			return nil, w.damage("it is referred to twice")
		}
		w.seen[p/64] |= 1 << (p % 64)
	}
	if count > 1 {
		return w.read(id, int64(count)*w.pageSize, depth)
	}
	return b, nil
}

func (w *pageWalk) read(id uint64, n int64, depth int) ([]byte, error) {
	if err := w.pace(int(n)); err != nil {
		return nil, err
	}
	if int64(cap(w.buffers[depth])) < n {
		w.buffers[depth] = make([]byte, n)
	}
	b := w.buffers[depth][:n]
	if _, err := w.file.ReadAt(b, int64(id)*w.pageSize); err != nil {
		return nil, w.damage("it cannot be read: %v", err)
	}
	return b, nil
}

// each calls fn for the elements of the file's root.
func (w *pageWalk) each(fn func(element) error) error { return w.tree(w.root, nil, nil, 0, fn) }

// nested calls fn for the elements of a bucket, given its value in the root.
func (w *pageWalk) nested(value []byte, fn func(element) error) error {
	if len(value) < bucketHeader {
		return w.damage("a bucket is cut short")
	}
	if root := native.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, 0, fn)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || native.Uint16(inline[8:]) != flagLeaf {
		return w.damage("an inline bucket has no leaf page")
	}
	return w.leaf(inline, nil, nil, fn)
}

// tree walks the page and what is below it. Keys are at least low and, unless
// high is nil, below high.
func (w *pageWalk) tree(id uint64, low, high []byte, depth int, fn func(element) error) error {
	page, err := w.page(id, depth)
	if err != nil {
		return err
	}
	switch native.Uint16(page[8:]) {
	case flagLeaf:
		if depth > 0 && native.Uint16(page[10:]) == 0 {
			return w.damage("it is an empty leaf")
		}
		return w.leaf(page, low, high, fn)
	case flagBranch:
		return w.branch(page, low, high, depth, fn)
	}
	return w.damage("it is neither branch nor leaf")
}

func (w *pageWalk) branch(page, low, high []byte, depth int, fn func(element) error) error {
	id, count := w.current, int(native.Uint16(page[10:]))
	if count == 0 {
		return w.damage("it is an empty branch")
	}
	key := func(i int) ([]byte, error) {
		w.current = id
		at := pageHeader + i*pageElement
		if at+pageElement > len(page) {
			return nil, w.damage("it has more elements than fit")
		}
		return w.field(page, count, uint64(at)+uint64(native.Uint32(page[at:])), uint64(native.Uint32(page[at+4:])))
	}
	first, err := key(0)
	if err != nil {
		return err
	}
	if bytes.Compare(first, low) < 0 || high != nil && bytes.Compare(first, high) >= 0 {
		return w.damage("its keys are not those of this place")
	}
	for i := range count {
		next := high
		if i+1 < count {
			if next, err = key(i + 1); err != nil {
				return err
			}
			if bytes.Compare(first, next) >= 0 || high != nil && bytes.Compare(next, high) >= 0 {
				return w.damage("its keys are not in order")
			}
		}
		child := native.Uint64(page[pageHeader+i*pageElement+8:])
		if err := w.tree(child, first, next, depth+1, fn); err != nil {
			return err
		}
		first = next
	}
	return nil
}

func (w *pageWalk) leaf(page, low, high []byte, fn func(element) error) error {
	count := int(native.Uint16(page[10:]))
	previous := low
	for i := range count {
		at := pageHeader + i*pageElement
		if at+pageElement > len(page) {
			return w.damage("it has more elements than fit")
		}
		flags := native.Uint32(page[at:])
		keyAt := uint64(at) + uint64(native.Uint32(page[at+4:]))
		key, err := w.field(page, count, keyAt, uint64(native.Uint32(page[at+8:])))
		if err != nil {
			return err
		}
		value, err := w.field(page, count, keyAt+uint64(len(key)), uint64(native.Uint32(page[at+12:])))
		if err != nil {
			return err
		}
		order := bytes.Compare(previous, key)
		switch {
		case flags > 1:
			return w.damage("an element has unknown flags")
		case len(key) == 0 || order > 0 || i > 0 && order == 0 || high != nil && bytes.Compare(key, high) >= 0:
			return w.damage("its keys are not in order")
		}
		if err := fn(element{flags == 1, key, value}); err != nil {
			return err
		}
		previous = key
	}
	return nil
}

// field is n bytes of a page, behind its element table.
func (w *pageWalk) field(page []byte, count int, at, n uint64) ([]byte, error) {
	if at < uint64(pageHeader+count*pageElement) || at+n > uint64(len(page)) {
		return nil, w.damage("an element points out of it")
	}
	return page[at : at+n : at+n], nil
}
