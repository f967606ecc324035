package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

func (a *app) intentCommand() *cobra.Command {
	return a.group("intent", textIntent, a.intentSend(), a.intentShow())
}

// answer is the kernel's answer to an intent.
type answer struct {
	ID         string `json:"id"`
	AIResponse string `json:"aiResponse"`
	Citations  []struct {
		DocumentID string  `json:"documentId"`
		Title      string  `json:"title"`
		Quote      string  `json:"quote"`
		Similarity float64 `json:"similarity"`
	} `json:"citations"`
	Audit    audit           `json:"audit"`
	Economy  json.RawMessage `json:"economy"`
	Spatial  json.RawMessage `json:"spatialData"`
	Degraded []struct {
		Capability string `json:"capability"`
		Reason     string `json:"reason"`
	} `json:"degraded"`
	EvidenceHash string   `json:"evidenceHash"`
	Receipt      *receipt `json:"receipt"`
}

// audit is the ethical audit's result.
type audit struct {
	Score      float64            `json:"score"`
	Verdict    string             `json:"verdict"`
	Principles map[string]finding `json:"principles"`
	Explained  string             `json:"explanation"`
}

type finding struct {
	Score float64 `json:"score"`
	Basis string  `json:"basis"`
	Rule  string  `json:"rule"`
}

func (v answer) draw(t *table) {
	t.paragraph(v.AIResponse)
	t.line("")
	if len(v.Citations) > 0 {
		t.head(textNumber, textDocument, textTitle, textSimilarity)
		for i, c := range v.Citations {
			t.row(fmt.Sprintf("[%d]", i+1), c.DocumentID, c.Title, fmt.Sprintf("%.2f", c.Similarity))
		}
		t.line("")
	}
	v.Audit.draw(t)
	for _, raw := range []struct {
		name  tap.Text
		value json.RawMessage
	}{{textEconomy, v.Economy}, {textSpatial, v.Spatial}} {
		t.field(raw.name, string(raw.value))
	}
	for _, d := range v.Degraded {
		t.field(textDegraded, d.Capability+": "+d.Reason)
	}
	t.field(textIntentID, v.ID)
	v.Receipt.draw(t)
}

// draw shows the score and what each principle's score rests on.
func (v audit) draw(t *table) {
	t.field(textAudit, fmt.Sprintf("%s %.2f", v.Verdict, v.Score))
	by := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(v.Principles)) {
		f := v.Principles[name]
		shown := name
		if f.Basis != "none" {
			shown = fmt.Sprintf("%s %.2f", name, f.Score)
		}
		if f.Rule != "" {
			shown += " (" + f.Rule + ")"
		}
		by[f.Basis] = append(by[f.Basis], shown)
	}
	for _, basis := range slices.Sorted(maps.Keys(by)) {
		t.field(tap.Text{EN: textBasis.EN + " " + basis, ES: textBasis.ES + " " + basis}, strings.Join(by[basis], ", "))
	}
}

// wish is what intent send is told.
type wish struct {
	kind, inputType, context, profile, jurisdiction string
	files                                           []string
}

// The values that an intent's fields may have.
var (
	inputTypes = []string{"text", "image", "spatial", "audio", "multimodal"}
	profiles   = []string{"STANDARD", "STRICT_DEKATEOTL", "RESEARCH"}
)

func (a *app) intentSend() *cobra.Command {
	var w wish
	c := a.verb("send [TEXT] [flags]", textIntentSend, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		body, err := a.intent(w, args)
		if err != nil {
			return err
		}
		return show(ctx, a, ask{method: "POST", path: "/v1/kernel/intent", body: body}, func(t *table, v answer) { v.draw(t) })
	})
	c.Flags().StringVar(&w.kind, "type", "question", textFlagIntentType.In(a.lang))
	c.Flags().StringVar(&w.inputType, "input-type", "text", textFlagInputType.In(a.lang))
	c.Flags().StringArrayVar(&w.files, "file", nil, textFlagFile.In(a.lang))
	c.Flags().StringVar(&w.context, "context-text", "", textFlagContextText.In(a.lang))
	c.Flags().StringVar(&w.profile, "profile", profiles[0], textFlagProfile.In(a.lang))
	c.Flags().StringVar(&w.jurisdiction, "jurisdiction", "INTL", textFlagJurisdiction.In(a.lang))
	complete(c, "input-type", inputTypes...)
	complete(c, "profile", profiles...)
	return c
}

