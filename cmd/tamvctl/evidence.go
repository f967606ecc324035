package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

func (a *app) evidenceCommand() *cobra.Command {
	return a.group("evidence", textEvidenceGroup, a.evidenceAppend(), a.evidenceList(), a.evidenceShow(), a.evidenceProof(),
		a.evidenceExport(), a.evidenceVerify(), a.evidenceCheckpoint(), a.evidenceKey())
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
	var data string
	c := a.verb("append ACTION OUTCOME --data JSON|@FILE", textEvidenceAppend, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		raw, err := a.argument(data)
		if err != nil {
			return err
		}
		body, err := record(args[0], args[1], raw)
		if err != nil {
			return err
		}
		return show(ctx, a, "POST", evidencePath, nil, body, func(t *table, v struct {
			Receipt *receipt `json:"receipt"`
		},
		) {
			v.Receipt.draw(t)
		})
	})
	c.Flags().StringVar(&data, "data", "", textFlagData.In(a.lang))
	return require(c, "data")
}

// record is the body of an appended entry. The data goes in byte by byte as it
// was given, because those bytes are what the ledger keeps.
func record(action, outcome string, data []byte) ([]byte, error) {
	if !json.Valid(data) {
		return nil, badInput("the data is not JSON")
	}
	head, err := marshal(map[string]string{"action": action, "outcome": outcome})
	if err != nil {
		return nil, err
	}
	body := append(head[:len(head)-2], `,"data":`...) // without the bracket and the line feed
	return append(append(body, data...), '}'), nil
}

func (a *app) evidenceList() *cobra.Command {
	var p paging
	var actor, action, from, to string
	c := a.verb("list [flags]", textEvidenceList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		query := p.query("actor", actor, "action", action, "from", from, "to", to)
		return show(ctx, a, "GET", evidencePath, query, nil, func(t *table, v ledgerPage) {
			t.head(textPosition, textTime, textActor, textAction, textOutcome, textEvidence)
			for _, e := range v.Entries {
				t.row(strconv.FormatUint(e.Position, 10), e.Time, e.Actor, e.Action, e.Outcome, e.EvidenceHash)
			}
			t.more(v.Next)
		})
	})
	c.Flags().StringVar(&actor, "actor", "", textFlagActor.In(a.lang))
	c.Flags().StringVar(&action, "action", "", textFlagAction.In(a.lang))
	c.Flags().StringVar(&from, "from", "", textFlagFrom.In(a.lang))
	c.Flags().StringVar(&to, "to", "", textFlagTo.In(a.lang))
	p.flags(a, c)
	return c
}

func (a *app) evidenceShow() *cobra.Command {
	return a.verb("show HASH", textEvidenceShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, "GET", entryPath(args[0]), nil, nil, func(t *table, e ledgerEntry) {
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
	return a.verb("proof HASH", textEvidenceProof, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, "GET", entryPath(args[0])+"/proof", nil, nil, func(t *table, v struct {
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
}

func (a *app) evidenceCheckpoint() *cobra.Command {
	return a.verb("checkpoint", textEvidenceCheckpoint, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		reply, err := a.request(ctx, "GET", evidencePath+"/checkpoint", nil, nil)
		if err != nil {
			return err
		}
		v := struct {
			Checkpoint string `json:"checkpoint"`
		}{string(reply.Body)}
		return a.printValue(v, func(t *table) { t.paragraph(v.Checkpoint) })
	})
}

// verifierKey is the public key that checkpoints verify with.
type verifierKey struct {
	Key string `json:"verifierKey"`
}

func (a *app) evidenceKey() *cobra.Command {
	return a.verb("key", textEvidenceKey, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, "GET", evidencePath+"/key", nil, nil, func(t *table, v verifierKey) { t.line(v.Key) })
	})
}

// exportRange is which entries to take away.
type exportRange struct{ from, to, out string }

func (a *app) evidenceExport() *cobra.Command {
	var in exportRange
	c := a.verb("export (HASH | --from N --to N) --out FILE|-", textEvidenceExport, cobra.MaximumNArgs(1),
		func(ctx context.Context, args []string) error { return a.export(ctx, in, args) })
	c.Flags().StringVar(&in.from, "from", "", textFlagFromPosition.In(a.lang))
	c.Flags().StringVar(&in.to, "to", "", textFlagToPosition.In(a.lang))
	c.Flags().StringVar(&in.out, "out", "", textFlagOut.In(a.lang))
	c.MarkFlagsRequiredTogether("from", "to")
	return require(c, "out")
}

func (a *app) export(ctx context.Context, in exportRange, args []string) error {
	if (len(args) == 1) == (in.from != "") {
		return usage("an export takes a hash, or --from and --to")
	}
	path, query := evidencePath+"/bundle", filled("from", in.from, "to", in.to)
	if len(args) == 1 {
		path = entryPath(args[0]) + "/bundle"
	}
	a.progress("%s", textExportProgress.In(a.lang))
	reply, err := a.request(ctx, "GET", path, query, nil)
	a.progress("")
	if err != nil {
		return err
	}
	if in.out == "-" {
		_, err := a.out.Write(reply.Body)
		return err
	}
	if err := writeFile(a.path(in.out), reply.Body); err != nil {
		return err
	}
	summary, err := summarise(in.out, reply.Body)
	if err != nil {
		return err
	}
	return a.printValue(summary, summary.draw)
}

// readKey takes a verifier key as it stands, or from a file: bare, or as the
// verb key prints it in JSON.
func (a *app) readKey(value string) (string, error) {
	raw, err := a.argument(value)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(text, "{") {
		return text, nil
	}
	var v verifierKey
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", tap.Wrap("tamvctl.key", tap.Invalid, err, "--key").WithCode(codeInput)
	}
	return v.Key, nil
}
