package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// disk is what the store does to the file system in an order that matters. Tests put crashes between the steps.
type disk interface {
	mkdir(path string) error
	// write creates a file that is on disk when it returns.
	write(path string, data []byte) error
	// link gives the file at from a second name, or copies it where there are no hard links.
	link(from, to string) error
	rename(from, to string) error
	// syncDir makes what was created, renamed and removed in a folder durable.
	syncDir(path string) error
	removeAll(path string) error
}

// osDisk is the real one.
type osDisk struct{}

func (osDisk) mkdir(path string) error      { return os.Mkdir(path, 0o700) }
func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) removeAll(path string) error  { return os.RemoveAll(path) }
func (osDisk) syncDir(path string) error    { return syncPath(path) }
func (osDisk) write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func (osDisk) link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// syncPath flushes a file or folder.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
