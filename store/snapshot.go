package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"tamv.internal/tamv/tap"
)

// PartBytes is the largest size of a part of the state in a snapshot.
const PartBytes = 16 << 20

// File is one file of a snapshot's folder.
type File struct {
	Name string
	Size int64
	Sum  [sha256.Size]byte // SHA-256 of its content
}

// ErrNoPart is the answer of [Store.Part] when no file has this hash.
var ErrNoPart = tap.E("store.part", tap.NotFound, "no segment of the ledger has this hash")

// Snapshot is the whole state at one applied index: records, money, ledger.
type Snapshot struct {
	tx       *bolt.Tx
	file     *os.File // the database file of tx, by whatever name it has now
	pages    metaPage // its state in tx
	segments *segments
	files    []segmentInfo // of the ledger
}

// Snapshot flushes and freezes the state. Apply may go on while the snapshot
// is written. Release it soon: until then the database file cannot reuse the
// space of what changes.
func (s *Store) Snapshot() (*Snapshot, error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if err := s.flushLocked(); err != nil {
		return nil, err
	}
	frozen, err := s.freeze()
	var bad *Damage
	if errors.As(err, &bad) {
		return nil, bad.report()
	}
	return frozen, err
}

// freeze needs flushMu: no flush ends and no restore happens meanwhile.
func (s *Store) freeze() (*Snapshot, error) {
	s.mu.RLock()
	files := s.ledger.files()
	tx, err := s.beginLocked()
	if err != nil {
		return nil, err
	}
	file, err := os.Open(s.path)
	if err != nil {
		return nil, errors.Join(unreadable(err), tx.Rollback())
	}
	frozen := &Snapshot{tx: tx, file: file, segments: s.segments, files: files}
	s.segments.pin()
	if frozen.pages, err = committed(file, tx.Size(), uint64(tx.ID())); err != nil {
		frozen.Release()
		return nil, err
	}
	return frozen, nil
}

// WriteTo writes the snapshot into an empty folder, durably: the state in
// parts of at most [PartBytes] named state-000000 and so on, and every sealed
// segment, or what is left of it, under its name, as a hard link where the file
// system can. The state
// is checked on the way, so that damage ends in an error and not in a
// snapshot; segments are taken by their recorded hash.
func (s *Snapshot) WriteTo(dir string) ([]File, error) {
	found, err := inspect(s.file, s.pages, func(int) error { return nil })
	if err == nil {
		err = found.err()
	}
	if err != nil {
		return nil, err
	}
	parts := partWriter{dir: dir}
	_, err = s.tx.WriteTo(&parts)
	if err = errors.Join(err, parts.finish()); err != nil {
		return nil, tap.Wrap("store.snapshot", tap.Unavailable, err, "the snapshot cannot be written")
	}
	files := parts.files
	for n, info := range s.files {
		name := info.name(uint64(n))
		if err := linkOrCopy(filepath.Join(s.segments.dir, name), filepath.Join(dir, name)); err != nil {
			return nil, tap.Wrap("store.snapshot", tap.Unavailable, err, "segment %d cannot be taken into the snapshot", n)
		}
		files = append(files, File{name, info.size, info.sum})
	}
	if err := syncDir(dir); err != nil {
		return nil, tap.Wrap("store.snapshot", tap.Unavailable, err, "the snapshot cannot be made durable")
	}
	return files, nil
}

// Release lets go of the frozen state.
func (s *Snapshot) Release() {
	_ = s.tx.Rollback()
	_ = s.file.Close()
	s.segments.unpin()
}

// partWriter spreads what is written over files of PartBytes, each durable
// before the next begins.
type partWriter struct {
	dir   string
	files []File
	part  *os.File
	size  int64 // of part
	sum   hash.Hash
}