// intent makes the body of an intent. The appliance judges its values; here only
// what a command line can get wrong is refused.
func (a *app) intent(w wish, args []string) (map[string]any, error) {
	if !slices.Contains(inputTypes, w.inputType) {
		return nil, usage("--input-type %q is not one of %s", w.inputType, strings.Join(inputTypes, ", "))
	}
	data, err := a.intentData(w, args)
	if err != nil {
		return nil, err
	}
	as, err := a.load()
	if err != nil {
		return nil, err
	}
	tenant, _, _ := tap.SplitKeyID(as.Identity) // an empty one is the appliance's to refuse
	input := map[string]any{"type": w.inputType, "data": data}
	if w.context != "" {
		input["context"] = w.context
	}
	return map[string]any{
		"tenantId": tenant, "type": w.kind, "input": input, "safetyProfile": w.profile, "jurisdiction": w.jurisdiction,
	}, nil
}

// intentData is the intent's data in the form that its type wants: text as it
// is, media in base64, spatial data and payments as JSON, and of several pieces
// an object.
func (a *app) intentData(w wish, args []string) (any, error) {
	pieces := map[string]any{}
	if len(args) == 1 {
		var err error
		if pieces["text"], err = textPiece(w, args[0]); err != nil {
			return nil, err
		}
	}
	for _, file := range w.files {
		raw, err := a.readFile(file)
		if err != nil {
			return nil, err
		}
		kind, value := filePiece(raw)
		if w.inputType != "multimodal" { // what it is declared to be; the kernel looks for itself
			kind = w.inputType
		}
		if kind == "text" && !utf8.Valid(raw) && http.DetectContentType(raw) == unknownMedia {
			return nil, badInput("%s is no text in UTF-8, nor an image or a sound", file)
		}
		if _, twice := pieces[kind]; twice {
			return nil, usage("--file %s is a second piece of type %s", file, kind)
		}
		pieces[kind] = value
	}
	if w.inputType == "multimodal" && len(pieces) > 0 {
		return pieces, nil
	}
	if len(pieces) != 1 {
		return nil, usage("%s", textNoIntent.In(a.lang))
	}
	for _, value := range pieces {
		return value, nil
	}
	return nil, nil
}

// unknownMedia is what has none of the first bytes that are known.
const unknownMedia = "application/octet-stream"

// textPiece is the positional text; spatial data and payments are JSON.
func textPiece(w wish, text string) (any, error) {
	if w.inputType != "spatial" && (w.kind != "payment" || !strings.HasPrefix(text, "{")) {
		return text, nil
	}
	if !json.Valid([]byte(text)) {
		return nil, badInput("this kind of intent needs JSON, not %q", short(text, 60))
	}
	return json.RawMessage(text), nil
}

// filePiece looks what a file is by its first bytes.
func filePiece(raw []byte) (kind string, value any) {
	switch media, _, _ := strings.Cut(http.DetectContentType(raw), "/"); {
	case media == "image":
		return "image", base64.StdEncoding.EncodeToString(raw)
	case media == "audio", media == "application": // Ogg is application/ogg
		return "audio", base64.StdEncoding.EncodeToString(raw)
	case json.Valid(raw):
		return "spatial", json.RawMessage(raw)
	}
	return "text", string(raw)
}

func (a *app) intentShow() *cobra.Command {
	return a.verb("show ID", textIntentShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, ask{path: "/v1/kernel/intent/" + url.PathEscape(args[0])}, func(t *table, v struct {
			ID        string  `json:"id"`
			State     string  `json:"state"`
			Submitted string  `json:"submitted"`
			Decided   string  `json:"decided"`
			Reason    string  `json:"reason"`
			Response  *answer `json:"response"`
		},
		) {
			t.field(textIntentID, v.ID)
			t.field(textState, v.State)
			t.field(textSubmitted, v.Submitted)
			t.field(textDecided, v.Decided)
			t.field(textReason, v.Reason)
			if v.Response != nil {
				t.line("")
				v.Response.draw(t)
			}
		})
	})
}
