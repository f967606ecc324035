package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"slices"
	"sort"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// A segment that was archived leaves every member of the site, after somebody
// has copied its file out ([Store.OpenSegment]). What stays is a file with its
// leaf hashes, the index over them and a few times. So the tree, every proof,
// every tile and the look-up by hash go on, while reading an entry answers
// where it is. The file depends on the segment alone. All integers are
// big-endian.
//
//	header     "TAMVLVS" | format 1 | segment u64 | entries u32
//	           of the segment's file: size u64 | SHA-256 32 | CRC32C of its footer u32
//	leaves     64 tiles of 256 leaf hashes, as in the segment
//	index      64 pages of 256 x (first 8 bytes of a leaf hash | number u32), as in the segment
//	times      per leaf tile: timestamp of its first entry i64
//	directory  per leaf tile: CRC32C u32
//	           per index page: first 8 bytes of its first hash | CRC32C u32
//	footer     CRC32C u32 of header, times and directory
const (
	leavesMagic     = "TAMVLVS\x01"
	leavesHeader    = segmentHeader + segmentInfoBytes
	leavesTimes     = segmentTiles * 8
	leavesDirectory = segmentTiles * (4 + pageRefBytes)
	leavesFooter    = 4
	leavesBytes     = leavesHeader + segmentTiles*(leafTileBytes+indexPageBytes) + leavesTimes + leavesDirectory + leavesFooter
)

// Archive is the operation that takes the entries of a segment off every
// member. Segments are archived in order, once a recorded checkpoint covers all
// of their entries. A batch that does not hold is refused: Conflict, code
// "archive", or NotFound, code "archived", when that is done already.
//
// What stays of the segment is made first, and thrown away: a member that cannot do that
// when the operation is applied has to be rebuilt from another one, and a site of one
// member has no other. It takes a small part of the file, so that a slow disk and
// payloads of gigabytes fit into a request. That the copy outside is whole is shown by its
// hash, whatever became of the file here.
func (s *Store) Archive(number uint64) (Op, error) {
	segment, err := s.Segment(number)
	if err != nil {
		return Op{}, err
	}
	if segment.Archived {
		return Op{}, errArchived(number, segment.SHA256)
	}
	if _, err := s.leavesOf(number); err != nil {
		return Op{}, err
	}
	return archiveOp(number, segment.SHA256), nil
}

func archiveOp(number uint64, sum [sha256.Size]byte) Op {
	return Op{Type: OpArchive, Number: int64(number), Value: sum[:]}
}

// archive decides on an archive by what is the same on every member: the tree,
// the recorded checkpoints, and the segment's file, which is made now if the
// flusher has not come to it. A member whose file is damaged cannot go on: it
// is rebuilt from another one.
func (p *packApply) archive(op *Op) (refusal, err error) {
	number := uint64(op.Number)
	end := (number + 1) * segmentEntries
	switch archived := uint64(len(p.archives)); {
	case number < archived:
		return errArchived(number, [sha256.Size]byte(op.Value)), nil
	case number > archived:
		return errNotArchived(number, "segment %d is the next one", archived).WithDetail("next", archived), nil
	case end > p.meta.tree.Size():
		return errNotArchived(number, "it is still growing"), nil
	case p.recorded.note == nil || end > p.recorded.newest.Size:
		return errNotArchived(number, "no recorded checkpoint covers it"), nil
	}
	segment, err := p.store.awaitSealed(number)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(op.Value, segment.sum[:]) {
		return errNotArchived(number, "its file has another hash"), nil
	}
	leaves, err := p.store.leavesOf(number)
	if err != nil {
		return nil, fmt.Errorf("store: log entry %d archives a segment that cannot be read here: %w", p.meta.applied, err)
	}
	p.archives = append(slices.Clip(p.archives), leaves.info)
	p.batch.put(bucketArchives, string(u64(number)), leaves.info.encode())
	return nil, nil
}

func errNotArchived(number uint64, why string, args ...any) *tap.Error {
	return tap.E("store.archive", tap.Conflict, "segment %d of the ledger is not archived: %s", number, fmt.Sprintf(why, args...)).WithCode("archive")
}

