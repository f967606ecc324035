package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"sort"

	"tamv.internal/tamv/store/bookpi"
)

// A sealed segment is a file that never changes: segmentEntries entries of the
// ledger with everything that reading and proving them needs. It depends on
// the entries alone, so that every replica has the same bytes and one can mend
// another's. All integers are big-endian.
//
//	header     "TAMVSEG" | format 1 | segment u64 | entries u32
//	blocks     as in the state file: (length, entry, length, payload)...
//	leaves     64 tiles of 256 leaf hashes: level 0 of the Merkle tree
//	index      64 pages of 256 x (first 8 bytes of a leaf hash | number u32), sorted
//	directory  per block: number of its first entry u32 | length u32 | CRC32C u32
//	           per leaf tile: CRC32C u32
//	           per index page: first 8 bytes of its first hash | CRC32C u32
//	footer     blocks u32 | CRC32C u32 of header, directory and the number of blocks
//
// The state file keeps the length, the SHA-256 and the footer's checksum of
// each segment, so that a file of another history is damage too.
const (
	segmentMagic  = bookpi.SegmentMagic
	segmentHeader = len(segmentMagic) + 8 + 4
	segmentTiles  = segmentEntries / tileWidth
	segmentFooter = 4 + 4

	leafTileBytes  = tileWidth * bookpi.HashSize
	indexPageBytes = tileWidth * indexEntry
	blockRefBytes  = 4 + 4 + 4
	pageRefBytes   = 8 + 4
)

// segmentInfo is what the state file knows of a sealed segment.
type segmentInfo struct {
	size int64
	sum  [sha256.Size]byte
	crc  uint32 // of the footer

	archived bool // it is the file of leaves; known by where it is kept
}

const segmentInfoBytes = 8 + sha256.Size + 4

func (i segmentInfo) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(i.size))
	return binary.BigEndian.AppendUint32(append(b, i.sum[:]...), i.crc)
}

func decodeSegmentInfo(b []byte) (segmentInfo, bool) {
	if len(b) != segmentInfoBytes {
		return segmentInfo{}, false
	}
	return segmentInfo{
		size: int64(binary.BigEndian.Uint64(b)), sum: [sha256.Size]byte(b[8:]), crc: binary.BigEndian.Uint32(b[8+sha256.Size:]),
	}, true
}

// writeSegment writes the file of a segment from its blocks, in order.
func writeSegment(out io.Writer, number uint64, blocks iter.Seq2[[]byte, error]) (segmentInfo, error) {
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(out, sum), 256<<10)
	size := int64(0)
	write := func(b []byte) { // bufio keeps the first error for Flush
		n, _ := buffered.Write(b)
		size += int64(n)
	}
	header := binary.BigEndian.AppendUint64([]byte(segmentMagic), number)
	header = binary.BigEndian.AppendUint32(header, segmentEntries)
	write(header)

	var directory []byte
	count := uint32(0)
	leaves := make([]bookpi.Hash, 0, segmentEntries)
	for block, err := range blocks {
		if err != nil {
			return segmentInfo{}, err
		}
		records, err := parseBlock(block, number*segmentEntries+uint64(len(leaves)))
		if err != nil {
			return segmentInfo{}, err
		}
		directory = binary.BigEndian.AppendUint32(directory, uint32(len(leaves)))
		directory = binary.BigEndian.AppendUint32(directory, uint32(len(block)))
		directory = binary.BigEndian.AppendUint32(directory, crc32.Checksum(block, castagnoli))
		for _, r := range records {
			leaves = append(leaves, bookpi.LeafHash(r.Entry))
		}
		write(block)
		count++
	}
	if len(leaves) != segmentEntries {
		return segmentInfo{}, damaged("segment %d of the ledger has %d entries", number, len(leaves))
	}
	for tile := range slices.Chunk(leaves, tileWidth) {
		raw := make([]byte, 0, leafTileBytes)
		for _, leaf := range tile {
			raw = append(raw, leaf[:]...)
		}
		directory = binary.BigEndian.AppendUint32(directory, crc32.Checksum(raw, castagnoli))
		write(raw)
	}
	for page := range slices.Chunk(hashIndex(leaves), indexPageBytes) {
		directory = append(directory, page[:8]...)
		directory = binary.BigEndian.AppendUint32(directory, crc32.Checksum(page, castagnoli))
		write(page)
	}
	write(directory)
	footer := binary.BigEndian.AppendUint32(nil, count)
	crc := footerChecksum(header, directory, footer)
	write(binary.BigEndian.AppendUint32(footer, crc))
	if err := buffered.Flush(); err != nil {
		return segmentInfo{}, err
	}
	return segmentInfo{size: size, sum: [sha256.Size]byte(sum.Sum(nil)), crc: crc}, nil
}

