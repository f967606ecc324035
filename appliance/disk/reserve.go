package disk

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
)

// held is how many bytes a reserve of an earlier run holds; 0 unless all of its
// blocks are there.
func held(file string) uint64 {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	size := uint64(info.Size())
	if allocated(info) < size {
		return 0
	}
	return size
}

// fill makes a file of size bytes that are really written. It leaves no part of
// one behind.
func fill(file string, size uint64) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	var seed [32]byte
	rand.Read(seed[:]) // never fails
	noise := mathrand.NewChaCha8(seed)
	_, err = io.CopyBuffer(onlyWriter{f}, io.LimitReader(noise, int64(size)), make([]byte, 1<<20))
	// Blocks are promised at the write and found at the sync.
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, remove(file))
	}
	return nil
}

// onlyWriter hides ReadFrom, which would use a buffer of its own.
type onlyWriter struct{ io.Writer }

// remove removes a file that may be absent.
func remove(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
