package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

const (
	tempSuffix    = ".tmp"
	damagedSuffix = ".damaged"
)

var (
	// ErrDamaged means that a file of a snapshot is missing or does not have its SHA-256.
	ErrDamaged = errors.New("snapshot: damaged")
	// ErrNotFound means that there is no such snapshot or file.
	ErrNotFound = errors.New("snapshot: not found")
	// ErrIncomplete means that files of a received manifest have not all arrived.
	ErrIncomplete = errors.New("snapshot: files are missing")
)

// Store is a folder of snapshots. Its methods are safe for concurrent use.
type Store struct {
	root    string // holds the snapshots
	staging string
	retain  int
	log     *slog.Logger
	disk    disk

	pull sync.Mutex // held by the one Pull, or the sink that takes its files

	mu       sync.Mutex
	held     []*entry          // newest first; guarded by mu
	lost     []name            // damaged ones still in the folder; guarded by mu
	number   uint64            // the last used; guarded by mu
	verified map[[32]byte]bool // staged files whose hash this process has seen; guarded by mu
}

// entry is a whole snapshot.
type entry struct {
	name     name
	meta     meta
	manifest Manifest
	users    int // guarded by Store.mu
}

// OpenStore opens the snapshots in dir/snapshots and the received files in dir/staging, creating both. retain, at least 1,
// is the number of snapshots to keep. Beginnings of snapshots are removed; one that cannot be read is set aside as
// damaged, and the files of the others are believed until Verify.
func OpenStore(dir string, retain int, log *slog.Logger) (*Store, error) {
	return openStore(dir, retain, log, osDisk{})
}

func openStore(dir string, retain int, log *slog.Logger, d disk) (*Store, error) {
	if retain < 1 {
		return nil, fmt.Errorf("snapshot: cannot keep %d snapshots", retain)
	}
	s := &Store{
		root: filepath.Join(dir, "snapshots"), staging: filepath.Join(dir, "staging"),
		retain: retain, log: log, disk: d, verified: map[[32]byte]bool{},
	}
	for _, path := range []string{s.root, s.staging} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	folders, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	for _, folder := range folders {
		if err := s.scan(folder.Name()); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	slices.SortFunc(s.held, func(a, b *entry) int {
		if a.name.newer(b.name) {
			return -1
		}
		return 1
	})
	return s, nil
}

// scan takes one folder into account. What has a foreign name is left alone.
func (s *Store) scan(folder string) error {
	if strings.HasSuffix(folder, tempSuffix) {
		return s.disk.removeAll(filepath.Join(s.root, folder))
	}
	base, damaged := strings.CutSuffix(folder, damagedSuffix)
	n, ok := parseName(base)
	if !ok {
		return nil
	}
	s.number = max(s.number, n.number)
	if damaged {
		s.lost = append(s.lost, n)
		return nil
	}
	e, err := s.read(n)
	if err == nil {
		s.held = append(s.held, e)
		return nil
	}
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	s.log.Error("a snapshot is damaged", "snapshot", folder, "error", err)
	s.lost = append(s.lost, n)
	return s.setAside(n)
}

// read loads a snapshot's description. Errors wrap ErrDamaged if the content is at fault and not the reading.
func (s *Store) read(n name) (*entry, error) {
	data, err := readBounded(filepath.Join(s.root, n.String(), metaName), maxMeta)
	if err != nil {
		return nil, err
	}
	m, err := parseMeta(n, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	data, err = readBounded(filepath.Join(s.root, n.String(), manifestName), MaxManifest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != m.ManifestSum {
		return nil, fmt.Errorf("%w: manifest of %s", ErrDamaged, n)
	}
	manifest, err := ParseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return &entry{name: n, meta: m, manifest: manifest}, nil
}

// readBounded reads a whole small file. One that is missing or too large is damage.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: %s is too large", ErrDamaged, path)
	}
	return data, err
}

// List implements raft.SnapshotStore: the newest first, only those believed to be whole.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*raft.SnapshotMeta, 0, len(s.held))
	for _, e := range s.held {
		list = append(list, e.meta.raft(e.name))
	}
	return list, nil
}

// Lost returns the index of the newest snapshot that was damaged and is not replaced by a good one as new, 0 for none.
func (s *Store) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var index uint64
	for _, n := range s.lost {
		index = max(index, n.index)
	}
	return index
}

// find returns the snapshot called id and counts one more user.
func (s *Store) find(id string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.held {
		if e.name.String() == id {
			e.users++
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
}

// release counts one user less.
func (s *Store) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.users--
	s.reap()
}

// Open implements raft.SnapshotStore. The reader gives the manifest, as it was hashed when the snapshot was made; until it
// is closed the snapshot stays.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	e, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}
	data, err := e.manifest.Encode()
	if err != nil {
		s.release(e)
		return nil, nil, err
	}
	return e.meta.raft(e.name), &manifestReader{bytes.NewReader(data), sync.OnceFunc(func() { s.release(e) })}, nil
}

