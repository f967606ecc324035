package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvctl/durable"
	"tamv.internal/tamv/store/bookpi"
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
	if _, err := os.Stat(filepath.Dir(path)); err != nil { // a mistyped folder is not made
		return fileError(err)
	}
	if err := durable.WriteFile(path, raw, 0o600); err != nil {
		return fileError(err)
	}
	return nil
}

// verified is what a bundle proves.
type verified struct {
	OK         bool            `json:"ok"`
	Origin     string          `json:"origin"`
	Size       uint64          `json:"ledgerSize"`
	Root       string          `json:"root"`
	Entries    int             `json:"entries"`
	Payloads   int             `json:"payloads"`
	Openings   int             `json:"openings,omitempty"`
	CosignedBy []cosigner      `json:"cosignedBy,omitempty"`
	Quorum     string          `json:"quorum,omitempty"`
	From       string          `json:"firstTime"`
	To         string          `json:"lastTime"`
	Items      []verifiedEntry `json:"items"`
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
	Sealed   string          `json:"sealed,omitempty"`      // "opened" or "closed", of a sealed payload
	Payload  []byte          `json:"payload,omitempty"`     // the exact bytes, opened where the bundle can, in base64
	JSON     json.RawMessage `json:"payloadJson,omitempty"` // for reading, when it is JSON
}

func (a *app) evidenceVerify() *cobra.Command {
	var trust trustFlags
	var payloads bool
	var entry, record string
	c := a.verb("verify FILE (--key KEY|@FILE | --policy FILE) [flags]", textEvidenceVerify, cobra.ExactArgs(1), func(_ context.Context, args []string) error {
		policy, err := a.policyOf(trust)
		if err != nil {
			return err
		}
		raw, err := a.readFile(args[0])
		if err != nil {
			return err
		}
		given, err := a.recordOf(entry, record)
		if err != nil {
			return err
		}
		var v verified
		if bytes.HasPrefix(raw, []byte("c2sp.org/tlog-proof@")) {
			v, err = verifyProof(raw, given, policy)
		} else if given != nil {
			err = usage("--entry and --record are for a tlog-proof; a bundle has its entries in it")
		} else {
			v, err = verify(raw, policy, payloads)
		}
		if err != nil {
			return err
		}
		return a.printValue(v, func(t *table) { v.draw(t, payloads) })
	})
	trust.flags(a, c)
	c.Flags().StringVar(&trust.history, "history", "", textFlagKeyHistory.In(a.lang))
	c.MarkFlagsMutuallyExclusive("history", "policy")
	c.Flags().BoolVar(&payloads, "payload", false, textFlagPayload.In(a.lang))
	c.Flags().StringVar(&entry, "entry", "", textFlagEntryFile.In(a.lang))
	c.Flags().StringVar(&record, "record", "", textFlagRecord.In(a.lang))
	c.MarkFlagsMutuallyExclusive("entry", "record")
	return c
}

// recordOf is the encoded entry that a tlog-proof is about, from a file or in base64;
// nil when the proof is to carry it.
func (a *app) recordOf(file, text string) ([]byte, error) {
	switch {
	case file != "":
		return a.readFile(file)
	case text != "":
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, badInput("--record is not base64")
		}
		return raw, nil
	}
	return nil, nil
}

// verifyProof checks a C2SP tlog-proof with nothing but its bytes and what is trusted.
func verifyProof(raw, entry []byte, policy bookpi.Policy) (verified, error) {
	if parsed, err := bookpi.ParseTLogProof(raw); err == nil && parsed.Extra == nil && entry == nil {
		return verified{}, usage("this proof does not carry its entry: give it with --entry or --record")
	}
	p, err := bookpi.VerifyTLogProof(raw, entry, policy)
	if err != nil {
		return verified{}, unproven(err)
	}
	at := stamp(p.Entry.Timestamp)
	return verified{
		OK: true, Origin: p.Checkpoint.Origin, Size: p.Checkpoint.Size, Root: p.Checkpoint.Root.String(), Entries: 1,
		CosignedBy: cosigners(p.CosignedBy), Quorum: quorum(policy), From: at, To: at,
		Items: []verifiedEntry{{
			Position: p.Position, Hash: bookpi.LeafHash(p.Encoded).String(), Time: at,
			Actor: p.Entry.Actor, Action: p.Entry.Action, Outcome: p.Entry.Outcome, Withheld: true,
		}},
	}, nil
}

// verify checks a bundle with nothing but its bytes and what is trusted.
func verify(raw []byte, policy bookpi.Policy, payloads bool) (verified, error) {
	report, err := bookpi.VerifyBundleWithPolicy(raw, policy)
	if err != nil {
		return verified{}, broken(err)
	}
	bundle, err := bookpi.ParseBundle(raw)
	if err != nil {
		return verified{}, broken(err)
	}
	v := verified{
		OK: true, Origin: report.Origin, Size: report.Size, Root: report.Root.String(), Entries: report.Entries,
		Payloads: report.Payloads, Openings: report.Openings, CosignedBy: cosigners(report.CosignedBy), Quorum: quorum(policy),
		From: stamp(report.FirstTimestamp), To: stamp(report.LastTimestamp),
	}
	for _, item := range bundle.Items {
		shown, err := verifiedItem(item, payloads)
		if err != nil {
			return verified{}, broken(err)
		}
		v.Items = append(v.Items, shown)
	}
	return v, nil
}

// verifiedItem shows an entry of a bundle that has been verified.
func verifiedItem(item bookpi.Item, payloads bool) (verifiedEntry, error) {
	e, err := bookpi.ParseEntry(item.Entry)
	if err != nil {
		return verifiedEntry{}, err
	}
	shown := verifiedEntry{
		Position: item.Position, Hash: bookpi.LeafHash(item.Entry).String(), Time: stamp(e.Timestamp),
		Actor: e.Actor, Action: e.Action, Outcome: e.Outcome, Withheld: !item.HasPayload,
	}
	payload := item.Payload
	switch {
	case item.Opening != nil:
		shown.Sealed = "opened"
		if payload, err = bookpi.OpenSealed(item.Payload, *item.Opening); err != nil {
			return verifiedEntry{}, err
		}
	case bookpi.IsSealed(item.Payload):
		shown.Sealed = "closed"
	}
	if payloads {
		shown.Payload = payload
		if utf8.Valid(payload) && json.Valid(payload) {
			shown.JSON = payload
		}
	}
	return shown, nil
}

func (v verified) draw(t *table, payloads bool) {
	t.field(textVerified, textYes.In(t.lang))
	t.field(textOrigin, v.Origin)
	t.field(textLedgerSize, strconv.FormatUint(v.Size, 10))
	t.field(textMerkleRoot, v.Root)
	t.field(textEntries, strconv.Itoa(v.Entries))
	t.field(textPayloads, strconv.Itoa(v.Payloads))
	if v.Openings > 0 {
		t.field(textOpenings, strconv.Itoa(v.Openings))
	}
	t.field(textFrom, v.From)
	t.field(textTo, v.To)
	drawCosigners(t, v.CosignedBy, v.Quorum)
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
