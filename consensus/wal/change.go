package wal

import (
	"fmt"
)

// room returns the segment that takes size bytes of entries from index first on, and begins one if need be. It needs write.
func (l *Log) room(first uint64, size int64) (*segment, error) {
	tail := l.tail()
	switch {
	case tail == nil:
	case len(tail.offsets) == 0 && (tail.first != first || tail.end+size > tail.size):
		if err := l.dropEmptyTail(tail); err != nil {
			return nil, err
		}
	case tail.end+size <= tail.size:
		return tail, nil
	}
	return l.roll(first, headerSize+size)
}

// dropEmptyTail removes a segment that was begun and then not used, because it has the wrong name or size for what comes now.
func (l *Log) dropEmptyTail(tail *segment) error {
	err := l.meta.update(func(m *meta) { m.newest, m.floor = tail.previous, l.floor() })
	if err != nil {
		return err
	}
	l.drop(len(l.segments)-1, len(l.segments))
	return nil
}

// firstShare is how much smaller the first segment of an empty log is, so that a new node need not wait for a large one.
const firstShare = 16

// roll begins a segment. It counts from the moment when meta names it; before that a crash leaves a file that Open removes.
func (l *Log) roll(first uint64, size int64) (*segment, error) {
	empty := l.last < l.first
	usual := l.size
	if empty {
		usual = max(usual/firstShare, minSegmentSize)
	}
	file, waited, err := l.pool.take(max(usual, (size+slotSize-1)/slotSize*slotSize))
	if err != nil {
		return nil, err
	}
	s := &segment{
		header: header{segmentRef: segmentRef{newSegmentID(), first}, size: file.size},
		name:   segmentName(first), f: file.f, end: headerSize,
	}
	s.seed = seedOf(s.id)
	if tail := l.tail(); tail != nil {
		s.previous = tail.segmentRef
	}
	if err := l.name(s, &file); err != nil {
		l.pool.discard(file)
		return nil, diskError("begin a segment", err)
	}
	err = l.meta.update(func(m *meta) {
		m.newest, m.floor = s.segmentRef, l.floor()
		if empty {
			m.first = first
		}
	})
	if err != nil {
		if l.meta.settle() == nil { // otherwise meta may name the file
			l.pool.discard(spare{name: s.name, f: s.f})
		}
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	if empty {
		l.first, l.last = first, first-1
	}
	l.counters.rolls.Add(1)
	if waited {
		l.counters.waits.Add(1)
	}
	return s, nil
}

// name writes the header of a segment and gives its file the name.
func (l *Log) name(s *segment, file *spare) error {
	if _, err := s.f.WriteAt(s.encode(), 0); err != nil {
		return err
	}
	if err := s.f.sync(); err != nil {
		return err
	}
	l.counters.syncs.Add(1)
	if err := l.dir.rename(file.name, s.name); err != nil {
		return err
	}
	file.name = s.name
	return l.dir.sync()
}

// DeleteRange removes the entries from index first to last: the beginning of the log, its end, or all of it. It returns
// ErrOrder if entries would be left on both sides. Indexes outside the log are ignored.
func (l *Log) DeleteRange(first, last uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.prepare(); err != nil {
		return err
	}
	switch {
	case l.last < l.first || last < l.first || first > l.last || first > last:
		return nil
	case first <= l.first && last >= l.last:
		return l.deleteAll()
	case first <= l.first:
		return l.deleteHead(last + 1)
	case last >= l.last:
		return l.deleteTail(first)
	default:
		return fmt.Errorf("%w: removing %d to %d from %d to %d", ErrOrder, first, last, l.first, l.last)
	}
}

// deleteAll needs write. An empty log may go on with any index.
func (l *Log) deleteAll() error {
	err := l.meta.update(func(m *meta) { m.newest, m.floor = segmentRef{}, 0 })
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.last = l.first - 1
	l.mu.Unlock()
	l.drop(0, len(l.segments))
	return nil
}

// deleteHead makes first the first entry. Whole segments before it are given up. It needs write.
func (l *Log) deleteHead(first uint64) error {
	err := l.meta.update(func(m *meta) { m.first, m.floor = first, l.floor() })
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.first = first
	l.mu.Unlock()
	n := 0
	for l.segments[n].last() < first {
		n++
	}
	l.drop(0, n)
	return nil
}

// deleteTail removes the entries from index cut on. They are gone when meta says so; the rest is repeated by Open
// after a crash and by the next change after a failure. It needs write.
func (l *Log) deleteTail(cut uint64) error {
	n := len(l.segments) - 1
	for l.segments[n].first >= cut {
		n--
	}
	tail := l.segments[n]
	err := l.meta.update(func(m *meta) { m.cut, m.newest, m.floor = cut, tail.segmentRef, cut-1 })
	if err != nil {
		return err
	}
	l.cutting = true
	l.mu.Lock()
	l.failed = tail.end
	if cut <= tail.last() {
		tail.end = int64(tail.offsets[cut-tail.first])
		tail.offsets = tail.offsets[:cut-tail.first]
	}
	l.last = cut - 1
	l.mu.Unlock()
	l.drop(n+1, len(l.segments))
	return l.clean()
}

// drop takes the segments from number i up to, not including, j out of the log. Meta must not need them any more.
func (l *Log) drop(i, j int) {
	l.mu.Lock()
	dropped := append([]*segment(nil), l.segments[i:j]...)
	l.segments = append(l.segments[:i:i], l.segments[j:]...)
	l.mu.Unlock()
	for _, s := range dropped {
		l.pool.give(s)
	}
}