type manifestReader struct {
	*bytes.Reader
	release func()
}

// Close implements io.Closer.
func (r *manifestReader) Close() error {
	r.release()
	return nil
}

// Locate returns the folder of the newest snapshot whose manifest is data. It stays until release is called.
func (s *Store) Locate(data []byte) (dir string, meta *raft.SnapshotMeta, release func(), err error) {
	sum := sha256.Sum256(data)
	want := hex.EncodeToString(sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.held {
		if e.meta.ManifestSum == want {
			e.users++
			return s.path(e.name), e.meta.raft(e.name), sync.OnceFunc(func() { s.release(e) }), nil
		}
	}
	return "", nil, nil, fmt.Errorf("%w: no snapshot has the manifest %s", ErrNotFound, want)
}

// File opens a file by its SHA-256, whichever snapshot it is part of. The bytes are not verified.
func (s *Store) File(sum [32]byte) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.held {
		for _, f := range e.manifest {
			if f.Sum == sum {
				return os.Open(filepath.Join(s.path(e.name), f.Name))
			}
		}
	}
	return nil, fmt.Errorf("%w: file %x", ErrNotFound, sum)
}

// Verify reads all files of a snapshot and compares their hashes. pace, if not nil, is called with the number of bytes
// read; its error ends the work. Errors wrap ErrDamaged if the content is at fault.
func (s *Store) Verify(ctx context.Context, id string, pace func(bytes int) error) error {
	e, err := s.find(id)
	if err != nil {
		return err
	}
	defer s.release(e)
	if _, err := s.read(e.name); err != nil {
		return err
	}
	for _, f := range e.manifest {
		if err := verifyFile(ctx, filepath.Join(s.path(e.name), f.Name), f, pace); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	return nil
}

// verifyFile compares a file with what the manifest says about it.
func verifyFile(ctx context.Context, path string, want File, pace func(bytes int) error) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, want.Name)
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	buffer := make([]byte, 256<<10)
	for size := int64(0); ; {
		n, err := f.Read(buffer)
		hash.Write(buffer[:n])
		size += int64(n)
		if pace != nil && n > 0 {
			if err := pace(n); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			if size != want.Size || [32]byte(hash.Sum(nil)) != want.Sum {
				return fmt.Errorf("%w: %s has %d bytes of another content, %d expected", ErrDamaged, want.Name, size, want.Size)
			}
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrDamaged, err) // a sector that cannot be read is as good as a wrong one
		case size > want.Size:
			return fmt.Errorf("%w: %s is longer than %d bytes", ErrDamaged, want.Name, want.Size)
		}
	}
}

// Discard takes a snapshot out of use because it is damaged. Its folder is kept, under another name, until a good
// snapshot reaches as far.
func (s *Store) Discard(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.held, func(e *entry) bool { return e.name.String() == id })
	if i < 0 {
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	e := s.held[i]
	if err := s.setAside(e.name); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.held = slices.Delete(s.held, i, i+1)
	s.lost = append(s.lost, e.name)
	return nil
}

// setAside renames a damaged snapshot.
func (s *Store) setAside(n name) error {
	if err := s.disk.rename(s.path(n), s.path(n)+damagedSuffix); err != nil {
		return err
	}
	return s.disk.syncDir(s.root)
}

// reap removes the snapshots beyond those to keep, unless they are in use, and damaged ones that are replaced. What
// cannot be removed now is tried again later. The caller holds mu.
func (s *Store) reap() {
	for i := len(s.held) - 1; i >= s.retain; i-- {
		if e := s.held[i]; e.users == 0 && s.remove(s.path(e.name)) {
			s.held = slices.Delete(s.held, i, i+1)
		}
	}
	s.lost = slices.DeleteFunc(s.lost, func(n name) bool {
		return len(s.held) > 0 && s.held[0].name.newer(n) && s.remove(s.path(n)+damagedSuffix)
	})
}

// remove deletes a folder. It is renamed first, so that a crash does not leave a part of it under its name.
func (s *Store) remove(path string) bool {
	doomed := path + tempSuffix
	err := s.disk.rename(path, doomed)
	if err == nil {
		err = errors.Join(s.disk.syncDir(s.root), s.disk.removeAll(doomed))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("an old snapshot was not removed", "path", path, "error", err)
		return false
	}
	return true
}

// path is the folder of a snapshot.
func (s *Store) path(n name) string {
	return filepath.Join(s.root, n.String())
}
