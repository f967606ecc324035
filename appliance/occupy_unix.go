//go:build unix

package appliance

import (
	"errors"
	"os"
	"syscall"
)

func lock(folder *os.File) error {
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return errOccupied
	}
	return nil // also where folders cannot be locked, as on some network file systems
}
