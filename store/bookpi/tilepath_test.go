package bookpi

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func TestTilePaths(t *testing.T) {
	for path, want := range map[string]Tile{
		"tile/0/000":                          {0, 0, 256},
		"tile/0/x001/x234/067":                {0, 1234067, 256},
		"tile/1/017.p/112":                    {1, 17, 112},
		"tile/63/999.p/255":                   {63, 999, 255},
		"tile/7/x018/x014/x398/x509/x481/983": {7, maxTileIndex - 1, 256},
	} {
		got, err := ParseTilePath(path)
		if err != nil || got != want || got.Path() != path {
			t.Errorf("%s: %+v, %v; back %s", path, got, err, want.Path())
		}
	}
	if p := EntriesPath(1234, 7); p != "tile/entries/x001/234.p/7" {
		t.Error(p)
	}
	if p := PayloadsPath(1234, 256); p != "payloads/x001/234" {
		t.Error(p)
	}
	if p := RecordedPath(16384); p != "checkpoints/16384" {
		t.Error(p)
	}
}

func TestTilePathsRefused(t *testing.T) {
	index := []string{
		"", "0", "00", "0000", "x000/000", "x00/000", "001/000", "x001", "x001/", "/001", "001/", "x001//001", "-01", "+01", "0x1",
		"000.p/", "000.p/0", "000.p/01", "000.p/256", "000.p/-1", "000.p/1/", "000.p/1.p/1", "000.P/1", ".p/1", "xx01/000", "x001/x000",
		"x018/x014/x398/x509/x481/984", "x999/x999/x999/x999/x999/999", "x001/x000/x000/x000/x000/x000/000", " 000", "000 ", "000\n", "٠٠٠",
	}
	for _, s := range index {
		for _, prefix := range []string{"tile/0/", "tile/entries/", "payloads/"} {
			if _, err := ParseTilePath(prefix + s); !errors.Is(err, ErrPath) {
				t.Errorf("tile %q: %v", prefix+s, err)
			}
			if _, _, err := ParseEntriesPath(prefix + s); !errors.Is(err, ErrPath) {
				t.Errorf("entries %q: %v", prefix+s, err)
			}
			if _, _, err := ParsePayloadsPath(prefix + s); !errors.Is(err, ErrPath) {
				t.Errorf("payloads %q: %v", prefix+s, err)
			}
		}
	}
	for _, s := range []string{"", "tile", "tile/", "tile/0", "/tile/0/000", "tile/00/000", "tile/01/000", "tile/64/000", "tile/-1/000", "tile/x/000", "tile//000", "tile/8/0/000", "tile/entries/000"} {
		if _, err := ParseTilePath(s); !errors.Is(err, ErrPath) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"checkpoints", "checkpoints/", "checkpoints/01", "checkpoints/-1", "checkpoints/1/", "checkpoint/1", "1", "checkpoints/4611686018427387905"} {
		if _, err := ParseRecordedPath(s); !errors.Is(err, ErrPath) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// The paths of the Go checksum database have the tile height in front of the level;
// otherwise they are those of C2SP.
func TestTilePathsAgreeWithTlog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tile := Tile{
			Level: rapid.Uint8Range(0, 63).Draw(t, "level"),
			Index: rapid.Uint64Range(0, maxTileIndex-1).Draw(t, "index"),
			Width: rapid.IntRange(1, 256).Draw(t, "width"),
		}
		model := tlog.Tile{H: 8, L: int(tile.Level), N: int64(tile.Index), W: tile.Width}.Path()
		if want := "tile/" + strings.TrimPrefix(model, "tile/8/"); tile.Path() != want {
			t.Fatalf("%s, tlog says %s", tile.Path(), want)
		}
		if got, err := ParseTilePath(tile.Path()); got != tile || err != nil {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

// The tiles of the example in C2SP tlog-tiles.
func TestTilesOfATree(t *testing.T) {
	var full, partial []Tile
	for tile := range NewTiles(0, 70_000) {
		if tile.Width == TileWidth {
			full = append(full, tile)
		} else {
			partial = append(partial, tile)
		}
	}
	if len(full) != 274 || full[273] != (Tile{1, 0, 256}) {
		t.Errorf("%d full tiles, last %v", len(full), full[len(full)-1])
	}
	if want := []Tile{{0, 273, 112}, {1, 1, 17}, {2, 0, 1}}; !slices.Equal(partial, want) {
		t.Errorf("partial tiles %v, want %v", partial, want)
	}
	if n := len(slices.Collect(NewTiles(0, 256))); n != 2 {
		t.Errorf("%d tiles of 256 leaves", n)
	}
	for tile := range NewTiles(0, 1000) { // stops when asked to
		if tile != (Tile{0, 0, 256}) {
			t.Error(tile)
		}
		break
	}
	if w := TileSpan(7, 0, MaxSize); w != 64 {
		t.Errorf("the top tile of the largest tree has %d hashes", w)
	}
	if w := TileSpan(8, 0, MaxSize) + TileSpan(0, maxTileIndex, MaxSize) + TileSpan(0, 1, 256); w != 0 {
		t.Errorf("tiles that do not exist have %d hashes", w)
	}
}

func TestNewTilesAgreeWithTlog(t *testing.T) {
	size := rapid.OneOf(rapid.Uint64Range(0, 1000), rapid.Uint64Range(0, 300_000))
	rapid.Check(t, func(t *rapid.T) {
		a, b := size.Draw(t, "size"), size.Draw(t, "other size")
		oldSize, newSize := min(a, b), max(a, b)
		var want []Tile
		for _, tile := range tlog.NewTiles(8, int64(oldSize), int64(newSize)) {
			want = append(want, Tile{uint8(tile.L), uint64(tile.N), tile.W})
		}
		if got := slices.Collect(NewTiles(oldSize, newSize)); !slices.Equal(got, want) {
			t.Fatalf("from %d to %d: %v, tlog says %v", oldSize, newSize, got, want)
		}
	})
}

func TestTileContent(t *testing.T) {
	hashes := []Hash{{1}, {2}, {3}}
	data := AppendTile(nil, hashes)
	got, err := ParseTile(data, 3)
	if err != nil || !slices.Equal(got, hashes) {
		t.Fatal(got, err)
	}
	for _, width := range []int{0, 2, 4, 256} {
		_, err := ParseTile(data, width)
		wantIs(t, err, ErrTile)
	}
	_, err = ParseTile(data[:95], 3)
	wantIs(t, err, ErrTile)
}

func FuzzParseTilePath(f *testing.F) {
	for _, s := range []string{"tile/0/000", "tile/63/x001/x234/067.p/255", "tile/entries/x001/000.p/1", "payloads/000", "checkpoints/16384", "tile/0/x000/000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tile, err := ParseTilePath(s); err == nil && tile.Path() != s {
			t.Errorf("%q is also %q", s, tile.Path())
		}
		if index, width, err := ParseEntriesPath(s); err == nil && EntriesPath(index, width) != s {
			t.Errorf("%q is also %q", s, EntriesPath(index, width))
		}
		if index, width, err := ParsePayloadsPath(s); err == nil && PayloadsPath(index, width) != s {
			t.Errorf("%q is also %q", s, PayloadsPath(index, width))
		}
		if size, err := ParseRecordedPath(s); err == nil && RecordedPath(size) != s {
			t.Errorf("%q is also %q", s, RecordedPath(size))
		}
	})
}

// folderTiles is a reader of the Go checksum database on our files.
type folderTiles struct {
	m    mirror
	read int
}

func (f *folderTiles) Height() int { return 8 }

func (f *folderTiles) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range tiles {
		content, ok := f.m[Tile{uint8(tile.L), uint64(tile.N), tile.W}.Path()]
		if !ok {
			return nil, errNoTile
		}
		f.read++
		data = append(data, bytes.Clone(content))
	}
	return data, nil
}

