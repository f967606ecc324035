package podtest

import (
	"slices"

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
