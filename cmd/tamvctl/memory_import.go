package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

const (
	batchPath      = documentsPath + ":batch"
	importBatch    = 64        // documents of one request
	importBytes    = 256 << 10 // of one request
	maxParallel    = 16
	codeIncomplete = "import_incomplete"
)

// importOptions is what memory import is told.
type importOptions struct {
	lineDefaults
	after       uint64
	stopOnError bool
	parallel    int
}

func (a *app) memoryImport() *cobra.Command {
	in := importOptions{parallel: 4}
	c := a.verb("import FILE.jsonl|- [flags]", textMemoryImport, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		if in.parallel < 1 || in.parallel > maxParallel {
			return usage("--parallel %d is not within 1..%d", in.parallel, maxParallel)
		}
		return a.importFile(ctx, args[0], in)
	})
	c.Flags().StringVar(&in.kind, "type", "", textFlagImportType.In(a.lang))
	c.Flags().StringToStringVar(&in.metadata, "metadata", nil, textFlagImportMetadata.In(a.lang))
	c.Flags().StringVar(&in.model, "model", "", textFlagImportModel.In(a.lang))
	c.Flags().Uint64Var(&in.after, "after", 0, textFlagImportAfter.In(a.lang))
	c.Flags().BoolVar(&in.stopOnError, "stop-on-error", false, textFlagStopOnError.In(a.lang))
	c.Flags().IntVar(&in.parallel, "parallel", in.parallel, textFlagParallel.In(a.lang))
	return c
}

// imported is what an import came to. Every line up to Last is done.
type imported struct {
	Lines     uint64 `json:"lines"`
	Created   uint64 `json:"created"`
	Replaced  uint64 `json:"replaced"`
	Unchanged uint64 `json:"unchanged"`
	Refused   uint64 `json:"refused"`
	Last      uint64 `json:"completeToLine"`
	// Errors are the first maxReported refused lines.
	Errors []refusedLine `json:"errors,omitempty"`
}

