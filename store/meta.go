package store

import (
	"encoding/binary"

	"tamv.internal/tamv/store/bookpi"
)

// meta is what must be in the same transaction as the data: where in the log
// the state stands, its clock, and the ledger's head.
type meta struct {
	applied uint64      // index of the last applied log entry
	clock   int64       // its stamp
	version uint64      // of the last record write
	head    bookpi.Hash // leaf hash of the last ledger entry
	tree    bookpi.Tree // compact range over all leaves
	block   uint64      // position at which the open ledger block starts
}

const (
	metaKey     = "meta"
	metaVersion = 1
	metaHeader  = 1 + 8*4 + 32
)

func (m *meta) encode() ([]byte, error) {
	tree, err := m.tree.MarshalBinary()
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, metaHeader+len(tree))
	b = append(b, metaVersion)
	b = binary.BigEndian.AppendUint64(b, m.applied)
	b = binary.BigEndian.AppendUint64(b, uint64(m.clock))
	b = binary.BigEndian.AppendUint64(b, m.version)
	b = binary.BigEndian.AppendUint64(b, m.block)
	b = append(b, m.head[:]...)
	return append(b, tree...), nil
}

func (m *meta) decode(b []byte) error {
	if len(b) < metaHeader || b[0] != metaVersion {
		return damaged("the meta record is cut short or of another version")
	}
	m.applied = binary.BigEndian.Uint64(b[1:])
	m.clock = int64(binary.BigEndian.Uint64(b[9:]))
	m.version = binary.BigEndian.Uint64(b[17:])
	m.block = binary.BigEndian.Uint64(b[25:])
	copy(m.head[:], b[33:])
	if err := m.tree.UnmarshalBinary(b[metaHeader:]); err != nil {
		return damaged("the Merkle tree's state does not parse")
	}
	return nil
}
