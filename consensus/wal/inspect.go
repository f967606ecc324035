package wal

import (
	"errors"
	"fmt"
	"slices"
)

// Inspection is what can be said of a log that may be damaged.
type Inspection struct {
	// Damage is nil, or the *DamageError that Open returns.
	Damage error
	// First is the index of the first entry, 0 if there is none.
	First uint64
	// Last is the highest index of which there is a trace, good or bad; 0 for none.
	Last uint64
	// Complete is false if there may have been entries after Last, because the newest segment or the file meta is lost.
	Complete bool
	// Term is the highest term of a good entry.
	Term uint64
	// Stable are the keys and values of the stable store, as Set wrote them; nil if they are lost.
	Stable map[string][]byte
}

// Inspect looks at the log in a folder, for its repair, and changes nothing in it. It returns ErrLocked as Open does.
func Inspect(dir string) (Inspection, error) {
	return inspect(disk{dir})
}

func inspect(dir folder) (Inspection, error) {
	var in Inspection
	locked, err := dir.lock()
	if err != nil {
		return in, err
	}
	l := &Log{dir: dir, locked: locked, pool: &pool{dir: dir}, first: 1}
	names, err := dir.list()
	if err == nil && !fresh(names) {
		_, err = l.load(func() {})
	}
	d := (*DamageError)(nil)
	if err != nil && !errors.As(err, &d) {
		return in, errors.Join(fmt.Errorf("wal: inspect: %w", err), l.release())
	}
	m := meta{}
	if l.meta != nil {
		m = l.meta.read()
		in.Stable = m.table
	}
	t := trace(dir, m, d)
	in.Complete = t.newest || d == nil
	if d != nil {
		d.LastIndex, in.Damage = t.last, d
	}
	in.Last, in.Term = t.last, t.term
	if m.newest.id != 0 {
		in.First = min(m.first, in.Last)
	}
	return in, l.release()
}

// traces are what the segments hold, whether or not they make a log.
type traces struct {
	last, term uint64
	newest     bool // the newest segment was among them
}

// trace looks for entries in every segment.
func trace(dir folder, m meta, d *DamageError) traces {
	t := traces{last: m.floor, newest: m.newest.id == 0 && m.sequence > 0}
	if m.newest.first > 0 {
		t.last = max(t.last, m.newest.first-1)
	}
	if d != nil && d.Offset > 0 && d.Index > 0 {
		t.last = max(t.last, d.Index) // something stood there
	}
	names, err := dir.list()
	if err != nil {
		return t
	}
	for _, name := range names {
		t.look(dir, name, m)
	}
	return t
}

// look adds what a file holds if it is a segment that meta does not exclude.
func (t *traces) look(dir folder, name string, m meta) {
	first, ok := parseSegmentName(name)
	if !ok || m.sequence > 0 && (m.newest.id == 0 || first > m.newest.first) {
		return
	}
	b := readName(dir, name)
	h, ok := decodeHeader(b)
	if !ok && first == m.newest.first {
		h, ok = header{segmentRef: m.newest}, true // frames can be recognised without it
	}
	if !ok || h.first != first {
		return
	}
	t.newest = t.newest || h.segmentRef == m.newest
	from := scan{end: headerSize - 8, next: h.first}
	for f := range from.behind(b, seedOf(h.id)) {
		if m.cut == 0 || f.index < m.cut {
			t.last, t.term = max(t.last, f.index), max(t.term, f.term)
		}
	}
}

// readName returns as much of a file as can be read.
func readName(dir folder, name string) []byte {
	f, err := dir.open(name, false)
	if err != nil {
		return nil
	}
	defer f.Close()
	size, err := f.size()
	if err != nil || size > 2*maxAppend {
		return nil
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil {
		b = b[:n]
	}
	return b
}

// Reset makes the log in a folder an empty one, for a repair that has put the state beyond its last entry in place. What the
// stable store holds stays; if it was lost it is empty then, and the caller must not let the node vote in a term in which
// it may have voted before.
func Reset(dir string) error {
	folder, err := openDisk(dir)
	if err != nil {
		return err
	}
	return reset(folder)
}

func reset(dir folder) error {
	locked, err := dir.lock()
	if err != nil {
		return err
	}
	l := &Log{dir: dir, locked: locked, pool: &pool{dir: dir}, first: 1}
	return errors.Join(l.reset(), l.release())
}

func (l *Log) reset() error {
	names, err := l.dir.list()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	l.meta, err = openMeta(l.dir, &l.poison, func() {})
	if err == nil {
		err = l.meta.update(func(m *meta) { *m = meta{sequence: m.sequence, table: m.table} })
	} else if d := (*DamageError)(nil); errors.As(err, &d) || !slices.Contains(names, metaName) {
		err = createMeta(l.dir, nil)
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := parseSegmentName(name); !ok {
			continue
		}
		if err := removeIfThere(l.dir, name); err != nil {
			return err
		}
	}
	return l.dir.sync()
}
