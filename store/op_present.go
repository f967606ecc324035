//go:build !tamv_next

package store

// Version is the newest cluster version that this build applies.
const Version uint32 = 1

var operations = firstOperations

// nextOp runs the operations of the versions after the first: there are none.
func (*packApply) nextOp(*Op) (refusal, err error) { return nil, nil }
