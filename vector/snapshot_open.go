package vector

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Open loads the snapshot in a directory. The configuration must be the one of
// the index that was saved, but for Capacity, Threads and RowsDir. The file is
// mapped, not read: what no search touches takes no memory until it is written to.
// It returns ErrNoSnapshot if there is none, ErrDamaged if a checksum fails,
// ErrConfig if the index was configured differently, ErrFull or an error of the
// file system.
func Open(dir string, cfg Config) (*Index, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	file, h, err := openSnapshot(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if !h.fits(cfg) {
		return nil, fmt.Errorf("%w: the snapshot is of an index with another configuration", ErrConfig)
	}
	x := newIndex(cfg)
	if err := x.restore(file, h); err != nil {
		x.space.close()
		return nil, err
	}
	x.publish()
	return x, nil
}

func openSnapshot(dir string) (*os.File, *header, error) {
	file, err := os.Open(filepath.Join(dir, snapshotName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w in %s", ErrNoSnapshot, dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("vector: open: %w", err)
	}
	page := make([]byte, pageSize)
	n, err := io.ReadFull(file, page)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, nil, errors.Join(fmt.Errorf("vector: open: %w", err), file.Close())
	}
	h, err := decodeHeader(page[:n])
	if err == nil {
		err = h.checkExtent(file)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, h, nil
}

// restore loads a new index.
func (x *Index) restore(file *os.File, h *header) error {
	x.rows, x.live, x.seq, x.clamped = int(h.Rows), int(h.Live), h.Seq, int(h.Clamped)
	x.textEnd, x.upperEnd, x.tableLen = int(h.TextEnd), int(h.UpperEnd), int(h.TableLen)
	x.entry, x.top = h.Entry, int(h.Top)
	x.effort = effort{rows: h.Measured, hits: h.Rungs, of: h.Of}
	x.coder = nil
	if h.Coded == 1 {
		x.coder = newCoder(x.cfg, h.Limit)
	}
	var postings arena[uint32]
	a := &x.arenas
	n := x.sizes(int(h.Segments[segments-1].Length / 4))
	l := loader{space: x.space, file: file, header: h, sizes: n}
	load(&l, &a.floats)
	load(&l, &a.codes)
	load(&l, &a.bits)
	load(&l, &a.facts)
	load(&l, &a.ground)
	load(&l, &a.upper)
	load(&l, &a.blocks)
	load(&l, &a.lives)
	load(&l, &a.attrs)
	load(&l, &a.names)
	load(&l, &a.text)
	load(&l, &a.table)
	load(&l, &postings)
	if l.err != nil {
		return l.err
	}
	for row, life := range a.lives.data[:x.rows] {
		if life.born == unborn {
			x.free = append(x.free, uint32(row))
		}
	}
	return x.restorePostings(postings.data[:n[segments-1]])
}

func (x *Index) restorePostings(words []uint32) error {
	for len(words) > 0 {
		if len(words) < 4 || len(words)-4 < int(words[3]) {
			return fmt.Errorf("%w: list of a group", ErrDamaged)
		}
		p := &posting{group: group(words[0]) | group(words[1])<<32}
		p.live.Store(int64(words[2]))
		end := 4 + int(words[3])
		rows := words[4:end:end] // appending moves it to the heap
		p.rows.Store(&rows)
		x.postings = append(x.postings, p)
		words = words[end:]
	}
	return nil
}

// loader loads one arena after the other until one fails.
type loader struct {
	space  *space
	file   *os.File
	header *header
	sizes  [segments]int
	next   int
	err    error
}

func load[T any](l *loader, a *arena[T]) {
	if l.err != nil {
		return
	}
	s, n := &l.header.Segments[l.next], l.sizes[l.next]
	l.next++
	if s.Length != uint64(n*a.size()) {
		l.err = fmt.Errorf("%w: segment %d has %d bytes, not %d", ErrDamaged, l.next-1, s.Length, n*a.size())
		return
	}
	if l.err = a.load(l.space, l.file, int64(s.Offset), n); l.err != nil {
		return
	}
	if crc32.Checksum(bytesOf(a.data[:n]), castagnoli) != s.CRC {
		l.err = fmt.Errorf("%w: checksum of segment %d", ErrDamaged, l.next-1)
	}
}
