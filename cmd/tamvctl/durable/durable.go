// Package durable writes small files so that they survive a loss of power: whole or not
// at all, and on stable storage when the call returns ([WriteFile]), or, of many files,
// when a later one does ([WriteSoon], [Settle]). It also keeps two processes out of one
// folder. Errors are those of package os, or [ErrLocked].
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
	if err := makeFolder(folder, mode, syncFolder); err != nil {
		return err
	}
	if err := replace(path, data, mode, (*os.File).Sync); err != nil {
		return err
	}
	return syncFolder(folder)
}

// WriteSoon is WriteFile for one of many files: after a loss of power the file may be
// the old one, empty or not there, until [Settle] has returned.
func WriteSoon(path string, data []byte, mode fs.FileMode) error {
	if err := makeFolder(filepath.Dir(path), mode, func(string) error { return nil }); err != nil {
		return err
	}
	return replace(path, data, mode, func(*os.File) error { return nil })
}

// replace writes beside the file's place and gives it its name.
func replace(path string, data []byte, mode fs.FileMode, sync func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tamvctl-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), sync(f), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// makeFolder makes a folder and those above it, and has each that was made noted in the
// one above. Who may read files of the mode may look into the folder.
func makeFolder(folder string, mode fs.FileMode, note func(folder string) error) error {
	if info, err := os.Stat(folder); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: folder, Err: syscall.ENOTDIR}
		}
		return nil
	}
	above := filepath.Dir(folder)
	if err := makeFolder(above, mode, note); err != nil {
		return err
	}
	search := mode | mode&0o444>>2 // x where r is
	if err := os.Mkdir(folder, search); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return note(above)
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
