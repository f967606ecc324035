package bookpi

import (
	"context"
	"errors"
)

// resume begins the walk at the last bundle of the visit before, instead of at entry 0,
// when that was asked for and the log can still contain that visit.
//
// The tree is begun with hashes that the source claims for the entries before, and so
// are the rows of tiles that they fill in part. Nothing vouches for them yet. But the
// root that the auditor remembers is a milestone of the walk, and it covers them all: the
// walk either reaches that root, or it was begun with something else.
func (a *audit) resume(ctx context.Context) error {
	last := a.opts.Last
	if !a.opts.SinceLast || last == nil || last.Origin != a.cp.Origin || last.Size > a.cp.Size || last.Size == 0 {
		return nil
	}
	// The last entry that is known is read again, for the first new one to hang on.
	from := (last.Size - 1) / TileWidth * TileWidth
	if from == 0 {
		return nil
	}
	tiles := newProver(sourceTiles{ctx: ctx, src: a.src, size: a.cp.Size}, 0)
	tree := Tree{size: from}
	for level := range tree.peaks {
		if from>>level&1 == 1 {
			tree.peaks[level] = tiles.complete(level, from>>level-1)
		}
	}
	for level := 1; level < len(a.row); level++ {
		end := from >> (TileHeight * level)
		if width := int(end % TileWidth); width > 0 {
			if hashes := tiles.tile(uint8(level), end/TileWidth); tiles.err == nil {
				a.row[level] = append(a.row[level], hashes[:width]...)
			}
		}
	}
	switch {
	case errors.Is(tiles.err, ErrTile):
		if err := a.damaged(broken(PartTile, tiles.err.Error(), tiles.err)); err != nil {
			return err
		}
		return errEnough // there is nothing to begin with
	case tiles.err != nil:
		return tiles.err
	}
	a.tree, a.report.From = tree, from
	return nil
}
