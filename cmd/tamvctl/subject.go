package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

const subjectsPath = "/v1/subjects"

func (a *app) subjectCommand() *cobra.Command {
	return a.group("subject", textSubject, a.subjectErase(), a.subjectApprove(), a.subjectWithdraw(), a.subjectList(), a.subjectShow(), a.subjectPolicy())
}

// erasure is how a request stands.
type erasure struct {
	ID         string   `json:"id"`
	Kind       string   `json:"kind"`
	State      string   `json:"state"`
	Subject    string   `json:"subject"`
	Generation uint64   `json:"generation"`
	Approvals  int      `json:"approvals"`
	ApprovedBy []string `json:"approvedBy"`
	Needed     int      `json:"needed"`
	Expires    string   `json:"expires"`
	Withdrawn  string   `json:"withdrawnBy"`
	Remains    string   `json:"remains"`
	Receipt    *receipt `json:"receipt"`
}

func (e erasure) draw(t *table) {
	t.field(textIntentID, e.ID)
	t.field(textType, e.Kind)
	t.field(textState, e.State)
	t.field(textSubjectName, e.Subject)
	if e.Kind == "policy" {
		t.field(textApprovals, fmt.Sprint(e.Approvals))
	}
	t.field(textApprovedBy, fmt.Sprintf("%d/%d %s", len(e.ApprovedBy), e.Needed, strings.Join(e.ApprovedBy, " ")))
	t.field(textExpires, e.Expires)
	t.field(textWithdrawnBy, e.Withdrawn)
	e.Receipt.draw(t)
	if e.Remains != "" {
		t.line("")
		t.line(e.Remains)
	}
}

func (a *app) subjectErase() *cobra.Command {
	var reason string
	c := a.verb("erase NAME --reason TEXT", textSubjectErase, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := subjectsPath + "/" + url.PathEscape(args[0]) + "/erasure"
		return show(ctx, a, ask{method: http.MethodPost, path: path, body: map[string]string{"reason": reason}}, func(t *table, v erasure) { v.draw(t) })
	})
	c.Flags().StringVar(&reason, "reason", "", textFlagReason.In(a.lang))
	return require(c, "reason")
}

func (a *app) subjectApprove() *cobra.Command {
	return a.verb("approve ID", textSubjectApprove, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := subjectsPath + "/erasures/" + url.PathEscape(args[0]) + "/approval"
		return show(ctx, a, ask{method: http.MethodPost, path: path}, func(t *table, v erasure) { v.draw(t) })
	})
}

func (a *app) subjectWithdraw() *cobra.Command {
	return a.verb("withdraw ID", textSubjectWithdraw, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := subjectsPath + "/erasures/" + url.PathEscape(args[0])
		return show(ctx, a, ask{method: http.MethodDelete, path: path}, func(t *table, v erasure) { v.draw(t) })
	})
}

// erasures are the requests that wait, and the subjects that were erased.
type erasures struct {
	Pending []struct {
		ID         string   `json:"id"`
		Kind       string   `json:"kind"`
		Subject    string   `json:"subject"`
		Approvals  int      `json:"approvals"`
		Reason     string   `json:"reason"`
		By         string   `json:"by"`
		Expires    string   `json:"expires"`
		ApprovedBy []string `json:"approvedBy"`
	} `json:"pending"`
	Erased []struct {
		Subject     string   `json:"subject"`
		Generation  uint64   `json:"generation"`
		ErasedAt    string   `json:"erasedAt"`
		RequestedBy string   `json:"requestedBy"`
		ApprovedBy  []string `json:"approvedBy"`
	} `json:"erased"`
	Next cursor `json:"next"`
}

func (a *app) subjectList() *cobra.Command {
	var p paging
	c := a.verb("list [flags]", textSubjectList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: subjectsPath + "/erasures", query: p.query()}, func(t *table, v erasures) {
			t.head(textSubjectName, textState, textTime, textActor, textApprovedBy, textIntentID)
			for _, r := range v.Pending {
				name := r.Subject
				if r.Kind == "policy" {
					name = fmt.Sprintf("%s = %d", r.Kind, r.Approvals)
				}
				t.row(name, "pending", r.Expires, r.By, strings.Join(r.ApprovedBy, " "), r.ID)
			}
			for _, e := range v.Erased {
				t.row(e.Subject, fmt.Sprintf("erased %d", e.Generation), e.ErasedAt, e.RequestedBy, strings.Join(e.ApprovedBy, " "), "")
			}
			t.more(v.Next)
		})
	})
	p.flags(a, c)
	return c
}

func (a *app) subjectShow() *cobra.Command {
	return a.verb("show NAME", textSubjectShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := subjectsPath + "/" + url.PathEscape(args[0]) + "/erasure"
		return show(ctx, a, ask{path: path}, func(t *table, v struct {
			Subject    string `json:"subject"`
			Generation uint64 `json:"generation"`
			ErasedAt   string `json:"erasedAt"`
			Pending    string `json:"pending"`
			KeysHere   *int   `json:"keysHere"`
		},
		) {
			t.field(textSubjectName, v.Subject)
			t.field(textErased, fmt.Sprint(v.Generation))
			t.field(textTime, v.ErasedAt)
			t.field(textTicket, v.Pending)
			if v.KeysHere != nil {
				t.field(textKeysHere, fmt.Sprint(*v.KeysHere))
			}
		})
	})
}

func (a *app) subjectPolicy() *cobra.Command {
	var approvals int
	var c *cobra.Command
	c = a.verb("policy [--approvals N]", textSubjectPolicy, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		if c.Flags().Changed("approvals") {
			return show(ctx, a, ask{method: http.MethodPut, path: subjectsPath + "/policy", body: map[string]int{"approvals": approvals}},
				func(t *table, v erasure) { v.draw(t) })
		}
		return show(ctx, a, ask{path: subjectsPath + "/policy"}, func(t *table, v struct {
			Approvals int    `json:"approvals"`
			ChangedBy string `json:"changedBy"`
			ChangedAt string `json:"changedAt"`
		},
		) {
			t.field(textApprovals, fmt.Sprint(v.Approvals))
			t.field(textActor, v.ChangedBy)
			t.field(textTime, v.ChangedAt)
		})
	})
	c.Flags().IntVar(&approvals, "approvals", 0, textFlagApprovals.In(a.lang))
	return c
}