// errArchived says where the entries of a segment are.
func errArchived(number uint64, sum [sha256.Size]byte) *tap.Error {
	return tap.E("store.record", tap.NotFound, "segment %d of the ledger is archived; its entries are in the file with the SHA-256 %x", number, sum).
		WithCode("archived").WithDetail("segment", number).WithDetail("sha256", hex.EncodeToString(sum[:]))
}

// awaitSealed waits until the flusher has written the file of a full segment.
func (s *Store) awaitSealed(number uint64) (segmentInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for number >= uint64(len(s.ledger.sealed)) {
		if s.stopping || s.closed {
			return segmentInfo{}, tap.Wrap("store.apply", tap.Unavailable, s.flushErr, "the state cannot be written to disk")
		}
		s.wake(true)
		s.room.Wait()
	}
	return s.ledger.sealed[number], nil
}

// leaves is the file of an archived segment.
type leaves struct {
	content []byte
	info    segmentInfo
}

// leavesOf makes it from the segment's file.
func (s *Store) leavesOf(number uint64) (made leaves, err error) {
	err = s.inSegment(number, func(f *segmentFile) error {
		made, err = f.leavesFile()
		return err
	})
	return made, err
}

func (s *segmentFile) leavesFile() (leaves, error) {
	content := binary.BigEndian.AppendUint64(append(make([]byte, 0, leavesBytes), leavesMagic...), s.number)
	content = append(binary.BigEndian.AppendUint32(content, segmentEntries), s.info.encode()...)
	var times, directory []byte
	for i, frame := range s.leaves {
		tile, err := s.read(frame)
		if err != nil {
			return leaves{}, err
		}
		first, err := s.firstOf(uint32(i))
		if err != nil {
			return leaves{}, err
		}
		content = append(content, tile...)
		times = binary.BigEndian.AppendUint64(times, uint64(first.Timestamp))
		directory = binary.BigEndian.AppendUint32(directory, frame.crc)
	}
	for _, frame := range s.index {
		page, err := s.read(frame)
		if err != nil {
			return leaves{}, err
		}
		content = append(content, page...)
		directory = binary.BigEndian.AppendUint32(append(directory, page[:8]...), frame.crc)
	}
	crc := leavesChecksum(content[:leavesHeader], times, directory)
	content = append(append(content, times...), directory...)
	content = binary.BigEndian.AppendUint32(content, crc)
	return leaves{content, segmentInfo{size: int64(len(content)), sum: sha256.Sum256(content), crc: crc, archived: true}}, nil
}

// firstOf is the entry that a leaf tile begins with.
func (s *segmentFile) firstOf(tile uint32) (bookpi.Entry, error) {
	records, err := s.block(tile * tileWidth)
	if err != nil {
		return bookpi.Entry{}, err
	}
	position := s.number*segmentEntries + uint64(tile)*tileWidth
	e, err := bookpi.ParseEntry(records[position-records[0].Position].Entry)
	if err != nil {
		return e, damagedSegment(s.number, "entry %d does not parse", position)
	}
	return e, nil
}

func leavesChecksum(header, times, directory []byte) uint32 {
	crc := crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, times)
	return crc32.Update(crc, castagnoli, directory)
}

// readLeavesDirectory checks what is around the leaves and the index, and finds
// them.
func (s *segmentFile) readLeavesDirectory(size int64) error {
	if size != s.info.size || size != int64(leavesBytes) {
		return damagedSegment(s.number, "its leaves have %d bytes instead of %d", size, s.info.size)
	}
	header := make([]byte, leavesHeader)
	tail := make([]byte, leavesTimes+leavesDirectory+leavesFooter)
	_, err1 := s.file.ReadAt(header, 0)
	_, err2 := s.file.ReadAt(tail, size-int64(len(tail)))
	if err := errors.Join(err1, err2); err != nil {
		return damagedSegment(s.number, "%v", err)
	}
	times, directory := tail[:leavesTimes], tail[leavesTimes:leavesTimes+leavesDirectory]
	crc := binary.BigEndian.Uint32(tail[leavesTimes+leavesDirectory:])
	gone, _ := decodeSegmentInfo(header[segmentHeader:])
	if crc != s.info.crc || crc != leavesChecksum(header, times, directory) ||
		string(header[:8]) != leavesMagic || binary.BigEndian.Uint64(header[8:]) != s.number {
		return damagedSegment(s.number, "the directory of its leaves does not have its checksum")
	}
	s.gone = gone
	s.layOut(int64(leavesHeader), directory, 0)
	for i := range s.times {
		s.times[i] = int64(binary.BigEndian.Uint64(times[i*8:]))
	}
	return nil
}

