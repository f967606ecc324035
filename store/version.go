package store

import "tamv.internal/tamv/tap"

// Members of a cluster are upgraded one by one, so for a while two releases
// apply the same log. Both must make the same of it. An operation therefore
// has the version that brought it, and Apply refuses a batch with one that is
// newer than the replicated cluster version, on every member alike: an older
// one does not know the operation, a newer one may not use it yet. When every
// member knows version n, a committed [Raise] to n opens it. A member that
// does not know n halts at that command instead of guessing.

// fields says what an operation carries besides its key.
type fields uint8

const (
	fieldsNone fields = iota
	fieldsValue
	fieldsNumber
	fieldsPosting
	fieldsNumberValue
)

// operation is what encoding and admission need to know of one.
type operation struct {
	since  uint32 // cluster version from which on it may be proposed
	fields fields
}

// releasedOperations are those of this release, by number.
var releasedOperations = []operation{
	OpPut:    {1, fieldsValue},
	OpCreate: {1, fieldsValue},
	OpDelete: {1, fieldsNone},
	OpAdd:    {1, fieldsNumber},
	OpAppend: {1, fieldsValue},
	OpPost:   {1, fieldsPosting},
	OpCheck:  {1, fieldsNumber},
	OpExpire: {1, fieldsNumber},
	OpRaise:  {1, fieldsNumber},

	OpCheckpoint: {2, fieldsNumberValue},
	OpArchive:    {2, fieldsNumberValue},
}

// properties is what the table says of an operation; zero when this release
// does not know it.
func (t OpType) properties() operation {
	if int(t) < len(operations) {
		return operations[t]
	}
	return operation{}
}

// ClusterVersion is the version up to which operations may be proposed: at
// least 1, at most [Version].
func (s *Store) ClusterVersion() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.cluster
}

// admitted refuses a batch that the cluster, at this version, does not take.
func (b *Batch) admitted(cluster uint32) error {
	for i := range b.Ops {
		if since := b.Ops[i].Type.properties().since; since > cluster {
			return errNewer(b.Ops[i].Type).WithDetail("needs", since).WithDetail("cluster_version", cluster)
		}
	}
	return nil
}

// errNewer is the refusal of an operation of a later version: Conflict, code
// cluster_version.
func errNewer(t OpType) *tap.Error {
	return tap.E("store.apply", tap.Conflict, "operation %d waits until every member of the cluster has a release that knows it", t).WithCode("cluster_version")
}