func footerChecksum(header, directory, count []byte) uint32 {
	crc := crc32.Checksum(header, castagnoli)
	return crc32.Update(crc32.Update(crc, castagnoli, directory), castagnoli, count)
}

// hashIndex is the sorted list of hash prefixes with the entry that each
// belongs to.
func hashIndex(leaves []bookpi.Hash) []byte {
	entries := make([][indexEntry]byte, len(leaves))
	for i, leaf := range leaves {
		copy(entries[i][:], leaf[:8])
		binary.BigEndian.PutUint32(entries[i][8:], uint32(i))
	}
	slices.SortFunc(entries, func(a, b [indexEntry]byte) int { return bytes.Compare(a[:], b[:]) })
	index := make([]byte, 0, len(entries)*indexEntry)
	for i := range entries {
		index = append(index, entries[i][:]...)
	}
	return index
}

// segmentFile reads a sealed segment. Safe for concurrent use.
type segmentFile struct {
	file interface {
		io.ReaderAt
		io.Closer
	}
	number uint64
	info   segmentInfo
	blocks []blockRef // none of an archived one
	leaves [segmentTiles]frame
	index  [segmentTiles]frame
	fences [segmentTiles][8]byte // the first prefix of each index page

	// Of an archived one:
	times [segmentTiles]int64 // timestamps of the entries that the leaf tiles begin with
	gone  segmentInfo         // the file that has the entries
}

// frame is a part of the file that is checked when it is read.
type frame struct {
	offset int64
	length uint32
	crc    uint32
}

type blockRef struct {
	frame
	first uint32 // number of its first entry within the segment
}

// openSegment opens the file and checks that it is the one that info names,
// as far as its directory shows.
func openSegment(path string, number uint64, info segmentInfo) (*segmentFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, damagedSegment(number, "it cannot be opened: %v", err)
	}
	s := &segmentFile{file: file, number: number, info: info}
	stat, err := file.Stat()
	switch {
	case err != nil:
	case info.archived:
		err = s.readLeavesDirectory(stat.Size())
	default:
		err = s.readDirectory(stat.Size())
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return s, nil
}

func (s *segmentFile) readDirectory(size int64) error {
	var header [segmentHeader]byte
	var footer [segmentFooter]byte
	if size != s.info.size || size < int64(segmentHeader+segmentFooter) {
		return damagedSegment(s.number, "it has %d bytes instead of %d", size, s.info.size)
	}
	_, err := s.file.ReadAt(header[:], 0)
	if err == nil {
		_, err = s.file.ReadAt(footer[:], s.info.size-segmentFooter)
	}
	if err != nil {
		return damagedSegment(s.number, "%v", err)
	}
	blocks := binary.BigEndian.Uint32(footer[:])
	length := int64(blocks)*blockRefBytes + segmentTiles*(4+pageRefBytes)
	if blocks == 0 || blocks > segmentEntries || length > s.info.size-int64(segmentHeader+segmentFooter) {
		return damagedSegment(s.number, "its footer is wrong")
	}
	directory := make([]byte, length)
	if _, err := s.file.ReadAt(directory, s.info.size-segmentFooter-length); err != nil {
		return damagedSegment(s.number, "%v", err)
	}
	if crc := binary.BigEndian.Uint32(footer[4:]); crc != s.info.crc || crc != footerChecksum(header[:], directory, footer[:4]) ||
		string(header[:8]) != segmentMagic || binary.BigEndian.Uint64(header[8:]) != s.number {
		return damagedSegment(s.number, "its directory does not have its checksum")
	}
	if end := s.layOut(int64(segmentHeader), directory, int(blocks)); end+length+segmentFooter != size {
		return damagedSegment(s.number, "its parts do not fill it")
	}
	return nil
}

