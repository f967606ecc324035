package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// folder is the directory of a log. It is the seam at which tests make disks fail.
type folder interface {
	// open opens a file for reading and writing. With create it makes a new one and fails if it exists.
	open(name string, create bool) (file, error)
	rename(from, to string) error
	remove(name string) error
	list() ([]string, error)
	// sync makes the names durable.
	sync() error
	// lock waits up to a second for other processes to close the log.
	lock() (io.Closer, error)
}

// file is an open file of a log.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	size() (int64, error)
	// sync makes the contents durable (fdatasync).
	sync() error
}

// zeros is what files are filled with. A step of 1 MiB keeps the queue of the disk short for the appends of others.
var zeros [1 << 20]byte

// zero overwrites the bytes from offset from up to, not including, offset to. Every step is synced.
func zero(f file, from, to int64, syncs func()) error {
	for from < to {
		step := min(to-from, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:step], from); err != nil {
			return err
		}
		if err := f.sync(); err != nil {
			return &syncError{err}
		}
		syncs()
		from += step
	}
	return nil
}

// syncError is a failed sync, as opposed to a failed write: of what came before it nothing is known.
type syncError struct{ error }

// Unwrap returns the cause.
func (e *syncError) Unwrap() error { return e.error }

// disk is a folder of the operating system.
type disk struct{ path string }

func (d disk) open(name string, create bool) (file, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d disk) rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d disk) remove(name string) error {
	return os.Remove(filepath.Join(d.path, name))
}

func (d disk) list() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d disk) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

const (
	lockName = "lock"
	// lockTimeout is how long Open waits for another process, which may just be stopping.
	lockTimeout = time.Second
	lockRetry   = 20 * time.Millisecond
)

func (d disk) lock() (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(d.path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError("lock", err)
	}
	deadline := time.Now().Add(lockTimeout)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("wal: lock: %w", err), f.Close())
		}
		if !time.Now().Before(deadline) {
			return nil, errors.Join(fmt.Errorf("%w: %s", ErrLocked, d.path), f.Close())
		}
		<-time.After(lockRetry)
	}
}

// diskFile is a file of the operating system.
type diskFile struct{ *os.File }

func (f diskFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) sync() error {
	for {
		err := fdatasync(f.File)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
