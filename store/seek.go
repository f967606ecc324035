package store

import (
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// RootAt is the Merkle root over the first size entries.
func (s *Store) RootAt(size uint64) (bookpi.Hash, error) {
	switch have, root := s.Size(); {
	case size == have:
		return root, nil
	case size > have:
		return bookpi.Hash{}, tap.E("store.root", tap.NotFound, "the ledger has no more than %d entries", have)
	}
	return bookpi.RootAt(size, s)
}

// TileBytes is the first width hashes of a tile.
func (s *Store) TileBytes(level uint8, index uint64, width int) ([]byte, error) {
	if width < 1 || width > tileWidth {
		return nil, tap.E("store.tile", tap.Invalid, "a tile has 1 to %d hashes", tileWidth)
	}
	raw, err := s.tile(tileKey{level, index})
	if err != nil {
		return nil, err
	}
	end := width * bookpi.HashSize
	if len(raw) < end {
		return nil, tap.E("store.tile", tap.NotFound, "the ledger has no tile %d of level %d with %d hashes", index, level, width)
	}
	return raw[:end:end], nil
}

// closed is a channel that was closed long ago.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Grown is closed when the ledger has more than size entries. All who wait
// share one channel, so beyond the end it is closed as soon as the ledger
// grows at all.
func (s *Store) Grown(size uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.tree.Size() > size {
		return closed
	}
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return s.grown
}

// announceLocked wakes who waits for the ledger to grow. It needs mu.
func (s *Store) announceLocked() {
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}
