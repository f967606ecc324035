package wal

import (
	"os"
	"syscall"
)

// fdatasync spares the journal what only changes times.
func fdatasync(f *os.File) error {
	return syscall.Fdatasync(int(f.Fd()))
}
