package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"tamv.internal/tamv/store/bookpi"
)

// mirror is a published log in memory: the files of C2SP tlog-tiles by path, and
// what is needed to judge them.
type mirror struct {
	files  map[string][]byte
	leaves []bookpi.Hash
	size   uint64
	root   bookpi.Hash
	key    string // Ed25519 verifier key
}

// Fetch hands out the files themselves: nobody who is measured changes them.
func (m *mirror) Fetch(_ context.Context, path string, _ int64) ([]byte, error) {
	data, ok := m.files[path]
	if !ok {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return data, nil
}

// template is an entry of 281 bytes, the size that others were measured with.
var template = bookpi.Entry{
	Timestamp: 1_763_781_234_567_890, Tenant: "plaza", Actor: "did:tamv:user:" + strings.Repeat("9f3c2a71", 18)[:143],
	Action: "intent.execute", Outcome: "completed", PayloadDigest: bookpi.PayloadDigest(nil),
}

// newMirror makes a log of so many entries, each linked to the one before.
func newMirror(entries int) (*mirror, error) {
	keys, err := bookpi.GenerateKeys(rand.Reader, tesseraOrigin)
	if err != nil {
		return nil, err
	}
	m := &mirror{files: map[string][]byte{}, leaves: make([]bookpi.Hash, 0, entries), key: keys.Verifiers()[0]}
	var levels [8][]bookpi.Hash
	var tree bookpi.Tree
	e := template
	var bundle []byte
	for i := range entries {
		e.Timestamp++
		raw := e.Append(nil)
		e.Previous = bookpi.LeafHash(raw)
		m.leaves = append(m.leaves, e.Previous)
		tree.Append(e.Previous, func(level uint8, _ uint64, h bookpi.Hash) { levels[level] = append(levels[level], h) })
		bundle = bookpi.AppendBundled(bundle, raw)
		if width := i%bookpi.TileWidth + 1; width == bookpi.TileWidth || i == entries-1 {
			m.files[bookpi.EntriesPath(uint64(i/bookpi.TileWidth), width)] = bundle
			bundle = make([]byte, 0, len(bundle))
		}
	}
	m.size, m.root = tree.Size(), tree.Root()
	for tile := range bookpi.NewTiles(0, m.size) {
		first := tile.Index * bookpi.TileWidth
		m.files[tile.Path()] = bookpi.AppendTile(nil, levels[tile.Level][first:first+uint64(tile.Width)])
	}
	m.files[bookpi.CheckpointPath], err = keys.Sign(bookpi.Checkpoint{Origin: tesseraOrigin, Size: m.size, Root: m.root}, time.Now())
	return m, err
}

// tesseraFiles is the mirror as Tessera's client reads it. A part of 0 means a
// full tile.
type tesseraFiles struct{ *mirror }

func (f tesseraFiles) ReadCheckpoint(ctx context.Context) ([]byte, error) {
	return f.Fetch(ctx, bookpi.CheckpointPath, 0)
}

func (f tesseraFiles) ReadTile(ctx context.Context, level, index uint64, part uint8) ([]byte, error) {
	return f.Fetch(ctx, bookpi.Tile{Level: uint8(level), Index: index, Width: width(part)}.Path(), 0)
}

func (f tesseraFiles) ReadEntryBundle(ctx context.Context, index uint64, part uint8) ([]byte, error) {
	return f.Fetch(ctx, bookpi.EntriesPath(index, width(part)), 0)
}

func width(part uint8) int {
	if part == 0 {
		return bookpi.TileWidth
	}
	return int(part)
}

// bundleLeaves is what Tessera asks of an application: the leaf hashes of a bundle.
func bundleLeaves(data []byte) ([][]byte, error) {
	hashes := make([][]byte, 0, bookpi.TileWidth)
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, bookpi.ErrRange
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		leaf := bookpi.LeafHash(data[2:end])
		hashes = append(hashes, leaf[:])
		data = data[end:]
	}
	return hashes, nil
}
