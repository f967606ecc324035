package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/store/bookpi"
)

// Options say what a copy trusts and takes.
type Options struct {
	// Policy says whose checkpoints to believe, and which witnesses must have cosigned
	// the newest one.
	Policy   bookpi.Policy
	Payloads bool // take payloads too, as far as the log hands them out
	Workers  int  // bundles in flight; 0 = 4
	// Progress, if set, is told the bundles written or found so far, and in all. It is
	// called by one goroutine at a time.
	Progress func(done, total uint64)

	settle func(folder string) error // durable.Settle when nil
}

// Report says what a copy came to.
type Report struct {
	Checkpoint bookpi.Checkpoint    // that the folder has now
	Before     uint64               // entries that it had before
	CosignedBy []bookpi.Cosignature // witnesses of the policy that cosigned the checkpoint
	Files      uint64               // written
	Bytes      uint64               // written
	Payloads   uint64               // checked in this run
	Withheld   uint64               // that the log did not hand out in this run
	Recorded   int                  // earlier checkpoints taken in this run
}

const defaultWorkers = 4

// Copy makes the folder a mirror of the log behind src, or brings it up to date. The
// folder is locked meanwhile; durable.ErrLocked if somebody else does the same.
func Copy(ctx context.Context, src bookpi.Source, folder string, o Options) (Report, error) {
	if err := o.Policy.Check(); err != nil {
		return Report{}, err
	}
	if o.Workers < 1 {
		o.Workers = defaultWorkers
	}
	if o.settle == nil {
		o.settle = durable.Settle
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Report{}, err
	}
	unlock, err := durable.Lock(folder)
	if err != nil {
		return Report{}, err
	}
	defer unlock()
	c := &copier{src: src, folder: folder, have: bookpi.DirSource(os.DirFS(folder)), o: o, trust: trust{policy: o.Policy}}
	err = c.run(ctx)
	c.report.Files, c.report.Bytes = c.files.Load(), c.bytes.Load()
	c.report.Payloads, c.report.Withheld = c.payloads.Load(), c.withheld.Load()
	return c.report, err
}

// copier is one run of Copy.
type copier struct {
	src    bookpi.Source
	have   bookpi.Source // the folder
	folder string
	o      Options
	trust  trust

	note   []byte            // the newest checkpoint
	cp     bookpi.Checkpoint // what it states
	before bookpi.Checkpoint // the folder's; the zero value if it has none
	sizes  []uint64          // with a recorded checkpoint
	tiles  *tiles            // of the newest tree

	files, bytes, payloads, withheld atomic.Uint64
	report                           Report
}

// run does the steps in the order that the package comment gives.
func (c *copier) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		c.begin, c.extends, c.edge, c.inner, c.bundles, c.takePayloads, c.finish, c.sweep, c.recorded,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// begin reads the checkpoints, the log's and the folder's. The list of sizes comes
// first and the keys after the checkpoint, because the log grows meanwhile.
func (c *copier) begin(ctx context.Context) error {
	list, err := optional(ctx, c.src, bookpi.CheckpointsPath, bookpi.MaxSizes)
	if err != nil {
		return err
	}
	if c.sizes, err = bookpi.ParseSizes(list); err != nil {
		return broken(bookpi.PartStructure, err)
	}
	if c.note, err = c.src.Fetch(ctx, bookpi.CheckpointPath, bookpi.MaxCheckpointSize); err != nil {
		return fmt.Errorf("%s: %w", bookpi.CheckpointPath, err)
	}
	history, err := optional(ctx, c.src, bookpi.KeysPath, bookpi.MaxKeyHistory)
	if err != nil {
		return err
	}
	if history != nil {
		if err := c.trust.follow(history); err != nil {
			return err
		}
	}
	if c.cp, c.report.CosignedBy, err = c.trust.open(c.note, true); err != nil {
		return err
	}
	mine, err := optional(ctx, c.have, bookpi.CheckpointPath, bookpi.MaxCheckpointSize)
	if err != nil || mine == nil {
		return err
	}
	if c.before, _, err = c.trust.open(mine, false); err != nil {
		return fmt.Errorf("the checkpoint in the folder: %w", err)
	}
	c.report.Checkpoint, c.report.Before = c.before, c.before.Size
	return nil
}

