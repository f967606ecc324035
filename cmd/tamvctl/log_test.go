package main

import (
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tamv.internal/tamv/store/bookpi"
)

// cut removes the last bytes of a file.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	raw := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(raw[:len(raw)-n]), 0o600))
}

// static serves a folder as any web server would.
func static(ts *testscript.TestScript, _ bool, args []string) {
	s := httptest.NewServer(http.FileServerFS(os.DirFS(ts.MkAbs(args[1]))))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

// spoil changes one bit of an entry and one of a tile.
func spoil(ts *testscript.TestScript, _ bool, args []string) {
	for _, below := range []string{"tile/entries", "tile/0"} {
		done := false
		err := filepath.WalkDir(filepath.Join(ts.MkAbs(args[0]), below), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || done {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			at := 10 // the first entry's time
			if below == "tile/0" {
				at = 3 * bookpi.HashSize // another's leaf
			}
			raw[at] ^= 1
			done = true
			return os.WriteFile(path, raw, 0o600)
		})
		ts.Check(err)
	}
}

// later moves the remembered visit beyond what a ledger has.
func later(ts *testscript.TestScript, _ bool, args []string) {
	var v visitFile
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	v.Size += 1000
	raw, err := json.Marshal(v)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
}

// fork writes fork-1.request and fork-2.request, two histories that one log signed,
// and its key as fork.keys.
func fork(ts *testscript.TestScript, _ bool, _ []string) {
	keys, err := bookpi.GenerateKeys(rand.Reader, "fork.test/log")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("fork.keys"), []byte(keys.Verifiers()[0]+"\n"+keys.Verifiers()[1]+"\n"), 0o600))
	for i, entry := range []string{"one", "other"} {
		var tree bookpi.Tree
		tree.Append(bookpi.LeafHash([]byte(entry)), nil)
		note, err := keys.Sign(bookpi.Checkpoint{Origin: keys.Origin(), Size: 1, Root: tree.Root()}, time.Now())
		ts.Check(err)
		request := bookpi.AddCheckpointRequest{Checkpoint: note}.Encode()
		ts.Check(os.WriteFile(ts.MkAbs("fork-"+strconv.Itoa(i+1)+".request"), request, 0o600))
	}
}

// grow writes a log as it was at some sizes, each into a folder NAME-SIZE, and its key as
// NAME.keys.
func grow(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	keys, err := bookpi.GenerateKeys(rand.Reader, "grown.test/log")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(name+".keys"), []byte(keys.Verifiers()[0]+"\n"), 0o600))
	var tree bookpi.Tree
	var previous bookpi.Hash
	var entries [][]byte
	tiles := map[uint8][]bookpi.Hash{}
	for _, wanted := range args[1:] {
		size, err := strconv.ParseUint(wanted, 10, 64)
		ts.Check(err)
		for i := tree.Size(); i < size; i++ {
			encoded := bookpi.Entry{
				Timestamp: int64(i + 1), PayloadDigest: bookpi.PayloadDigest(nil), Previous: previous,
				Tenant: "t", Actor: "a", Action: "x", Outcome: "ok",
			}.Append(nil)
			previous = bookpi.LeafHash(encoded)
			entries = append(entries, encoded)
			tree.Append(previous, func(level uint8, _ uint64, h bookpi.Hash) { tiles[level] = append(tiles[level], h) })
		}
		write := func(path string, raw []byte) {
			path = filepath.Join(ts.MkAbs(name+"-"+wanted), path)
			ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
			ts.Check(os.WriteFile(path, raw, 0o600))
		}
		note, err := keys.Sign(bookpi.Checkpoint{Origin: keys.Origin(), Size: size, Root: tree.Root()}, time.Now())
		ts.Check(err)
		write(bookpi.CheckpointPath, note)
		for tile := range bookpi.NewTiles(0, size) {
			first := tile.Index * bookpi.TileWidth
			end := first + uint64(tile.Width)
			write(tile.Path(), bookpi.AppendTile(nil, tiles[tile.Level][first:end]))
			if tile.Level > 0 {
				continue
			}
			var bundle []byte
			for _, encoded := range entries[first:end] {
				bundle = bookpi.AppendBundled(bundle, encoded)
			}
			write(bookpi.EntriesPath(tile.Index, tile.Width), bundle)
		}
	}
}
