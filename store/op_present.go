//go:build !tamv_next

package store

// Version is the newest cluster version that this build applies.
const Version uint32 = 2

var operations = releasedOperations

// nextOp runs the operations of the release after this one: there are none.
func (*packApply) nextOp(*Op) (refusal, err error) { return nil, nil }
