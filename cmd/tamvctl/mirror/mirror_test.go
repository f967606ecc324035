package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/store/bookpi"
)

const origin = "plaza.test/log"

// site is a log as its operator has it.
type site struct {
	t        testing.TB
	keys     bookpi.LogKeys
	history  bookpi.KeyHistory
	salt     string
	entries  [][]byte
	payloads [][]byte
	tree     bookpi.Tree
	head     bookpi.Hash
	tiles    map[uint8][]bookpi.Hash
}

func newSite(t testing.TB, entries int) *site {
	t.Helper()
	keys, err := bookpi.GenerateKeys(rand.NewChaCha8([32]byte{7}), origin)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, keys: keys, tiles: map[uint8][]bookpi.Hash{}}
	if s.history, err = bookpi.NewKeyHistory(keys); err != nil {
		t.Fatal(err)
	}
	s.grow(entries)
	return s
}

func (s *site) grow(entries int) {
	for range entries {
		n := len(s.entries)
		payload := fmt.Appendf(nil, "%spayload %d", s.salt, n)
		e := bookpi.Entry{
			Timestamp: int64(n) + 1, Tenant: "main", Actor: "ana", Action: "e.test", Outcome: "ok",
			PayloadDigest: bookpi.PayloadDigest(payload), Previous: s.head,
		}.Append(nil)
		s.head = bookpi.LeafHash(e)
		s.entries, s.payloads = append(s.entries, e), append(s.payloads, payload)
		s.tree.Append(s.head, func(level uint8, _ uint64, h bookpi.Hash) { s.tiles[level] = append(s.tiles[level], h) })
	}
}

// fork is the same log with another history from its present size on.
func (s *site) fork(entries int) *site {
	f := *s
	f.salt, f.tiles = "other ", map[uint8][]bookpi.Hash{}
	for level, hashes := range s.tiles {
		f.tiles[level] = slices.Clone(hashes)
	}
	f.entries, f.payloads = slices.Clone(s.entries), slices.Clone(s.payloads)
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

func (s *site) sign(size uint64) []byte {
	s.t.Helper()
	root, err := bookpi.RootAt(size, s)
	if err != nil {
		s.t.Fatal(err)
	}
	note, err := s.keys.Sign(bookpi.Checkpoint{Origin: s.keys.Origin(), Size: size, Root: root}, time.Unix(1_763_781_234, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	return note
}

func (s *site) policy() bookpi.Policy {
	return bookpi.Policy{Logs: []bookpi.PolicyLog{{Key: s.keys.VerifierKeys()[0]}}, Quorum: bookpi.QuorumNone}
}

// served is a site as its server shows it.
type served struct {
	mu      sync.Mutex
	files   map[string][]byte
	fetched []string
	fail    int // fail the fetch when so many were made; 0 = never
}

var errCut = errors.New("the line was cut")

func (s *served) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched = append(s.fetched, path)
	if s.fail > 0 && len(s.fetched) >= s.fail {
		return nil, errCut
	}
	data, ok := s.files[path]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(data)) > limit:
		return nil, bookpi.ErrOversize
	}
	return bytes.Clone(data), ctx.Err()
}

// serve shows the whole log, with recorded checkpoints of the sizes.
func (s *site) serve(recorded ...uint64) *served {
	size := s.tree.Size()
	files := map[string][]byte{
		bookpi.CheckpointPath: s.sign(size), bookpi.KeysPath: s.history.Encode(), bookpi.PolicyPath: s.policy().Encode(),
		bookpi.KeyPath: []byte(strings.Join(s.keys.Verifiers(), "\n") + "\n"), bookpi.CheckpointsPath: bookpi.AppendSizes(nil, recorded),
	}
	for _, at := range recorded {
		files[bookpi.RecordedPath(at)] = s.sign(at)
	}
	for t := range bookpi.NewTiles(0, size) {
		hashes, err := s.Tile(t.Level, t.Index)
		if err != nil {
			s.t.Fatal(err)
		}
		files[t.Path()] = bookpi.AppendTile(nil, hashes[:t.Width])
		if t.Level > 0 {
			continue
		}
		var entries, payloads []byte
		for i := range t.Width {
			at := int(t.Index)*bookpi.TileWidth + i
			entries = bookpi.AppendBundled(entries, s.entries[at])
			payloads = bookpi.AppendPayload(payloads, bookpi.BundledPayload{Data: s.payloads[at]})
		}
		files[bookpi.EntriesPath(t.Index, t.Width)], files[bookpi.PayloadsPath(t.Index, t.Width)] = entries, payloads
	}
	return &served{files: files}
}

