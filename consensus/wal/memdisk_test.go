package wal

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
)

var errCrashed = errors.New("the machine is off")

// memDisk is a folder in memory that knows what would survive a power loss. Contents become durable by a sync of the file, names
// by a sync of the folder. What was not synced survives in any mixture of whole sectors; names survive in the order in which
// they were changed, up to any point.
type memDisk struct {
	mu      sync.Mutex
	names   map[string]*memFile
	durable map[string]*memFile
	renames []func(map[string]*memFile) // since the last sync of the folder

	calls  int // that change something
	crash  int // the call at which the machine goes off; 0 for never
	before func(call, name string) error
	reads  func(name string) error
	off    bool
}

type memFile struct {
	disk    *memDisk
	data    []byte
	durable []byte
	pending []memWrite // since the last sync
}

type memWrite struct {
	at   int
	data []byte
}

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memFile{}, durable: map[string]*memFile{}}
}

// call accounts for a change. The caller holds mu and carries the change out also when the machine goes off during it: a power
// loss may keep it or not.
func (d *memDisk) call(what, name string) error {
	if d.off {
		return errCrashed
	}
	d.calls++
	if d.calls == d.crash {
		d.off = true
		return nil
	}
	if d.before != nil {
		return d.before(what, name)
	}
	return nil
}

// done is the result of a change that was carried out.
func (d *memDisk) done() error {
	if d.off {
		return errCrashed
	}
	return nil
}

func (d *memDisk) open(name string, create bool) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	if !create {
		if f == nil {
			return nil, os.ErrNotExist
		}
		return memHandle{f, name}, nil
	}
	if f != nil {
		return nil, os.ErrExist
	}
	if err := d.call("create", name); err != nil {
		return nil, err
	}
	f = &memFile{disk: d}
	d.change(func(names map[string]*memFile) { names[name] = f })
	return memHandle{f, name}, d.done()
}

// change changes the names now, and durably at the next sync of the folder.
func (d *memDisk) change(op func(map[string]*memFile)) {
	op(d.names)
	d.renames = append(d.renames, op)
}

func (d *memDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("rename", from); err != nil {
		return err
	}
	if d.names[from] == nil {
		return os.ErrNotExist
	}
	d.change(func(names map[string]*memFile) { names[to] = names[from]; delete(names, from) })
	return d.done()
}

func (d *memDisk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return os.ErrNotExist
	}
	if err := d.call("remove", name); err != nil {
		return err
	}
	d.change(func(names map[string]*memFile) { delete(names, name) })
	return d.done()
}

func (d *memDisk) list() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), nil
}

func (d *memDisk) sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("sync", "."); err != nil {
		return err
	}
	if err := d.done(); err != nil {
		return err
	}
	d.durable, d.renames = maps.Clone(d.names), nil
	return nil
}

func (d *memDisk) lock() (io.Closer, error) { return io.NopCloser(nil), nil }

// memHandle is an open file.
type memHandle struct {
	*memFile
	name string
}

func (f memHandle) Close() error { return nil }

func (f memHandle) size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f memHandle) ReadAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.reads != nil {
		if err := f.disk.reads(f.name); err != nil {
			return 0, err
		}
	}
	if at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f memHandle) WriteAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.disk.call("write", f.name)
	if errors.Is(err, errCrashed) {
		return 0, err
	}
	n := len(b)
	if err != nil {
		n /= 2 // a part is written all the same
	}
	w := memWrite{int(at), slices.Clone(b[:n])}
	f.data = w.apply(f.data)
	f.pending = append(f.pending, w)
	if err == nil {
		err = f.disk.done()
	}
	return n, err
}

func (w memWrite) apply(data []byte) []byte {
	if end := w.at + len(w.data); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[w.at:], w.data)
	return data
}

func (f memHandle) sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.call("sync", f.name); err != nil {
		return err
	}
	if err := f.disk.done(); err != nil {
		return err
	}
	f.durable, f.pending = slices.Clone(f.data), nil
	return nil
}

// kill returns the disk as it is when the process, but not the machine, ended.
func (d *memDisk) kill() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copies := map[*memFile]*memFile{}
	after := newMemDisk()
	clone := func(f *memFile) *memFile {
		if copies[f] == nil {
			copies[f] = &memFile{after, slices.Clone(f.data), slices.Clone(f.durable), slices.Clone(f.pending)}
		}
		return copies[f]
	}
	for name, f := range d.names {
		after.names[name] = clone(f)
	}
	for name, f := range d.durable {
		after.durable[name] = clone(f)
	}
	// Single changes of names are not carried over: all or none of them survive.
	all := maps.Clone(after.names)
	after.renames = []func(map[string]*memFile){func(names map[string]*memFile) {
		clear(names)
		maps.Copy(names, all)
	}}
	return after
}

// powerLoss returns what a power loss may leave.
func (d *memDisk) powerLoss(r *rand.Rand) *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.durable)
	for _, op := range d.renames[:r.IntN(len(d.renames)+1)] {
		op(names)
	}
	after := newMemDisk()
	for name, f := range names {
		if f == nil {
			continue
		}
		data := f.tear(r)
		after.names[name] = &memFile{disk: after, data: data, durable: slices.Clone(data)}
	}
	after.durable = maps.Clone(after.names)
	return after
}

// tear lets each sector have what was written to it up to some point since the last sync.
func (f *memFile) tear(r *rand.Rand) []byte {
	data := slices.Clone(f.durable)
	mode := r.IntN(4) // everything, nothing, or a mixture
	seen := map[int]int{}
	for i, w := range f.pending {
		for at := w.at; at < w.at+len(w.data); {
			end := min((at/sectorSize+1)*sectorSize, w.at+len(w.data))
			upTo, ok := seen[at/sectorSize]
			if !ok {
				upTo = []int{len(f.pending), 0, r.IntN(len(f.pending) + 1), r.IntN(len(f.pending) + 1)}[mode]
				seen[at/sectorSize] = upTo
			}
			if i < upTo {
				data = memWrite{at, w.data[at-w.at : end-w.at]}.apply(data)
			}
			at = end
		}
	}
	return data
}
