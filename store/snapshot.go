package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/tap"
)

// Snapshot is the whole state at one applied index: records, money, ledger.
type Snapshot struct{ tx *bolt.Tx }

// Snapshot flushes and freezes the state. Apply may go on while the snapshot
// is written; Release it.
func (s *Store) Snapshot() (*Snapshot, error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if err := s.flushLocked(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, unreadable(err)
	}
	return &Snapshot{tx}, nil
}

// WriteTo writes the snapshot: the database file and a SHA-256 of it.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	h := sha256.New()
	n, err := s.tx.WriteTo(io.MultiWriter(w, h))
	if err != nil {
		return n, err
	}
	m, err := w.Write(h.Sum(nil))
	return n + int64(m), err
}

// Release lets go of the frozen state.
func (s *Snapshot) Release() { _ = s.tx.Rollback() }

// Restore replaces the whole state by a snapshot. It is atomic: a snapshot
// that is cut short or altered leaves the old state in place, and a crash
// leaves one or the other.
func (s *Store) Restore(r io.Reader) error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	incoming := s.path + ".incoming"
	if err := receive(r, incoming); err != nil {
		return errors.Join(err, os.Remove(incoming))
	}
	s.mu.Lock()
	err := s.db.Close()
	if err == nil {
		err = os.Rename(incoming, s.path)
	}
	s.mu.Unlock()
	if err == nil {
		err = syncDir(filepath.Dir(s.path))
	}
	if err != nil {
		return tap.Wrap("store.restore", tap.Unavailable, err, "the snapshot cannot be installed")
	}
	if err := s.load(); err != nil {
		return err
	}
	for _, space := range slices.Sorted(maps.Keys(s.observers)) {
		for _, observe := range s.observers[space] {
			observe(nil, true)
		}
	}
	return nil
}

// receive writes a snapshot to a file, durably, and checks its hash.
func receive(r io.Reader, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return tap.Wrap("store.restore", tap.Unavailable, err, "no room for the snapshot")
	}
	defer f.Close()
	size, err := io.Copy(f, r)
	if err != nil {
		return tap.Wrap("store.restore", tap.Unavailable, err, "the snapshot cannot be received")
	}
	body := size - sha256.Size
	if body < 0 {
		return damaged("the snapshot is cut short")
	}
	h := sha256.New()
	var want [sha256.Size]byte
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, body)); err != nil {
		return unreadable(err)
	}
	if _, err := f.ReadAt(want[:], body); err != nil {
		return unreadable(err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != want {
		return damaged("the snapshot does not have its hash")
	}
	if err := errors.Join(f.Truncate(body), f.Sync()); err != nil {
		return tap.Wrap("store.restore", tap.Unavailable, err, "the snapshot cannot be written")
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fieldHash hashes length-delimited fields, so that no two lists of fields
// hash alike.
type fieldHash struct{ h hash.Hash }

func newFieldHash() fieldHash { return fieldHash{sha256.New()} }

func (f fieldHash) field(b []byte) {
	f.h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	f.h.Write(b)
}

func (f fieldHash) sum() [32]byte { return [32]byte(f.h.Sum(nil)) }
