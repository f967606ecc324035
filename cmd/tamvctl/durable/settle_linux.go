package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Settle returns when everything that was written below the folder is on stable
// storage. It is one call for any number of files, and may wait for what others wrote
// to the same file system.
func Settle(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
