package witness

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/store/bookpi"
)

// site is a log with a key, whose entries are numbers.
type site struct {
	t     testing.TB
	keys  bookpi.LogKeys
	salt  string
	tree  bookpi.Tree
	tiles map[uint8][]bookpi.Hash
}

func newSite(t testing.TB, origin string, entries int) *site {
	t.Helper()
	keys, err := bookpi.GenerateKeys(mathrand.NewChaCha8([32]byte{byte(len(origin))}), origin)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, keys: keys, tiles: map[uint8][]bookpi.Hash{}}
	s.grow(entries)
	return s
}

func (s *site) grow(entries int) {
	for range entries {
		s.tree.Append(bookpi.LeafHash(fmt.Appendf(nil, "%s%d", s.salt, s.tree.Size())), func(level uint8, _ uint64, h bookpi.Hash) {
			s.tiles[level] = append(s.tiles[level], h)
		})
	}
}

// fork is the same log with another history behind its size.
func (s *site) fork(entries int) *site {
	f := *s
	f.salt = "other "
	f.tiles = map[uint8][]bookpi.Hash{}
	for level, hashes := range s.tiles {
		f.tiles[level] = append([]bookpi.Hash(nil), hashes...)
	}
	f.grow(entries)
	return &f
}

func (s *site) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	first := index * bookpi.TileWidth
	if first >= uint64(len(s.tiles[level])) {
		return nil, bookpi.ErrTile
	}
	return s.tiles[level][first:min(first+bookpi.TileWidth, uint64(len(s.tiles[level])))], nil
}