func (w *partWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		if w.part != nil && w.size == PartBytes {
			if err := w.finish(); err != nil {
				return written, err
			}
		}
		if w.part == nil {
			name := filepath.Join(w.dir, partName(len(w.files)))
			if w.part, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600); err != nil {
				return written, err
			}
			w.size, w.sum = 0, sha256.New()
		}
		n, err := w.part.Write(b[:min(int64(len(b)), PartBytes-w.size)])
		w.sum.Write(b[:n])
		w.size += int64(n)
		written += n
		if b = b[n:]; err != nil {
			return written, err
		}
	}
	return written, nil
}

// finish closes the part at hand.
func (w *partWriter) finish() error {
	if w.part == nil {
		return nil
	}
	err := errors.Join(w.part.Sync(), w.part.Close())
	w.files = append(w.files, File{partName(len(w.files)), w.size, [sha256.Size]byte(w.sum.Sum(nil))})
	w.part = nil
	return err
}

func partName(n int) string { return fmt.Sprintf("state-%06d", n) }

// Part opens a sealed segment, or what is left of it, by its SHA-256, for a node
// that fetches it; [ErrNoPart] when there is none. Whoever reads it checks the
// hash.
func (s *Store) Part(sum [sha256.Size]byte) (*os.File, error) {
	s.mu.RLock()
	number, ok := s.ledger.bySum[sum]
	var info segmentInfo
	if ok {
		info = s.ledger.file(number)
	}
	s.mu.RUnlock()
	if !ok || info.sum != sum { // archived by now
		return nil, ErrNoPart
	}
	f, err := os.Open(s.segments.file(number, info))
	if err != nil {
		return nil, damagedSegment(number, "it cannot be opened: %v", err)
	}
	return f, nil
}

// Restore replaces the whole state by a snapshot that [Snapshot.WriteTo] wrote
// into dir. Everything in it is checked first. It is atomic and durable: a
// snapshot that is cut short or altered leaves the old state in place, and a
// crash leaves one or the other. The folder's files are linked or copied, and
// stay. The caller sees to it that Apply does not run meanwhile.
func (s *Store) Restore(dir string) error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.mu.RLock()
	known, closed := s.ledger.files(), s.closed
	s.mu.RUnlock()
	if closed {
		return tap.E("store.restore", tap.Unavailable, "the store is closed")
	}
	incoming := s.path + incomingSuffix
	found, err := assemble(dir, incoming)
	if err == nil {
		err = s.segments.stage(dir, found.files(), known)
	}
	if err != nil {
		return errors.Join(err, os.Remove(incoming), s.segments.settle(known))
	}
	if err := s.install(incoming); err != nil {
		return tap.Wrap("store.restore", tap.Unavailable, err, "the snapshot cannot be installed")
	}
	for _, space := range slices.Sorted(maps.Keys(s.observers)) {
		for _, observe := range s.observers[space] {
			observe(nil, true)
		}
	}
	return nil
}

// assemble joins the parts of a snapshot to a database file and checks it
// whole.
func assemble(dir, path string) (*inspection, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, tap.Wrap("store.restore", tap.Unavailable, err, "no room for the snapshot")
	}
	defer f.Close()
	for n := 0; ; n++ {
		part, err := os.Open(filepath.Join(dir, partName(n)))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err == nil {
			_, err = io.Copy(f, part)
			err = errors.Join(err, part.Close())
		}
		if err != nil {
			return nil, tap.Wrap("store.restore", tap.Unavailable, err, "part %d of the snapshot cannot be taken over", n)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, tap.Wrap("store.restore", tap.Unavailable, err, "the snapshot cannot be written")
	}
	return inspectFile(path)
}

// install makes the assembled file the state. Readers wait meanwhile; those
// that still read the old file finish on it. When it fails after the old file
// gave way, the store is closed: its memory belongs to a file that has no name.
func (s *Store) install(incoming string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Rename(incoming, s.path); err != nil {
		return err
	}
	old := s.db
	s.retired.Go(func() { _ = old.Close() })
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return err
	}
	db, err := openDatabase(s.path, false)
	if err != nil {
		return err
	}
	m, l := newMeta(), newLedger()
	err = guarded(nil, func() error { return read(db, &m, &l) })
	if err == nil {
		err = s.segments.settle(l.files())
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.adoptLocked(db, m, l)
	return nil
}
