package vector

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"unsafe"
)

// A snapshot is one file: a header of one page, then each arena as it lies in
// memory, in the order of segments, each from a page boundary on, the rest of its
// last page zero. Loading maps the arenas; only their checksums are computed.
//
// All numbers are little-endian (mark tells a machine of the other kind). The
// header ends with its CRC-32C. The seed is not in the file, only its SHA-256.

const (
	snapshotName    = "vectors.snapshot"
	snapshotMagic   = "TAMVVEC\x00"
	snapshotVersion = 1
	snapshotMark    = 0x01020304
	segments        = 13
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Digest identifies the content of a snapshot: the SHA-256 of its header, which
// holds those of the arenas. Replicas that made the same calls have the same.
type Digest [sha256.Size]byte

// header is the first page of a snapshot, field by field.
type header struct {
	Magic    [8]byte
	Version  uint32
	Mark     uint32
	SeedHash [sha256.Size]byte
	Range    float32 // of the Config
	Dim      uint32
	M        uint32
	Ef       uint32
	Metric   uint8
	Tier     uint8
	Coded    uint8 // 1: there are codes
	_        uint8
	Limit    float32 // the range of the codes
	Clamped  uint64
	Seq      uint32
	Entry    uint32
	Top      int32
	Rungs    [len(rungs)]uint32 // effort.hits
	Of       uint32
	Measured uint32 // effort.rows
	_        uint32
	Rows     uint64
	Live     uint64
	TextEnd  uint64
	UpperEnd uint64
	TableLen uint64
	Segments [segments]segment
}

// segment is where an arena lies in the file.
type segment struct {
	Offset uint64
	Length uint64 // bytes
	CRC    uint32 // CRC-32C
	_      uint32
	Hash   [sha256.Size]byte
}

// encode returns the page of a header.
func (h *header) encode() []byte {
	page := bytes.NewBuffer(make([]byte, 0, pageSize))
	_ = binary.Write(page, binary.LittleEndian, h) // a buffer does not fail
	sum := crc32.Checksum(page.Bytes(), castagnoli)
	return binary.LittleEndian.AppendUint32(page.Bytes(), sum)[:pageSize]
}

func (h *header) digest() Digest {
	page := h.encode()
	return sha256.Sum256(page[:binary.Size(h)])
}

// decodeHeader reads a page, or returns ErrDamaged.
func decodeHeader(page []byte) (*header, error) {
	h := new(header)
	size := binary.Size(h)
	if len(page) < size+4 {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, len(page))
	}
	if binary.LittleEndian.Uint32(page[size:]) != crc32.Checksum(page[:size], castagnoli) {
		return nil, fmt.Errorf("%w: checksum of the header", ErrDamaged)
	}
	_ = binary.Read(bytes.NewReader(page), binary.LittleEndian, h) // long enough
	switch {
	case string(h.Magic[:]) != snapshotMagic:
		return nil, fmt.Errorf("%w: not a snapshot", ErrDamaged)
	case h.Version != snapshotVersion:
		return nil, fmt.Errorf("%w: version %d", ErrConfig, h.Version)
	case h.Mark != nativeMark():
		return nil, fmt.Errorf("%w: made on a machine of the other byte order", ErrConfig)
	}
	return h, nil
}

// nativeMark is snapshotMark as this machine's arenas would have it in a file.
func nativeMark() uint32 {
	mark := uint32(snapshotMark)
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Pointer(&mark))[:])
}

// sizes returns how many elements of each arena a snapshot holds, in the order
// of segments.
func (x *Index) sizes(postings int) [segments]int {
	floats, codes, bits, facts, graph, upper := x.rows*x.shape.dim, 0, 0, 0, 0, 0
	if x.coder != nil {
		if graph = x.rows; graph > 0 {
			upper = x.upperEnd
		}
		if x.cfg.Tier == Codes {
			floats = 0
		}
		if x.cfg.Tier == Bits {
			bits = x.rows * x.shape.words
		} else {
			codes, facts = x.rows*x.shape.stride, x.rows
		}
	}
	return [segments]int{
		floats, codes, bits, facts, graph * x.shape.ground, upper, graph,
		x.rows, x.rows, x.rows, x.textEnd, x.tableLen, postings,
	}
}

