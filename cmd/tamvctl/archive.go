package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvctl/mirror"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const (
	segmentsPath = evidencePath + "/segments"
	codeArchived = "archived" // NotFound: the entries have left the site
)

// segmentRow is a sealed file of the ledger.
type segmentRow struct {
	Number   uint64 `json:"number"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	SHA256   string `json:"sha256"`
	Bytes    int64  `json:"bytes"`
	Archived bool   `json:"archived"`
	File     string `json:"file,omitempty"` // where it was copied to
}

// segmentList is the sealed part of the ledger.
type segmentList struct {
	Sealed   uint64 `json:"sealed"`
	Archived uint64 `json:"archived"`
	Bytes    struct {
		Entries  int64 `json:"entries"`
		Leaves   int64 `json:"leaves"`
		Archived int64 `json:"archived"`
	} `json:"bytes"`
	Segments []segmentRow `json:"segments"`
	Next     cursor       `json:"next"`
}

func drawSegments(t *table, rows []segmentRow) {
	t.head(textNumber, textPositions, textBytes, textArchived, textSHA256, textFile)
	for _, s := range rows {
		t.row(fmt.Sprint(s.Number), fmt.Sprintf("%d–%d", s.First, s.Last), fmt.Sprint(s.Bytes), yesNo(t, s.Archived), s.SHA256, s.File)
	}
}

func (a *app) evidenceSegments() *cobra.Command {
	var p paging
	c := a.verb("segments [flags]", textSegments, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: segmentsPath, query: p.query()}, func(t *table, v segmentList) {
			drawSegments(t, v.Segments)
			t.line(fmt.Sprintf(textOnDisk.In(t.lang), v.Bytes.Entries, v.Bytes.Leaves, v.Bytes.Archived))
			t.more(v.Next)
		})
	})
	p.flags(a, c)
	return c
}

// archiveFlags is what evidence archive is told.
type archiveFlags struct {
	to, target string
	copyOnly   bool
	trust      trustFlags
}

func (a *app) evidenceArchive() *cobra.Command {
	var in archiveFlags
	c := a.verb("archive N[-M] --to DIR [--key KEY|@FILE | --policy FILE] [--copy-only]", textArchive, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.archive(ctx, args[0], in)
	})
	in.trust.optional(a, c)
	c.Flags().StringVar(&in.to, "to", "", textFlagArchiveTo.In(a.lang))
	c.Flags().StringVar(&in.target, "target", "", textFlagTarget.In(a.lang))
	c.Flags().BoolVar(&in.copyOnly, "copy-only", false, textFlagCopyOnly.In(a.lang))
	return require(c, "to")
}

// span reads N or N-M.
func span(text string) (first, last uint64, err error) {
	from, to, several := strings.Cut(text, "-")
	if !several {
		to = from
	}
	first, err = strconv.ParseUint(from, 10, 48)
	if err == nil {
		last, err = strconv.ParseUint(to, 10, 48)
	}
	if err != nil || first > last {
		return 0, 0, usage("%q is neither a segment nor a range of them, such as 0-3", text)
	}
	return first, last, nil
}

// archive copies segments out, checks each copy by itself and against the log, and only
// then lets its entries leave the site.
func (a *app) archive(ctx context.Context, which string, in archiveFlags) error {
	first, last, err := span(which)
	if err != nil {
		return err
	}
	if in.target == "" {
		in.target = in.to
	}
	if info, err := os.Stat(a.path(in.to)); err != nil || !info.IsDir() {
		return badInput("%s is no folder", in.to)
	}
	tiles, err := a.openTiles(ctx, in.trust)
	if err != nil {
		return err
	}
	var done []segmentRow
	for number := first; number <= last; number++ {
		row, err := a.copySegment(ctx, number, in.to, tiles)
		if err == nil && !in.copyOnly {
			err = a.letLeave(ctx, &row, in.target)
		}
		a.progress("")
		if err != nil {
			if len(done) > 0 && a.output == asTable {
				fmt.Fprintf(a.errOut, textArchivedBefore.In(a.lang)+"\n", len(done))
			}
			return err
		}
		done = append(done, row)
	}
	return a.printValue(done, func(t *table) { drawSegments(t, done) })
}

// letLeave has the entries of a segment, whose copy is checked, leave the site. They may
// have left before: a command that was cut off is given again.
func (a *app) letLeave(ctx context.Context, row *segmentRow, target string) error {
	_, err := a.request(ctx, ask{
		method: http.MethodPost, path: fmt.Sprintf("%s/%d/archive", segmentsPath, row.Number),
		body: map[string]string{"sha256": row.SHA256, "target": target},
	})
	if errors.Is(archivedError(err), mirror.ErrArchived) {
		err = nil
	}
	row.Archived = err == nil
	return err
}

// copySegment makes sure that the folder has a whole, checked copy of a segment.
func (a *app) copySegment(ctx context.Context, number uint64, folder string, tiles bookpi.TileReader) (segmentRow, error) {
	row := segmentRow{File: filepath.Join(folder, mirror.SegmentFile(number))}
	found, err := a.readSegment(row.File)
	if err != nil {
		if err := a.fetchSegment(ctx, number, row.File); err != nil {
			return row, err
		}
		if found, err = a.readSegment(row.File); err != nil {
			return row, logError(err)
		}
	}
	if found.Number != number {
		return row, broken(&bookpi.BrokenError{Part: bookpi.PartStructure, Reason: fmt.Sprintf("%s holds segment %d", row.File, found.Number)})
	}
	if err := bookpi.CheckSegment(found, tiles); err != nil {
		return row, logError(err)
	}
	row.Number, row.First, row.Last = number, number*bookpi.SegmentEntries, (number+1)*bookpi.SegmentEntries-1
	row.SHA256, row.Bytes = hex.EncodeToString(found.SHA256[:]), found.Bytes
	return row, nil
}

func (a *app) readSegment(name string) (bookpi.Segment, error) {
	f, err := os.Open(a.path(name))
	if err != nil {
		return bookpi.Segment{}, err
	}
	defer f.Close()
	return bookpi.ReadSegment(f, nil)
}

// fetchSegment copies a segment's file out, under its name when all of it is on stable
// storage.
func (a *app) fetchSegment(ctx context.Context, number uint64, name string) error {
	began := time.Now()
	return a.follow(ctx, func() (bool, error) {
		stream, err := a.openStream(ctx, fmt.Sprintf("%s/%d/file", segmentsPath, number), nil)
		if err != nil {
			return false, err
		}
		defer stream.Close()
		part := a.path(name) + ".part"
		f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return false, fileError(err)
		}
		var taken int64
		_, err = io.Copy(f, reporting{stream, func(n int) {
			taken += int64(n)
			a.progress(textCopying.In(a.lang), number, taken>>20, float64(taken)/float64(1<<20)/max(time.Since(began).Seconds(), 0.001))
		}})
		if err != nil {
			return false, errors.Join(streamError(err), f.Close())
		}
		if err = errors.Join(f.Sync(), f.Close()); err == nil {
			err = os.Rename(part, a.path(name))
		}
		if err != nil {
			return false, fileError(err)
		}
		return true, nil
	})
}

// reporting tells of each part that was read.
type reporting struct {
	io.Reader
	tell func(n int)
}

func (r reporting) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.tell(n)
	return n, err
}

// logTiles reads the tiles of a tree from a log.
type logTiles struct {
	ctx  context.Context
	src  bookpi.Source
	size uint64
}

// Tile implements bookpi.TileReader.
func (l logTiles) Tile(level uint8, index uint64) ([]bookpi.Hash, error) {
	tile := bookpi.Tile{Level: level, Index: index, Width: bookpi.TileSpan(level, index, l.size)}
	if tile.Width == 0 {
		return nil, fmt.Errorf("%w: %s", bookpi.ErrTile, tile.Path())
	}
	data, err := l.src.Fetch(l.ctx, tile.Path(), bookpi.TileWidth*bookpi.HashSize)
	if err != nil {
		return nil, err
	}
	return bookpi.ParseTile(data, tile.Width)
}

// openTiles is the tiles of the appliance's log, whose root is that of its newest
// checkpoint. With a key or a policy the checkpoint must be genuine; without, the
// appliance is believed, as by the operator who archives its entries.
func (a *app) openTiles(ctx context.Context, f trustFlags) (bookpi.TileReader, error) {
	src, err := a.logSource("")
	if err != nil {
		return nil, err
	}
	note, err := src.Fetch(ctx, bookpi.CheckpointPath, bookpi.MaxCheckpointSize)
	if err != nil {
		return nil, logError(err)
	}
	cp, err := bookpi.ParseCheckpoint(note)
	if err == nil && f.given() {
		var policy bookpi.Policy
		if policy, err = a.policyOf(f); err != nil {
			return nil, err
		}
		cp, _, err = bookpi.VerifyCheckpoint(note, policy)
	}
	if err != nil {
		return nil, broken(&bookpi.BrokenError{Part: bookpi.PartCheckpoint, Reason: err.Error(), Err: err})
	}
	tiles := logTiles{ctx, src, cp.Size}
	root, err := bookpi.RootAt(cp.Size, tiles)
	if err != nil {
		return nil, logError(err)
	}
	if root != cp.Root {
		return nil, broken(&bookpi.BrokenError{Part: bookpi.PartTile, Reason: "the tiles do not give the signed root"})
	}
	return tiles, nil
}

// archivedError tells entries that have left the log from files that it never had.
func archivedError(err error) error {
	var e *tap.Error
	if errors.As(err, &e) && e.Code == codeArchived {
		return fmt.Errorf("%w: %w", mirror.ErrArchived, err)
	}
	return err
}

// withSegments reads archived entries from a folder, if one is given.
func (a *app) withSegments(src bookpi.Source, folder string) (bookpi.Source, error) {
	if folder == "" {
		return src, nil
	}
	if info, err := os.Stat(a.path(folder)); err != nil || !info.IsDir() {
		return nil, badInput("%s is no folder", folder)
	}
	return mirror.WithSegments(src, a.path(folder)), nil
}
