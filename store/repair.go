package store

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"tamv.internal/tamv/tap"
)

// SegmentSum is the SHA-256 that the file of a sealed segment must have, or of
// what is left of it: what to ask other members for when it is damaged.
// NotFound for one that is not sealed.
func (s *Store) SegmentSum(number uint64) ([sha256.Size]byte, error) {
	info, err := s.sealed(number)
	return info.sum, err
}

// RepairSegment replaces a damaged segment by what r gives, when that has the
// recorded hash; else it changes nothing.
func (s *Store) RepairSegment(number uint64, r io.Reader) error {
	info, err := s.sealed(number)
	if err != nil {
		return err
	}
	path, err := s.segments.receive(number, info, r)
	if err != nil {
		return err
	}
	s.mu.RLock() // a restore must not put another segment there meanwhile
	defer s.mu.RUnlock()
	if number >= uint64(len(s.ledger.sealed)) || s.ledger.file(number) != info {
		return errors.Join(tap.E("store.repair", tap.Conflict, "the state was replaced meanwhile"), os.Remove(path))
	}
	err = errors.Join(os.Rename(path, s.segments.file(number, info)), syncDir(s.segments.dir))
	s.segments.replaced(number)
	if err != nil {
		return tap.Wrap("store.repair", tap.Unavailable, err, "segment %d cannot be put into place", number)
	}
	return nil
}
