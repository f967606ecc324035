package bookpi

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing/fstest"
)

// mirror is a log as files. It is a Source itself, without the copies that fstest.MapFS
// makes, and counts nothing.
type mirror map[string][]byte

func (m mirror) Fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if path == CheckpointsPath {
		return m.list(), nil
	}
	data, ok := m[path]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(data)) > limit:
		return nil, ErrOversize
	}
	return data, nil
}

func (m mirror) list() []byte {
	var sizes []uint64
	for path := range m {
		if size, err := ParseRecordedPath(path); err == nil {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	return AppendSizes(nil, sizes)
}

// with returns a copy that has other bytes at path; nil removes the file.
func (m mirror) with(path string, data []byte) mirror {
	changed := maps.Clone(m)
	if data == nil {
		delete(changed, path)
	} else {
		changed[path] = data
	}
	return changed
}

func (m mirror) fs() fstest.MapFS {
	files := fstest.MapFS{}
	for path, data := range m {
		files[path] = &fstest.MapFile{Data: data}
	}
	return files
}

// paths returns the files in order, the longest first where that helps nobody: sorted.
func (m mirror) paths() []string { return slices.Sorted(maps.Keys(m)) }

// mirror writes the whole log down, with a recorded checkpoint for each of the sizes.
func (l *ledger) mirror(recorded ...uint64) mirror {
	m := mirror{CheckpointPath: l.checkpoint()}
	for tile := range NewTiles(0, l.tree.Size()) {
		hashes, err := l.tiles.Tile(tile.Level, tile.Index)
		if err != nil {
			panic(err)
		}
		m[tile.Path()] = AppendTile(nil, hashes[:tile.Width])
		if tile.Level > 0 {
			continue
		}
		var entries, payloads []byte
		for i := range tile.Width {
			position := tile.Index*TileWidth + uint64(i)
			entries = AppendBundled(entries, l.entries[position])
			payloads = AppendPayload(payloads, BundledPayload{Data: l.payloads[position]})
		}
		m[EntriesPath(tile.Index, tile.Width)] = entries
		m[PayloadsPath(tile.Index, tile.Width)] = payloads
	}
	for _, size := range recorded {
		m[RecordedPath(size)] = l.checkpointAt(size)
	}
	return m
}

func (l *ledger) checkpointAt(size uint64) []byte {
	root, err := RootAt(size, l.tiles)
	if err != nil {
		panic(err)
	}
	return l.sign(Checkpoint{testOrigin, size, root})
}

func (l *ledger) sign(cp Checkpoint) []byte {
	signed, err := l.signer.Sign(cp, testTime)
	if err != nil {
		panic(err)
	}
	return signed
}

// flip returns a copy with one byte changed.
func flip(data []byte, i int, mask byte) []byte {
	changed := bytes.Clone(data)
	changed[i] ^= mask
	return changed
}

// partOf says which part of the evidence a file holds.
func partOf(path string) string {
	switch {
	case strings.HasPrefix(path, entriesPrefix):
		return PartEntry
	case strings.HasPrefix(path, tilePrefix):
		return PartTile
	case strings.HasPrefix(path, payloadsPrefix):
		return PartPayload
	}
	return PartCheckpoint
}
