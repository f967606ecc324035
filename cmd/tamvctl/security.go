package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

const securityPath = "/v1/security"

func (a *app) securityCommand() *cobra.Command {
	return a.group("security", textSecurity, a.securityAlerts(), a.securityAcknowledge(), a.securityBlocks(), a.securityLift(), a.securityPolicy())
}

// alert is a pattern of failed attempts.
type alert struct {
	ID             string   `json:"id"`
	Pattern        string   `json:"pattern"`
	State          string   `json:"state"`
	Identity       string   `json:"identity"`
	Address        string   `json:"address"`
	Count          int      `json:"count"`
	WindowSeconds  int      `json:"windowSeconds"`
	Times          int      `json:"times"`
	First          string   `json:"first"`
	Last           string   `json:"last"`
	BlockedUntil   string   `json:"blockedUntil"`
	AcknowledgedBy string   `json:"acknowledgedBy"`
	Receipt        *receipt `json:"receipt"`
}

// about is the identity or the address that an alert concerns.
func (v alert) about() string {
	if v.Identity != "" {
		return v.Identity
	}
	return v.Address
}

func (a *app) securityAlerts() *cobra.Command {
	var p paging
	var state string
	c := a.verb("alerts [flags]", textSecurityAlerts, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: securityPath + "/alerts", query: p.query("state", state)}, func(t *table, v struct {
			Open   int     `json:"open"`
			Alerts []alert `json:"alerts"`
		},
		) {
			t.head(textLastTime, textPattern, textAbout, textAttempts, textTimes, textState, textBlockedUntil, textIntentID)
			for _, r := range v.Alerts {
				t.row(r.Last, r.Pattern, r.about(), fmt.Sprintf("%d/%d s", r.Count, r.WindowSeconds), fmt.Sprint(r.Times), r.State, r.BlockedUntil, r.ID)
			}
			t.line(fmt.Sprintf(textOpenAlerts.In(t.lang), v.Open))
		})
	})
	c.Flags().UintVar(&p.limit, "limit", 0, textFlagLimit.In(a.lang))
	c.Flags().StringVar(&state, "state", "", textFlagAlertState.In(a.lang))
	complete(c, "state", "open", "acknowledged")
	return c
}

func (a *app) securityAcknowledge() *cobra.Command {
	return a.verb("acknowledge ID", textSecurityAcknowledge, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := securityPath + "/alerts/" + url.PathEscape(args[0]) + "/acknowledgement"
		return show(ctx, a, ask{method: http.MethodPost, path: path}, func(t *table, v alert) {
			t.field(textIntentID, v.ID)
			t.field(textPattern, v.Pattern)
			t.field(textAbout, v.about())
			t.field(textState, v.State)
			v.Receipt.draw(t)
		})
	})
}

// block is an address that is refused.
type block struct {
	Address string   `json:"address"`
	Network string   `json:"network"`
	Pattern string   `json:"pattern"`
	Since   string   `json:"since"`
	Until   string   `json:"until"`
	Times   int      `json:"times"`
	Receipt *receipt `json:"receipt"`
}

func (a *app) securityBlocks() *cobra.Command {
	var p paging
	c := a.verb("blocks [flags]", textSecurityBlocks, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: securityPath + "/blocks", query: p.query()}, func(t *table, v struct {
			Blocked int     `json:"blocked"`
			Blocks  []block `json:"blocks"`
		},
		) {
			t.head(textAddress, textNetwork, textPattern, textSinceTime, textUntil, textTimes)
			for _, b := range v.Blocks {
				t.row(b.Address, b.Network, b.Pattern, b.Since, b.Until, fmt.Sprint(b.Times))
			}
			t.line(fmt.Sprintf(textBlockedAddresses.In(t.lang), v.Blocked))
		})
	})
	c.Flags().UintVar(&p.limit, "limit", 0, textFlagLimit.In(a.lang))
	return c
}

func (a *app) securityLift() *cobra.Command {
	return a.verb("lift ADDRESS", textSecurityLift, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := securityPath + "/blocks/" + url.PathEscape(args[0])
		return show(ctx, a, ask{method: http.MethodDelete, path: path}, func(t *table, v block) {
			t.field(textAddress, v.Address)
			t.field(textNetwork, v.Network)
			v.Receipt.draw(t)
		})
	})
}

// threshold is from when on attempts are a pattern.
type threshold struct {
	Count         int `json:"count"`
	WindowSeconds int `json:"windowSeconds"`
}

// alertPolicy is when attempts raise an alert, and what then happens.
type alertPolicy struct {
	Guessing            threshold `json:"guessing"`
	Hammering           threshold `json:"hammering"`
	Spray               threshold `json:"spray"`
	Spread              threshold `json:"spread"`
	BlockSeconds        int       `json:"blockSeconds"`
	LongestBlockSeconds int       `json:"longestBlockSeconds"`
	KeepAlertsSeconds   int       `json:"keepAlertsSeconds"`
}

func (p alertPolicy) draw(t *table) {
	t.head(textPattern, textAttempts, textSeconds)
	for _, row := range []struct {
		name string
		threshold
	}{{"guessing", p.Guessing}, {"hammering", p.Hammering}, {"spray", p.Spray}, {"spread", p.Spread}} {
		t.row(row.name, fmt.Sprint(row.Count), fmt.Sprint(row.WindowSeconds))
	}
	t.line("")
	t.field(textBlockTime, fmt.Sprintf("%d-%d s", p.BlockSeconds, p.LongestBlockSeconds))
	t.field(textKeepAlerts, fmt.Sprintf("%d s", p.KeepAlertsSeconds))
}

func (a *app) securityPolicy() *cobra.Command {
	var set string
	c := a.verb("policy [--set FILE]", textSecurityPolicy, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		if set == "" {
			return show(ctx, a, ask{path: securityPath + "/policy"}, func(t *table, v alertPolicy) { v.draw(t) })
		}
		raw, err := a.readFile(set)
		if err != nil {
			return err
		}
		return show(ctx, a, ask{method: http.MethodPut, path: securityPath + "/policy", body: raw}, func(t *table, v struct {
			Policy  alertPolicy `json:"policy"`
			Receipt *receipt    `json:"receipt"`
		},
		) {
			v.Policy.draw(t)
			v.Receipt.draw(t)
		})
	})
	c.Flags().StringVar(&set, "set", "", textFlagSetPolicy.In(a.lang))
	return c
}