func (f *folderTiles) SaveTiles([]tlog.Tile, [][]byte) {}

// The reference implementation reads our files, believes them, and proves from them what
// we prove.
func TestTlogReadsOurTiles(t *testing.T) {
	l := newLedger(1, 0)
	mirrors := map[uint64]mirror{}
	for _, size := range []uint64{1, 2, 255, 256, 257, 600, 1000} {
		for l.tree.Size() < size {
			l.add([]byte("payload"))
		}
		mirrors[size] = l.mirror()
	}
	sizes := []uint64{1, 2, 255, 256, 257, 600, 1000}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom(sizes).Draw(t, "size")
		root, err := RootAt(size, l.tiles)
		if err != nil {
			t.Fatal(err)
		}
		tree := tlog.Tree{N: int64(size), Hash: tlog.Hash(root)}
		reader := tlog.TileHashReader(tree, &folderTiles{m: mirrors[size]})
		if got, err := tlog.TreeHash(tree.N, reader); err != nil || got != tree.Hash {
			t.Fatalf("tree hash %v, %v", got, err)
		}

		index := rapid.Uint64Range(0, size-1).Draw(t, "index")
		theirs, err := tlog.ProveRecord(tree.N, int64(index), reader)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := InclusionProof(size, index, l.tiles)
		if err != nil || !slices.Equal(ours, fromTlog(theirs)) {
			t.Fatalf("inclusion proofs differ: %v", err)
		}
		if err := tlog.CheckRecord(theirs, tree.N, tree.Hash, int64(index), tlog.RecordHash(l.entries[index])); err != nil {
			t.Fatal(err)
		}

		oldSize := rapid.Uint64Range(1, size).Draw(t, "old size")
		theirTree, err := tlog.ProveTree(tree.N, int64(oldSize), reader)
		if err != nil {
			t.Fatal(err)
		}
		oldRoot, err := RootAt(oldSize, l.tiles)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(theirTree, tree.N, tree.Hash, int64(oldSize), tlog.Hash(oldRoot)); err != nil {
			t.Fatal(err)
		}
		if err := VerifyConsistency(oldSize, size, oldRoot, root, fromTlog(theirTree)); err != nil {
			t.Fatal(err)
		}
	})
}

func fromTlog(hashes []tlog.Hash) (out []Hash) {
	for _, h := range hashes {
		out = append(out, Hash(h))
	}
	return out
}
