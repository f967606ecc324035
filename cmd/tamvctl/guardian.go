package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) guardianCommand() *cobra.Command {
	return a.group("guardian", textGuardian,
		a.guardianList(), a.guardianShow(), a.guardianDecide("approve"), a.guardianDecide("deny"))
}

// review is a held intent.
type review struct {
	Ticket        string          `json:"ticket"`
	State         string          `json:"state"`
	Submitter     string          `json:"submitter"`
	Submitted     string          `json:"submitted"`
	Type          string          `json:"type"`
	InputType     string          `json:"inputType"`
	SafetyProfile string          `json:"safetyProfile"`
	Jurisdiction  string          `json:"jurisdiction"`
	Audit         audit           `json:"audit"`
	Guardian      string          `json:"guardian"`
	Decided       string          `json:"decided"`
	Reason        string          `json:"reason"`
	Intent        json.RawMessage `json:"intent"`
}

func ticketPath(ticket string) string { return "/v1/guardian/reviews/" + url.PathEscape(ticket) }

func (a *app) guardianList() *cobra.Command {
	var p paging
	var state string
	c := a.verb("list [flags]", textGuardianList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/guardian/reviews", query: p.query("state", state)}, func(t *table, v struct {
			Reviews []review `json:"reviews"`
			Next    cursor   `json:"next"`
		},
		) {
			t.head(textTicket, textState, textSubmitter, textSubmitted, textScore, textGuardianName)
			for _, r := range v.Reviews {
				t.row(r.Ticket, r.State, r.Submitter, r.Submitted, fmt.Sprintf("%.2f", r.Audit.Score), r.Guardian)
			}
			t.more(v.Next)
		})
	})
	c.Flags().StringVar(&state, "state", "", textFlagState.In(a.lang))
	complete(c, "state", "held", "approved", "denied")
	p.flags(a, c)
	return c
}

func (a *app) guardianShow() *cobra.Command {
	return a.verb("show TICKET", textGuardianShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, ask{path: ticketPath(args[0])}, func(t *table, r review) {
			t.field(textTicket, r.Ticket)
			t.field(textState, r.State)
			t.field(textSubmitter, r.Submitter)
			t.field(textSubmitted, r.Submitted)
			t.field(textType, r.Type+" ("+r.InputType+")")
			t.field(textProfile, r.SafetyProfile)
			t.field(textJurisdiction, r.Jurisdiction)
			t.field(textIntentBody, string(r.Intent))
			r.Audit.draw(t)
			t.field(textExplanation, r.Audit.Explained)
			t.field(textGuardianName, r.Guardian)
			t.field(textDecided, r.Decided)
			t.field(textReason, r.Reason)
		})
	})
}

// guardianDecide is approve or deny.
func (a *app) guardianDecide(decision string) *cobra.Command {
	short := textGuardianApprove
	if decision == "deny" {
		short = textGuardianDeny
	}
	var reason string
	c := a.verb(decision+" TICKET --reason TEXT", short, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		body := map[string]string{"decision": decision, "reason": reason}
		return show(ctx, a, ask{method: "POST", path: ticketPath(args[0]) + "/decision", body: body}, func(t *table, v struct {
			Ticket   string   `json:"ticket"`
			State    string   `json:"state"`
			Response *answer  `json:"response"`
			Receipt  *receipt `json:"receipt"`
		},
		) {
			t.field(textTicket, v.Ticket)
			t.field(textState, v.State)
			v.Receipt.draw(t)
			if v.Response != nil {
				t.line("")
				v.Response.draw(t)
			}
		})
	})
	c.Flags().StringVar(&reason, "reason", "", textFlagReason.In(a.lang))
	return require(c, "reason")
}
