package vector

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

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
