package store

import (
	"fmt"

	"tamv.internal/tamv/tap"
)

// ConflictError says which operation did not hold. Nothing of its batch was
// applied.
type ConflictError struct {
	Op  OpType
	Key Key
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("store.apply: the record %q changed or exists", e.Key.Space()+"/"+e.Key.Last())
}

// Unwrap makes the conflict a tap error of kind Conflict.
func (e *ConflictError) Unwrap() error {
	return tap.E("store.apply", tap.Conflict, "the state changed while the request was decided, or the thing exists already")
}
