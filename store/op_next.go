//go:build tamv_next

package store

// This file is the next release, for the test of two releases in one cluster:
// `go build -tags tamv_next` makes a binary that knows one operation more.

// Version is the newest cluster version that this build applies.
const Version uint32 = 3

// OpMax raises the counter at Key to Number; one that is as high stays.
const OpMax OpType = 12

// Max raises the counter at k to n.
func Max(k Key, n int64) Op { return Op{Type: OpMax, Key: k, Number: n} }

var operations = append(releasedOperations, operation{3, fieldsNumber})

// nextOp runs the operations of the release after this one.
func (p *packApply) nextOp(op *Op) (refusal, err error) {
	raw, err := p.read(bucketCounters, string(op.Key))
	if err == nil && op.Type == OpMax {
		p.batch.put(bucketCounters, string(op.Key), u64(uint64(max(int64(readU64(raw)), op.Number))))
	}
	return nil, err
}
