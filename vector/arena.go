package vector

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"
)

const (
	pageSize = 4096
	// smallArena is how many bytes an arena holds on Go's heap before it gets a
	// region: an index of a few dozen vectors should cost a few kilobytes.
	smallArena = 64 << 10
	// commitStep is the least that a region grows by, hugePage that a large one
	// does: the kernel gives huge pages only where they fit.
	commitStep = 256 << 10
	hugePage   = 2 << 20
	// reservedRows is how many rows a region has addresses for unless more are
	// announced. Beyond, the arena moves to a region four times as large.
	reservedRows = 4 << 20
)

// space is where the arenas of one index lie. It knows every region, so that
// they can be released together.
type space struct {
	rows    int    // rows that regions reserve addresses for
	most    int    // rows that were announced
	heap    bool   // no regions: for systems without them and for the race detector, which sees only Go's heap
	rowsDir string // where the file of float32 rows is made, or empty

	mu      sync.Mutex // guards all below
	regions map[*byte][]byte
}

func newSpace(cfg Config) *space {
	return &space{
		rows: max(reservedRows, 2*cfg.Capacity), most: cfg.Capacity, heap: !offHeap, rowsDir: cfg.RowsDir,
		regions: make(map[*byte][]byte),
	}
}

// reserve returns a region of at least need bytes and, if the system has that
// many addresses left, want.
func (s *space) reserve(need, want int) ([]byte, error) {
	for n := roundUp(max(need, want), pageSize); ; n = roundUp(max(need, n/2), pageSize) {
		region, err := reserveRegion(n)
		if err == nil {
			s.mu.Lock()
			s.regions[unsafe.SliceData(region)] = region
			s.mu.Unlock()
			return region, nil
		}
		if n <= roundUp(need, pageSize) {
			return nil, fmt.Errorf("%w: %d bytes of addresses: %w", ErrFull, n, err)
		}
	}
}

// release gives regions back. Nobody may look at them any more.
func (s *space) release(regions ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range regions {
		delete(s.regions, unsafe.SliceData(r))
		releaseRegion(r)
	}
}

// close releases every region.
func (s *space) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, r := range s.regions {
		delete(s.regions, p)
		releaseRegion(r)
	}
}

// arena is a growing array of fixed-size elements without pointers. It lies on
// Go's heap while it is small and then in a region, where it grows in place.
// Slices of it that were taken before it moved stay readable until the region
// it left is released.
type arena[T any] struct {
	perRow int // elements a row needs, about: what the region is reserved for
	shared bool
	data   []T      // what has memory behind it; elements beyond what was asked for are zero
	region []byte   // nil on the heap
	file   *os.File // behind a shared region
}

func (a *arena[T]) size() int {
	var element T
	return int(unsafe.Sizeof(element))
}

// grow gives the arena at least n elements. It returns the region it left
// behind, if it did.
func (a *arena[T]) grow(s *space, n int) (left []byte, err error) {
	if n <= len(a.data) {
		return nil, nil
	}
	size := a.size()
	need := n * size
	if s.heap || a.region == nil && need <= smallArena && !a.shared {
		data := make([]T, max(n, 2*len(a.data)))
		copy(data, a.data)
		a.data = data
		return nil, nil
	}
	if need > len(a.region) {
		if left, err = a.move(s, need); err != nil {
			return nil, err
		}
	}
	if err := a.commit(s, need); err != nil {
		return left, err
	}
	return left, nil
}

// move copies the arena into a new region for at least need bytes.
func (a *arena[T]) move(s *space, need int) (left []byte, err error) {
	next := arena[T]{perRow: a.perRow, shared: a.shared && s.rowsDir != ""}
	if next.shared {
		if next.file, err = unnamedFile(s.rowsDir); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	want := max(4*len(a.region), s.rows*a.perRow*a.size())
	if next.region, err = s.reserve(need, want); err != nil {
		next.closeFile()
		return nil, err
	}
	if err := next.commit(s, max(need, len(a.data)*a.size())); err != nil {
		s.release(next.region)
		next.closeFile()
		return nil, err
	}
	copy(next.data, a.data)
	left = a.region
	a.closeFile()
	*a = next
	return left, nil
}

// commit puts memory behind the first n bytes of the region, and some more, but not
// for more rows than were announced.
func (a *arena[T]) commit(s *space, n int) error {
	size := a.size()
	from := roundUp(len(a.data)*size, pageSize)
	step := commitStep
	if n >= 4*hugePage {
		step = hugePage
	}
	most := n + n/8
	if announced := s.most * a.perRow * size; announced >= n {
		most = min(most, announced)
	}
	to := min(roundUp(most, step), len(a.region))
	if to > from {
		var err error
		if a.file != nil {
			err = shareRegion(a.region, a.file, from, to)
		} else {
			err = commitRegion(a.region, from, to)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	a.data = elements[T](a.region[:max(from, to)])
	return nil
}

// load fills an empty arena with n elements of a file, as they lie.
func (a *arena[T]) load(s *space, file *os.File, offset int64, n int) error {
	bytes := n * a.size()
	if s.heap || bytes <= smallArena {
		a.data = make([]T, n)
		_, err := io.ReadFull(io.NewSectionReader(file, offset, int64(bytes)), bytesOf(a.data))
		return err
	}
	region, err := s.reserve(bytes, s.rows*a.perRow*a.size())
	if err != nil {
		return err
	}
	mapped := roundUp(bytes, pageSize)
	if err := loadRegion(region, file, offset, mapped); err != nil {
		return err
	}
	a.region, a.data = region, elements[T](region[:mapped])
	return nil
}

// reserved returns the arena with all it may grow to in place. What lies beyond
// data must not be touched before a later grow has put memory there.
func (a *arena[T]) reserved() []T {
	if a.region == nil {
		return a.data
	}
	return elements[T](a.region)
}

func (a *arena[T]) closeFile() {
	if a.file != nil {
		_ = a.file.Close() // the mapping keeps the file's contents
		a.file = nil
	}
}

// unnamedFile returns a file that disappears with its last user.
func unnamedFile(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "rows-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// elements returns memory as a slice of T, dropping a rest too short for one.
func elements[T any](memory []byte) []T {
	var element T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/int(unsafe.Sizeof(element)))
}

// bytesOf returns the memory of a slice.
func bytesOf[T any](data []T) []byte {
	var element T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(element)))
}

func roundUp(n, step int) int { return (n + step - 1) / step * step }
