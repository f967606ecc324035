package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// exportOptions is what memory export is told.
type exportOptions struct{ kind, vectors, after string }

func (a *app) memoryExport() *cobra.Command {
	var in exportOptions
	c := a.verb("export FILE.jsonl|- [flags]", textMemoryExport, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.exportFile(ctx, args[0], in)
	})
	c.Flags().StringVar(&in.kind, "type", "", textFlagDocumentType.In(a.lang))
	c.Flags().StringVar(&in.vectors, "vectors", "", textFlagVectors.In(a.lang))
	c.Flags().StringVar(&in.after, "after", "", textFlagExportAfter.In(a.lang))
	complete(c, "vectors", "own", "all", "none")
	return c
}

// exportPage is one page of documents as an import takes them.
type exportPage struct {
	Documents []json.RawMessage `json:"documents"`
	Next      string            `json:"next"`
}

// exportResult is what an export came to.
type exportResult struct {
	File      string `json:"file"`
	Documents int    `json:"documents"`
	Bytes     int64  `json:"bytes"`
}

func (a *app) exportFile(ctx context.Context, name string, in exportOptions) error {
	if name == "-" {
		_, err := a.exportTo(ctx, a.out, in)
		return err
	}
	if _, err := a.client(); err != nil { // before a file is made
		return err
	}
	f, err := os.OpenFile(a.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fileError(err)
	}
	done, err := a.exportTo(ctx, f, in)
	if closed := errors.Join(f.Sync(), f.Close()); err == nil && closed != nil {
		err = fileError(closed)
	}
	if err != nil {
		if done.Documents == 0 {
			os.Remove(f.Name())
		}
		return err
	}
	done.File = name
	return a.printValue(done, func(t *table) {
		t.field(textFile, done.File)
		t.field(textDocuments, fmt.Sprint(done.Documents))
		t.field(textBytes, fmt.Sprint(done.Bytes))
	})
}

// exportTo writes page after page, a document per line.
func (a *app) exportTo(ctx context.Context, w io.Writer, in exportOptions) (done exportResult, err error) {
	out, began := bufio.NewWriterSize(w, 64<<10), time.Now()
	defer a.progress("")
	query := filled("type", in.kind, "vectors", in.vectors, "after", in.after)
	for {
		reply, err := a.request(ctx, ask{path: "/v1/memory/export", query: query})
		if err != nil {
			if at := query.Get("after"); done.Documents > 0 && a.output == asTable {
				a.progress("")
				fmt.Fprintf(a.errOut, textContinueExport.In(a.lang)+"\n", at, at)
			}
			return done, err
		}
		var page exportPage
		if err := reply.Decode(&page); err != nil {
			return done, err
		}
		for _, d := range page.Documents {
			n, _ := out.Write(append(d, '\n')) // Flush reports what failed
			done.Documents, done.Bytes = done.Documents+1, done.Bytes+int64(n)
		}
		if err := out.Flush(); err != nil {
			return done, fileError(err)
		}
		a.progress("%s "+textDocumentsAt.In(a.lang), textExporting.In(a.lang), done.Documents, float64(done.Documents)/max(time.Since(began).Seconds(), 0.001))
		if page.Next == "" {
			return done, nil
		}
		query.Set("after", page.Next)
	}
}
