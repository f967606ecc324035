package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"
)

// Sink is a snapshot in the making. There are two ways to fill it: write files into Dir and name them by Commit, or write a
// manifest whose files were pulled before, which is what Raft does when it installs a snapshot. Close makes it a snapshot,
// Cancel removes it. A Sink belongs to one goroutine.
type Sink struct {
	store              *Store
	name               name
	configuration      raft.Configuration
	configurationIndex uint64

	received  []byte   // a manifest as far as it was written
	manifest  Manifest // set by Commit
	committed bool
	ended     bool
}

// Create implements raft.SnapshotStore; the sink is a *Sink.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64,
	_ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("snapshot: version %d of Raft's metadata is not known here", version)
	}
	s.mu.Lock()
	s.number++
	k := &Sink{store: s, name: name{term, index, s.number}, configuration: configuration, configurationIndex: configurationIndex}
	s.mu.Unlock()
	if err := s.disk.mkdir(k.Dir()); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return k, nil
}

// ID implements raft.SnapshotSink.
func (k *Sink) ID() string { return k.name.String() }

// Dir is the folder to write files into, before Commit.
func (k *Sink) Dir() string { return k.store.path(k.name) + tempSuffix }

// Commit names the files that were written into Dir. They must be on disk, with nothing beside them.
func (k *Sink) Commit(files []File) error {
	manifest, err := NewManifest(files)
	if err != nil {
		return err
	}
	k.manifest, k.committed = manifest, true
	return nil
}

// Write implements io.Writer: it takes the next bytes of a manifest.
func (k *Sink) Write(p []byte) (int, error) {
	if len(k.received)+len(p) > MaxManifest {
		return 0, fmt.Errorf("%w: larger than %d bytes", ErrManifest, MaxManifest)
	}
	k.received = append(k.received, p...)
	return len(p), nil
}

// Close implements raft.SnapshotSink: when it returns nil the snapshot is durable, else nothing is left of it. It returns
// ErrIncomplete if a file of a received manifest is not there.
func (k *Sink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	s := k.store
	e, err := k.finish()
	if err != nil {
		s.remove(s.path(k.name)) // the last step may have failed with the folder under its name already
		return errors.Join(err, s.disk.removeAll(k.Dir()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.held, e, func(a, b *entry) int {
		if a.name.newer(b.name) {
			return -1
		}
		return 1
	})
	s.held = slices.Insert(s.held, i, e)
	s.reap()
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *Sink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	return k.store.disk.removeAll(k.Dir())
}

// finish completes the folder and gives it its name.
func (k *Sink) finish() (*entry, error) {
	s := k.store
	if !k.committed {
		manifest, err := ParseManifest(k.received)
		if err != nil {
			return nil, err
		}
		k.manifest = manifest
		if !s.pull.TryLock() {
			return nil, fmt.Errorf("%w: they are being pulled", ErrIncomplete)
		}
		defer s.pull.Unlock()
		if err := s.take(manifest, k.Dir()); err != nil {
			return nil, err
		}
	}
	if err := checkFolder(k.Dir(), k.manifest); err != nil {
		return nil, err
	}
	data, err := k.manifest.Encode()
	if err != nil {
		return nil, err
	}
	e := &entry{name: k.name, meta: newMeta(k.name, k.configuration, k.configurationIndex, data), manifest: k.manifest}
	description, err := e.meta.encode()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	for _, step := range []func() error{
		func() error { return s.disk.write(filepath.Join(k.Dir(), manifestName), data) },
		func() error { return s.disk.write(filepath.Join(k.Dir(), metaName), description) },
		func() error { return s.disk.syncDir(k.Dir()) },
		func() error { return s.disk.rename(k.Dir(), s.path(k.name)) },
		func() error { return s.disk.syncDir(s.root) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	if !k.committed {
		s.clear()
	}
	return e, nil
}

// checkFolder compares a folder's files with a manifest, by name and size.
func checkFolder(dir string, manifest Manifest) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if len(files) != len(manifest) {
		return fmt.Errorf("%w: %d files in the folder, %d in the manifest", ErrManifest, len(files), len(manifest))
	}
	for i, f := range files { // both are ordered by name
		info, err := f.Info()
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		if want := manifest[i]; f.Name() != want.Name || !info.Mode().IsRegular() || info.Size() != want.Size {
			return fmt.Errorf("%w: %s of %d bytes in the folder, %s of %d in the manifest", ErrManifest, f.Name(), info.Size(), want.Name, want.Size)
		}
	}
	return nil
}
