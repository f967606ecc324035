package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap/client"
)

// newDocument is a document on its way into memory.
type newDocument struct {
	ID       string            `json:"id,omitempty"`
	Type     string            `json:"documentType"`
	Content  string            `json:"content"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// addReply answers an addition or a removal.
type addReply struct {
	Documents []struct {
		ID string `json:"id"`
	} `json:"documents"`
	Receipt *receipt `json:"receipt"`
}

// Documents go in batches that stay below what one request may carry.
const (
	batchDocuments = 50
	batchBytes     = 256 << 10
	maxPassage     = 8 << 10 // bytes of one document
)

// addition is what memory add is told.
type addition struct {
	kind, id, title, format string
	metadata                map[string]string
}

func (a *app) memoryAdd() *cobra.Command {
	var in addition
	c := a.verb("add FILE|- --type TYPE [flags]", textMemoryAdd, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		raw, err := a.readFile(args[0])
		if err != nil {
			return err
		}
		documents, err := in.documents(args[0], raw)
		if err != nil {
			return err
		}
		return a.add(ctx, documents)
	})
	c.Flags().StringVar(&in.kind, "type", "", textFlagDocumentType.In(a.lang))
	c.Flags().StringVar(&in.id, "id", "", textFlagDocumentID.In(a.lang))
	c.Flags().StringVar(&in.title, "title", "", textFlagTitle.In(a.lang))
	c.Flags().StringToStringVar(&in.metadata, "metadata", nil, textFlagDocumentMetadata.In(a.lang))
	c.Flags().StringVar(&in.format, "format", "", textFlagFormat.In(a.lang))
	complete(c, "format", "text", "jsonl")
	return require(c, "type")
}

// documents reads a file as what it is: a text, or a JSON document per line.
func (in *addition) documents(name string, raw []byte) ([]newDocument, error) {
	format := in.format
	if format == "" {
		format = "text"
		if strings.HasSuffix(name, ".jsonl") {
			format = "jsonl"
		}
	}
	var documents []newDocument
	switch format {
	case "text":
		documents = in.passages(string(raw))
	case "jsonl":
		var err error
		if documents, err = in.lines(raw); err != nil {
			return nil, err
		}
	default:
		return nil, usage("--format %q is not text or jsonl", in.format)
	}
	if len(documents) == 0 {
		return nil, badInput("%s holds no document", name)
	}
	return documents, nil
}

// passages cuts a text between paragraphs where it is longer than a document may
// be. A paragraph that is too long by itself is the appliance's to refuse.
func (in *addition) passages(text string) []newDocument {
	var parts []string
	for paragraph := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		paragraph = strings.TrimSpace(paragraph)
		if paragraph == "" {
			continue
		}
		if n := len(parts); n > 0 && len(parts[n-1])+2+len(paragraph) <= maxPassage {
			parts[n-1] += "\n\n" + paragraph
		} else {
			parts = append(parts, paragraph)
		}
	}
	documents := make([]newDocument, len(parts))
	for i, part := range parts {
		documents[i] = in.document(newDocument{Content: part})
		if in.id != "" && len(parts) > 1 {
			documents[i].ID = in.id + "-" + strconv.Itoa(i+1)
		}
	}
	return documents
}

// lines reads one JSON document per line. What a line leaves out, the flags say.
func (in *addition) lines(raw []byte) ([]newDocument, error) {
	if in.id != "" {
		return nil, usage("--id names the document of a text; in jsonl each line has its own id")
	}
	var documents []newDocument
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	for {
		var one newDocument
		err := d.Decode(&one)
		if err == io.EOF {
			return documents, nil
		}
		if err != nil {
			return nil, badInput("document %d: %v", len(documents)+1, err)
		}
		documents = append(documents, in.document(one))
	}
}

// document fills in what the flags say.
func (in *addition) document(d newDocument) newDocument {
	metadata := maps.Clone(in.metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	if in.title != "" {
		metadata["title"] = in.title
	}
	maps.Copy(metadata, d.Metadata)
	d.Metadata = metadata
	if d.ID == "" {
		d.ID = in.id
	}
	if d.Type == "" {
		d.Type = in.kind
	}
	return d
}

// batches cuts documents into what one request carries.
func batches(documents []newDocument) [][]newDocument {
	var all [][]newDocument
	size := 0
	for _, d := range documents {
		n := len(all)
		if n == 0 || len(all[n-1]) == batchDocuments || size+len(d.Content) > batchBytes {
			all, size, n = append(all, nil), 0, n+1
		}
		all[n-1] = append(all[n-1], d)
		size += len(d.Content)
	}
	return all
}

// added is what an addition came to.
type added struct {
	Documents []string  `json:"documents"` // ids
	Receipts  []receipt `json:"receipts"`  // one per request
}

// remember sends the documents batch by batch.
func (a *app) remember(ctx context.Context, c *client.Client, documents []newDocument) (added, error) {
	done := added{Documents: []string{}, Receipts: []receipt{}}
	defer a.progress("")
	for _, batch := range batches(documents) {
		a.progress("%s %d/%d", textMemoryProgress.In(a.lang), len(done.Documents), len(documents))
		reply, err := a.requestAs(ctx, c, ask{method: "POST", path: documentsPath, body: map[string]any{"documents": batch}})
		if err != nil {
			return done, err
		}
		var v addReply
		if err := reply.Decode(&v); err != nil {
			return done, err
		}
		for _, d := range v.Documents {
			done.Documents = append(done.Documents, d.ID)
		}
		if v.Receipt != nil {
			done.Receipts = append(done.Receipts, *v.Receipt)
		}
	}
	return done, nil
}

// add sends the documents and prints what came of it.
func (a *app) add(ctx context.Context, documents []newDocument) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	done, err := a.remember(ctx, c, documents)
	if err != nil {
		if n := len(done.Documents); n > 0 {
			fmt.Fprintf(a.errOut, textAddedBefore.In(a.lang)+"\n", n, len(documents))
		}
		return err
	}
	return a.printValue(done, func(t *table) {
		t.head(textDocument)
		for _, id := range done.Documents {
			t.row(id)
		}
		for _, r := range done.Receipts {
			t.line("")
			r.draw(t)
		}
	})
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
