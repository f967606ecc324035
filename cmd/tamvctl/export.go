package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// exportRange is which entries to take away, and how.
type exportRange struct{ from, to, out, cosigned, open string }

func (a *app) evidenceExport() *cobra.Command {
	var in exportRange
	var cosigned, open bool
	c := a.verb("export FILE.jsonl|- [--from N] [--to N]\n  tamvctl evidence export (HASH | --from N --to N) --out FILE.tamv|-", textEvidenceExport, cobra.MaximumNArgs(1),
		func(ctx context.Context, args []string) error {
			if cosigned {
				in.cosigned = "true"
			}
			if open {
				in.open = "true"
			}
			if in.out != "" {
				return a.exportBundle(ctx, in, args)
			}
			if len(args) != 1 || args[0] != "-" && !strings.HasSuffix(args[0], ".jsonl") || cosigned || open {
				return usage("an export goes to FILE.jsonl, or as a bundle to --out FILE.tamv")
			}
			return a.exportLines(ctx, args[0], in)
		})
	c.Flags().StringVar(&in.from, "from", "", textFlagFromPosition.In(a.lang))
	c.Flags().StringVar(&in.to, "to", "", textFlagToPosition.In(a.lang))
	c.Flags().StringVar(&in.out, "out", "", textFlagOut.In(a.lang))
	c.Flags().BoolVar(&cosigned, "cosigned", false, textFlagCosigned.In(a.lang))
	c.Flags().BoolVar(&open, "open", false, textFlagOpen.In(a.lang))
	return c
}

// exportBundle takes entries away with their proofs.
func (a *app) exportBundle(ctx context.Context, in exportRange, args []string) error {
	if (len(args) == 1) == (in.from != "") || (in.from == "") != (in.to == "") {
		return usage("a bundle takes a hash, or --from and --to")
	}
	path, query := evidencePath+"/bundle", filled("from", in.from, "to", in.to, "cosigned", in.cosigned, "open", in.open)
	if len(args) == 1 {
		path = entryPath(args[0]) + "/bundle"
	}
	a.progress("%s", textExportProgress.In(a.lang))
	reply, err := a.request(ctx, ask{path: path, query: query})
	a.progress("")
	if err != nil {
		return err
	}
	if in.out == "-" {
		_, err := a.out.Write(reply.Body)
		return err
	}
	if err := writeFile(a.path(in.out), reply.Body); err != nil {
		return err
	}
	summary, err := summarise(in.out, reply.Body)
	if err != nil {
		return err
	}
	return a.printValue(summary, summary.draw)
}

// exportedLines is what an export to a file came to.
type exportedLines struct {
	File    string `json:"file"`
	Entries uint64 `json:"entries"` // taken in this run
	Before  uint64 `json:"before"`  // that were in the file
	Bytes   int64  `json:"bytes"`   // of the file
}

// lineExport writes entries as lines and knows how to go on after a break.
type lineExport struct {
	app   *app
	out   io.Writer
	next  uint64 // position to go on with
	to    string
	total uint64 // about how many there are; 0 = not known
	done  exportedLines
	began time.Time
}