// Save writes a snapshot into a directory, which must exist, and returns its
// digest. It replaces an older snapshot there in one step: after a crash there is
// the old one or the new one. The snapshot is of the moment at which Save
// begins; writers wait only while some 200 bytes a row are copied, searches not
// at all. Consolidate waits until it has ended. It returns ErrClosed or an error
// of the file system.
func (x *Index) Save(dir string) (Digest, error) {
	x.saving.Lock()
	defer x.saving.Unlock()
	im, err := x.capture()
	if err != nil {
		return Digest{}, err
	}
	defer im.view.release()
	digest, err := im.save(dir)
	if err != nil {
		return Digest{}, fmt.Errorf("vector: save: %w", err)
	}
	return digest, nil
}

// image is an index at one moment, in the form of its snapshot. What the writer
// changes in place is a copy. Floats, codes and ids are not: they are written once,
// but for slots that become free, which count as zeros here because they may
// be in use again; and a slot does not become free while view is held.
type image struct {
	view     *view
	header   *header
	segments [segments]content
}

// content is the memory of an arena, in pieces.
type content [][]byte

// capture returns the index as it is. The caller must release the view.
func (x *Index) capture() (*image, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, ErrClosed
	}
	return &image{view: x.pin(), header: x.header(), segments: x.segments()}, nil
}

func (im *image) save(dir string) (Digest, error) {
	temporary := filepath.Join(dir, snapshotName+".tmp")
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return Digest{}, err
	}
	if err = im.write(file); err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return Digest{}, errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, filepath.Join(dir, snapshotName)); err != nil {
		return Digest{}, err
	}
	return im.header.digest(), syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (x *Index) header() *header {
	h := &header{
		Version: snapshotVersion, Mark: nativeMark(), SeedHash: sha256.Sum256(x.cfg.Seed[:]), Range: x.cfg.Range,
		Dim: uint32(x.cfg.Dim), M: uint32(x.cfg.M), Ef: uint32(x.cfg.EfConstruction),
		Metric: uint8(x.cfg.Metric), Tier: uint8(x.cfg.Tier), Clamped: uint64(x.clamped),
		Seq: x.seq, Entry: x.entry, Top: int32(x.top),
		Rungs: x.effort.hits, Of: x.effort.of, Measured: x.effort.rows,
		Rows: uint64(x.rows), Live: uint64(x.live),
		TextEnd: uint64(x.textEnd), UpperEnd: uint64(x.upperEnd), TableLen: uint64(x.tableLen),
	}
	copy(h.Magic[:], snapshotMagic)
	if x.coder != nil {
		h.Coded, h.Limit = 1, x.coder.limit
	}
	return h
}

// segments returns what each arena holds.
func (x *Index) segments() [segments]content {
	a := &x.arenas
	postings := x.postingWords()
	n := x.sizes(len(postings))
	return [segments]content{
		withoutFree(a.floats.data[:n[0]], x.shape.dim, x.free),
		withoutFree(a.codes.data[:n[1]], x.shape.stride, x.free),
		withoutFree(a.bits.data[:n[2]], x.shape.words, x.free),
		copied(a.facts.data[:n[3]]), copied(a.ground.data[:n[4]]), copied(a.upper.data[:n[5]]), copied(a.blocks.data[:n[6]]),
		copied(a.lives.data[:n[7]]), copied(a.attrs.data[:n[8]]), copied(a.names.data[:n[9]]),
		{a.text.data[:n[10]]},
		copied(a.table.data[:n[11]]),
		{bytesOf(postings)},
	}
}

func copied[T any](data []T) content { return content{bytesOf(slices.Clone(data))} }

