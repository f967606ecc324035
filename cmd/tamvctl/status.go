package main

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

// condition is one thing that must hold for the node to be ready.
type condition struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

func drawConditions(t *table, conditions []condition) {
	t.head(textCondition, textHolds, textMessage)
	for _, c := range conditions {
		t.row(c.Name, yesNo(t, c.OK), c.Message)
	}
}

// status is what the node says about itself.
type status struct {
	Release    string      `json:"release"`
	Node       string      `json:"node"`
	Role       string      `json:"role"`
	UptimeMs   int64       `json:"uptimeMs"`
	Ready      bool        `json:"ready"`
	Conditions []condition `json:"conditions"`
	Ledger     struct {
		Size uint64 `json:"size"`
		Root string `json:"root"`
	} `json:"ledger"`
	Memory memoryStatus `json:"memory"`
	Models []string     `json:"models"`
}

func (a *app) statusCommand() *cobra.Command {
	return a.verb("status", textStatus, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/status"}, func(t *table, v status) {
			t.field(textRelease, v.Release)
			t.field(textNode, v.Node+" ("+v.Role+")")
			t.field(textUptime, (time.Duration(v.UptimeMs) * time.Millisecond).Round(time.Second).String())
			t.field(textReady, yesNo(t, v.Ready))
			t.field(textLedgerSize, strconv.FormatUint(v.Ledger.Size, 10))
			t.field(textMerkleRoot, v.Ledger.Root)
			v.Memory.draw(t)
			t.field(textModels, strings.Join(v.Models, ", "))
			t.line("")
			drawConditions(t, v.Conditions)
		})
	})
}

func (a *app) readyCommand() *cobra.Command {
	return a.verb("ready", textReadyShort, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		reply, err := a.request(ctx, ask{path: "/ready"})
		// A node that is not ready says why, with the status of an error.
		if err != nil && (reply == nil || reply.Status != http.StatusServiceUnavailable) {
			return err
		}
		var v struct {
			Ready      bool        `json:"ready"`
			Conditions []condition `json:"conditions"`
		}
		if decodeErr := reply.Decode(&v); decodeErr != nil {
			return decodeErr
		}
		if printErr := a.print(reply.Body, func(t *table) { drawConditions(t, v.Conditions) }); printErr != nil {
			return printErr
		}
		if !v.Ready {
			return tap.E("tamvctl.ready", tap.Unavailable, "%s", textNotReady.In(a.lang)).WithCode("not_ready")
		}
		return nil
	})
}

func (a *app) versionCommand() *cobra.Command {
	return a.verb("version", textVersion, cobra.NoArgs, func(context.Context, []string) error {
		v := struct {
			Release  string `json:"release"`
			Protocol int    `json:"protocol"`
			Go       string `json:"go"`
		}{tap.Release, tap.ProtocolVersion, runtime.Version()}
		return a.printValue(v, func(t *table) { t.line("tamvctl " + v.Release) })
	})
}

func (a *app) contextCommand() *cobra.Command {
	return a.group("context", textContext, a.contextShow())
}

// contextShow checks what the context names, without a request.
func (a *app) contextShow() *cobra.Command {
	return a.verb("show", textContextShow, cobra.NoArgs, func(context.Context, []string) error {
		c, err := a.load()
		if err != nil {
			return err
		}
		config, err := c.Config()
		if err != nil {
			return err
		}
		v := struct {
			Address   string `json:"address"`
			CA        string `json:"ca,omitempty"`
			Identity  string `json:"identity,omitempty"`
			Key       string `json:"key,omitempty"`
			PublicKey string `json:"publicKey,omitempty"`
		}{Address: c.Address, CA: c.CA, Identity: c.Identity, Key: c.Key}
		if config.Key != nil {
			v.PublicKey = encodePublic(config.Key)
		}
		return a.printValue(v, func(t *table) {
			t.field(textAddress, v.Address)
			t.field(textCA, v.CA)
			t.field(textKeyID, v.Identity)
			t.field(textKeyFile, v.Key)
			t.field(textPublicKey, v.PublicKey)
		})
	})
}
