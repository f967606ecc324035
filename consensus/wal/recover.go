package wal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// recover reads the log and makes it ready for changes.
func (l *Log) recover(syncs func()) error {
	names, err := l.dir.list()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if fresh(names) {
		if err := createMeta(l.dir, nil); err != nil {
			return err
		}
	}
	rest, err := l.load(syncs)
	if d := (*DamageError)(nil); errors.As(err, &d) {
		m := meta{}
		if l.meta != nil {
			m = l.meta.read()
		}
		d.LastIndex = trace(l.dir, m, d).last
	}
	if err != nil {
		return err
	}
	return l.heal(rest, names)
}

// fresh reports whether there was never a log, as opposed to a part of one that is missing.
func fresh(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return name == metaName || strings.HasSuffix(name, segmentSuffix)
	})
}

// load reads and verifies everything and changes nothing on disk. rest is the offset up to which the newest segment holds
// remains behind its last entry.
func (l *Log) load(syncs func()) (rest int64, err error) {
	l.meta, err = openMeta(l.dir, &l.poison, syncs)
	if errors.Is(err, os.ErrNotExist) {
		return 0, &DamageError{Segment: metaName, Reason: "missing"}
	}
	if err != nil {
		return 0, err
	}
	m := l.meta.read()
	if m.newest.id == 0 {
		return 0, nil
	}
	if err := l.follow(m); err != nil {
		return 0, err
	}
	var b []byte
	for i, s := range l.segments {
		if b, err = s.readAll(b); err != nil {
			return 0, err
		}
		if i < len(l.segments)-1 {
			err = s.loadSealed(b, l.segments[i+1].first)
		} else {
			rest, err = s.loadNewest(b, m)
		}
		if err != nil {
			return 0, err
		}
	}
	l.first, l.last = m.first, l.tail().last()
	return rest, nil
}

// follow opens the segments from the newest one back to the one that holds the first entry.
func (l *Log) follow(m meta) error {
	for ref := m.newest; ref.id != 0; {
		s, err := openSegment(l.dir, ref)
		if err != nil {
			return err
		}
		l.segments = slices.Insert(l.segments, 0, s)
		if s.first <= m.first {
			return nil
		}
		ref = s.previous
	}
	return &DamageError{Segment: segmentName(m.first), Index: m.first, Reason: "missing"}
}

// openSegment opens the file of a segment and checks that it is this one.
func openSegment(dir folder, ref segmentRef) (*segment, error) {
	s := &segment{name: segmentName(ref.first), seed: seedOf(ref.id), end: headerSize}
	damage := func(reason string) error {
		return &DamageError{Segment: s.name, Index: ref.first, Reason: reason}
	}
	f, err := dir.open(s.name, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, damage("missing")
	}
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	var b [headerSize]byte
	size, err := f.size()
	if err == nil && size >= headerSize {
		_, err = readFull(f, b[:], 0)
	}
	var ok bool
	switch s.header, ok = decodeHeader(b[:]); {
	case err != nil:
		err = damage("unreadable: " + err.Error())
	case !ok || s.segmentRef != ref:
		err = damage("not the header that was written")
	case s.size != size:
		err = damage(fmt.Sprintf("%d bytes instead of %d", size, s.size))
	default:
		s.f = f
		return s, nil
	}
	return nil, errors.Join(err, f.Close())
}

// readAll reads the whole file, into b if it fits.
func (s *segment) readAll(b []byte) ([]byte, error) {
	b = slices.Grow(b[:0], int(s.size))[:s.size]
	if n, err := readFull(s.f, b, 0); err != nil {
		return b, &DamageError{Segment: s.name, Offset: int64(n), Index: s.first, Reason: "unreadable: " + err.Error()}
	}
	return b, nil
}

// loadSealed takes the entries of a segment whose successor begins with index next.
func (s *segment) loadSealed(b []byte, next uint64) error {
	found := walk(b, s.header, next)
	if found.next != next || !allZero(b[found.end:]) {
		return s.damage(found, "not what was written")
	}
	s.offsets, s.end = found.offsets, int64(found.end)
	return nil
}

// loadNewest takes the entries of the newest segment.
func (s *segment) loadNewest(b []byte, m meta) (rest int64, err error) {
	found := walk(b, s.header, m.cut)
	if m.cut == 0 {
		if objection := found.tornOff(b, s.seed); objection != "" {
			return 0, s.damage(found, objection)
		}
	}
	if found.next <= max(m.floor, m.first-1) || m.cut != 0 && found.next != m.cut {
		return 0, s.damage(found, "the log went on from here")
	}
	s.offsets, s.end = found.offsets, int64(found.end)
	end := len(b)
	for end > found.end && b[end-1] == 0 {
		end--
	}
	return int64(end), nil
}

func (s *segment) damage(found scan, reason string) error {
	return &DamageError{Segment: s.name, Offset: int64(found.end), Index: found.next, Reason: reason}
}

// heal removes what is no part of the log and makes durable what was read: after the end of a process, as opposed to one of the
// machine, it may have come from the memory of the kernel.
func (l *Log) heal(rest int64, names []string) error {
	if err := l.meta.settle(); err != nil { // first, since the older record may rely on what is removed
		return err
	}
	live := map[string]bool{metaName: true, lockName: true}
	for _, s := range l.segments {
		live[s.name] = true
	}
	for _, name := range names {
		_, old := parseSegmentName(name)
		if live[name] || !old && name != metaFresh && !strings.HasPrefix(name, sparePrefix) {
			continue
		}
		if err := removeIfThere(l.dir, name); err != nil {
			return err
		}
	}
	if err := l.dir.sync(); err != nil {
		return diskError("sync the folder", err)
	}
	if tail := l.tail(); tail != nil {
		if err := l.sync(tail.f, "open"); err != nil {
			return err
		}
	}
	l.failed, l.cutting = rest, l.meta.read().cut != 0
	return l.clean()
}
