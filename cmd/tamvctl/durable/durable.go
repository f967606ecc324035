// Package durable writes small files so that they survive a loss of power: whole or not
// at all, and on stable storage when the call returns. It also keeps two processes out
// of one folder. Errors are those of package os, or [ErrLocked].
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked: another process holds the folder.
var ErrLocked = errors.New("another process is using the folder")

// WriteFile replaces the file at path in one step: a reader sees the old one or the
// new one whole. Missing folders above it are made, readable as the file is.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	folder := filepath.Dir(path)
	if err := makeFolder(folder, mode); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".tamvctl-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncFolder(folder)
}

// makeFolder makes a folder and those above it, each noted in the one above on stable
// storage. Who may read files of the mode may look into the folder.
func makeFolder(folder string, mode fs.FileMode) error {
	if info, err := os.Stat(folder); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: folder, Err: syscall.ENOTDIR}
		}
		return nil
	}
	above := filepath.Dir(folder)
	if above == folder {
		return os.Mkdir(folder, 0o755)
	}
	if err := makeFolder(above, mode); err != nil {
		return err
	}
	search := mode | mode&0o444>>2 // x where r is
	if err := os.Mkdir(folder, search); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(above)
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock takes the folder for this process; unlock gives it back, and so does the end of
// the process. It does not wait: the error wraps ErrLocked while somebody else has it.
// The file "lock" that it makes stays.
func Lock(folder string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", folder, ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}
