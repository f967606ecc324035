package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Options are the settings of a Log; the zero value has good ones.
type Options struct {
	// SegmentSize is the size of a segment in bytes, 4 KiB to 1 GiB; 0 means 16 MiB. It may differ from one Open to the next.
	SegmentSize int64
	// Spares is the number of removed segments kept to be used again; 0 means 2.
	Spares int

	folder folder       // nil means the disk
	spawn  func(func()) // nil means a goroutine
}

const (
	defaultSegmentSize = 16 << 20
	minSegmentSize     = 4 << 10
	defaultSpares      = 2
	// keptBuffer is the largest encoding buffer that is kept between appends.
	keptBuffer = 4 << 20
)

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	dir    folder
	locked io.Closer
	meta   *metaFile
	pool   *pool
	poison poison
	size   int64 // of a usual segment

	write   sync.Mutex // held by what changes the log: StoreLogs, DeleteRange, Close
	buf     []byte     // guarded by write: the append being encoded
	failed  int64      // guarded by write: the tail may hold remains of an append or of removed entries up to this offset
	cutting bool       // guarded by write: meta announces a removal that is not complete

	mu       sync.RWMutex
	segments []*segment // guarded by mu, changed only with write held; oldest first
	first    uint64     // likewise: index of the first entry
	last     uint64     // likewise: index of the last entry, first-1 when there is none
	closed   bool       // likewise

	counters counters
}

// Open opens the log in a folder, which is made if need be, and verifies all of it: about 16 MiB in 10 ms. It returns
// ErrLocked if another process does not let go of it within a second, and a *DamageError if it is damaged.
func Open(dir string, o Options) (*Log, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.Spares == 0 {
		o.Spares = defaultSpares
	}
	if o.SegmentSize < minSegmentSize || o.SegmentSize > maxAppend || o.Spares < 0 {
		return nil, fmt.Errorf("wal: segments of %d bytes and %d spare ones are not possible", o.SegmentSize, o.Spares)
	}
	if o.spawn == nil {
		o.spawn = func(work func()) { go work() }
	}
	if o.folder == nil {
		var err error
		if o.folder, err = openDisk(dir); err != nil {
			return nil, err
		}
	}
	locked, err := o.folder.lock()
	if err != nil {
		return nil, err
	}
	l := &Log{dir: o.folder, locked: locked, size: o.SegmentSize, first: 1}
	syncs := func() { l.counters.syncs.Add(1) }
	l.pool = &pool{dir: o.folder, size: o.SegmentSize, limit: o.Spares, spawn: o.spawn, syncs: syncs}
	if err := l.recover(syncs); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

// openDisk makes the folder.
func openDisk(path string) (folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, diskError("make the folder", err)
	}
	return disk{path}, nil
}

// FirstIndex returns the index of the first entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) {
	first, _, err := l.bounds()
	return first, err
}

// LastIndex returns the index of the last entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) {
	_, last, err := l.bounds()
	return last, err
}

func (l *Log) bounds() (first, last uint64, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return 0, 0, ErrClosed
	}
	if l.last < l.first {
		return 0, 0, nil
	}
	return l.first, l.last, nil
}

// IsMonotonic implements raft.MonotonicLogStore: there are no gaps between entries.
func (l *Log) IsMonotonic() bool { return true }

// GetLog reads and verifies an entry. It returns raft.ErrLogNotFound for an index outside the log and a *DamageError if the entry
// is not what was written.
func (l *Log) GetLog(index uint64, entry *raft.Log) error {
	var b []byte
	f, err := l.read(index, &b)
	if err != nil {
		return err
	}
	f.fill(b, entry)
	return nil
}

// read reads the frame of an entry into *b, which is made larger when need be.
func (l *Log) read(index uint64, b *[]byte) (frame, error) {
	l.mu.RLock()
	if l.closed || index < l.first || index > l.last {
		defer l.mu.RUnlock()
		if l.closed {
			return frame{}, ErrClosed
		}
		return frame{}, raft.ErrLogNotFound
	}
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > index })
	s, last := l.segments[i-1], l.last
	begin, end := s.span(index)
	s.use.RLock() // before mu is released, so that nobody takes the file away in between
	l.mu.RUnlock()
	defer s.use.RUnlock()

	if n := int(end - begin); cap(*b) < n {
		*b = make([]byte, n)
	} else {
		*b = (*b)[:n]
	}
	if _, err := readFull(s.f, *b, begin); err != nil {
		return frame{}, fmt.Errorf("wal: read entry %d: %w", index, err)
	}
	f, ok := decodeFrame(*b, s.seed)
	if !ok || f.index != index || f.size() != len(*b) || !f.intact(*b) {
		return frame{}, &DamageError{Segment: s.name, Offset: begin, Index: index, LastIndex: last, Reason: "not what was written"}
	}
	return f, nil
}

// StoreLog appends one entry; see StoreLogs.
func (l *Log) StoreLog(entry *raft.Log) error {
	return l.StoreLogs([]*raft.Log{entry})
}

