package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

const segmentSuffix = ".wal"

func segmentName(first uint64) string {
	return fmt.Sprintf("%020d%s", first, segmentSuffix)
}

// parseSegmentName accepts exactly what segmentName makes.
func parseSegmentName(name string) (first uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, ok && err == nil && segmentName(first) == name
}

// segment is a file of the log.
type segment struct {
	header
	name string
	seed uint32 // of the checksums of its frames
	f    file
	use  sync.RWMutex // held while frames are read; exclusively while some are zeroed or the file leaves the log

	offsets []uint32 // where the frame of each entry begins; guarded by Log.mu, changed with Log.write
	end     int64    // behind the last frame; guarded likewise
}

// last is the index of the last entry, first-1 if there is none.
func (s *segment) last() uint64 { return s.first + uint64(len(s.offsets)) - 1 }

// span returns where the frame of an entry begins and ends.
func (s *segment) span(index uint64) (begin, end int64) {
	i := index - s.first
	if i+1 == uint64(len(s.offsets)) {
		return int64(s.offsets[i]), s.end
	}
	return int64(s.offsets[i]), int64(s.offsets[i+1])
}

func newSegmentID() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if id := be.Uint64(b[:]); id != 0 {
			return id
		}
	}
}

// spare is a file that can become a segment.
type spare struct {
	name string
	f    file
	size int64
	used int64 // bytes to zero before that
}

const sparePrefix = "spare-"

// pool keeps files of the usual size ready, so that an append rarely has to make one. Spare files do not outlive the process:
// what one contains after a crash is not known.
type pool struct {
	dir   folder
	size  int64
	limit int          // of files kept
	spawn func(func()) // starts work in the background
	syncs func()

	mu     sync.Mutex
	serial uint64        // guarded by mu, like all below
	used   []spare       // taken from the log, not zeroed yet
	ready  *spare        // zeroed and synced
	busy   chan struct{} // closed when the preparation that is under way ends; else nil
	closed bool
}

// refill begins to prepare a file, unless there is one.
func (p *pool) refill() {
	p.mu.Lock()
	idle := !p.closed && p.ready == nil && p.busy == nil
	if idle {
		p.busy = make(chan struct{})
	}
	p.mu.Unlock()
	if idle {
		p.spawn(p.prepareAhead)
	}
}

func (p *pool) prepareAhead() {
	// Without a file take makes one itself and reports why it cannot.
	s, err := p.prepare(p.size)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.busy)
	p.busy = nil
	if err == nil {
		p.ready = &s
	}
}

// take returns a file of size bytes, all zero and durable except for its name. waited says that none was ready.
func (p *pool) take(size int64) (s spare, waited bool, err error) {
	if size == p.size {
		p.mu.Lock()
		for p.busy != nil {
			busy := p.busy
			p.mu.Unlock()
			<-busy
			p.mu.Lock()
			waited = true
		}
		ready := p.ready
		p.ready = nil
		p.mu.Unlock()
		if ready != nil {
			return *ready, waited, nil
		}
	}
	s, err = p.prepare(size)
	return s, true, err
}

// prepare zeroes a used file or makes a new one.
func (p *pool) prepare(size int64) (spare, error) {
	s, err := p.pick(size)
	if err != nil {
		return spare{}, diskError("make a segment", err)
	}
	if err := zero(s.f, 0, s.used, p.syncs); err != nil {
		p.discard(s) // gives the space back to a full disk
		return spare{}, diskError("make a segment", err)
	}
	s.used = 0
	return s, nil
}

func (p *pool) pick(size int64) (spare, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.used); n > 0 && size == p.size {
		s := p.used[n-1]
		p.used = p.used[:n-1]
		return s, nil
	}
	s := spare{name: p.name(), size: size, used: size}
	var err error
	s.f, err = p.dir.open(s.name, true)
	return s, err
}

// name needs mu.
func (p *pool) name() string {
	p.serial++
	return sparePrefix + strconv.FormatUint(p.serial, 10)
}

// give takes over the file of a segment that is no part of the log any more. Nothing depends on its success: a file that
// stays behind is removed by the next Open.
func (p *pool) give(s *segment) {
	s.use.Lock() // readers are done
	defer s.use.Unlock()
	p.mu.Lock()
	kept := len(p.used)
	if p.ready != nil || p.busy != nil {
		kept++
	}
	keep := !p.closed && kept < p.limit && s.size == p.size
	name := p.name()
	p.mu.Unlock()
	if !keep || p.dir.rename(s.name, name) != nil {
		p.discard(spare{name: s.name, f: s.f})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used = append(p.used, spare{name: name, f: s.f, size: s.size, used: s.end})
}

// discard removes a file that is of no use, as far as possible.
func (p *pool) discard(s spare) {
	_ = s.f.Close()
	_ = p.dir.remove(s.name)
}

// close waits for the preparation under way and removes the files.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	busy := p.busy
	p.mu.Unlock()
	if busy != nil {
		<-busy
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.used {
		p.discard(s)
	}
	if p.ready != nil {
		p.discard(*p.ready)
	}
	p.used, p.ready = nil, nil
}

// length is the number of files kept.
func (p *pool) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready != nil {
		return len(p.used) + 1
	}
	return len(p.used)
}

// readFull reads len(b) bytes at an offset.
func readFull(f io.ReaderAt, b []byte, at int64) (int, error) {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		err = nil
	}
	return n, err
}

func removeIfThere(dir folder, name string) error {
	if err := dir.remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("wal: remove %s: %w", name, err)
	}
	return nil
}