// withoutFree returns rows as they lie, with zeros for those that are free.
func withoutFree[T any](data []T, perRow int, free []uint32) content {
	if len(data) == 0 {
		return nil
	}
	memory, row := bytesOf(data), perRow*len(bytesOf(data[:1]))
	var pieces content
	zeros, from := make([]byte, row), 0
	for _, slot := range free {
		at := int(slot) * row
		if from < at {
			pieces = append(pieces, memory[from:at])
		}
		pieces = append(pieces, zeros)
		from = at + row
	}
	return append(pieces, memory[from:])
}

func (c content) length() (n int) {
	for _, piece := range c {
		n += len(piece)
	}
	return n
}

// sums returns the checksums of the pieces as one.
func (c content) sums() (crc uint32, hash [sha256.Size]byte) {
	h := sha256.New()
	for _, piece := range c {
		crc = crc32.Update(crc, castagnoli, piece)
		h.Write(piece)
	}
	h.Sum(hash[:0])
	return crc, hash
}

func (c content) writeAt(file *os.File, offset int64) error {
	w := bufio.NewWriterSize(io.NewOffsetWriter(file, offset), 1<<20)
	for _, piece := range c {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.Flush()
}

// write fills in the header's segments and writes everything. Hashing goes on
// beside writing: it takes longer than copying to the page cache.
func (im *image) write(file *os.File) error {
	var hashing sync.WaitGroup
	offset := pageSize
	for i, c := range im.segments {
		s := &im.header.Segments[i]
		s.Offset, s.Length = uint64(offset), uint64(c.length())
		offset += roundUp(int(s.Length), pageSize)
		hashing.Go(func() { s.CRC, s.Hash = c.sums() })
	}
	var failed error
	for i, c := range im.segments {
		if failed = c.writeAt(file, int64(im.header.Segments[i].Offset)); failed != nil {
			break
		}
	}
	hashing.Wait()
	if failed != nil {
		return failed
	}
	if err := file.Truncate(int64(offset)); err != nil {
		return err
	}
	_, err := file.WriteAt(im.header.encode(), 0)
	return err
}

// postingWords returns the lists of all groups: for each the group (low, high),
// the number of its living rows, the number of rows and the rows.
func (x *Index) postingWords() []uint32 {
	words := make([]uint32, 0, 4*len(x.postings)+x.rows+x.rows/8)
	for _, p := range x.postings {
		rows := p.list()
		words = append(words, uint32(p.group), uint32(p.group>>32), uint32(p.live.Load()), uint32(len(rows)))
		words = append(words, rows...)
	}
	return words
}

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

// checkExtent makes sure that the segments follow each other and that the file
// is as long as they need: touching a mapped page beyond its end is fatal.
func (h *header) checkExtent(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("vector: open: %w", err)
	}
	offset := uint64(pageSize)
	for _, s := range h.Segments {
		if s.Offset != offset || s.Length > math.MaxInt64/2 {
			return fmt.Errorf("%w: segments overlap", ErrDamaged)
		}
		offset += uint64(roundUp(int(s.Length), pageSize))
	}
	size := uint64(info.Size())
	if size != offset {
		return fmt.Errorf("%w: %d bytes, not %d", ErrDamaged, size, offset)
	}
	if h.Rows > MaxRows || h.Live > h.Rows || h.TextEnd > size || h.UpperEnd > size || h.TableLen > size || h.TableLen&(h.TableLen-1) != 0 ||
		h.Top < -1 || h.Top > maxLevel || h.Top >= 0 && uint64(h.Entry) >= h.Rows || h.Clamped > math.MaxInt64 {
		return fmt.Errorf("%w: impossible counts", ErrDamaged)
	}
	return nil
}

// fits reports whether an index of this configuration made the snapshot.
func (h *header) fits(c Config) bool {
	return h.SeedHash == sha256.Sum256(c.Seed[:]) && h.Range == c.Range && h.Dim == uint32(c.Dim) && h.M == uint32(c.M) &&
		h.Ef == uint32(c.EfConstruction) && h.Metric == uint8(c.Metric) && h.Tier == uint8(c.Tier)
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