func (a *app) exportLines(ctx context.Context, name string, in exportRange) error {
	x := &lineExport{app: a, out: a.out, to: in.to, began: time.Now()}
	var err error
	if in.from != "" {
		if x.next, err = strconv.ParseUint(in.from, 10, 62); err != nil {
			return usage("--from %q is no position", in.from)
		}
	}
	if in.to != "" {
		if x.total, err = strconv.ParseUint(in.to, 10, 62); err != nil {
			return usage("--to %q is no position", in.to)
		}
	} else if x.total, err = a.publishedSize(ctx); err != nil {
		return err
	}
	if name == "-" {
		return x.run(ctx)
	}
	f, err := x.resume(name)
	if err != nil {
		return err
	}
	x.out = f
	err = x.run(ctx)
	if closed := errors.Join(f.Sync(), f.Close()); err == nil && closed != nil {
		err = fileError(closed)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(a.path(name))
	if err != nil {
		return fileError(err)
	}
	x.done.File, x.done.Bytes = name, info.Size()
	return a.printValue(x.done, func(t *table) {
		t.field(textFile, x.done.File)
		t.field(textEntries, fmt.Sprintf("%d (+%d)", x.done.Before+x.done.Entries, x.done.Entries))
		t.field(textBytes, fmt.Sprint(x.done.Bytes))
	})
}

// publishedSize is the size of the log's newest checkpoint, which is not verified here:
// it is for the progress bar.
func (a *app) publishedSize(ctx context.Context) (uint64, error) {
	reply, err := a.request(ctx, ask{path: logPrefix + bookpi.CheckpointPath})
	if err != nil {
		return 0, err
	}
	cp, err := bookpi.ParseCheckpoint(reply.Body)
	if err != nil {
		return 0, tap.Wrap("tamvctl.export", tap.Internal, err, "the log's checkpoint is not one").WithCode(client.CodeReply)
	}
	return cp.Size, nil
}

// resume opens the file behind its last whole line and goes on with the entry after
// it. A file that holds something else is left alone.
func (x *lineExport) resume(name string) (*os.File, error) {
	f, err := os.OpenFile(x.app.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fileError(err)
	}
	whole := int64(0)
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := longLine(lines)
		if err == io.EOF {
			break
		}
		position, ok := positionOf(line)
		if err != nil || !ok || x.done.Before > 0 && position < x.next {
			f.Close()
			return nil, badInput("line %d of %s is not the next line of an export", x.done.Before+1, name)
		}
		whole += int64(len(line))
		x.next = max(x.next, position+1)
		x.done.Before++
	}
	err = f.Truncate(whole) // a line that was cut
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fileError(err)
	}
	return f, nil
}

// longLine reads a line with its line feed. A last line without one counts as not
// there: io.EOF.
func longLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxEntryLine:
			return nil, bufio.ErrTooLong
		case err == bufio.ErrBufferFull:
		default:
			return line, err
		}
	}
}

// positionOf is the position of an exported line.
func positionOf(line []byte) (uint64, bool) {
	var e struct {
		Position *uint64 `json:"position"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil || e.Position == nil {
		return 0, false
	}
	return *e.Position, true
}

// run reads to the end, over as many connections as it takes.
func (x *lineExport) run(ctx context.Context) error {
	a := x.app
	defer a.progress("")
	return a.follow(ctx, func() (progress bool, err error) {
		if x.to != "" && x.next >= x.total && x.done.Before+x.done.Entries > 0 {
			return true, nil
		}
		stream, err := a.openStream(ctx, evidencePath+"/export", filled("from", strconv.FormatUint(x.next, 10), "to", x.to))
		if err != nil {
			return false, err
		}
		defer stream.Close()
		lines := bufio.NewReaderSize(stream, 64<<10)
		for {
			line, err := longLine(lines)
			if err == io.EOF && len(line) == 0 {
				return progress, nil
			}
			if err == bufio.ErrTooLong {
				return progress, tap.E("tamvctl.export", tap.Internal, "a line is longer than %d bytes", maxEntryLine).WithCode(client.CodeReply)
			}
			if err != nil {
				return progress, streamError(err)
			}
			position, ok := positionOf(line)
			if !ok || position < x.next {
				return progress, tap.E("tamvctl.export", tap.Internal, "the export has a line that is not the next entry").WithCode(client.CodeReply)
			}
			if _, err := x.out.Write(line); err != nil {
				return progress, fileError(err)
			}
			x.next, progress = position+1, true
			if x.done.Entries++; x.done.Entries%256 == 0 {
				rate := float64(x.done.Entries) / max(time.Since(x.began).Seconds(), 0.001)
				a.progress("%s %s"+textEntriesAt.In(a.lang), textExporting.In(a.lang), bar(int64(x.next), int64(x.total)), x.next, x.total, rate)
			}
		}
	})
}
