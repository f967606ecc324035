package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) memoryCommand() *cobra.Command {
	return a.group("memory", textMemory, a.memoryAdd(), a.memorySearch(), a.memoryList(), a.memoryShow(), a.memoryRemove())
}

// memoryDocument is a document as the appliance shows it.
type memoryDocument struct {
	ID       string            `json:"id"`
	Type     string            `json:"documentType"`
	Content  string            `json:"content"`
	Bytes    int               `json:"bytes"`
	Metadata map[string]string `json:"metadata"`
	Model    string            `json:"model"`
	Stale    bool              `json:"stale"`
	Created  string            `json:"created"`
	Updated  string            `json:"updated"`
	Author   string            `json:"author"`
}

// documentList is one page of documents.
type documentList struct {
	Documents []memoryDocument `json:"documents"`
	Next      cursor           `json:"next"`
}

// found is the result of a search, most similar first.
type found struct {
	Results []struct {
		DocumentID   string            `json:"documentId"`
		DocumentType string            `json:"documentType"`
		Content      string            `json:"content"`
		Similarity   float64           `json:"similarity"`
		Metadata     map[string]string `json:"metadata"`
	} `json:"results"`
	Model     string  `json:"model"`
	Threshold float64 `json:"threshold"`
}

const documentsPath = "/v1/memory/documents"

func documentPath(id string) string { return documentsPath + "/" + url.PathEscape(id) }

func (a *app) memorySearch() *cobra.Command {
	var limit uint
	var threshold float64
	var kind string
	c := a.verb("search TEXT [flags]", textMemorySearch, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		body := map[string]any{"query": args[0]}
		if limit > 0 {
			body["limit"] = limit
		}
		if threshold >= 0 {
			body["threshold"] = threshold
		}
		if kind != "" {
			body["type"] = kind
		}
		return show(ctx, a, "POST", "/v1/memory/search", nil, body, func(t *table, v found) {
			if len(v.Results) == 0 {
				t.line(fmt.Sprintf(textNothingFound.In(a.lang), v.Threshold))
				return
			}
			t.head(textSimilarity, textDocument, textType, textTitle, textContent)
			for _, p := range v.Results {
				t.row(fmt.Sprintf("%.2f", p.Similarity), p.DocumentID, p.DocumentType, p.Metadata["title"], short(p.Content, 80))
			}
		})
	})
	c.Flags().UintVar(&limit, "limit", 0, textFlagSearchLimit.In(a.lang))
	c.Flags().Float64Var(&threshold, "threshold", -1, textFlagThreshold.In(a.lang))
	c.Flags().StringVar(&kind, "type", "", textFlagDocumentType.In(a.lang))
	return c
}

func (a *app) memoryList() *cobra.Command {
	var p paging
	var kind string
	c := a.verb("list [flags]", textMemoryList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, "GET", documentsPath, p.query("type", kind), nil, func(t *table, v documentList) {
			t.head(textDocument, textType, textTitle, textBytes, textUpdated, textAuthor)
			for _, d := range v.Documents {
				t.row(d.ID, d.Type, d.Metadata["title"], strconv.Itoa(d.Bytes), d.Updated, d.Author)
			}
			t.more(v.Next)
		})
	})
	c.Flags().StringVar(&kind, "type", "", textFlagDocumentType.In(a.lang))
	p.flags(a, c)
	return c
}

func (a *app) memoryShow() *cobra.Command {
	return a.verb("show ID", textMemoryShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, "GET", documentPath(args[0]), nil, nil, func(t *table, d memoryDocument) {
			t.field(textDocument, d.ID)
			t.field(textType, d.Type)
			t.field(textMetadata, joinMetadata(d.Metadata))
			t.field(textModel, d.Model)
			t.field(textStale, yesNo(t, d.Stale))
			t.field(textCreated, d.Created)
			t.field(textUpdated, d.Updated)
			t.field(textAuthor, d.Author)
			t.line("")
			t.paragraph(d.Content)
		})
	})
}

func joinMetadata(m map[string]string) string {
	var pairs []string
	for _, name := range sortedNames(m) {
		pairs = append(pairs, name+"="+m[name])
	}
	return strings.Join(pairs, ", ")
}

func (a *app) memoryRemove() *cobra.Command {
	return a.verb("remove ID", textMemoryRemove, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, "DELETE", documentPath(args[0]), nil, nil, func(t *table, v addReply) {
			t.field(textRemoved, args[0])
			v.Receipt.draw(t)
		})
	})
}
