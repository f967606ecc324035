package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"tamv.internal/tamv/tap"
)

const (
	// maxOpenSegments bounds the files that are kept open for reading.
	maxOpenSegments = 128

	incomingSuffix = ".incoming" // of a whole file that waits for its place
	partialSuffix  = ".partial"  // of one that is being written
)

// segments is the folder of sealed segments with the files that are open.
type segments struct {
	dir   string
	limit int // of open files

	mu   sync.Mutex // guards what follows, and the fields of the handles
	open map[uint64]*segmentHandle
	uses uint64 // counts acquires, to find the least recently used

	pins   int               // snapshots whose files must stay
	doomed map[string]uint64 // files to remove when none does, with their segments
}

// segmentHandle is an open segment and who uses it.
type segmentHandle struct {
	*segmentFile
	readers int
	used    uint64
	dropped bool // close it when the last reader is done
}

func newSegments(dir string) *segments {
	return &segments{dir: dir, limit: maxOpenSegments, open: map[uint64]*segmentHandle{}, doomed: map[string]uint64{}}
}

func (s *segments) path(number uint64) string { return filepath.Join(s.dir, segmentName(number)) }

// file is the path of what there is of a segment.
func (s *segments) file(number uint64, info segmentInfo) string {
	return filepath.Join(s.dir, info.name(number))
}

// acquire opens a segment or takes the open one; release it.
func (s *segments) acquire(number uint64, info segmentInfo) (*segmentHandle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[number]
	if h != nil && h.info != info {
		s.forget(h)
		h = nil
	}
	if h == nil {
		file, err := openSegment(s.file(number, info), number, info)
		if err != nil {
			return nil, err
		}
		s.evict()
		h = &segmentHandle{segmentFile: file}
		s.open[number] = h
	}
	s.uses++
	h.used = s.uses
	h.readers++
	return h, nil
}

func (s *segments) release(h *segmentHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.readers--
	if h.dropped && h.readers == 0 {
		_ = h.file.Close()
	}
}

// evict makes room for one more. It needs mu.
func (s *segments) evict() {
	var oldest *segmentHandle
	for _, h := range s.open {
		if oldest == nil || h.used < oldest.used {
			oldest = h
		}
	}
	if len(s.open) >= s.limit {
		s.forget(oldest)
	}
}

// forget takes a handle out of use. It needs mu.
func (s *segments) forget(h *segmentHandle) {
	delete(s.open, h.number)
	if h.dropped = true; h.readers == 0 {
		_ = h.file.Close()
	}
}

// replaced makes the next reader open the file anew.
func (s *segments) replaced(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.open[number]; h != nil {
		s.forget(h)
	}
}

// close takes every handle out of use.
func (s *segments) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.open {
		s.forget(h)
	}
}

// pin keeps every file that is there until unpin.
func (s *segments) pin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins++
}

func (s *segments) unpin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins--; s.pins > 0 {
		return
	}
	for path := range s.doomed {
		_ = os.Remove(path) // what stays is removed on the next start
	}
	clear(s.doomed)
}

// retire removes a file that no longer counts, when no snapshot wants it.
func (s *segments) retire(number uint64, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.open[number]; h != nil && s.file(number, h.info) == path {
		s.forget(h)
	}
	if s.doomed[path] = number; s.pins == 0 {
		_ = os.Remove(path)
		delete(s.doomed, path)
	}
}

// wanted takes a file off the list of those to remove: a state that was
// restored counts on it again, or it is made anew.
func (s *segments) wanted(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.doomed, path)
}

