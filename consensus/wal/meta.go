package wal

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
)

const (
	metaName  = "meta"
	metaFresh = "meta.new" // a meta that is not complete yet
	metaMagic = "TAMVLOG1"
	metaFixed = 64
	slotSize  = 4096
)

// meta is the record that says which part of the segments is the log.
type meta struct {
	sequence uint64
	first    uint64     // index of the first entry
	cut      uint64     // entries from here on are being removed; 0 for none
	newest   segmentRef // the segment that appends go to
	floor    uint64     // the log reaches at least this index; 0 when it is empty
	table    map[string][]byte
}

// encode returns one slot.
func (m meta) encode() ([]byte, error) {
	b := make([]byte, metaFixed, slotSize)
	copy(b, metaMagic)
	for i, v := range []uint64{m.sequence, m.first, m.cut, m.newest.id, m.newest.first, m.floor} {
		be.PutUint64(b[8+8*i:], v)
	}
	for _, key := range slices.Sorted(maps.Keys(m.table)) {
		for _, part := range [][]byte{[]byte(key), m.table[key]} {
			if len(part) > math.MaxUint16 {
				return nil, fmt.Errorf("%w: a key or value of %d bytes", ErrTooLarge, len(part))
			}
			b = append(be.AppendUint16(b, uint16(len(part))), part...)
		}
	}
	if len(b) > slotSize {
		return nil, fmt.Errorf("%w: keys and values of %d bytes, at most %d fit", ErrTooLarge, len(b)-metaFixed, slotSize-metaFixed)
	}
	be.PutUint32(b[56:], uint32(len(b)-metaFixed))
	be.PutUint32(b[60:], checksum(b[:60], b[metaFixed:]))
	return b[:slotSize], nil
}

// decodeMeta accepts exactly what encode makes.
func decodeMeta(b []byte) (m meta, ok bool) {
	if len(b) != slotSize || string(b[:8]) != metaMagic {
		return meta{}, false
	}
	length := be.Uint32(b[56:])
	if length > slotSize-metaFixed {
		return meta{}, false
	}
	table := b[metaFixed : metaFixed+length]
	if be.Uint32(b[60:]) != checksum(b[:60], table) || !allZero(b[metaFixed+length:]) {
		return meta{}, false
	}
	m.table = map[string][]byte{}
	for i, v := range []*uint64{&m.sequence, &m.first, &m.cut, &m.newest.id, &m.newest.first, &m.floor} {
		*v = be.Uint64(b[8+8*i:])
	}
	last := ""
	for n := 0; len(table) > 0; n++ {
		key, rest, ok := cutField(table)
		if !ok || n > 0 && string(key) <= last {
			return meta{}, false
		}
		value, rest, ok := cutField(rest)
		if !ok {
			return meta{}, false
		}
		last, table = string(key), rest
		m.table[last] = slices.Clone(value)
	}
	return m, true
}

// cutField takes a length and as many bytes from the beginning of b.
func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(be.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(be.Uint16(b))
	return b[2:n], b[n:], true
}

// metaFile is the file meta.
type metaFile struct {
	f      file
	poison *poison
	syncs  func()

	mu        sync.Mutex
	meta      meta // guarded by mu: as acknowledged
	unsettled bool // guarded by mu: a slot may hold another record, after a write that failed
}

// createMeta makes the file of an empty log. It gets its name when it is complete.
func createMeta(dir folder, table map[string][]byte) error {
	if err := removeIfThere(dir, metaFresh); err != nil {
		return err
	}
	f, err := dir.open(metaFresh, true)
	if err != nil {
		return diskError("create meta", err)
	}
	slot, err := meta{sequence: 1, table: table}.encode()
	if err == nil {
		_, err = f.WriteAt(append(slot, slot...), 0)
	}
	if err == nil {
		err = f.sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return diskError("create meta", err)
	}
	if err := dir.rename(metaFresh, metaName); err != nil {
		return diskError("create meta", err)
	}
	if err := dir.sync(); err != nil {
		return diskError("create meta", err)
	}
	return nil
}

// openMeta reads the file.
func openMeta(dir folder, p *poison, syncs func()) (*metaFile, error) {
	f, err := dir.open(metaName, false)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	m := &metaFile{f: f, poison: p, syncs: syncs}
	if err := m.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// load takes the newer of the two records.
func (m *metaFile) load() error {
	var b [2 * slotSize]byte
	if n, err := readFull(m.f, b[:], 0); err != nil {
		return &DamageError{Segment: metaName, Offset: int64(n), Reason: "unreadable: " + err.Error()}
	}
	one, ok1 := decodeMeta(b[:slotSize])
	two, ok2 := decodeMeta(b[slotSize:])
	switch {
	case !ok1 && !ok2:
		return &DamageError{Segment: metaName, Reason: "neither record is what was written"}
	case !ok1 || ok2 && two.sequence > one.sequence:
		one = two
	}
	m.meta, m.unsettled = one, !ok1 || !ok2 || one.sequence != two.sequence
	return nil
}

// read returns the record; its table must not be changed.
func (m *metaFile) read() meta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta
}

// update changes the record on disk and then in memory. After an error the disk may hold either.
func (m *metaFile) update(change func(*meta)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store(change)
}

// settle makes both slots hold the acknowledged record again. Until then nothing may change that the other one relies on.
func (m *metaFile) settle() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.unsettled {
		return nil
	}
	return m.store(func(*meta) {})
}

// store needs mu.
func (m *metaFile) store(change func(*meta)) error {
	if err := m.poison.check(); err != nil {
		return err
	}
	next := m.meta
	change(&next)
	m.meta.sequence++ // never the same one for two records
	next.sequence = m.meta.sequence
	slot, err := next.encode()
	if err != nil {
		return err
	}
	m.unsettled = true
	for at := int64(0); at < 2*slotSize; at += slotSize {
		if _, err := m.f.WriteAt(slot, at); err != nil {
			return diskError("write meta", err)
		}
		if err := m.f.sync(); err != nil {
			return m.poison.set("sync meta", err)
		}
		m.syncs()
	}
	m.meta, m.unsettled = next, false
	return nil
}

// check reads both slots again; a bad one is written anew.
func (m *metaFile) check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b [2 * slotSize]byte
	if _, err := readFull(m.f, b[:], 0); err != nil {
		return fmt.Errorf("wal: read meta: %w", err)
	}
	_, ok1 := decodeMeta(b[:slotSize])
	_, ok2 := decodeMeta(b[slotSize:])
	if ok1 && ok2 {
		return nil
	}
	return m.store(func(*meta) {})
}