// check audits the folder and compares it with what a fresh copy would be.
func check(t testing.TB, folder string, src *served) {
	t.Helper()
	policy, err := bookpi.ParsePolicy(src.files[bookpi.PolicyPath])
	if err != nil {
		t.Fatal(err)
	}
	opts := bookpi.AuditOptions{Policy: &policy, Payloads: bookpi.PayloadsRequired}
	if _, err := bookpi.Audit(context.Background(), bookpi.DirSource(os.DirFS(folder)), opts); err != nil {
		t.Fatalf("the mirror: %v", err)
	}
	err = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" {
			return err
		}
		path, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		recorded := strings.HasPrefix(path, bookpi.CheckpointsPath) // a log forgets some, a mirror none
		if want, ok := src.files[filepath.ToSlash(path)]; !recorded && (!ok || !bytes.Equal(data, want)) {
			t.Errorf("%s is not what the log has there (%v)", path, ok)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCopiesAndCatchesUp(t *testing.T) {
	s, folder := newSite(t, 0), filepath.Join(t.TempDir(), "mirror")
	o := Options{Policy: s.policy(), Payloads: true}
	before := uint64(0)
	for _, size := range []int{0, 1, 255, 256, 256, 257, 700, 1300} {
		s.grow(size - len(s.entries))
		src := s.serve(min(uint64(size), 200))
		r, err := Copy(t.Context(), src, folder, o)
		if err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		if r.Before != before || r.Checkpoint.Size != uint64(size) || size == int(before) && size > 0 && r.Files > 1 { // a new signature
			t.Errorf("%+v", r)
		}
		before = uint64(size)
		check(t, folder, src)
		// Only what is new was asked for.
		for _, path := range src.fetched {
			if index, width, err := bookpi.ParseEntriesPath(path); err == nil && width == 256 && (index+1)*256 <= r.Before {
				t.Errorf("%s was fetched again at %d", path, size)
			}
		}
	}
}

// A tree with three levels of tiles, made from few distinct hashes.
func TestCopiesDeepTrees(t *testing.T) {
	if testing.Short() {
		t.Skip("65,800 entries")
	}
	s, folder := newSite(t, 65_536), t.TempDir()
	o := Options{Policy: s.policy(), Workers: 8}
	src := s.serve()
	for path := range src.files { // so that a copy of few files shows the levels
		if strings.HasPrefix(path, "payloads/") {
			delete(src.files, path)
		}
	}
	calls := uint64(0)
	o.Progress = func(done, total uint64) {
		if calls++; done != calls || total != 256 {
			t.Errorf("%d of %d", done, total)
		}
	}
	if _, err := Copy(t.Context(), src, folder, o); err != nil || calls != 256 {
		t.Fatalf("%d bundles, %v", calls, err)
	}
	s.grow(264)
	o.Progress = nil
	if r, err := Copy(t.Context(), s.serve(), folder, o); err != nil || r.Files > 12 {
		t.Fatalf("%+v, %v", r, err)
	}
	policy := s.policy()
	if _, err := bookpi.Audit(t.Context(), bookpi.DirSource(os.DirFS(folder)), bookpi.AuditOptions{Policy: &policy}); err != nil {
		t.Fatal(err)
	}
}

// Feature: tamv-hardened-backend, Property 73: an interrupted copy never shows damage and goes on where it was
func TestInterruptions(t *testing.T) {
	s := newSite(t, 600)
	small := newSite(t, 260)
	first, whole := small.serve(100), s.serve(100, 500)
	policy := s.policy()
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		folder := filepath.Join(root, fmt.Sprint(n))
		defer os.RemoveAll(folder)
		o := Options{Policy: policy, settle: unsettled, Payloads: rapid.Bool().Draw(rt, "payloads"), Workers: rapid.IntRange(1, 3).Draw(rt, "workers")}
		if rapid.Bool().Draw(rt, "second copy") {
			if _, err := Copy(context.Background(), &served{files: first.files}, folder, o); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 2).Draw(rt, "cuts") {
			src := &served{files: whole.files, fail: rapid.IntRange(1, 22).Draw(rt, "after")}
			if _, err := Copy(context.Background(), src, folder, o); err != nil && !errors.Is(err, errCut) {
				rt.Fatal(err)
			}
			// Whatever there is of a checkpoint, the folder has all that it calls for.
			dir := bookpi.DirSource(os.DirFS(folder))
			if _, err := dir.Fetch(context.Background(), bookpi.CheckpointPath, 1<<20); err == nil {
				if _, err := bookpi.Audit(context.Background(), dir, bookpi.AuditOptions{Policy: &policy}); err != nil {
					rt.Fatalf("after a cut: %v", err)
				}
			}
		}
		o.Payloads = true
		if _, err := Copy(context.Background(), &served{files: whole.files}, folder, o); err != nil {
			rt.Fatal(err)
		}
		check(t, folder, whole)
	})
}

// unsettled leaves what was written to the system, which may have much else to write.
func unsettled(string) error { return nil }

// What is not on stable storage is not called for by the checkpoint.
func TestNotSettled(t *testing.T) {
	s, folder := newSite(t, 300), t.TempDir()
	full := errors.New("no space left")
	o := Options{Policy: s.policy(), settle: func(string) error { return full }}
	if _, err := Copy(t.Context(), s.serve(), folder, o); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, bookpi.CheckpointPath)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a checkpoint: %v", err)
	}
}