// extends checks that the newest checkpoint contains what the folder's does.
func (c *copier) extends(ctx context.Context) error {
	if c.before.Size == 0 {
		return nil
	}
	contradicts := func(err error) error {
		if failed := c.write("checkpoint.conflict", c.note); failed != nil {
			return errors.Join(err, failed)
		}
		return broken(bookpi.PartCheckpoint, err)
	}
	switch {
	case c.cp.Origin != c.before.Origin:
		return broken(bookpi.PartCheckpoint, fmt.Errorf("%w: the folder mirrors %q, this is %q", bookpi.ErrOtherLog, c.before.Origin, c.cp.Origin))
	case c.cp.Size < c.before.Size:
		return contradicts(fmt.Errorf("%w: the log has %d entries, the folder %d", bookpi.ErrRolledBack, c.cp.Size, c.before.Size))
	}
	proof, err := bookpi.ConsistencyProof(c.before.Size, c.cp.Size, &tiles{ctx: ctx, c: c, size: c.cp.Size})
	if errors.Is(err, bookpi.ErrTile) {
		return broken(bookpi.PartTile, err)
	}
	if err != nil {
		return err
	}
	if err := bookpi.VerifyConsistency(c.before.Size, c.cp.Size, c.before.Root, c.cp.Root, proof); err != nil {
		return contradicts(fmt.Errorf("%w: its %d entries do not begin with the folder's %d", bookpi.ErrSplitView, c.cp.Size, c.before.Size))
	}
	return nil
}

// edge takes the last tile of every level, as far as it is partial, and the last bundle.
func (c *copier) edge(ctx context.Context) error {
	last, width := c.cp.Size/bookpi.TileWidth, int(c.cp.Size%bookpi.TileWidth)
	c.tiles = &tiles{ctx: ctx, c: c, size: c.cp.Size} // nothing that was read before it is checked here
	var bundle []byte
	if width > 0 {
		var err error
		if bundle, c.tiles.leaves, err = c.entries(ctx, c.src, last, width); err != nil {
			return err
		}
	}
	root, err := bookpi.RootAt(c.cp.Size, c.tiles)
	if errors.Is(err, bookpi.ErrTile) {
		return broken(bookpi.PartTile, err)
	}
	if err != nil {
		return err
	}
	if root != c.cp.Root {
		return broken(bookpi.PartTile, errors.New("the last tiles and entries do not give the signed root"))
	}
	for level := uint8(0); c.cp.Size>>(8*level) > 0; level++ {
		count := c.cp.Size >> (8 * level)
		if count%bookpi.TileWidth == 0 {
			continue
		}
		t := bookpi.Tile{Level: level, Index: count / bookpi.TileWidth, Width: int(count % bookpi.TileWidth)}
		hashes, err := c.tiles.Tile(level, t.Index)
		if err == nil {
			err = c.write(t.Path(), bookpi.AppendTile(nil, hashes))
		}
		if err != nil {
			return err
		}
	}
	if width > 0 {
		return c.write(bookpi.EntriesPath(last, width), bundle)
	}
	return nil
}

