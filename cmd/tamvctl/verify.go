package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// exported says what a bundle's file holds. It has not been verified.
type exported struct {
	File    string `json:"file"`
	Bytes   int    `json:"bytes"`
	Entries int    `json:"entries"`
	First   uint64 `json:"firstPosition"`
	Last    uint64 `json:"lastPosition"`
}

func summarise(file string, raw []byte) (exported, error) {
	b, err := bookpi.ParseBundle(raw)
	if err != nil {
		return exported{}, broken(err)
	}
	n := len(b.Items)
	return exported{file, len(raw), n, b.Items[0].Position, b.Items[n-1].Position}, nil
}

func (e exported) draw(t *table) {
	t.field(textFile, e.File)
	t.field(textBytes, strconv.Itoa(e.Bytes))
	t.field(textEntries, strconv.Itoa(e.Entries))
	t.field(textPositions, strconv.FormatUint(e.First, 10)+"–"+strconv.FormatUint(e.Last, 10))
}

// writeFile writes a file in one step: a reader sees the old one or the new one
// whole.
func writeFile(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tamvctl-*")
	if err != nil {
		return fileError(err)
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fileError(err)
	}
	return nil
}

// verified is what a bundle proves.
type verified struct {
	OK       bool            `json:"ok"`
	Origin   string          `json:"origin"`
	Size     uint64          `json:"ledgerSize"`
	Root     string          `json:"root"`
	Entries  int             `json:"entries"`
	Payloads int             `json:"payloads"`
	From     string          `json:"firstTime"`
	To       string          `json:"lastTime"`
	Items    []verifiedEntry `json:"items"`
}

// verifiedEntry is one entry of a bundle.
type verifiedEntry struct {
	Position uint64          `json:"position"`
	Hash     string          `json:"evidenceHash"`
	Time     string          `json:"time"`
	Actor    string          `json:"actor"`
	Action   string          `json:"action"`
	Outcome  string          `json:"outcome"`
	Withheld bool            `json:"payloadWithheld,omitempty"`
	Payload  []byte          `json:"payload,omitempty"`     // the exact bytes, in base64
	JSON     json.RawMessage `json:"payloadJson,omitempty"` // for reading, when it is JSON
}

func (a *app) evidenceVerify() *cobra.Command {
	var key string
	var payloads bool
	c := a.verb("verify FILE --key KEY|@FILE [--payload]", textEvidenceVerify, cobra.ExactArgs(1), func(_ context.Context, args []string) error {
		verifier, err := a.readKey(key)
		if err != nil {
			return err
		}
		raw, err := a.readFile(args[0])
		if err != nil {
			return err
		}
		v, err := verify(raw, verifier, payloads)
		if err != nil {
			return err
		}
		return a.printValue(v, func(t *table) { v.draw(t, payloads) })
	})
	c.Flags().StringVar(&key, "key", "", textFlagVerifierKey.In(a.lang))
	c.Flags().BoolVar(&payloads, "payload", false, textFlagPayload.In(a.lang))
	return require(c, "key")
}

// verify checks a bundle with nothing but its bytes and the log's public key.
func verify(raw []byte, key string, payloads bool) (verified, error) {
	report, err := bookpi.VerifyBundle(raw, key)
	if err != nil {
		return verified{}, broken(err)
	}
	bundle, err := bookpi.ParseBundle(raw)
	if err != nil {
		return verified{}, broken(err)
	}
	v := verified{
		OK: true, Origin: report.Origin, Size: report.Size, Root: report.Root.String(), Entries: report.Entries,
		Payloads: report.Payloads, From: stamp(report.FirstTimestamp), To: stamp(report.LastTimestamp),
	}
	for _, item := range bundle.Items {
		e, err := bookpi.ParseEntry(item.Entry)
		if err != nil {
			return verified{}, broken(err)
		}
		shown := verifiedEntry{
			Position: item.Position, Hash: bookpi.LeafHash(item.Entry).String(), Time: stamp(e.Timestamp),
			Actor: e.Actor, Action: e.Action, Outcome: e.Outcome, Withheld: !item.HasPayload,
		}
		if payloads {
			shown.Payload = item.Payload
			if utf8.Valid(item.Payload) && json.Valid(item.Payload) {
				shown.JSON = item.Payload
			}
		}
		v.Items = append(v.Items, shown)
	}
	return v, nil
}

func (v verified) draw(t *table, payloads bool) {
	t.field(textVerified, textYes.In(t.lang))
	t.field(textOrigin, v.Origin)
	t.field(textLedgerSize, strconv.FormatUint(v.Size, 10))
	t.field(textMerkleRoot, v.Root)
	t.field(textEntries, strconv.Itoa(v.Entries))
	t.field(textPayloads, strconv.Itoa(v.Payloads))
	t.field(textFrom, v.From)
	t.field(textTo, v.To)
	t.line("")
	t.head(textPosition, textTime, textActor, textAction, textOutcome, textEvidence)
	for _, e := range v.Items {
		t.row(strconv.FormatUint(e.Position, 10), e.Time, e.Actor, e.Action, e.Outcome, e.Hash)
	}
	if !payloads {
		return
	}
	for _, e := range v.Items {
		t.line("")
		t.line(strconv.FormatUint(e.Position, 10) + ":")
		t.paragraph(payloadText(e.Payload))
	}
}

// broken gives the failure of a verification its kind, and says which entry and
// which part of it.
func broken(err error) error {
	var where *bookpi.BrokenError
	if !errors.As(err, &where) {
		return tap.E("tamvctl.verify", tap.Invalid, "%v", err).WithCode(codeInput)
	}
	e := tap.E("tamvctl.verify", tap.Unauthenticated, "%v", where).WithCode(codeBroken).WithDetail("part", where.Part)
	if where.HasPosition {
		e.WithDetail("position", where.Position)
	}
	return e
}
