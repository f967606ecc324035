package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

func (a *app) memoryCommand() *cobra.Command {
	return a.group("memory", textMemory, a.memoryAdd(), a.memoryImport(), a.memoryExport(), a.memorySearch(), a.memoryList(), a.memoryShow(), a.memoryRemove())
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
	Own      bool              `json:"ownVector"`
	Version  uint64            `json:"version"`
	Created  string            `json:"created"`
	Updated  string            `json:"updated"`
	Author   string            `json:"author"`
}

// documentList is one page of documents.
type documentList struct {
	Documents []memoryDocument `json:"documents"`
	Next      cursor           `json:"next"`
}

// found is the result of a search, best first.
type found struct {
	Results []struct {
		DocumentID   string            `json:"documentId"`
		DocumentType string            `json:"documentType"`
		Content      string            `json:"content"`
		Similarity   float64           `json:"similarity"`
		FoundBy      string            `json:"foundBy"`
		Metadata     map[string]string `json:"metadata"`
	} `json:"results"`
	Model     string  `json:"model"`
	Threshold float64 `json:"threshold"`
}

const documentsPath = "/v1/memory/documents"

func documentPath(id string) string { return documentsPath + "/" + url.PathEscape(id) }

// share is a number that a flag may give, within bounds that the appliance knows.
type share struct {
	given bool
	value float64
}

// Set implements pflag.Value.
func (s *share) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return errors.New("this is no number")
	}
	s.given, s.value = true, v
	return nil
}

// String implements pflag.Value.
func (s *share) String() string {
	if !s.given {
		return ""
	}
	return strconv.FormatFloat(s.value, 'g', -1, 64)
}

// Type implements pflag.Value.
func (s *share) Type() string { return "number" }

// searchOptions is what memory search is told.
type searchOptions struct {
	limit     uint
	threshold share
	recall    share
	vector    string
	metadata  map[string]string
	texts     map[string]*string // other fields of the request
}

func (a *app) memorySearch() *cobra.Command {
	in := searchOptions{texts: map[string]*string{}}
	c := a.verb("search [TEXT] [flags]", textMemorySearch, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		body, err := a.searchBody(&in, args)
		if err != nil {
			return err
		}
		return show(ctx, a, ask{method: "POST", path: "/v1/memory/search", body: body}, func(t *table, v found) {
			if len(v.Results) == 0 {
				if v.Threshold > 0 {
					t.line(fmt.Sprintf(textNothingFound.In(a.lang), v.Threshold))
				} else {
					t.line(textNothingMatches.In(a.lang))
				}
				return
			}
			t.head(textSimilarity, textFoundBy, textDocument, textType, textTitle, textContent)
			for _, p := range v.Results {
				t.row(fmt.Sprintf("%.2f", p.Similarity), p.FoundBy, p.DocumentID, p.DocumentType, p.Metadata["title"], short(p.Content, 80))
			}
		})
	})
	c.Flags().UintVar(&in.limit, "limit", 5, textFlagSearchLimit.In(a.lang))
	c.Flags().Var(&in.threshold, "threshold", textFlagThreshold.In(a.lang))
	c.Flags().Var(&in.recall, "recall", textFlagRecall.In(a.lang))
	c.Flags().StringVar(&in.vector, "vector", "", textFlagQueryVector.In(a.lang))
	c.Flags().StringToStringVar(&in.metadata, "metadata", nil, textFlagWithPair.In(a.lang))
	for _, f := range []struct {
		flag, field string
		help        tap.Text
	}{
		{"type", "type", textFlagDocumentType},
		{"ranking", "ranking", textFlagRanking},
		{"model", "model", textFlagQueryModel},
		{"created-from", "createdFrom", textFlagCreatedFrom},
		{"created-to", "createdTo", textFlagCreatedTo},
		{"updated-from", "updatedFrom", textFlagUpdatedFrom},
		{"updated-to", "updatedTo", textFlagUpdatedTo},
	} {
		in.texts[f.field] = c.Flags().String(f.flag, "", f.help.In(a.lang))
	}
	complete(c, "ranking", "hybrid", "rrf", "meaning", "words")
	return c
}

// searchBody is the request of a search.
func (a *app) searchBody(in *searchOptions, args []string) (map[string]any, error) {
	body := map[string]any{"limit": in.limit}
	for field, value := range in.texts {
		if *value != "" {
			body[field] = *value
		}
	}
	if len(args) == 1 {
		body["query"] = args[0]
	} else if in.vector == "" {
		return nil, usage("a search needs TEXT or --vector")
	}
	if in.threshold.given {
		body["threshold"] = in.threshold.value
	}
	if in.recall.given {
		body["recall"] = in.recall.value
	}
	if len(in.metadata) > 0 {
		body["metadata"] = in.metadata
	}
	if in.vector == "" {
		return body, nil
	}
	raw, err := a.argument(in.vector)
	if err != nil {
		return nil, err
	}
	body["vector"] = strings.TrimSpace(string(raw))
	if strings.HasPrefix(strings.TrimSpace(string(raw)), "[") {
		numbers, err := vectorNumbers(raw)
		if err != nil || len(numbers) == 0 {
			return nil, badInput("--vector is no list of numbers")
		}
		body["vector"] = packVector(numbers)
	}
	return body, nil
}

// memoryStatus is what a node says about its memory.
type memoryStatus struct {
	Documents int `json:"documents"`
	Building  int `json:"building"` // indexes that are being made
	Made      int `json:"made"`
	ToMake    int `json:"toMake"`
}

func (v *memoryStatus) draw(t *table) {
	t.field(textDocuments, strconv.Itoa(v.Documents))
	if v.Building > 0 {
		t.field(textIndexing, bar(int64(v.Made), int64(v.ToMake))+strconv.Itoa(v.Made)+"/"+strconv.Itoa(v.ToMake))
	}
}

func (a *app) memoryList() *cobra.Command {
	var p paging
	var kind string
	c := a.verb("list [flags]", textMemoryList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: documentsPath, query: p.query("type", kind)}, func(t *table, v documentList) {
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
		return show(ctx, a, ask{path: documentPath(args[0])}, func(t *table, d memoryDocument) {
			t.field(textDocument, d.ID)
			t.field(textType, d.Type)
			t.field(textMetadata, joinMetadata(d.Metadata))
			t.field(textModel, d.Model)
			t.field(textStale, yesNo(t, d.Stale))
			if d.Own {
				t.field(textOwnVector, yesNo(t, true))
			}
			t.field(textVersionNumber, strconv.FormatUint(d.Version, 10))
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
		return show(ctx, a, ask{method: "DELETE", path: documentPath(args[0])}, func(t *table, v addReply) {
			t.field(textRemoved, args[0])
			v.Receipt.draw(t)
		})
	})
}
