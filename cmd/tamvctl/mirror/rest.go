package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/store/bookpi"
)

var errPayload = errors.New("the payload is not the one the entry commits to")

// takePayloads takes the payloads that the folder lacks, against the entries that it
// has by now.
func (c *copier) takePayloads(ctx context.Context) error {
	if !c.o.Payloads {
		return nil
	}
	full := c.cp.Size / bookpi.TileWidth
	err := c.each(ctx, 0, full, func(ctx context.Context, index uint64, _ bookpi.Hash) error {
		return c.payloadsOf(ctx, index, bookpi.TileWidth)
	})
	if width := int(c.cp.Size % bookpi.TileWidth); err == nil && width > 0 {
		err = c.payloadsOf(ctx, full, width)
	}
	return err
}

// payloadsOf takes the payloads of a bundle. What is there below the checkpoint of
// before was checked when it got its name; what is above may be of an interrupted run.
func (c *copier) payloadsOf(ctx context.Context, index uint64, width int) error {
	path := bookpi.PayloadsPath(index, width)
	name := filepath.Join(c.folder, filepath.FromSlash(path))
	old := (index+1)*bookpi.TileWidth <= c.before.Size
	if _, err := os.Lstat(name); err == nil && old {
		return nil
	}
	bundle, err := c.have.Fetch(ctx, bookpi.EntriesPath(index, width), bookpi.MaxEntryBundle)
	if err != nil {
		return err
	}
	entries, err := bookpi.ParseEntryBundle(bundle, width)
	if err != nil {
		return brokenAt(index*bookpi.TileWidth, bookpi.PartStructure, err)
	}
	if data, err := c.have.Fetch(ctx, path, bookpi.MaxPayloadBundle); err == nil && c.checkPayloads(data, index, entries) == nil {
		return nil
	}
	data, err := c.src.Fetch(ctx, path, bookpi.MaxPayloadBundle)
	if errors.Is(err, fs.ErrNotExist) {
		c.withheld.Add(uint64(width))
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := c.checkPayloads(data, index, entries); err != nil {
		return err
	}
	if err := c.write(path, data); err != nil || !old {
		return err
	}
	return durable.WriteFile(name, data, 0o644) // nobody will look at it again
}

// checkPayloads holds a bundle of payloads against its entries.
func (c *copier) checkPayloads(data []byte, index uint64, entries [][]byte) error {
	payloads, err := bookpi.ParsePayloadBundle(data, len(entries))
	if err != nil {
		return brokenAt(index*bookpi.TileWidth+uint64(len(payloads)), bookpi.PartPayload, err)
	}
	var there, withheld uint64
	for i, p := range payloads {
		entry, err := bookpi.ParseEntry(entries[i])
		position := index*bookpi.TileWidth + uint64(i)
		switch {
		case err != nil:
			return brokenAt(position, bookpi.PartEntry, err)
		case p.Withheld:
			withheld++
		case bookpi.PayloadDigest(p.Data) != entry.PayloadDigest:
			return brokenAt(position, bookpi.PartPayload, errPayload)
		default:
			there++
		}
	}
	c.payloads.Add(there)
	c.withheld.Add(withheld)
	return nil
}

// recorded takes the checkpoints recorded earlier that the folder lacks. They come
// after the newest one, because a recorded checkpoint beyond it would look as if the
// mirror had lost entries.
func (c *copier) recorded(ctx context.Context) error {
	tiles := &tiles{ctx: ctx, c: c, size: c.cp.Size}
	for _, size := range c.sizes {
		path := bookpi.RecordedPath(size)
		if _, err := os.Lstat(filepath.Join(c.folder, filepath.FromSlash(path))); err == nil || size > c.cp.Size {
			continue
		}
		note, err := optional(ctx, c.src, path, bookpi.MaxCheckpointSize)
		if err != nil {
			return err
		}
		if note == nil {
			continue // a log keeps only some of them
		}
		cp, _, err := c.trust.open(note, false)
		if err != nil {
			return err
		}
		root, err := bookpi.RootAt(size, tiles)
		if err != nil {
			return err
		}
		if cp.Size != size || cp.Root != root {
			return broken(bookpi.PartCheckpoint, fmt.Errorf("%w: the one recorded at %d", bookpi.ErrSplitView, size))
		}
		if err := c.write(path, note); err != nil {
			return err
		}
		c.report.Recorded++
	}
	return nil
}

// maxText is the longest "key" or "policy" that is copied.
const maxText = bookpi.MaxPolicySize

// finish writes what is for people, the key history, and then the checkpoint, when all
// that it calls for is on stable storage.
func (c *copier) finish(ctx context.Context) error {
	for _, path := range []string{bookpi.KeyPath, bookpi.PolicyPath} {
		text, err := optional(ctx, c.src, path, maxText)
		if err != nil {
			return err
		}
		if text != nil {
			if err := c.write(path, text); err != nil {
				return err
			}
		}
	}
	if len(c.trust.history.Records) > 0 {
		if err := c.write(bookpi.KeysPath, c.trust.history.Encode()); err != nil {
			return err
		}
	}
	if err := c.o.settle(c.folder); err != nil {
		return err
	}
	if err := c.write(bookpi.CheckpointPath, c.note); err != nil {
		return err
	}
	c.report.Checkpoint = c.cp
	return c.o.settle(c.folder)
}

// sweep removes the partial tiles and bundles of the checkpoint before, which nothing
// calls for any more.
func (c *copier) sweep(context.Context) error {
	if c.before.Size == c.cp.Size {
		return nil
	}
	var failed []error
	for level := uint8(0); c.before.Size>>(8*level) > 0; level++ {
		count := c.before.Size >> (8 * level)
		index, width := count/bookpi.TileWidth, int(count%bookpi.TileWidth)
		if width == 0 || bookpi.TileSpan(level, index, c.cp.Size) == width {
			continue
		}
		failed = append(failed, c.remove(bookpi.Tile{Level: level, Index: index, Width: width}.Path()))
		if level == 0 {
			failed = append(failed, c.remove(bookpi.EntriesPath(index, width)), c.remove(bookpi.PayloadsPath(index, width)))
		}
	}
	return errors.Join(failed...)
}
