package store

import "crypto/sha256"

// SegmentSum is the SHA-256 that a sealed segment of the ledger must have: what
// to ask other members for when it is damaged. NotFound for one that is not
// sealed.
func (s *Store) SegmentSum(number uint64) ([sha256.Size]byte, error) {
	info, err := s.sealed(number)
	return info.sum, err
}
