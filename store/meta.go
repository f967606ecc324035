package store

import (
	"encoding/binary"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// meta is what must be in the same transaction as the data: where in the log
// the state stands, its clock, and the ledger's head.
type meta struct {
	applied uint64      // index of the last applied log entry
	clock   int64       // its stamp
	version uint64      // of the last record write
	cluster uint32      // the cluster version
	head    bookpi.Hash // leaf hash of the last ledger entry
	tree    bookpi.Tree // compact range over all leaves
	onDisk  onDisk
}

// onDisk is the part of meta that only the flusher changes.
type onDisk struct {
	block  uint64 // position at which the open ledger block starts
	digest digest // of all records but this one
}

const (
	metaKey     = "meta"
	metaVersion = 2
	metaHeader  = 1 + 8*4 + 4 + 8*2 + 32
)

// newMeta is the meta of an empty state. Every cluster starts at version 1,
// whatever its members could do, and is raised by a command.
func newMeta() meta { return meta{cluster: 1} }

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
	b = binary.BigEndian.AppendUint64(b, m.onDisk.block)
	b = binary.BigEndian.AppendUint32(b, m.cluster)
	b = binary.BigEndian.AppendUint64(b, m.onDisk.digest.count)
	b = binary.BigEndian.AppendUint64(b, m.onDisk.digest.sum)
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
	m.onDisk.block = binary.BigEndian.Uint64(b[25:])
	m.cluster = binary.BigEndian.Uint32(b[33:])
	m.onDisk.digest = digest{binary.BigEndian.Uint64(b[37:]), binary.BigEndian.Uint64(b[45:])}
	copy(m.head[:], b[53:])
	if err := m.tree.UnmarshalBinary(b[metaHeader:]); err != nil {
		return damaged("the Merkle tree's state does not parse")
	}
	if m.cluster > Version {
		return tap.E("store.open", tap.Unavailable, "this state is of a cluster at version %d; this release knows %d: start a newer one", m.cluster, Version).WithCode("cluster_version")
	}
	return nil
}
