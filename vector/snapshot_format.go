package vector

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"unsafe"
)

// A snapshot is one file: a header of one page, then each arena as it lies in
// memory, in the order of segments, each from a page boundary on, the rest of its
// last page zero. Loading maps the arenas; only their checksums are computed.
//
// The segments are, with the number of elements: float32 rows (row*dim, none in tier
// Codes), 8-bit codes (row*stride, none in tier Bits), 1-bit codes (row*words, see
// hasBits), facts, links of the ground level, links of the upper levels, where each
// row's begin, lifespans, attributes, places of ids, the text of ids, the hash table
// of ids, the lists of groups (see postingWords).
//
// Version 1 had 1-bit codes in tier Bits alone. It is refused with ErrConfig, and the
// index made anew from what its vectors were stored in.
//
// All numbers are little-endian (mark tells a machine of the other kind). The
// header ends with its CRC-32C. The seed is not in the file, only its SHA-256.

const (
	snapshotName    = "vectors.snapshot"
	snapshotMagic   = "TAMVVEC\x00"
	snapshotVersion = 2
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
		bits = x.rows * x.shape.words
		if x.cfg.Tier != Bits {
			codes, facts = x.rows*x.shape.stride, x.rows
		}
	}
	return [segments]int{
		floats, codes, bits, facts, graph * x.shape.ground, upper, graph,
		x.rows, x.rows, x.rows, x.textEnd, x.tableLen, postings,
	}
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
