package bookpi

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

const (
	// SegmentEntries is the number of entries in a segment file.
	SegmentEntries = 1 << 14
	// SegmentMagic begins a segment file: the last byte is its format.
	SegmentMagic = "TAMVSEG\x01"

	// maxLengthShift is that of the last byte of a length, which is below 2^28.
	maxLengthShift = 21
	// maxSegmentPayload is far beyond what a log takes for one entry.
	maxSegmentPayload = 16 << 20
	// maxSegmentTail bounds what follows the leaves: an index of 12 bytes for each
	// entry, a directory of at most 12 bytes for each entry and 16 for each tile, and
	// the footer.
	maxSegmentTail = SegmentEntries*(12+12) + SegmentEntries/TileWidth*16 + 8
)

// Segment is what a segment file holds: the entries from Number*[SegmentEntries] on.
type Segment struct {
	Number   uint64
	Previous Hash              // leaf hash of the entry before the first
	Head     Hash              // leaf hash of the last entry
	Root     Hash              // root of the complete subtree over its entries
	SHA256   [sha256.Size]byte // of the file
	Bytes    int64             // of the file
}

// ReadSegment reads a segment file of a ledger from its first byte to its last, as it
// was copied out before the site archived it. It calls fn, unless nil, for every entry
// with its payload; both are fn's to keep. It checks the encoding of each entry, that
// it names the one before, that its payload has its digest, and that the leaf hashes
// in the file are those of the entries. What it returns says which part of the log
// that is: compare Root with the log ([CheckSegment]) and SHA256 with the entry about
// the archive.
//
// All integers are big-endian. The file is
//
//	"TAMVSEG" | format 1 | number u64 | entries u32
//	16384 x (length uvarint, entry, length uvarint, payload)
//	16384 x leaf hash
//	index, directory and footer, which only a node needs
//
// Damage is a [*BrokenError]; fn's error and r's come back as they are.
func ReadSegment(r io.Reader, fn func(position uint64, entry, payload []byte) error) (Segment, error) {
	sum := sha256.New()
	counted := &countingReader{r: io.TeeReader(r, sum)}
	s := segmentReader{in: bufio.NewReaderSize(counted, 64<<10)}
	err := s.header()
	for i := uint64(0); err == nil && i < SegmentEntries; i++ {
		err = s.entry(i, fn)
	}
	if err == nil {
		err = s.rest()
	}
	if err != nil {
		return Segment{}, err
	}
	s.found.Root, s.found.Bytes, s.found.SHA256 = s.tree.Root(), counted.n, [sha256.Size]byte(sum.Sum(nil))
	return s.found, nil
}

// CheckSegment compares the root of a segment with that of the log, given its tiles.
// A segment of another log, or another part of this one, is a [*BrokenError].
func CheckSegment(s Segment, r TileReader) error {
	p := newProver(r, 0)
	root := p.complete(bits.TrailingZeros(SegmentEntries), s.Number)
	if p.err != nil {
		return p.err
	}
	if root != s.Root {
		return brokenAt(s.Number*SegmentEntries, PartProof, "the segment is not the one of this log", nil)
	}
	return nil
}

type segmentReader struct {
	in     *bufio.Reader
	found  Segment
	tree   Tree
	leaves []Hash
}

func (s *segmentReader) header() error {
	var header [len(SegmentMagic) + 8 + 4]byte
	if _, err := io.ReadFull(s.in, header[:]); err != nil {
		return cutShort(err)
	}
	s.found.Number = binary.BigEndian.Uint64(header[len(SegmentMagic):])
	if string(header[:len(SegmentMagic)]) != SegmentMagic || binary.BigEndian.Uint32(header[len(SegmentMagic)+8:]) != SegmentEntries ||
		s.found.Number >= MaxSize/SegmentEntries {
		return broken(PartStructure, "it is not a ledger segment", nil)
	}
	return nil
}

// entry reads and checks the i-th entry.
func (s *segmentReader) entry(i uint64, fn func(uint64, []byte, []byte) error) error {
	position := s.found.Number*SegmentEntries + i
	encoded, err := s.field(MaxEntrySize)
	if err != nil {
		return err
	}
	payload, err := s.field(maxSegmentPayload)
	if err != nil {
		return err
	}
	e, err := ParseEntry(encoded)
	if err != nil {
		return brokenAt(position, PartEntry, err.Error(), err)
	}
	if i == 0 {
		s.found.Previous = e.Previous
	} else if e.Previous != s.found.Head {
		return brokenAt(position, PartChain, "its previous hash is not that of the entry before", nil)
	}
	if position == 0 && e.Previous != GenesisHash {
		return brokenAt(0, PartChain, "the first entry follows another", nil)
	}
	if PayloadDigest(payload) != e.PayloadDigest {
		return brokenAt(position, PartPayload, "it does not have the digest in the entry", nil)
	}
	s.found.Head = LeafHash(encoded)
	s.leaves = append(s.leaves, s.found.Head)
	s.tree.Append(s.found.Head, nil)
	if fn != nil {
		return fn(position, encoded, payload)
	}
	return nil
}

// field reads a length and as many bytes.
func (s *segmentReader) field(limit uint64) ([]byte, error) {
	n := uint64(0)
	for shift := 0; ; shift += 7 {
		c, err := s.in.ReadByte()
		if err != nil {
			return nil, cutShort(err)
		}
		n |= uint64(c&0x7f) << shift
		if n > limit || shift > maxLengthShift || shift > 0 && c == 0 {
			return nil, broken(PartStructure, fmt.Sprintf("a field is longer than %d bytes or its length is misspelt", limit), nil)
		}
		if c < 0x80 {
			break
		}
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, cutShort(err)
	}
	return b, nil
}

// rest compares the leaf hashes and reads on to the end.
func (s *segmentReader) rest() error {
	var stored Hash
	for i, leaf := range s.leaves {
		if _, err := io.ReadFull(s.in, stored[:]); err != nil {
			return cutShort(err)
		}
		if !bytes.Equal(stored[:], leaf[:]) {
			return brokenAt(s.found.Number*SegmentEntries+uint64(i), PartEntry, "the entry does not have its recorded hash", nil)
		}
	}
	n, err := io.Copy(io.Discard, io.LimitReader(s.in, maxSegmentTail+1))
	if err == nil && (n > maxSegmentTail || n < SegmentEntries*12) {
		return broken(PartStructure, "it does not end where a ledger segment ends", nil)
	}
	return err
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return broken(PartStructure, "it is cut short", err)
	}
	return err
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
