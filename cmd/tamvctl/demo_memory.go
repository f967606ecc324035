package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"tamv.internal/tamv/docs/manual"
	"tamv.internal/tamv/tap"
)

// manualType is the document type of the appliance's own manual.
const manualType = "MANUAL"

// memoryStep: the appliance is given its manual, and finds its way in it.
type memoryStep struct {
	outcome
	Passages  map[string]int            `json:"passages"`  // by language
	Topics    map[string]map[string]int `json:"topics"`    // passages by language and topic
	Added     int                       `json:"added"`     // new or changed since an earlier run
	Unchanged int                       `json:"unchanged"` // there already
	Searches  []searchFigures           `json:"searches"`
}

type searchFigures struct {
	Lang       tap.Lang `json:"lang"`
	Query      string   `json:"query"`
	Topic      string   `json:"topic"`    // that it must find
	Document   string   `json:"document"` // the most similar one
	Similarity float64  `json:"similarity"`
	Ms         float64  `json:"ms"`
}

// searches ask in other words than the manual's titles.
var searches = []searchFigures{
	{Lang: tap.English, Query: "my private key was stolen, what must an operator do?", Topic: "identities"},
	{Lang: tap.English, Query: "two people move the same object at once", Topic: "rooms"},
	{Lang: tap.Spanish, Query: "¿qué decide un guardián?", Topic: "audit"},
	{Lang: tap.Spanish, Query: "¿cuánto va al fondo de impacto?", Topic: "money"},
}

func (d *demo) memory(ctx context.Context) error {
	r := &d.report.Memory
	r.Passages, r.Topics = map[string]int{}, map[string]map[string]int{}
	curator, err := d.person(ctx, "curator", tap.Curator)
	if err != nil {
		return err
	}
	there, err := curator.manual(ctx)
	if err != nil {
		return err
	}
	var missing []newDocument
	for _, lang := range manual.Languages() {
		passages, err := manual.Passages(lang)
		if err != nil {
			return tap.Wrap("tamvctl.demo", tap.Internal, err, "the manual does not parse")
		}
		r.Passages[lang], r.Topics[lang] = len(passages), map[string]int{}
		for _, p := range passages {
			r.Topics[lang][p.Topic]++
			if document := manualDocument(p); there[document.ID] != document.Metadata["sha256"] {
				missing = append(missing, document)
			}
		}
		r.Unchanged += len(passages)
	}
	r.Added, r.Unchanged = len(missing), r.Unchanged-len(missing)
	c, err := curator.client(d.app.lang)
	if err != nil {
		return err
	}
	if _, err := d.app.remember(ctx, c, missing); err != nil {
		return err
	}
	r.say(textManualLoaded, r.Passages["en"], r.Passages["es"], len(manual.Topics()), r.Added, r.Unchanged)
	return curator.searchManual(ctx, r)
}

// manualDocument is a passage as memory keeps it. Its id is the same in every
// run, and its digest tells whether it is the same text.
func manualDocument(p manual.Passage) newDocument {
	digest := sha256.Sum256([]byte(p.Topic + "\n" + p.Title + "\n" + p.Content))
	return newDocument{
		ID: "manual." + p.Lang + "." + p.ID, Type: manualType, Content: p.Content,
		Metadata: map[string]string{"lang": p.Lang, "topic": p.Topic, "title": p.Title, "sha256": hex.EncodeToString(digest[:])},
	}
}

// manual lists the passages that memory holds, with their digests. One whose
// vector is of another model than the present one counts as missing.
func (p *person) manual(ctx context.Context) (map[string]string, error) {
	there := map[string]string{}
	query := filled("type", manualType, "limit", "200")
	for {
		var page documentList
		if err := p.get(ctx, documentsPath, query, &page); err != nil {
			return nil, err
		}
		for _, document := range page.Documents {
			if !document.Stale {
				there[document.ID] = document.Metadata["sha256"]
			}
		}
		if page.Next == "" {
			return there, nil
		}
		query.Set("after", string(page.Next))
	}
}

func (p *person) searchManual(ctx context.Context, r *memoryStep) error {
	for _, s := range searches {
		var v found
		took, err := timed(func() error {
			return p.post(ctx, "/v1/memory/search", map[string]any{"query": s.Query, "type": manualType}, &v)
		})
		if err != nil {
			return err
		}
		if len(v.Results) == 0 {
			return wrong("%q finds nothing", s.Query)
		}
		best := v.Results[0]
		s.Document, s.Similarity, s.Ms = best.DocumentID, best.Similarity, took
		r.Searches = append(r.Searches, s)
		r.say(textManualSearch, s.Query, best.Metadata["topic"], best.Metadata["title"], s.Similarity, s.Ms)
		if best.Metadata["topic"] != s.Topic {
			return wrong("%q finds %s, but had to find the topic %s", s.Query, best.DocumentID, s.Topic)
		}
	}
	return nil
}
