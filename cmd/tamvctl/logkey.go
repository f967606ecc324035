package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

const keyPath = evidencePath + "/key"

// verifierKeys are the public keys that checkpoints verify with.
type verifierKeys struct {
	Key      string   `json:"verifierKey"`
	Keys     []string `json:"verifierKeys"`
	History  string   `json:"history"`
	Rotating bool     `json:"rotating"`
}

// text is all of them, one a line.
func (k verifierKeys) text() string {
	if len(k.Keys) == 0 {
		return k.Key
	}
	return strings.Join(k.Keys, "\n")
}

func (a *app) evidenceKey() *cobra.Command {
	var history bool
	c := a.verb("key [--history]", textEvidenceKey, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: keyPath}, func(t *table, v verifierKeys) {
			if history {
				t.paragraph(v.History)
			} else {
				t.paragraph(v.text())
			}
		})
	})
	c.Flags().BoolVar(&history, "history", false, textFlagHistory.In(a.lang))
	return c
}

// rotated is what a rotation came to.
type rotated struct {
	Number uint64   `json:"number"`
	From   uint64   `json:"fromSize"`
	Keys   []string `json:"verifierKeys"`
}

func (a *app) evidenceRotateKey() *cobra.Command {
	return a.verb("rotate-key", textRotateKey, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		reply, err := a.request(ctx, ask{method: http.MethodPost, path: keyPath})
		if err != nil {
			return err
		}
		var asked struct {
			Number uint64 `json:"number"`
		}
		if err := reply.Decode(&asked); err != nil {
			return err
		}
		v, err := a.awaitRotation(ctx, asked.Number)
		if err != nil {
			return err
		}
		return a.printValue(v, func(t *table) {
			t.field(textNumber, fmt.Sprint(v.Number))
			t.field(textFrom, fmt.Sprint(v.From))
			for _, k := range v.Keys {
				t.field(textVerifierKey, k)
			}
		})
	})
}

// awaitRotation asks until the history has the record, within the time that the command
// line allows.
func (a *app) awaitRotation(ctx context.Context, number uint64) (rotated, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	const pause = 300 * time.Millisecond
	again := time.NewTicker(pause)
	defer again.Stop()
	for {
		reply, err := a.request(ctx, ask{path: keyPath})
		if err != nil {
			return rotated{}, err
		}
		var now verifierKeys
		if err := reply.Decode(&now); err != nil {
			return rotated{}, err
		}
		history, err := bookpi.ParseKeyHistory([]byte(now.History))
		if err == nil && uint64(len(history.Records)) > number {
			r := history.Records[number]
			return rotated{r.Number, r.From, keyTexts(r.Keys)}, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return rotated{}, tap.E("tamvctl.rotate", tap.Timeout, "%s", textRotationPending.In(a.lang)).WithCode("rotating")
		}
	}
}

// readKey takes a log's keys as they stand, or from a file: bare, one a line, or as the
// verb key prints them in JSON.
func (a *app) readKey(value string) (string, error) {
	raw, err := a.argument(value)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(text, "{") {
		return text, nil
	}
	var v verifierKeys
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", tap.Wrap("tamvctl.key", tap.Invalid, err, "--key").WithCode(codeInput)
	}
	return v.text(), nil
}