// keep writes what is left of a segment durably and under its name.
func (s *segments) keep(number uint64, made leaves) error {
	path := s.file(number, made.info)
	f, err := os.OpenFile(path+partialSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(made.content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	s.wanted(path)
	return errors.Join(os.Rename(f.Name(), path), syncDir(s.dir))
}

// seal writes the file of a segment durably and under its name.
func (s *segments) seal(number uint64, blocks iter.Seq2[[]byte, error]) (segmentInfo, error) {
	path := s.path(number)
	f, err := os.OpenFile(path+partialSuffix, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return segmentInfo{}, err
	}
	info, err := writeSegment(f, number, blocks)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return info, errors.Join(err, os.Remove(f.Name())) // a full disk needs the room
	}
	s.wanted(path)
	return info, errors.Join(os.Rename(f.Name(), path), syncDir(s.dir))
}

// receive writes what r gives to a file of the folder and checks that it is
// the segment that info names. It returns the file's path.
func (s *segments) receive(number uint64, info segmentInfo, r io.Reader) (path string, err error) {
	f, err := os.CreateTemp(s.dir, segmentName(number)+".*"+partialSuffix)
	if err != nil {
		return "", tap.Wrap("store.repair", tap.Unavailable, err, "no room for segment %d", number)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, info.size+1))
	if err != nil {
		err = tap.Wrap("store.repair", tap.Unavailable, err, "segment %d did not arrive", number)
	} else if n != info.size || [sha256.Size]byte(sum.Sum(nil)) != info.sum {
		err = damagedSegment(number, "what came for it does not have its hash")
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// stage puts the wanted segments that are not in place beside it, from the folder
// of a snapshot, as hard links where the file system can. known says which are
// in place by the present state's word; others are hashed. Nothing that the
// present state uses changes; [segments.settle] finishes.
func (s *segments) stage(from string, wanted []segmentInfo, known []segmentInfo) error {
	for n, info := range wanted {
		number := uint64(n)
		path := s.file(number, info)
		if stat, err := os.Stat(path); err == nil && stat.Size() == info.size {
			if n < len(known) && known[n] == info || hasHash(path, info) {
				continue
			}
		}
		staged := path + incomingSuffix
		if err := linkOrCopy(filepath.Join(from, info.name(number)), staged); err != nil {
			return tap.Wrap("store.restore", tap.Unavailable, err, "segment %d of the snapshot cannot be taken over", number)
		}
		if !hasHash(staged, info) {
			return damagedSegment(number, "the snapshot's file does not have its hash")
		}
	}
	return syncDir(s.dir)
}

// settle moves staged segments into place when they are those of the state,
// and removes what was left half done and what an archive has replaced.
func (s *segments) settle(wanted []segmentInfo) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	moved := false
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		switch filepath.Ext(e.Name()) {
		case partialSuffix:
			err = os.Remove(path)
		case incomingSuffix:
			final := strings.TrimSuffix(e.Name(), incomingSuffix)
			number, known := numberOf(final)
			if !known || number >= uint64(len(wanted)) || wanted[number].name(number) != final || !hasHash(path, wanted[number]) {
				err = os.Remove(path)
				break
			}
			err = os.Rename(path, filepath.Join(s.dir, final))
			s.replaced(number)
			moved = true
		}
		if err != nil {
			return err
		}
	}
	s.retireAll(entries, wanted)
	if moved {
		return syncDir(s.dir)
	}
	return nil
}

// retireAll removes the files of the folder in whose place the state counts on
// another one, when that is there.
func (s *segments) retireAll(entries []os.DirEntry, wanted []segmentInfo) {
	for _, e := range entries {
		number, known := numberOf(e.Name())
		if !known || number >= uint64(len(wanted)) {
			continue
		}
		path, there := filepath.Join(s.dir, e.Name()), s.file(number, wanted[number])
		if path == there {
			s.wanted(path)
		} else if _, err := os.Stat(there); err == nil {
			s.retire(number, path)
		}
	}
}

// numberOf is the segment that a file of the folder belongs to.
func numberOf(name string) (number uint64, ok bool) {
	_, err := fmt.Sscanf(name, "%d.", &number)
	return number, err == nil && (name == segmentInfo{}.name(number) || name == segmentInfo{archived: true}.name(number))
}

// hasHash says whether the file is the one that info names.
func hasHash(path string, info segmentInfo) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return err == nil && n == info.size && [sha256.Size]byte(sum.Sum(nil)) == info.sum
}

// linkOrCopy makes to the same file as from, durably: a hard link, or a copy
// where the file system has none.
func linkOrCopy(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
