package main

import (
	"io/fs"
	"syscall"
	"testing"

	"tamv.internal/tamv/tap"
)

// A full disk is nobody's wrong command: it has an exit code and a hint of its own.
func TestAFullDiskIsNoWrongCommand(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		e := tap.AsError(fileError(&fs.PathError{Op: "write", Path: "records/x", Err: cause}))
		if e.Kind != tap.Unavailable || e.Code != codeNoSpace || hint(e, false) != textHintNoSpace {
			t.Errorf("%v: %v %s", cause, e.Kind, e.Code)
		}
	}
}
