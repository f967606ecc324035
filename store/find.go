package store

import (
	"encoding/binary"
	"sync"

	"tamv.internal/tamv/store/bookpi"
)

const (
	filterBitsEach = 10 // of each entry: 20 KiB a segment
	filterProbes   = 7  // one segment in a hundred looks as if it had a hash that it has not
	filterBits     = segmentEntries * filterBitsEach
	// maxFilters is of how many segments, the newest ones, filters are kept: 32 MiB at most.
	maxFilters = 1600
)

// hashFilters says which sealed segments cannot have an entry with some leaf hash, so that
// a look-up by hash does not open them all. A filter is made of a segment's index when one
// is first looked for in it, and is kept in memory only.
type hashFilters struct {
	mu sync.RWMutex
	of map[uint64]*hashFilter // guarded by mu
}

// hashFilter is a Bloom filter of the prefixes in a segment's index.
type hashFilter struct {
	info segmentInfo // of the file that it was made of
	bits [filterBits / 64]uint64
}

// probes calls fn for the bits of a hash until it returns false. What is hashed is
// uniform already.
func probes(prefix []byte, fn func(word int, mask uint64) bool) {
	at := binary.BigEndian.Uint64(prefix)
	step := at>>32 | 1
	for range filterProbes {
		bit := at % filterBits
		if !fn(int(bit/64), 1<<(bit%64)) {
			return
		}
		at += step
	}
}

func (f *hashFilter) lacks(leaf bookpi.Hash) (lacks bool) {
	probes(leaf[:8], func(word int, mask uint64) bool {
		lacks = f.bits[word]&mask == 0
		return !lacks
	})
	return lacks
}

// filter makes the filter of the segment.
func (s *segmentFile) filter() (*hashFilter, error) {
	f := &hashFilter{info: s.info}
	for _, frame := range s.index {
		page, err := s.read(frame)
		if err != nil {
			return nil, err
		}
		for ; len(page) > 0; page = page[indexEntry:] {
			probes(page[:8], func(word int, mask uint64) bool {
				f.bits[word] |= mask
				return true
			})
		}
	}
	return f, nil
}

// lacks says that a segment, one of so many sealed ones, has no entry with a leaf hash. A
// segment that cannot be read may have it: reading on says what is wrong.
func (s *Store) lacks(number, sealed uint64, leaf bookpi.Hash) bool {
	if number+maxFilters < sealed {
		return false
	}
	info, err := s.sealed(number)
	if err != nil {
		return false
	}
	s.filters.mu.RLock()
	f := s.filters.of[number]
	s.filters.mu.RUnlock()
	if f == nil || f.info != info {
		err := s.inSegment(number, func(file *segmentFile) (err error) {
			f, err = file.filter()
			return err
		})
		if err != nil {
			return false
		}
		s.filters.keep(number, sealed, f)
	}
	return f.lacks(leaf)
}

// keep remembers a filter, and forgets those of the oldest segments when there are too
// many.
func (h *hashFilters) keep(number, sealed uint64, f *hashFilter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of[number] = f
	for old := range h.of {
		if old+maxFilters < sealed {
			delete(h.of, old)
		}
	}
}

// Find returns the position of the entry with this leaf hash.
func (s *Store) Find(leaf bookpi.Hash) (uint64, bool, error) {
	s.mu.RLock()
	position, ok := s.ledger.recent[leaf]
	sealed := uint64(len(s.ledger.sealed))
	s.mu.RUnlock()
	if ok {
		return position, true, nil
	}
	for number := sealed; number > 0 && !ok; number-- {
		if s.lacks(number-1, sealed, leaf) {
			continue
		}
		err := s.inSegment(number-1, func(f *segmentFile) (err error) {
			entry, found, err := f.find(leaf)
			position, ok = (number-1)*segmentEntries+uint64(entry), found
			return err
		})
		if err != nil {
			return 0, false, err
		}
	}
	if !ok {
		return 0, false, nil
	}
	return position, true, nil
}
