package main

import (
	"io/fs"
	"syscall"
	"testing"
	"time"

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

// What is read again when a connection breaks is not read again because a disk is full.
func TestAFullDiskIsNotTriedAgain(t *testing.T) {
	tries := 0
	a := &app{timeout: time.Minute}
	err := a.follow(t.Context(), func() (bool, error) {
		tries++
		return true, fileError(&fs.PathError{Op: "write", Path: "x.jsonl", Err: syscall.ENOSPC})
	})
	if tries != 1 || tap.AsError(err).Code != codeNoSpace {
		t.Errorf("%d tries: %v", tries, err)
	}
}
