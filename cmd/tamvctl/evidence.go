package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func (a *app) evidenceCommand() *cobra.Command {
	return a.group("evidence", textEvidenceGroup, a.evidenceAppend(), a.evidenceList(), a.evidenceShow(), a.evidenceProof(),
		a.evidenceTail(), a.evidenceExport(), a.evidenceVerify(), a.evidenceAudit(), a.evidenceMirror(), a.evidenceCheckpoint(),
		a.evidenceKey(), a.evidenceRotateKey(), a.evidencePolicy(), a.evidenceAnchors(), a.evidenceWitness(),
		a.evidenceSegments(), a.evidenceArchive())
}

// ledgerEntry is an entry of the ledger as the appliance shows it.
type ledgerEntry struct {
	Position      uint64 `json:"position"`
	EvidenceHash  string `json:"evidenceHash"`
	Time          string `json:"time"`
	Actor         string `json:"actor"`
	Action        string `json:"action"`
	Outcome       string `json:"outcome"`
	RequestID     string `json:"requestId"`
	PayloadDigest string `json:"payloadDigest"`
	PreviousHash  string `json:"previousHash"`
	PayloadBytes  int    `json:"payloadBytes"`
	Payload       []byte `json:"payload"` // the exact bytes
}

// payloadText shows a payload as it stands, or in base64 when it is no text.
func payloadText(payload []byte) string {
	if utf8.Valid(payload) {
		return string(payload)
	}
	return base64.StdEncoding.EncodeToString(payload)
}

type ledgerPage struct {
	Entries []ledgerEntry `json:"entries"`
	Next    cursor        `json:"next"`
}

const evidencePath = "/v1/evidence"

func entryPath(hash string) string { return evidencePath + "/" + url.PathEscape(hash) }

func (a *app) evidenceAppend() *cobra.Command {
	var data, subject string
	c := a.verb("append ACTION OUTCOME --data JSON|@FILE", textEvidenceAppend, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		raw, err := a.argument(data)
		if err != nil {
			return err
		}
		body, err := record(args[0], args[1], subject, raw)
		if err != nil {
			return err
		}
		return show(ctx, a, ask{method: "POST", path: evidencePath, body: body}, func(t *table, v struct {
			Receipt *receipt `json:"receipt"`
		},
		) {
			v.Receipt.draw(t)
		})
	})
	c.Flags().StringVar(&data, "data", "", textFlagData.In(a.lang))
	c.Flags().StringVar(&subject, "subject", "", textFlagSubject.In(a.lang))
	return require(c, "data")
}

// record is the body of an appended entry. The data goes in byte by byte as it
// was given, because those bytes are what the ledger keeps.
func record(action, outcome, subject string, data []byte) ([]byte, error) {
	if !json.Valid(data) {
		return nil, badInput("the data is not JSON")
	}
	fields := map[string]string{"action": action, "outcome": outcome}
	if subject != "" {
		fields["subject"] = subject
	}
	head, err := marshal(fields)
	if err != nil {
		return nil, err
	}
	body := append(head[:len(head)-2], `,"data":`...) // without the bracket and the line feed
	return append(append(body, data...), '}'), nil
}

func (a *app) evidenceShow() *cobra.Command {
	return a.verb("show HASH", textEvidenceShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, ask{path: entryPath(args[0])}, func(t *table, e ledgerEntry) {
			t.field(textPosition, strconv.FormatUint(e.Position, 10))
			t.field(textEvidence, e.EvidenceHash)
			t.field(textTime, e.Time)
			t.field(textActor, e.Actor)
			t.field(textAction, e.Action)
			t.field(textOutcome, e.Outcome)
			t.field(textRequest, e.RequestID)
			t.field(textPayloadDigest, e.PayloadDigest)
			t.field(textPrevious, e.PreviousHash)
			t.field(textBytes, strconv.Itoa(e.PayloadBytes))
			t.field(textPayload, payloadText(e.Payload))
		})
	})
}

func (a *app) evidenceProof() *cobra.Command {
	var out string
	c := a.verb("proof HASH [--out FILE.tlog-proof|-]", textEvidenceProof, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		path := entryPath(args[0]) + "/proof"
		if out != "" {
			return a.takeProof(ctx, path, out)
		}
		return show(ctx, a, ask{path: path}, func(t *table, v struct {
			Position   uint64   `json:"position"`
			Size       uint64   `json:"size"`
			Proof      []string `json:"proof"`
			Root       string   `json:"root"`
			Checkpoint string   `json:"checkpoint"`
		},
		) {
			t.field(textPosition, strconv.FormatUint(v.Position, 10))
			t.field(textLedgerSize, strconv.FormatUint(v.Size, 10))
			t.field(textMerkleRoot, v.Root)
			for i, h := range v.Proof {
				t.row(textProof.In(t.lang)+" "+strconv.Itoa(i), h)
			}
			t.line("")
			t.paragraph(v.Checkpoint)
		})
	})
	c.Flags().StringVar(&out, "out", "", textFlagProofOut.In(a.lang))
	return c
}

// takeProof writes the proof as a C2SP tlog-proof, which carries its entry.
func (a *app) takeProof(ctx context.Context, path, out string) error {
	reply, err := a.request(ctx, ask{path: path, query: filled("format", "tlog")})
	if err != nil {
		return err
	}
	if out == "-" {
		_, err := a.out.Write(reply.Body)
		return err
	}
	if err := writeFile(a.path(out), reply.Body); err != nil {
		return err
	}
	v := struct {
		File  string `json:"file"`
		Bytes int    `json:"bytes"`
	}{out, len(reply.Body)}
	return a.printValue(v, func(t *table) {
		t.field(textFile, v.File)
		t.field(textBytes, strconv.Itoa(v.Bytes))
	})
}

func (a *app) evidenceCheckpoint() *cobra.Command {
	return a.verb("checkpoint", textEvidenceCheckpoint, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		reply, err := a.request(ctx, ask{path: evidencePath + "/checkpoint"})
		if err != nil {
			return err
		}
		v := struct {
			Checkpoint string `json:"checkpoint"`
		}{string(reply.Body)}
		return a.printValue(v, func(t *table) { t.paragraph(v.Checkpoint) })
	})
}
