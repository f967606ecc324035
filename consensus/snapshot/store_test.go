package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

var quiet = slog.New(slog.DiscardHandler)

var members = raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "n1", Address: "10.0.0.1:7"},
	{Suffrage: raft.Nonvoter, ID: "n2", Address: "10.0.0.2:7"},
}}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir, 2, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// create makes a snapshot with the given contents by file name.
func create(s *Store, index uint64, files map[string]string) (id string, err error) {
	sink, err := s.Create(1, index, 2, members, 1, nil)
	if err != nil {
		return "", err
	}
	var list []File
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(sink.(*Sink).Dir(), name), []byte(content), 0o600); err != nil {
			return "", errors.Join(err, sink.Cancel())
		}
		list = append(list, File{name, int64(len(content)), sha256.Sum256([]byte(content))})
	}
	if err := sink.(*Sink).Commit(list); err != nil {
		return "", errors.Join(err, sink.Cancel())
	}
	return sink.ID(), sink.Close()
}

func mustCreate(t *testing.T, s *Store, index uint64, files map[string]string) string {
	t.Helper()
	id, err := create(s, index, files)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// indexes lists the snapshots.
func indexes(t *testing.T, s *Store) (got []uint64) {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		got = append(got, m.Index)
	}
	return got
}

func readManifest(t *testing.T, s *Store, id string) []byte {
	t.Helper()
	_, r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSnapshotsAreKeptAndReaped(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	first := mustCreate(t, s, 5, map[string]string{"state": "five", "extra": ""})
	meta, reader, err := s.Open(first)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Index != 5 || meta.Term != 2 || meta.ConfigurationIndex != 1 || meta.Size == 0 || len(meta.Configuration.Servers) != 2 ||
		meta.Configuration.Servers[0] != members.Servers[0] || meta.Configuration.Servers[1] != members.Servers[1] {
		t.Errorf("meta %+v", meta)
	}
	for i := uint64(6); i < 9; i++ {
		mustCreate(t, s, i, map[string]string{"state": fmt.Sprint(i)})
	}
	// The first one is in use and stays, the second is not.
	if got := indexes(t, s); !slices.Equal(got, []uint64{8, 7, 5}) {
		t.Errorf("snapshots %v", got)
	}
	file, err := s.File(sha256.Sum256([]byte("five")))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(file); string(data) != "five" || err != nil {
		t.Errorf("file %q, error %v", data, err)
	}
	file.Close()
	reader.Close()
	reader.Close()
	if got := indexes(t, s); !slices.Equal(got, []uint64{8, 7}) {
		t.Errorf("snapshots %v after the first was closed", got)
	}
	if _, err := s.File(sha256.Sum256([]byte("five"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("a file of a removed snapshot: %v", err)
	}
	if got := indexes(t, mustOpen(t, dir)); !slices.Equal(got, []uint64{8, 7}) {
		t.Errorf("snapshots %v after opening anew", got)
	}
	// Of equal ones the last made counts.
	again := mustCreate(t, s, 8, map[string]string{"state": "again"})
	if list, err := s.List(); err != nil || list[0].ID != again {
		t.Errorf("the newest is %v, error %v", list[0], err)
	}
	where, _, release, err := s.Locate(readManifest(t, s, again))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if data, err := os.ReadFile(filepath.Join(where, "state")); string(data) != "again" || err != nil {
		t.Errorf("located %q, error %v", data, err)
	}
	if _, _, _, err := s.Locate([]byte("other")); !errors.Is(err, ErrNotFound) {
		t.Errorf("located a manifest that does not exist: %v", err)
	}
}

func TestSinkRefusals(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if _, err := OpenStore(t.TempDir(), 0, quiet); err == nil {
		t.Error("a store that keeps nothing was opened")
	}
	if _, err := s.Create(0, 1, 1, members, 1, nil); err == nil {
		t.Error("a snapshot of another version was begun")
	}
	for name, spoil := range map[string]func(*Sink) error{
		"a file that is not there":   func(k *Sink) error { return k.Commit([]File{{Name: "missing"}}) },
		"another size":               func(k *Sink) error { return k.Commit([]File{{Name: "state", Size: 3}}) },
		"a file that is not named":   func(k *Sink) error { return k.Commit(nil) },
		"a name that is not allowed": func(k *Sink) error { return k.Commit([]File{{Name: "../state"}}) },
		"no manifest":                func(*Sink) error { return nil },
		"a manifest cut off": func(k *Sink) error {
			_, err := k.Write([]byte("tamv-snapshot 1\nend"))
			return err
		},
		"a manifest whose files are missing": func(k *Sink) error {
			data, err := Manifest{{Name: "state", Size: 4}}.Encode()
			if err == nil {
				_, err = k.Write(data)
			}
			return err
		},
		"a manifest without end": func(k *Sink) error {
			_, err := k.Write(make([]byte, MaxManifest+1))
			return err
		},
	} {
		sink, err := s.Create(1, 1, 1, members, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		k := sink.(*Sink)
		if err := os.WriteFile(filepath.Join(k.Dir(), "state"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		err = spoil(k)
		if err == nil {
			err = k.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := k.Cancel(); err != nil {
			t.Errorf("%s: cancel: %v", name, err)
		}
		if left, err := os.ReadDir(s.root); len(left) != 0 || err != nil {
			t.Fatalf("%s: left %v, error %v", name, left, err)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	id := mustCreate(t, s, 9, map[string]string{"state": "the state", "ledger-1": "entries"})
	var read int
	if err := s.Verify(t.Context(), id, func(n int) error { read += n; return nil }); err != nil || read != 16 {
		t.Fatalf("%d bytes, error %v", read, err)
	}
	stop := errors.New("stop")
	if err := s.Verify(t.Context(), id, func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("pace was not heard: %v", err)
	}
	for _, name := range []string{"state", "ledger-1", manifestName, metaName} {
		path := filepath.Join(s.root, id, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x20
			checkDamage(t, s, id, path, bad)
		}
		checkDamage(t, s, id, path, good[:len(good)-1])
		checkDamage(t, s, id, path, append(bytes.Clone(good), '\n'))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(t.Context(), id, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s is gone: error %v", name, err)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Verify(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}

	// A damaged snapshot is out of use, but how far it went is known until another goes as far.
	if err := s.Discard(id); err != nil {
		t.Fatal(err)
	}
	if err := s.Discard(id); !errors.Is(err, ErrNotFound) {
		t.Errorf("discarded twice: %v", err)
	}
	for _, s := range []*Store{s, mustOpen(t, dir)} {
		if got := indexes(t, s); len(got) != 0 || s.Lost() != 9 {
			t.Errorf("snapshots %v, lost %d", got, s.Lost())
		}
	}
	mustCreate(t, s, 8, map[string]string{"state": "older"})
	if s.Lost() != 9 {
		t.Error("an older snapshot took the place of a lost one")
	}
	mustCreate(t, s, 9, map[string]string{"state": "as new"})
	if left, err := os.ReadDir(s.root); s.Lost() != 0 || len(left) != 2 || err != nil {
		t.Errorf("lost %d, left %v, error %v", s.Lost(), left, err)
	}
	// One whose description is damaged is noticed when the store is opened.
	id = mustCreate(t, s, 12, map[string]string{"state": "x"})
	if err := os.WriteFile(filepath.Join(s.root, id, metaName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir)
	if got := indexes(t, again); !slices.Equal(got, []uint64{9}) || again.Lost() != 12 {
		t.Errorf("snapshots %v, lost %d", got, again.Lost())
	}
}

func checkDamage(t *testing.T, s *Store, id, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), id, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("%s with %.100q: error %v", filepath.Base(path), content, err)
	}
}

// crashDisk is a disk whose machine dies before the step with number last: it and all that follow fail. What was written
// but not named by a synced folder may be lost; lossy loses the renames since the last sync.
type crashDisk struct {
	osDisk
	steps, last int
	renamed     [][2]string // since the last syncDir
	torn        bool        // the write under way leaves half a file
}

var errCrash = errors.New("power failure")

func (d *crashDisk) step() error {
	if d.steps++; d.steps > d.last {
		return errCrash
	}
	return nil
}

func (d *crashDisk) mkdir(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.osDisk.mkdir(path)
}

func (d *crashDisk) write(path string, data []byte) error {
	if err := d.step(); err != nil {
		if d.steps == d.last+1 && d.torn {
			return errors.Join(err, os.WriteFile(path, data[:len(data)/2], 0o600))
		}
		return err
	}
	return d.osDisk.write(path, data)
}

func (d *crashDisk) link(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.osDisk.link(from, to)
}

func (d *crashDisk) rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.renamed = append(d.renamed, [2]string{from, to})
	return d.osDisk.rename(from, to)
}

func (d *crashDisk) syncDir(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.renamed = nil
	return d.osDisk.syncDir(path)
}

func (d *crashDisk) removeAll(path string) error {
	if err := d.step(); err != nil {
		if d.steps == d.last+1 && d.torn { // half of it went
			files, _ := filepath.Glob(filepath.Join(path, "*"))
			if len(files) > 0 {
				return errors.Join(err, os.Remove(files[0]))
			}
		}
		return err
	}
	return d.osDisk.removeAll(path)
}

// lose undoes what the disk may have forgotten.
func (d *crashDisk) lose(t *testing.T) {
	for _, r := range slices.Backward(d.renamed) {
		if err := os.Rename(r[1], r[0]); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestCrashAtEveryStep(t *testing.T) {
	for _, variant := range []string{"", "lossy", "torn"} {
		for last := 0; ; last++ {
			dir := t.TempDir()
			s := mustOpen(t, dir)
			mustCreate(t, s, 1, map[string]string{"state": "one"})
			mustCreate(t, s, 2, map[string]string{"state": "two"})

			d := &crashDisk{last: last, torn: variant == "torn"}
			doomed, err := openStore(dir, 2, quiet, d)
			if err != nil {
				t.Fatal(err)
			}
			_, err = create(doomed, 3, map[string]string{"state": "three"})
			if variant == "lossy" {
				d.lose(t)
			}
			s = mustOpen(t, dir)
			got := indexes(t, s)
			if !slices.Contains(got, 2) || (err == nil && got[0] != 3) {
				t.Fatalf("%s crash at step %d: snapshots %v, the sink said %v", variant, last, got, err)
			}
			list, listErr := s.List()
			if listErr != nil {
				t.Fatal(listErr)
			}
			for _, m := range list {
				// The third is removed as soon as one was in use.
				if err := s.Verify(t.Context(), m.ID, nil); err != nil && (m.Index > 1 || !errors.Is(err, ErrNotFound)) {
					t.Fatalf("%s crash at step %d: %v", variant, last, err)
				}
			}
			folders, dirErr := os.ReadDir(s.root)
			if dirErr != nil {
				t.Fatal(dirErr)
			}
			for _, f := range folders {
				if strings.HasSuffix(f.Name(), tempSuffix) {
					t.Fatalf("%s crash at step %d: %s is left", variant, last, f.Name())
				}
			}
			if d.steps <= last {
				if last < 8 {
					t.Fatalf("only %d steps were made", last)
				}
				break
			}
		}
	}
}