// inner takes the full tiles above the leaves, from the top.
func (c *copier) inner(ctx context.Context) error {
	var levels [][]bookpi.Tile
	for t := range bookpi.NewTiles(c.before.Size, c.cp.Size) {
		if t.Level == 0 || t.Width < bookpi.TileWidth {
			continue
		}
		for len(levels) <= int(t.Level) {
			levels = append(levels, nil)
		}
		levels[t.Level] = append(levels[t.Level], t)
	}
	for _, level := range slices.Backward(levels) {
		for _, t := range level {
			want, err := c.above(t.Level, t.Index)
			if err != nil {
				return err
			}
			path := t.Path()
			err = c.take(ctx, path, func(ctx context.Context, from bookpi.Source) ([]byte, error) {
				data, err := from.Fetch(ctx, path, bookpi.TileWidth*bookpi.HashSize)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
				hashes, err := bookpi.ParseTile(data, bookpi.TileWidth)
				if err != nil || fold(hashes) != want {
					return nil, broken(bookpi.PartTile, fmt.Errorf("%s does not have the hash that the tile above has", path))
				}
				return data, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// above is the hash of a full tile, in the tile above.
func (c *copier) above(level uint8, index uint64) (bookpi.Hash, error) {
	hashes, err := c.tiles.Tile(level+1, index/bookpi.TileWidth)
	if err != nil {
		return bookpi.Hash{}, err
	}
	return hashes[index%bookpi.TileWidth], nil
}

var errBundle = errors.New("its bundle does not have the signed hash")

// bundles takes the full bundles and makes their tiles.
func (c *copier) bundles(ctx context.Context) error {
	from, to := c.before.Size/bookpi.TileWidth, c.cp.Size/bookpi.TileWidth
	return c.each(ctx, from, to, func(ctx context.Context, index uint64, want bookpi.Hash) error {
		path := bookpi.EntriesPath(index, bookpi.TileWidth)
		var leaves []bookpi.Hash
		err := c.take(ctx, path, func(ctx context.Context, from bookpi.Source) (data []byte, err error) {
			if data, leaves, err = c.entries(ctx, from, index, bookpi.TileWidth); err == nil && fold(leaves) != want {
				err = brokenAt(index*bookpi.TileWidth, bookpi.PartEntry, errBundle)
			}
			return data, err
		})
		if err != nil {
			return err
		}
		tile := bookpi.Tile{Index: index, Width: bookpi.TileWidth}
		return c.write(tile.Path(), bookpi.AppendTile(nil, leaves))
	})
}

// entries reads a bundle of entries and their leaf hashes.
func (c *copier) entries(ctx context.Context, from bookpi.Source, index uint64, width int) ([]byte, []bookpi.Hash, error) {
	data, err := fetchSpan(ctx, from, width, func(width int) string { return bookpi.EntriesPath(index, width) }, bookpi.MaxEntryBundle)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := bookpi.ParseEntryBundle(data, width)
	if err != nil && (width == bookpi.TileWidth || len(encoded) < width) { // else a full bundle stands in for the partial one
		return nil, nil, brokenAt(index*bookpi.TileWidth+uint64(len(encoded)), bookpi.PartStructure, err)
	}
	leaves, kept := make([]bookpi.Hash, width), data[:0:0]
	for i, e := range encoded {
		leaves[i] = bookpi.LeafHash(e)
		kept = bookpi.AppendBundled(kept, e)
	}
	return kept, leaves, nil
}

// each calls fn for the bundles from..to, several at a time, with the hash that the
// tile above has of each.
func (c *copier) each(ctx context.Context, from, to uint64, fn func(ctx context.Context, index uint64, want bookpi.Hash) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, c.o.Workers)
	var (
		group sync.WaitGroup
		mu    sync.Mutex // guards done and the calls of Progress
		done  uint64
	)
	for index := from; index < to && ctx.Err() == nil; index++ {
		want, err := c.above(0, index)
		if err != nil {
			cancel(err)
			break
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := fn(ctx, index, want); err != nil {
				cancel(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if done++; c.o.Progress != nil {
				c.o.Progress(done, to-from)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// take makes sure that a checked file is in the folder: the one that is there, left by
// an interrupted run, or the log's.
func (c *copier) take(ctx context.Context, path string, read func(context.Context, bookpi.Source) ([]byte, error)) error {
	if _, err := read(ctx, c.have); err == nil {
		return nil
	}
	data, err := read(ctx, c.src)
	if err != nil {
		return err
	}
	return c.write(path, data)
}

// write writes a file unless it is there already. It is on stable storage before the
// next checkpoint is written.
func (c *copier) write(path string, data []byte) error {
	name := filepath.Join(c.folder, filepath.FromSlash(path))
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(data)) {
		if there, err := os.ReadFile(name); err == nil && bytes.Equal(there, data) {
			return nil
		}
	}
	c.files.Add(1)
	c.bytes.Add(uint64(len(data)))
	return durable.WriteSoon(name, data, 0o644)
}

// remove deletes a file that may not be there.
func (c *copier) remove(path string) error {
	err := os.Remove(filepath.Join(c.folder, filepath.FromSlash(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
