package bookpi

import (
	"errors"
	"fmt"
)

// The kinds of failure. Returned errors wrap one of them and add the detail.
var (
	// ErrHash: text that is not 64 lower-case hexadecimal digits.
	ErrHash = errors.New("bookpi: malformed hash")
	// ErrEntry: an entry that breaks a limit, or bytes that encode no entry.
	ErrEntry = errors.New("bookpi: invalid entry")
	// ErrTree: bytes that encode no tree state.
	ErrTree = errors.New("bookpi: malformed tree state")
	// ErrRange: a position or size that does not exist in the tree asked about.
	ErrRange = errors.New("bookpi: out of range")
	// ErrTile: a tile holds fewer hashes than the tree needs from it.
	ErrTile = errors.New("bookpi: tile incomplete")
	// ErrProof: a proof does not connect what it should.
	ErrProof = errors.New("bookpi: proof does not hold")
	// ErrKey: a signer or verifier key that is not in canonical note form.
	ErrKey = errors.New("bookpi: malformed key")
	// ErrCheckpoint: a checkpoint that is malformed or not signed by the log.
	ErrCheckpoint = errors.New("bookpi: invalid checkpoint")
)

// FieldError says which field of an [Entry] is unacceptable. It wraps [ErrEntry].
// It never quotes the field's value.
type FieldError struct {
	Field  string // "timestamp", "tenant", "actor", "action" or "outcome"
	Reason string // for people
}

// Error implements error.
func (e *FieldError) Error() string {
	return fmt.Sprintf("%v: %s %s", ErrEntry, e.Field, e.Reason)
}

// Unwrap returns [ErrEntry].
func (e *FieldError) Unwrap() error { return ErrEntry }

// The parts of evidence that a [BrokenError] can name.
const (
	PartEntry      = "entry"      // the entry's own bytes
	PartPayload    = "payload"    // the payload, against the digest in the entry
	PartOpening    = "opening"    // the key that opens a sealed payload
	PartProof      = "proof"      // the inclusion proof, or the position it is for
	PartChain      = "chain"      // the link to the entry before
	PartCheckpoint = "checkpoint" // the signed summary
	PartStructure  = "structure"  // the file around all of these
)

// BrokenError says where evidence is broken. It is the only error type of
// [ParseBundle] and [VerifyBundle], and what [Audit] and [ReadSegment] return for it.
type BrokenError struct {
	Position    uint64 // ledger position of the broken entry; meaningful if HasPosition
	HasPosition bool   // whether the damage could be pinned on one entry
	Part        string // one of the Part constants
	Reason      string // for people
	Err         error  // the cause, wrapping an Err sentinel; nil if there is none
}

// Error implements error.
func (e *BrokenError) Error() string {
	if e.HasPosition {
		return fmt.Sprintf("bookpi: entry %d is broken (%s): %s", e.Position, e.Part, e.Reason)
	}
	return fmt.Sprintf("bookpi: broken %s: %s", e.Part, e.Reason)
}

// Unwrap returns the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

func brokenAt(position uint64, part, reason string, cause error) *BrokenError {
	return &BrokenError{Position: position, HasPosition: true, Part: part, Reason: reason, Err: cause}
}

func broken(part, reason string, cause error) *BrokenError {
	return &BrokenError{Part: part, Reason: reason, Err: cause}
}