// layOut turns the directory, whose checksum holds, into offsets, of which
// the first is given. It returns where the last part ends.
func (s *segmentFile) layOut(offset int64, directory []byte, blocks int) int64 {
	next := func(length, crc uint32) frame {
		f := frame{offset, length, crc}
		offset += int64(length)
		return f
	}
	u32 := func() uint32 {
		n := binary.BigEndian.Uint32(directory)
		directory = directory[4:]
		return n
	}
	s.blocks = make([]blockRef, blocks)
	for i := range s.blocks {
		first, length, crc := u32(), u32(), u32()
		s.blocks[i] = blockRef{next(length, crc), first}
	}
	for i := range s.leaves {
		s.leaves[i] = next(leafTileBytes, u32())
	}
	for i := range s.index {
		s.fences[i] = [8]byte(directory)
		directory = directory[8:]
		s.index[i] = next(indexPageBytes, u32())
	}
	return offset
}

// read returns a checked part of the file.
func (s *segmentFile) read(f frame) ([]byte, error) {
	b := make([]byte, f.length)
	if _, err := s.file.ReadAt(b, f.offset); err != nil {
		return nil, damagedSegment(s.number, "at byte %d: %v", f.offset, err)
	}
	if crc32.Checksum(b, castagnoli) != f.crc {
		return nil, damagedSegment(s.number, "the %d bytes at %d do not have their checksum", f.length, f.offset)
	}
	return b, nil
}

// block returns the records of the block that holds an entry of the segment.
func (s *segmentFile) block(entry uint32) ([]Record, error) {
	if s.info.archived {
		return nil, errArchived(s.number, s.gone.sum)
	}
	next := sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].first > entry })
	b := s.blocks[max(next-1, 0)]
	raw, err := s.read(b.frame)
	if err != nil {
		return nil, err
	}
	records, err := parseBlock(raw, s.number*segmentEntries+uint64(b.first))
	if err != nil || entry < b.first || int(entry-b.first) >= len(records) {
		return nil, damagedSegment(s.number, "entry %d is not in its block", entry)
	}
	return records, nil
}

// tile returns the hashes of a leaf tile of the segment.
func (s *segmentFile) tile(i uint64) ([]byte, error) { return s.read(s.leaves[i]) }

// leafGroup returns some hashes of a leaf tile. Their checksum is that of the
// whole tile, so the caller has to check them in another way.
func (s *segmentFile) leafGroup(tile uint64, first, n int) ([]byte, error) {
	b := make([]byte, n*bookpi.HashSize)
	if _, err := s.file.ReadAt(b, s.leaves[tile].offset+int64(first*bookpi.HashSize)); err != nil {
		return nil, damagedSegment(s.number, "in leaf tile %d: %v", tile, err)
	}
	return b, nil
}

// find returns the number of the entry with this leaf hash. Prefixes can
// collide, so every candidate is compared with the whole hash in its tile.
func (s *segmentFile) find(leaf bookpi.Hash) (entry uint32, ok bool, err error) {
	prefix := leaf[:8]
	// The last page that starts below the prefix, or at it, may hold the first
	// candidate; more may follow on the next ones.
	page := max(0, sort.Search(segmentTiles, func(i int) bool { return bytes.Compare(s.fences[i][:], prefix) >= 0 })-1)
	for ; page < segmentTiles && bytes.Compare(s.fences[page][:], prefix) <= 0; page++ {
		index, err := s.read(s.index[page])
		if err != nil {
			return 0, false, err
		}
		lo := sort.Search(tileWidth, func(i int) bool { return bytes.Compare(index[i*indexEntry:i*indexEntry+8], prefix) >= 0 })
		for ; lo < tileWidth && bytes.Equal(index[lo*indexEntry:lo*indexEntry+8], prefix); lo++ {
			entry := binary.BigEndian.Uint32(index[lo*indexEntry+8:]) % segmentEntries
			tile, err := s.tile(uint64(entry / tileWidth))
			if err != nil {
				return 0, false, err
			}
			if at := entry % tileWidth * bookpi.HashSize; bytes.Equal(tile[at:at+bookpi.HashSize], leaf[:]) {
				return entry, true, nil
			}
		}
	}
	return 0, false, nil
}

func segmentName(number uint64) string { return fmt.Sprintf("%08d.segment", number) }

// name is what the file is called.
func (i segmentInfo) name(number uint64) string {
	if i.archived {
		return fmt.Sprintf("%08d.leaves", number)
	}
	return segmentName(number)
}