// refusedLine is why a line is not in memory.
type refusedLine struct {
	Line    uint64 `json:"line"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// maxReported bounds how many refused lines a report in JSON or YAML names. A
// person is told of each as it happens.
const maxReported = 1000

func (v *imported) draw(t *table) {
	for _, row := range []struct {
		name tap.Text
		n    uint64
	}{
		{textLines, v.Lines},
		{textCreatedCount, v.Created},
		{textReplacedCount, v.Replaced},
		{textUnchanged, v.Unchanged},
		{textRefusedCount, v.Refused},
		{textCompleteTo, v.Last},
	} {
		t.field(row.name, fmt.Sprint(row.n))
	}
}

func (a *app) importFile(ctx context.Context, name string, in importOptions) error {
	source, size, err := a.openInput(name)
	if err != nil {
		return err
	}
	defer source.Close()
	c, err := a.client()
	if err != nil {
		return err
	}
	// Whether anybody answers, and takes this identity, is known before a line is read.
	if _, err := a.request(ctx, ask{path: documentsPath, query: filled("limit", "1")}); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	im := &importer{
		app: a, client: c, options: in, lines: newLineReader(source), size: size, began: time.Now(),
		slots: make(chan struct{}, in.parallel), stop: stop, busy: map[string]bool{}, shown: time.Now(),
	}
	im.result.Last = in.after
	err = im.run(ctx)
	a.progress("")
	done := im.result
	if err == nil && done.Refused > 0 {
		err = tap.E("tamvctl.import", tap.Invalid, "%d of %d lines were refused", done.Refused, done.Lines).WithCode(codeIncomplete)
	}
	if im.interrupted && a.output == asTable {
		fmt.Fprintf(a.errOut, textContinueImport.In(a.lang)+"\n", done.Last, done.Last)
	}
	if printErr := a.printValue(done, done.draw); err == nil {
		err = printErr
	}
	return err
}

// openInput opens a file to be read once; size is 0 when it is not known.
func (a *app) openInput(name string) (source io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(a.in), 0, nil
	}
	f, err := os.Open(a.path(name))
	if err != nil {
		return nil, 0, fileError(err)
	}
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		f.Close()
		return nil, 0, badInput("%s is no file", name)
	}
	return f, info.Size(), nil
}

// batch is the lines of one request.
type batch struct {
	lines []importLine
	bytes int
	last  uint64 // the last line that is in it or before it
	done  bool
}

// importer sends batches of lines, several at once. Its memory is bounded by the
// batches in flight. Two lines with one id are never in flight together, so that
// the later one wins as it would alone.
type importer struct {
	app     *app
	client  *client.Client
	options importOptions
	lines   *lineReader
	size    int64 // of the source; 0 = not known
	began   time.Time
	slots   chan struct{}
	stop    context.CancelFunc
	group   sync.WaitGroup

	mu          sync.Mutex // guards all below
	result      imported
	flying      []*batch // in the order of their lines
	busy        map[string]bool
	failed      error
	interrupted bool
	shown       time.Time
}

// run reads to the end, or to the first failure, and waits for what is in flight.
func (im *importer) run(ctx context.Context) error {
	err := im.read(ctx)
	im.group.Wait()
	im.mu.Lock()
	defer im.mu.Unlock()
	im.interrupted = err != nil || im.failed != nil
	if im.failed != nil {
		return im.failed
	}
	return err
}

func (im *importer) read(ctx context.Context) error {
	next := &batch{last: im.options.after}
	for {
		line, err := im.lines.next()
		if err == io.EOF {
			return im.send(ctx, next)
		}
		if err != nil {
			return fileError(err)
		}
		switch {
		case ctx.Err() != nil:
			return tap.AsError(ctx.Err())
		case line.number <= im.options.after || line.blank:
			next.last = max(next.last, line.number)
			continue
		}
		line.document(&im.options.lineDefaults)
		if line.fault != nil && !im.refuse(&line) {
			return im.send(ctx, next)
		}
		full := len(next.lines) == importBatch || next.bytes+len(line.body) > importBytes
		if full || next.has(line.id) {
			if err := im.send(ctx, next); err != nil {
				return err
			}
			next = &batch{}
		}
		im.await(line.id)
		next.last = line.number
		if line.fault == nil {
			next.lines, next.bytes = append(next.lines, line), next.bytes+len(line.body)
		}
	}
}

// refuse reports a line that is not even sent; false = the import ends here.
func (im *importer) refuse(line *importLine) bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.result.Lines++
	im.complain(line.number, line.fault.Message, line.fault.StableCode())
	return !im.options.stopOnError
}

// complain counts and reports a refused line, and is called with the lock held.
func (im *importer) complain(number uint64, message, code string) {
	im.result.Refused++
	im.app.progress("")
	if im.app.output == asTable {
		fmt.Fprintf(im.app.errOut, textLineRefused.In(im.app.lang)+"\n", number, oneLine(message), oneLine(code))
	} else if len(im.result.Errors) < maxReported {
		im.result.Errors = append(im.result.Errors, refusedLine{number, code, message})
	}
	if im.options.stopOnError && im.failed == nil {
		im.failed = tap.E("tamvctl.import", tap.Invalid, "line %d was refused", number).WithCode(codeIncomplete)
		im.stop()
	}
}

// has says whether a line of the batch has the id.
func (b *batch) has(id string) bool {
	return id != "" && slices.ContainsFunc(b.lines, func(l importLine) bool { return l.id == id })
}

// await returns when no line in flight has the id.
func (im *importer) await(id string) {
	im.mu.Lock()
	busy := id != "" && im.busy[id]
	im.mu.Unlock()
	if busy {
		im.group.Wait()
	}
}

// send posts a batch as soon as a slot is free.
func (im *importer) send(ctx context.Context, b *batch) error {
	im.mu.Lock()
	im.flying = append(im.flying, b)
	for i := range b.lines {
		im.busy[b.lines[i].id] = true
	}
	im.mu.Unlock()
	if len(b.lines) == 0 {
		im.finish(b, nil)
		return nil
	}
	select {
	case im.slots <- struct{}{}:
	case <-ctx.Done():
		return tap.AsError(ctx.Err())
	}
	im.group.Go(func() {
		defer func() { <-im.slots }()
		reply, err := im.post(ctx, b)
		if err == nil {
			im.finish(b, reply)
			return
		}
		im.mu.Lock()
		defer im.mu.Unlock()
		if im.failed == nil {
			im.failed = err
		}
		im.stop()
	})
	return nil
}

// batchReply is what the appliance answers to a batch.
type batchReply struct {
	Results []struct {
		Outcome string `json:"outcome"`
		Error   struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	} `json:"results"`
	Created   uint64 `json:"created"`
	Replaced  uint64 `json:"replaced"`
	Unchanged uint64 `json:"unchanged"`
}

func (im *importer) post(ctx context.Context, b *batch) (*batchReply, error) {
	// What was begun is finished, so that it is known how far the import came.
	reply, err := im.app.requestAs(context.WithoutCancel(ctx), im.client, ask{
		method: "POST", path: batchPath, body: map[string]any{"documents": bodies(b.lines)},
	})
	if err != nil {
		return nil, err
	}
	var v batchReply
	if err := reply.Decode(&v); err != nil {
		return nil, err
	}
	if len(v.Results) != len(b.lines) {
		return nil, tap.E("tamvctl.import", tap.Internal, "%d outcomes for %d documents", len(v.Results), len(b.lines))
	}
	return &v, nil
}

// finish counts a batch and moves the line up to which everything is done.
func (im *importer) finish(b *batch, reply *batchReply) {
	im.mu.Lock()
	defer im.mu.Unlock()
	b.done = true
	for i := range b.lines {
		delete(im.busy, b.lines[i].id)
		if r := &reply.Results[i]; r.Outcome == "refused" {
			im.complain(b.lines[i].number, r.Error.Message, r.Error.Code)
		}
	}
	if reply != nil {
		im.result.Lines += uint64(len(b.lines))
		im.result.Created += reply.Created
		im.result.Replaced += reply.Replaced
		im.result.Unchanged += reply.Unchanged
	}
	for len(im.flying) > 0 && im.flying[0].done {
		im.result.Last = max(im.result.Last, im.flying[0].last)
		im.flying = im.flying[1:]
	}
	im.show()
}

// show tells how far the import is, and is called with the lock held. Where there is
// no terminal to draw on, it writes a line from time to time.
func (im *importer) show() {
	done, now := im.result.Lines, time.Now()
	rate := float64(done) / max(now.Sub(im.began).Seconds(), 0.001)
	text := fmt.Sprintf("%s %s"+textDocumentsAt.In(im.app.lang), textImporting.In(im.app.lang), bar(im.lines.read.Load(), im.size), done, rate)
	switch {
	case im.app.terminal:
		im.app.progress("%s", text)
	case im.app.output == asTable && now.Sub(im.shown) >= tellEvery:
		im.shown = now
		fmt.Fprintln(im.app.errOut, text)
	}
}

// tellEvery is how often an import says how far it is, other than on a terminal.
const tellEvery = 10 * time.Second

// bar draws a share of a whole; nothing when the whole is not known.
func bar(part, whole int64) string {
	if whole <= 0 {
		return ""
	}
	const width = 20
	share := min(float64(part)/float64(whole), 1)
	full := int(share * width)
	drawn := make([]byte, width)
	for i := range drawn {
		if drawn[i] = '.'; i < full {
			drawn[i] = '#'
		}
	}
	return fmt.Sprintf("[%s] %3.0f %% ", drawn, 100*share)
}