// request asks for a cosignature of size, from old on.
func (s *site) request(old, size uint64) []byte {
	s.t.Helper()
	root, err := bookpi.RootAt(size, s)
	if err != nil {
		s.t.Fatal(err)
	}
	note, err := s.keys.Sign(bookpi.Checkpoint{Origin: s.keys.Origin(), Size: size, Root: root}, time.Unix(1_763_781_234, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	r := bookpi.AddCheckpointRequest{OldSize: old, Checkpoint: note}
	if old <= size {
		if r.Proof, err = bookpi.ConsistencyProof(old, size, s); err != nil {
			s.t.Fatal(err)
		}
	}
	return r.Encode()
}

// newWitness makes a witness that knows the sites.
func newWitness(t testing.TB, sites ...*site) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "witness")
	if _, err := Init(folder, "auditor.test/laptop", rand.Reader); err != nil {
		t.Fatal(err)
	}
	w := reopen(t, folder)
	defer w.Close()
	for _, s := range sites {
		if _, err := w.Trust(s.keys.VerifierKeys()...); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func reopen(t testing.TB, folder string) *Folder {
	t.Helper()
	w, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var at = time.Unix(1_763_800_000, 0)

func TestCosignsWhatExtends(t *testing.T) {
	a, b := newSite(t, "plaza.test/log", 600), newSite(t, "harbour.test/log/2", 10)
	folder := newWitness(t, a, b)
	for _, step := range []struct {
		s         *site
		old, size uint64
	}{{a, 0, 5}, {a, 5, 5}, {a, 0, 5}, {b, 0, 10}, {a, 5, 300}, {a, 300, 600}} {
		w := reopen(t, folder) // as the next day
		done, err := w.Cosign(step.s.request(step.old, step.size), at)
		if err != nil {
			t.Fatal(err)
		}
		by, lines, err := bookpi.VerifyCosignatures(done.Checkpoint, done.Lines, w.Keys())
		if err != nil || len(by) != 2 || !bytes.Equal(lines, done.Lines) || !by[0].Time.Equal(at) {
			t.Errorf("%+v, %v", by, err)
		}
		if r, err := w.Record(step.s.keys.Origin()); err != nil || r.Size != step.size {
			t.Errorf("%+v, %v", r, err)
		}
		w.Close()
	}
}

func TestRefuses(t *testing.T) {
	s, stranger := newSite(t, "plaza.test/log", 600), newSite(t, "stranger.test/log", 5)
	forked := newSite(t, "plaza.test/log", 100).fork(500)
	folder := newWitness(t, s)
	w := reopen(t, folder)
	defer w.Close()
	if _, err := w.Cosign(s.request(0, 300), at); err != nil {
		t.Fatal(err)
	}
	unproven := bytes.Replace(s.request(300, 600), []byte("\n"), []byte("\n"+strings.Repeat("A", 43)+"=\n"), 1)
	for name, c := range map[string]struct {
		request []byte
		want    error
		file    bool
	}{
		"another history of the size": {forked.request(0, 300), bookpi.ErrSplitView, true},
		"a history that forked":       {forked.request(300, 600), bookpi.ErrProof, true},
		"a wrong proof":               {unproven, bookpi.ErrProof, true},
		"an older one":                {s.request(0, 200), bookpi.ErrSmaller, false},
		"from another size":           {s.request(200, 600), bookpi.ErrStale, false},
		"an unknown log":              {stranger.request(0, 5), bookpi.ErrUnknownLog, false},
		"nothing":                     {nil, bookpi.ErrRequest, false},
		"noise":                       {[]byte("old 5\n\n\xff"), bookpi.ErrRequest, false},
	} {
		_, err := w.Cosign(c.request, at)
		var conflict *ConflictError
		if !errors.Is(err, c.want) || errors.As(err, &conflict) != c.file {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !c.file {
			continue
		}
		kept, err := os.ReadFile(conflict.File)
		if err != nil || !bytes.HasPrefix(kept, []byte("tamv-conflict/1\nknown ")) || bytes.Count(kept, []byte("plaza.test/log\n")) != 2 {
			t.Errorf("%s: %q, %v", name, kept, err)
		}
	}
	if r, err := w.Record("plaza.test/log"); err != nil || r.Size != 300 {
		t.Errorf("a refusal changed the record: %+v, %v", r, err)
	}
	if conflicts, err := w.Conflicts(); err != nil || len(conflicts) != 3 {
		t.Errorf("%v, %v", conflicts, err)
	}
}

// Feature: tamv-hardened-backend, Property 72: a witness cosigns one history of a log
func TestOneHistory(t *testing.T) {
	const fork, end = 4, 12
	trunk := newSite(t, "plaza.test/log", fork)
	branches := []*site{trunk.fork(0), trunk.fork(end - fork)}
	branches[0].salt = ""
	branches[0].grow(end - fork)
	requests := map[[3]uint64][]byte{}
	folder := newWitness(t, trunk)
	rapid.Check(t, func(rt *rapid.T) {
		for _, sub := range []string{recordsFolder, conflictsFolder} {
			if err := os.RemoveAll(filepath.Join(folder, sub)); err != nil {
				rt.Fatal(err)
			}
		}
		seen := map[uint64]bookpi.Hash{}
		last, on := uint64(0), -1 // the branch, once it matters
		for range rapid.IntRange(1, 6).Draw(rt, "requests") {
			branch := rapid.IntRange(0, 1).Draw(rt, "branch")
			size := rapid.Uint64Range(1, end).Draw(rt, "size")
			old := min(last, size)
			if rapid.IntRange(0, 4).Draw(rt, "stale") == 0 {
				old = rapid.Uint64Range(0, size).Draw(rt, "old")
			}
			which := [3]uint64{uint64(branch), old, size}
			if requests[which] == nil {
				requests[which] = branches[branch].request(old, size)
			}
			w := reopen(t, folder)
			done, err := w.Cosign(requests[which], at)
			w.Close()
			mixed := last > fork && branch != on && size > fork
			again := size == last
			if want := size >= last && (old == last || again) && !mixed; (err == nil) != want {
				rt.Fatalf("from %d to %d on branch %d, after %d on %d: %v", old, size, branch, last, on, err)
			}
			if err != nil {
				continue
			}
			if before, ok := seen[size]; ok && before != done.Checkpoint.Root {
				rt.Fatalf("two roots for %d", size)
			}
			seen[size], last = done.Checkpoint.Root, size
			if size > fork {
				on = branch
			}
		}
	})
}

func TestFolderIsGuarded(t *testing.T) {
	s := newSite(t, "plaza.test/log", 10)
	folder := newWitness(t, s)
	if _, err := Init(folder, "again.test/x", rand.Reader); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second witness in the folder: %v", err)
	}
	w := reopen(t, folder)
	if _, err := Open(folder); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := w.Trust(w.Keys()[0]); !errors.Is(err, bookpi.ErrKey) {
		t.Errorf("a witness's key as a log's: %v", err)
	}
	if added, err := w.Trust(s.keys.VerifierKeys()...); err != nil || added != nil {
		t.Errorf("known keys again: %v, %v", added, err)
	}
	if _, err := w.Cosign(s.request(0, 10), at); err != nil {
		t.Fatal(err)
	}
	w.Close()

	for name, c := range map[string]struct {
		file string
		text string
		want error
	}{
		"an empty key file":   {keysFile, "", ErrFolder},
		"a damaged key file":  {keysFile, "PRIVATE+KEY+x\n", ErrFolder},
		"a damaged log file":  {logsFile, "nonsense\n", ErrFolder},
		"a long file":         {logsFile, strings.Repeat("x", maxFile+1), ErrFolder},
		"a record of nothing": {filepath.Join(recordsFolder, digest("plaza.test/log")), "", ErrFolder},
	} {
		path := filepath.Join(folder, c.file)
		before, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(c.text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		w, err := Open(folder)
		if err == nil {
			_, err = w.Cosign(s.request(10, 10), at)
			w.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(fmt.Sprint(err), "PRIVATE") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(folder, keysFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(folder); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("keys that others can read: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no witness: %v", err)
	}
	if _, err := Init(t.TempDir(), "two words", rand.Reader); !errors.Is(err, bookpi.ErrKey) {
		t.Errorf("a name that is none: %v", err)
	}
}

// What cannot be remembered is not cosigned.
func TestRemembersBeforeItSigns(t *testing.T) {
	s := newSite(t, "plaza.test/log", 10)
	folder := newWitness(t, s)
	// Where the folder of records should be there is a file.
	if err := os.WriteFile(filepath.Join(folder, recordsFolder), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := reopen(t, folder)
	defer w.Close()
	if done, err := w.Cosign(s.request(0, 10), at); err == nil || done.Lines != nil {
		t.Errorf("%q, %v", done.Lines, err)
	}
}
