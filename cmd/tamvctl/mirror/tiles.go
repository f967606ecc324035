package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tamv.internal/tamv/store/bookpi"
)

// tiles reads the hashes of a tree of size leaves, from the folder where it has them
// and else from the log. It is for one goroutine.
type tiles struct {
	ctx    context.Context
	c      *copier
	size   uint64
	leaves []bookpi.Hash // of the last bundle, if it is partial
	known  map[bookpi.Tile][]bookpi.Hash
}

// maxKnown bounds the tiles that are remembered: a proof or a root needs a few of each
// level.
const maxKnown = 64

// Tile implements bookpi.TileReader.
func (t *tiles) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	tile := bookpi.Tile{Level: level, Index: index, Width: bookpi.TileSpan(level, index, t.size)}
	if level == 0 && index == t.size/bookpi.TileWidth && t.leaves != nil {
		return t.leaves, nil
	}
	if hashes, ok := t.known[tile]; ok {
		return hashes, nil
	}
	hashes, err := t.read(tile)
	if err != nil {
		return nil, err
	}
	if t.known == nil || len(t.known) == maxKnown {
		t.known = map[bookpi.Tile][]bookpi.Hash{}
	}
	t.known[tile] = hashes
	return hashes, nil
}

func (t *tiles) read(tile bookpi.Tile) ([]bookpi.Hash, error) {
	if tile.Width == 0 {
		return nil, fmt.Errorf("%w: %s", bookpi.ErrTile, tile.Path())
	}
	limit := int64(tile.Width) * bookpi.HashSize
	data, err := t.c.have.Fetch(t.ctx, tile.Path(), limit)
	if err != nil {
		if data, err = fetchSpan(t.ctx, t.c.src, tile.Width, func(width int) string {
			return bookpi.Tile{Level: tile.Level, Index: tile.Index, Width: width}.Path()
		}, bookpi.TileWidth*bookpi.HashSize); err != nil {
			return nil, err
		}
	}
	if int64(len(data)) > limit {
		data = data[:limit] // the full tile stands in for the partial one
	}
	return bookpi.ParseTile(data, tile.Width)
}

// fetchSpan fetches a tile or bundle of some width, or the full one where the partial
// one is gone (C2SP tlog-tiles).
func fetchSpan(ctx context.Context, src bookpi.Source, width int, path func(width int) string, limit int64) ([]byte, error) {
	data, err := src.Fetch(ctx, path(width), limit)
	if width < bookpi.TileWidth && errors.Is(err, fs.ErrNotExist) {
		data, err = src.Fetch(ctx, path(bookpi.TileWidth), limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path(width), err)
	}
	return data, nil
}

// fold is the root of a full tile.
func fold(hashes []bookpi.Hash) bookpi.Hash {
	row := append([]bookpi.Hash(nil), hashes...)
	for n := len(row); n > 1; n /= 2 {
		for i := range n / 2 {
			row[i] = bookpi.NodeHash(row[2*i], row[2*i+1])
		}
	}
	return row[0]
}