// One changed byte in whatever the log serves is refused, unless the copy does not need
// it, and a good copy is possible afterwards.
func TestChangedBytes(t *testing.T) {
	s := newSite(t, 600)
	good := s.serve(100)
	policy := s.policy()
	random := rand.New(rand.NewPCG(3, 4))
	var paths []string
	for path := range good.files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		folder := t.TempDir()
		src := &served{files: map[string][]byte{}}
		for p, data := range good.files {
			src.files[p] = data
		}
		damaged := bytes.Clone(good.files[path])
		damaged[random.IntN(len(damaged))] ^= 1 << random.IntN(7)
		src.files[path] = damaged
		_, err := Copy(t.Context(), src, folder, Options{Policy: policy, Payloads: true, settle: unsettled})
		// Tiles of leaf hashes are made from entries, "key" and "policy" are for people.
		tile, tileErr := bookpi.ParseTilePath(path)
		ignored := tileErr == nil && tile.Level == 0 || path == bookpi.KeyPath || path == bookpi.PolicyPath
		var where *bookpi.BrokenError
		switch {
		case ignored && err != nil:
			t.Errorf("%s: %v", path, err)
		case !ignored && !errors.As(err, &where) && path != bookpi.CheckpointsPath: // a list without a size is a list
			t.Errorf("%s: %v", path, err)
		}
		if _, err := Copy(t.Context(), &served{files: good.files}, folder, Options{Policy: policy, Payloads: true, settle: unsettled}); err != nil {
			t.Fatalf("%s: afterwards: %v", path, err)
		}
		check(t, folder, good)
	}
}

func TestContradictions(t *testing.T) {
	s := newSite(t, 500)
	same := newSite(t, 400).fork(100)
	longer := newSite(t, 400).fork(300)
	older := newSite(t, 300)
	lyingTiles := longer.serve() // a server that hides the fork behind the true tiles
	for path, data := range s.serve().files {
		if path != bookpi.CheckpointPath {
			lyingTiles.files[path] = data
		}
	}
	for name, c := range map[string]struct {
		src  *served
		want error
	}{
		"another history of the size": {same.serve(), bookpi.ErrSplitView},
		"another, longer history":     {longer.serve(), bookpi.ErrSplitView},
		"hidden":                      {lyingTiles, bookpi.ErrSplitView},
		"rolled back":                 {older.serve(), bookpi.ErrRolledBack},
		"recorded on a fork":          {&served{files: with(s.serve(450).files, bookpi.RecordedPath(450), same.sign(450))}, bookpi.ErrSplitView},
	} {
		folder := t.TempDir()
		good := s.serve()
		o := Options{Policy: s.policy(), Payloads: true, settle: unsettled}
		if _, err := Copy(t.Context(), good, folder, o); err != nil {
			t.Fatal(err)
		}
		_, err := Copy(t.Context(), c.src, folder, o)
		var where *bookpi.BrokenError
		if !errors.Is(err, c.want) || !errors.As(err, &where) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.HasPrefix(name, "recorded") {
			kept, err := os.ReadFile(filepath.Join(folder, "checkpoint.conflict"))
			if err != nil || !bytes.Equal(kept, c.src.files[bookpi.CheckpointPath]) {
				t.Errorf("%s: %v", name, err)
			}
			os.Remove(filepath.Join(folder, "checkpoint.conflict"))
		} else {
			good = c.src // signed anew
		}
		check(t, folder, good)
	}
}

func with(files map[string][]byte, path string, data []byte) map[string][]byte {
	files[path] = data
	return files
}

func TestRefusesToBegin(t *testing.T) {
	s, folder := newSite(t, 10), t.TempDir()
	good := s.serve()
	o := Options{Policy: s.policy()}
	if _, err := Copy(t.Context(), good, folder, Options{}); !errors.Is(err, bookpi.ErrPolicy) {
		t.Errorf("no policy: %v", err)
	}
	unlock, err := durable.Lock(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), good, folder, o); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("locked: %v", err)
	}
	unlock()
	if _, err := Copy(t.Context(), &served{files: map[string][]byte{}}, folder, o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
	other, err := bookpi.GenerateKeys(rand.NewChaCha8([32]byte{9}), origin)
	if err != nil {
		t.Fatal(err)
	}
	stranger := bookpi.Policy{Logs: []bookpi.PolicyLog{{Key: other.VerifierKeys()[0]}}, Quorum: bookpi.QuorumNone}
	var where *bookpi.BrokenError
	if _, err := Copy(t.Context(), good, folder, Options{Policy: stranger}); !errors.As(err, &where) || where.Part != bookpi.PartKeys {
		t.Errorf("another's key: %v", err)
	}
	delete(good.files, bookpi.KeysPath)
	if _, err := Copy(t.Context(), good, folder, Options{Policy: stranger}); !errors.As(err, &where) || where.Part != bookpi.PartCheckpoint {
		t.Errorf("another's key without a history: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Copy(ctx, s.serve(), folder, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), s.serve(), filepath.Join(folder, "file"), o); err == nil {
		t.Error("a file as the folder")
	}
}
