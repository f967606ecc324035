package podtest

import (
	"maps"
	"slices"
	"sort"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// record appends a batch's evidence to the ledger.
func (s *State) record(b store.Batch) store.Receipt {
	receipt := store.Receipt{Position: s.tree.Size(), Entries: len(b.Evidence), Time: s.clock}
	for _, e := range b.Evidence {
		entry := bookpi.Entry{
			Timestamp: s.clock, Tenant: b.Tenant, Actor: e.Actor, Action: e.Action, Outcome: e.Outcome,
			RequestID: b.RequestID, PayloadDigest: bookpi.PayloadDigest(e.Payload), Previous: s.head,
		}.Append(nil)
		s.head = bookpi.LeafHash(entry)
		position := s.tree.Size()
		s.ledger = append(s.ledger, store.Record{Position: position, Entry: entry, Payload: slices.Clone(e.Payload)})
		s.positions[s.head] = position
		s.tree.Append(s.head, func(level uint8, index uint64, h bookpi.Hash) {
			t := tile{level, index / tileWidth}
			s.tiles[t] = append(s.tiles[t], h)
		})
	}
	receipt.Leaf = s.head
	if s.grown != nil && len(b.Evidence) > 0 {
		close(s.grown)
		s.grown = nil
	}
	return receipt
}

// Size is the number of ledger entries and the root over them.
func (s *State) Size() (uint64, bookpi.Hash) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tree.Size(), s.tree.Root()
}

// Record returns the ledger entry at a position.
func (s *State) Record(position uint64) (store.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if position >= uint64(len(s.ledger)) {
		return store.Record{}, tap.E("podtest.record", tap.NotFound, "the ledger has no entry %d", position)
	}
	return s.ledger[position], nil
}

// Records calls fn for ledger entries from first on, upwards or downwards.
func (s *State) Records(first uint64, descending bool, fn func(store.Record) bool) error {
	for {
		r, err := s.Record(first)
		if err != nil || !fn(r) || descending && first == 0 {
			return nil // beyond the end there is nothing to call fn for
		}
		if first++; descending {
			first -= 2
		}
	}
}

// At is the position of the first entry whose timestamp is at least time.
func (s *State) At(time int64) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	position := sort.Search(len(s.ledger), func(i int) bool {
		e, err := bookpi.ParseEntry(s.ledger[i].Entry)
		return err == nil && e.Timestamp >= time
	})
	return uint64(position), nil
}

// Grown is closed when the ledger has more than size entries, and beyond its
// end when it grows at all.
func (s *State) Grown(size uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tree.Size() > size {
		past := make(chan struct{})
		close(past)
		return past
	}
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return s.grown
}

// Find returns the position of the entry with this leaf hash.
func (s *State) Find(leaf bookpi.Hash) (uint64, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	position, ok := s.positions[leaf]
	return position, ok, nil
}

// Tile returns the hashes of a tile, as many as are there.
func (s *State) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.tiles[tile{level, index}]), nil
}

// TileBytes is the first width hashes of a tile, one after the other.
func (s *State) TileBytes(level uint8, index uint64, width int) ([]byte, error) {
	hashes, _ := s.Tile(level, index)
	if width < 1 || width > tileWidth {
		return nil, tap.E("podtest.tile", tap.Invalid, "a tile has 1 to %d hashes", tileWidth)
	}
	if len(hashes) < width {
		return nil, tap.E("podtest.tile", tap.NotFound, "the ledger has no tile %d of level %d with %d hashes", index, level, width)
	}
	var raw []byte
	for _, h := range hashes[:width] {
		raw = append(raw, h[:]...)
	}
	return raw, nil
}

// RootAt is the Merkle root over the first size entries.
func (s *State) RootAt(size uint64) (bookpi.Hash, error) {
	if have, _ := s.Size(); size > have {
		return bookpi.Hash{}, tap.E("podtest.root", tap.NotFound, "the ledger has no more than %d entries", have)
	}
	return bookpi.RootAt(size, s)
}

// lockedTiles reads the tiles of a State whose lock is held.
type lockedTiles struct{ *State }

func (s lockedTiles) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	return s.tiles[tile{level, index}], nil
}

// checkpoint records a signed checkpoint as the store does: it says what this
// tree is at that size, or nothing changes.
func (s *State) checkpoint(size uint64, note []byte) (known uint64, err error) {
	refused := tap.E("podtest.checkpoint", tap.Conflict, "this checkpoint of size %d is not one of this ledger", size).
		WithCode("split_view").WithDetail("size", size)
	cp, err := store.ReadCheckpoint(note)
	if err != nil || cp.Size != size || size > s.tree.Size() {
		return 0, refused
	}
	if root, err := bookpi.RootAt(size, lockedTiles{s}); err != nil || root != cp.Root {
		return 0, refused
	}
	if s.signed[size] != nil {
		return 1, nil
	}
	s.signed[size] = slices.Clone(note)
	return 0, nil
}

// Checkpoint is the newest recorded checkpoint and its signed note.
func (s *State) Checkpoint() (cp bookpi.Checkpoint, note []byte, ok bool) {
	_ = s.Checkpoints(func(c bookpi.Checkpoint, n []byte) bool {
		cp, note, ok = c, n, true
		return true
	})
	return cp, note, ok
}

// CheckpointFor is the oldest recorded checkpoint of at least so many entries.
func (s *State) CheckpointFor(size uint64) (cp bookpi.Checkpoint, note []byte, ok bool, err error) {
	err = s.Checkpoints(func(c bookpi.Checkpoint, n []byte) bool {
		if ok = c.Size >= size; ok {
			cp, note = c, n
		}
		return !ok
	})
	return cp, note, ok, err
}

// Checkpoints calls fn for the recorded checkpoints, smallest first.
func (s *State) Checkpoints(fn func(cp bookpi.Checkpoint, note []byte) bool) error {
	s.mu.RLock()
	signed := maps.Clone(s.signed)
	s.mu.RUnlock()
	for _, size := range slices.Sorted(maps.Keys(signed)) {
		cp, err := store.ReadCheckpoint(signed[size])
		if err != nil || !fn(cp, signed[size]) {
			return err
		}
	}
	return nil
}