// StoreLogs appends entries, together at most 1 GiB, in one write and one sync. The first follows the last one in the log, or
// has any index if the log is empty. After an error other than ErrPoisoned the log is as before.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.prepare(); err != nil {
		return err
	}
	size, err := l.checkAppend(entries)
	if err != nil {
		return err
	}
	tail, err := l.room(entries[0].Index, size)
	if err != nil {
		return err
	}
	b := l.buf[:0]
	for i, e := range entries {
		b = appendFrame(b, tail.seed, e, uint32(i))
	}
	if cap(b) <= keptBuffer {
		l.buf = b
	}
	if _, err := tail.f.WriteAt(b, tail.end); err != nil {
		// A part may have been written. What cannot be removed now is removed before anything else happens.
		l.failed = tail.end + size
		return errors.Join(diskError("append", err), l.clean())
	}
	if err := l.sync(tail.f, "append"); err != nil {
		return err
	}
	l.appended(tail, entries)
	return nil
}

// checkAppend returns the bytes that the frames of entries take.
func (l *Log) checkAppend(entries []*raft.Log) (size int64, err error) {
	next := entries[0].Index
	if next == 0 || l.last >= l.first && next != l.last+1 {
		return 0, fmt.Errorf("%w: %d does not follow %d", ErrOrder, next, l.last)
	}
	for i, e := range entries {
		if e.Index != next+uint64(i) {
			return 0, fmt.Errorf("%w: %d does not follow %d", ErrOrder, e.Index, next+uint64(i)-1)
		}
		size += entrySize(e)
		if size > maxAppend {
			return 0, fmt.Errorf("%w: an append of more than %d bytes", ErrTooLarge, maxAppend)
		}
	}
	return size, nil
}

// appended makes entries that are on disk a part of the log.
func (l *Log) appended(tail *segment, entries []*raft.Log) {
	l.mu.Lock()
	before := tail.end
	for _, e := range entries {
		tail.offsets = append(tail.offsets, uint32(tail.end))
		tail.end += entrySize(e)
	}
	l.last = entries[len(entries)-1].Index
	l.mu.Unlock()
	l.counters.appends.Add(1)
	l.counters.entries.Add(uint64(len(entries)))
	l.counters.bytes.Add(uint64(tail.end - before))
	if tail.end > tail.size/2 {
		l.pool.refill()
	}
}

// prepare refuses changes that are not possible and completes what an earlier failure left undone. It needs write.
func (l *Log) prepare() error {
	if l.closed {
		return ErrClosed
	}
	if err := l.poison.check(); err != nil {
		return err
	}
	if err := l.meta.settle(); err != nil {
		return err
	}
	return l.clean()
}

// clean zeroes what stands behind the last entry and ends a removal. It needs write.
func (l *Log) clean() error {
	if tail := l.tail(); tail != nil && l.failed > tail.end {
		tail.use.Lock() // no reader of removed entries is left
		err := zero(tail.f, tail.end, l.failed, func() { l.counters.syncs.Add(1) })
		tail.use.Unlock()
		if failure := (*syncError)(nil); errors.As(err, &failure) {
			return l.poison.set("sync the log", err)
		}
		if err != nil {
			return diskError("clear the end of the log", err)
		}
	}
	l.failed = 0
	if l.cutting {
		if err := l.meta.update(func(m *meta) { m.cut = 0 }); err != nil {
			return err
		}
		l.cutting = false
	}
	return nil
}

// sync makes a file of the log durable, or poisons the log.
func (l *Log) sync(f file, what string) error {
	if err := f.sync(); err != nil {
		return l.poison.set(what, err)
	}
	l.counters.syncs.Add(1)
	return nil
}

// tail returns the newest segment, nil if there is none. It needs write or mu.
func (l *Log) tail() *segment {
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}

// floor is the index that meta may promise. It needs write.
func (l *Log) floor() uint64 {
	if l.last < l.first {
		return 0
	}
	return l.last
}

// Err returns an error that wraps ErrPoisoned and the cause once the disk failed, else nil.
func (l *Log) Err() error { return l.poison.check() }

// Close records where the log ends and closes the files. A poisoned log is only closed.
func (l *Log) Close() error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.closed {
		return nil
	}
	err := l.prepare()
	if err == nil && l.meta.read().floor != l.floor() {
		err = l.meta.update(func(m *meta) { m.floor = l.floor() })
	}
	if errors.Is(err, ErrPoisoned) {
		err = nil // it was reported when it happened
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return errors.Join(err, l.release())
}

// release closes everything; the lock goes last.
func (l *Log) release() error {
	l.pool.close()
	var errs []error
	for _, s := range l.segments {
		s.use.Lock()
		errs = append(errs, s.f.Close())
		s.use.Unlock()
	}
	if l.meta != nil {
		errs = append(errs, l.meta.f.Close())
	}
	return errors.Join(append(errs, l.locked.Close())...)
}

// Counters are a log's numbers since it was opened.
type Counters struct {
	Appends, Entries, Bytes uint64 // acknowledged; Bytes as they stand in the segments
	Syncs                   uint64 // of any file
	Rolls                   uint64 // segments begun
	Waits                   uint64 // those for which no spare file was ready
	Segments, Spares        int    // files now
}

type counters struct {
	appends, entries, bytes, syncs, rolls, waits atomic.Uint64
}

// Counters returns the log's numbers.
func (l *Log) Counters() Counters {
	l.mu.RLock()
	segments := len(l.segments)
	l.mu.RUnlock()
	c := &l.counters
	return Counters{
		Appends: c.appends.Load(), Entries: c.entries.Load(), Bytes: c.bytes.Load(), Syncs: c.syncs.Load(),
		Rolls: c.rolls.Load(), Waits: c.waits.Load(), Segments: segments, Spares: l.pool.length(),
	}
}