// Segment describes a sealed segment of the ledger.
type Segment struct {
	Number      uint64
	First, Last uint64            // positions of its entries
	SHA256      [sha256.Size]byte // of its file, also when that is archived
	Bytes       int64             // of its file, also when that is archived
	Archived    bool              // its entries are no longer here
}

// Segment describes a sealed segment; NotFound for one that is not sealed.
func (s *Store) Segment(number uint64) (Segment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if number >= uint64(len(s.ledger.sealed)) {
		return Segment{}, tap.E("store.segment", tap.NotFound, "segment %d of the ledger is not sealed", number)
	}
	info := s.ledger.sealed[number]
	return Segment{
		Number: number, First: number * segmentEntries, Last: (number+1)*segmentEntries - 1,
		SHA256: info.sum, Bytes: info.size, Archived: number < uint64(len(s.ledger.archives)),
	}, nil
}

// Segments is how many segments are sealed and how many of these, the first
// ones, are archived.
func (s *Store) Segments() (sealed, archived uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return uint64(len(s.ledger.sealed)), uint64(len(s.ledger.archives))
}

// OpenSegment opens the file of a sealed segment, to copy it out before it is
// archived. Whoever copies it checks that the copy has the hash. NotFound, code
// "archived", when its entries are no longer here.
func (s *Store) OpenSegment(number uint64) (*os.File, Segment, error) {
	described, err := s.Segment(number)
	if err != nil {
		return nil, described, err
	}
	f, err := os.Open(s.segments.path(number))
	if err == nil {
		return f, described, nil
	}
	if now, _ := s.Segment(number); now.Archived {
		return nil, now, errArchived(number, now.SHA256)
	}
	return nil, described, damagedSegment(number, "it cannot be opened: %v", err)
}

// DiskUse is the bytes of the ledger's files: the segments with their entries,
// what is left of archived ones, and how much those had before. The open end
// of the ledger is in the state file.
func (s *Store) DiskUse() (entries, leaves, archived int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for number, info := range s.ledger.sealed {
		if uint64(number) < s.ledger.left {
			leaves += s.ledger.archives[number].size
			archived += info.size
		} else {
			entries += info.size
		}
	}
	return entries, leaves, archived
}

// At is the position of the first entry whose timestamp is at least time. They
// never go back, so it halves its way there. Where entries are archived it is
// rounded down to a multiple of 256.
func (s *Store) At(time int64) (uint64, error) {
	size, _ := s.Size()
	var failed error
	position := sort.Search(int(min(size, math.MaxInt)), func(i int) bool {
		if failed != nil {
			return true
		}
		stamp, err := s.stamp(uint64(i))
		failed = err
		return stamp >= time
	})
	return uint64(position), failed
}

// stamp is the timestamp of an entry; of an archived one, that of the entry at
// the next multiple of 256.
func (s *Store) stamp(position uint64) (int64, error) {
	s.mu.RLock()
	archived := position < s.ledger.left*segmentEntries
	next := (position/tileWidth + 1) * tileWidth // there is one: an archive leaves an entry
	nextArchived := next < s.ledger.left*segmentEntries
	s.mu.RUnlock()
	switch {
	case archived && nextArchived:
		var stamp int64
		err := s.inSegment(next/segmentEntries, func(f *segmentFile) error {
			stamp = f.times[next/tileWidth%segmentTiles]
			return nil
		})
		return stamp, err
	case archived:
		position = next
	}
	r, err := s.Record(position)
	if err != nil {
		return 0, err
	}
	e, err := bookpi.ParseEntry(r.Entry)
	if err != nil {
		return 0, errors.Join(damaged("ledger entry %d does not parse", position), err)
	}
	return e.Timestamp, nil
}
