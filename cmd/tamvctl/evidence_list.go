package main

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// foundPage is a page of entries from the newest down, each as the appliance sent it.
type foundPage struct {
	Entries  []json.RawMessage `json:"entries"`
	Next     *uint64           `json:"next,omitempty"`
	Archived bool              `json:"archived,omitempty"` // what is older has left the site
}

// defaultPage is how many entries the appliance sends when nobody says.
const defaultPage = 50

func (a *app) evidenceList() *cobra.Command {
	var p paging
	var actor, action, from, to string
	c := a.verb("list [flags]", textEvidenceList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		page, err := a.entries(ctx, p.query("actor", actor, "action", action, "from", from, "to", to), p.limit)
		if err != nil {
			return err
		}
		shown := make([]ledgerEntry, len(page.Entries))
		for i, raw := range page.Entries {
			if err := json.Unmarshal(raw, &shown[i]); err != nil {
				return tap.Wrap("tamvctl.list", tap.Internal, err, "an entry of the list is none").WithCode(client.CodeReply)
			}
		}
		return a.printValue(page, func(t *table) {
			t.head(textPosition, textTime, textActor, textAction, textOutcome, textEvidence)
			for _, e := range shown {
				t.row(strconv.FormatUint(e.Position, 10), e.Time, e.Actor, e.Action, e.Outcome, e.EvidenceHash)
			}
			if page.Next != nil {
				t.more(cursor(strconv.FormatUint(*page.Next, 10)))
			}
			if page.Archived {
				t.line(textListArchived.In(t.lang))
			}
		})
	})
	c.Flags().StringVar(&actor, "actor", "", textFlagActor.In(a.lang))
	c.Flags().StringVar(&action, "action", "", textFlagAction.In(a.lang))
	c.Flags().StringVar(&from, "from", "", textFlagFrom.In(a.lang))
	c.Flags().StringVar(&to, "to", "", textFlagTo.In(a.lang))
	p.flags(a, c)
	return c
}

// entries asks until there are as many entries as wanted, 0 = the usual page, or no more.
// One call of the appliance looks at so many entries and no further, so that where few match
// a page can be short, or empty, and not be the last. What a search has not come to
// within the time that the command line allows is left to the next one.
func (a *app) entries(ctx context.Context, query url.Values, limit uint) (foundPage, error) {
	wanted := defaultPage
	if limit > 0 {
		wanted = int(limit)
	}
	all := foundPage{Entries: []json.RawMessage{}}
	for began := time.Now(); ; {
		reply, err := a.request(ctx, ask{path: evidencePath, query: query})
		if err != nil {
			a.progress("")
			return all, err
		}
		var page foundPage
		if err := reply.Decode(&page); err != nil {
			return all, err
		}
		all.Entries = append(all.Entries, page.Entries...)
		all.Next, all.Archived = page.Next, page.Archived
		if page.Next == nil || len(all.Entries) >= wanted || time.Since(began) >= a.timeout {
			a.progress("")
			return all, nil
		}
		a.progress(textSearching.In(a.lang), *page.Next)
		query.Set("after", strconv.FormatUint(*page.Next, 10))
		query.Set("limit", strconv.Itoa(wanted-len(all.Entries)))
	}
}
