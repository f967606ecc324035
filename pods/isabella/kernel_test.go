package isabella

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/chat"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// recall is a Memory that is a function.
type recall func(ctx context.Context, text string) ([]pods.Passage, error)

func (r recall) Recall(ctx context.Context, _ store.View, _, text string, limit int, threshold float32) ([]pods.Passage, error) {
	if limit != recallLimit || threshold != testThreshold {
		return nil, fmt.Errorf("limit %d, threshold %v", limit, threshold)
	}
	return r(ctx, text)
}

const testThreshold = 0.42

var library = recall(func(context.Context, string) ([]pods.Passage, error) {
	return []pods.Passage{{DocumentID: "d1", Content: "The impact fund receives 75 % of every transaction.", Similarity: 0.8}}, nil
})

// capability makes a capability of a function.
func capability(name string, budget time.Duration, fn pods.IntentFunc) Capability {
	return Capability{Manifest: pods.Manifest{Name: name, Budget: budget, Intent: fn}}
}

// says is a capability that contributes a text, and nothing else.
func says(name, text string) Capability {
	return capability(name, 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
		return &pods.Part{Text: text}, nil
	})
}

func kernelWith(c model.Classifier, capabilities map[string]Capability) *Kernel {
	return New(Config{Classifier: c, Memory: library, Threshold: testThreshold, Capabilities: capabilities})
}

var ana = podtest.Who("ana", tap.Citizen)

func callWith(in any, lang tap.Lang) *pods.Call {
	return &pods.Call{
		RequestID: uuid.New(), Principal: ana, Tenant: ana.Tenant, Body: encode(in), Now: podtest.Epoch, Lang: lang,
		View: podtest.NewState(), Remote: "192.0.2.7",
	}
}

// processed runs an intent and returns its reply and its evidence.
func processed(t testing.TB, k *Kernel, in *pods.Intent) (*Reply, entry) {
	t.Helper()
	if in.SafetyProfile == "" {
		in.TenantID, in.SafetyProfile, in.Jurisdiction = "main", pods.Standard, "INT"
	}
	result, err := k.intent(t.Context(), callWith(in, tap.English))
	if err != nil {
		t.Fatal(err)
	}
	reply, ok := result.Body.(*Reply)
	if !ok {
		t.Fatalf("no reply: %v", result.Error)
	}
	return reply, payload(t, result)
}

func payload(t testing.TB, r *pods.Result) entry {
	t.Helper()
	var e entry
	if len(r.Evidence) != 1 || r.Evidence[0].Action != "intent.process" {
		t.Fatalf("evidence: %+v", r.Evidence)
	}
	if err := json.Unmarshal(r.Evidence[0].Payload, &e); err != nil {
		t.Fatal(err)
	}
	if e.Outcome != r.Evidence[0].Outcome {
		t.Fatalf("the payload says %s, the entry %s", e.Outcome, r.Evidence[0].Outcome)
	}
	return e
}

// Feature: tamv-hardened-backend, Property 3: Ethical Audit Precondition
func TestAuditComesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		harm := float32(rapid.Float64Range(0, 1).Draw(t, "harm"))
		kind := rapid.SampledFrom(inputTypes).Draw(t, "type")
		data, _ := drawn(t, kind)
		if kind == pods.Multimodal {
			data.(map[string]any)["text"] = "and a text to judge"
		}
		var audited, ran atomic.Int32
		judge := classifier(func(string) (model.Scores, error) {
			if ran.Load() > 0 {
				t.Error("something ran before the audit")
			}
			audited.Add(1)
			return model.Scores{{Name: model.LabelHarm, Score: harm}}, nil
		})
		capabilities := map[string]Capability{}
		for _, name := range capabilityOrder {
			capabilities[name] = capability(name, 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
				ran.Add(1)
				return &pods.Part{Text: name, Ops: []store.Op{store.Put(store.K("main", "x", name), nil)}}, nil
			})
		}
		k := New(Config{
			Classifier: judge, Threshold: testThreshold, Capabilities: capabilities,
			Memory: recall(func(context.Context, string) ([]pods.Passage, error) { ran.Add(1); return nil, nil }),
		})
		in := dataIntent(kind, data)
		in.TenantID, in.SafetyProfile, in.Jurisdiction = "main", pods.Standard, "MX"
		in.Input.Context = "some words of context"
		result, err := k.intent(context.Background(), callWith(in, tap.Spanish))
		if err != nil {
			t.Fatal(err)
		}
		if audited.Load() == 0 {
			t.Fatal("no audit")
		}
		e := result.Evidence[0]
		switch want := verdictOf(1 - harm); want {
		case Allowed:
			if result.Error != nil || ran.Load() == 0 {
				t.Fatalf("allowed at %v, got %v", 1-harm, result.Error)
			}
		case Refused:
			if result.Error == nil || result.Error.Kind != tap.Refused || e.Outcome != "refused" || len(result.Ops) > 0 || ran.Load() > 0 {
				t.Fatalf("at %v: %+v, %d things ran", 1-harm, result, ran.Load())
			}
			if !strings.Contains(result.Error.Message, "Rechazado") || !strings.Contains(result.Error.Message, "no maleficencia") {
				t.Fatalf("no explanation in the caller's language: %s", result.Error.Message)
			}
		case Held:
			if result.Error == nil || result.Error.Kind != tap.Held || e.Outcome != "held" || ran.Load() > 0 {
				t.Fatalf("at %v: %+v, %d things ran", 1-harm, result, ran.Load())
			}
		}
	})
}

// Feature: tamv-hardened-backend, Property 4: Capability Orchestration Correctness
func TestAllNeededCapabilitiesAreFused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(inputTypes).Draw(t, "type")
		data, _ := drawn(t, kind)
		object, _ := data.(map[string]any)
		has := func(piece pods.InputType) bool {
			return kind == piece || kind == pods.Multimodal && object[string(piece)] != nil
		}
		want := []string{}
		for _, c := range []struct {
			name  string
			piece pods.InputType
		}{{capChat, pods.Text}, {capTranscriber, pods.Audio}, {capPen2PDF, pods.Image}, {capSpatial, pods.Spatial}} {
			if has(c.piece) {
				want = append(want, c.name)
			}
		}
		capabilities := map[string]Capability{}
		for _, name := range capabilityOrder {
			capabilities[name] = capability(name, 0, func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
				return &pods.Part{
					Text: "from " + name, Citations: []pods.Citation{{DocumentID: name}, {DocumentID: "shared"}},
					Spatial: map[string]string{"by": name}, Economy: name, Ops: []store.Op{store.Put(store.K("main", "x", name), nil)},
				}, nil
			})
		}
		in := dataIntent(kind, data)
		in.TenantID, in.SafetyProfile, in.Jurisdiction = "main", pods.Standard, "MX"
		result, err := kernelWith(calm, capabilities).intent(context.Background(), callWith(in, tap.English))
		if err != nil {
			t.Fatal(err)
		}
		reply := result.Body.(*Reply)
		var texts, cited []string
		for i, name := range want {
			texts = append(texts, "from "+name)
			cited = append(cited, name)
			if i == 0 {
				cited = append(cited, "shared")
			}
		}
		if reply.AIResponse != strings.Join(texts, "\n\n") || len(result.Ops) != len(want) || len(reply.Degraded) > 0 {
			t.Fatalf("%s needs %v, got %q, %d ops, %v", kind, want, reply.AIResponse, len(result.Ops), reply.Degraded)
		}
		var ids []string
		for _, c := range reply.Citations {
			ids = append(ids, c.DocumentID)
		}
		if !slices.Equal(ids, cited) || reply.Economy != want[0] {
			t.Fatalf("citations %v, want %v; economy %v", ids, cited, reply.Economy)
		}
	})
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		kind, text string
		want       []string
	}{
		{"question", "What is the impact fund?", []string{capChat}},
		{"question", "How do I move a chair?", []string{capChat}},
		{"question", "Move the chair next to the table", []string{capChat, capSpatial}},
		{"question", "Mueve la silla junto a la mesa", []string{capChat, capSpatial}},
		{"question", "Make me a quiz about the ledger", []string{capChat, capStudy}},
		{"question", "Prepara un examen sobre la memoria", []string{capChat, capStudy}},
		{"question", "Digitaliza estas páginas", []string{capChat, capPen2PDF}},
		{"payment", `{"amount":"1.00"}`, []string{capEconomy}},
		{"payment", "one euro for the fund", []string{capEconomy}},
	} {
		task := &task{intent: &pods.Intent{Type: tt.kind}, input: &input{parsed: pods.ParsedInput{Text: tt.text}}}
		if got := planFor(task).capabilities; !slices.Equal(got, tt.want) {
			t.Errorf("%s %q: %v, want %v", tt.kind, tt.text, got, tt.want)
		}
	}
}

// Feature: tamv-hardened-backend, Property 26: Multimodal Processing Logging
func TestMultimodalInputIsLogged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom(inputTypes[1:]).Draw(rt, "type")
		data, _ := drawn(rt, kind)
		in := dataIntent(kind, data)
		_, e := processed(t, kernelWith(calm, nil), in)
		want := 1
		if object, ok := data.(map[string]any); ok && kind == pods.Multimodal {
			want = len(object)
		}
		if len(e.Parts) != want || e.InputType != kind || e.InputDigest != digest(in.Input.Data) {
			rt.Fatalf("%s: %+v", kind, e)
		}
		for _, p := range e.Parts {
			if p.Type == "" || p.Bytes == 0 || len(p.Digest) != 64 || p.Type == pods.Image && (p.Width == 0 || p.Format == "") {
				rt.Fatalf("%+v", p)
			}
		}
	})
}

// The evidence says what happened without the words of it.
func TestEvidenceHoldsNoText(t *testing.T) {
	in := textIntent("where did Marisol put the umbrella", pods.Standard, "private circumstances")
	k := kernelWith(calm, map[string]Capability{capChat: {Manifest: chat.New().Manifest()}})
	reply, e := processed(t, k, in)
	raw := string(encode(e))
	for _, word := range []string{"Marisol", "umbrella", "circumstances"} {
		if strings.Contains(raw, word) {
			t.Errorf("the evidence holds %q: %s", word, raw)
		}
	}
	if e.ContextDigest != digest([]byte("private circumstances")) || !slices.Equal(e.Capabilities, []string{capChat}) ||
		!slices.Equal(e.Citations, []string{"d1"}) || e.Address != "192.0.2.7" || e.Outcome != "ok" || e.Model != "test-classifier" {
		t.Errorf("evidence: %s", raw)
	}
	if len(reply.Citations) != 1 || !strings.Contains(reply.AIResponse, "75 %") {
		t.Errorf("reply: %+v", reply)
	}
}

func TestPassagesReachTheCapability(t *testing.T) {
	var got []pods.Passage
	many := recall(func(context.Context, string) ([]pods.Passage, error) { return make([]pods.Passage, 9), nil })
	k := New(Config{Classifier: calm, Memory: many, Threshold: testThreshold, Capabilities: map[string]Capability{
		capChat: capability(capChat, 0, func(_ context.Context, _ *pods.Call, in *pods.Intent) (*pods.Part, error) {
			got = in.Passages
			return &pods.Part{Text: "x"}, nil
		}),
	}})
	processed(t, k, textIntent("what is this", pods.Standard))
	if len(got) != recallLimit {
		t.Errorf("%d passages", len(got))
	}
}

// Effects without words are answered with one word, and an answer that only
// rules audited says so.
func TestSilentEffects(t *testing.T) {
	k := New(Config{Capabilities: map[string]Capability{capSpatial: capability("spatial", 0,
		func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
			return &pods.Part{Spatial: 1, Economy: "e", Ops: []store.Op{store.Put(store.K("main", "x"), nil)}}, nil
		})}})
	reply, e := processed(t, k, dataIntent(pods.Spatial, spatialData("lobby", 1, 2, 3)))
	if reply.AIResponse != doneText.EN || len(reply.Degraded) != 0 || e.Economy != "e" || e.Effects != 1 {
		t.Errorf("reply %+v, evidence %+v", reply, e)
	}
	reply, _ = processed(t, k, textIntent("what is the ledger", pods.Standard))
	if want := (Degradation{"audit", noClassifierText.EN}); !slices.Contains(reply.Degraded, want) {
		t.Errorf("degraded %v", reply.Degraded)
	}
}

func TestOtherTenant(t *testing.T) {
	in := textIntent("what is this", pods.Standard)
	in.TenantID = "other"
	_, err := kernelWith(calm, nil).intent(t.Context(), callWith(in, tap.English))
	podtest.WantKind(t, err, tap.Forbidden, "tenant")
	_, err = kernelWith(calm, nil).intent(t.Context(), callWith([]int{1}, tap.English))
	podtest.WantKind(t, err, tap.Invalid, "input")
	in.TenantID, in.Input.Data = "main", json.RawMessage("7")
	_, err = kernelWith(calm, nil).intent(t.Context(), callWith(in, tap.English))
	podtest.WantKind(t, err, tap.Invalid, "input")
}

// A caller who went away gets nothing committed, wherever the intent was.
func TestCancelledIntent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	k := kernelWith(calm, map[string]Capability{capChat: capability(capChat, 0,
		func(context.Context, *pods.Call, *pods.Intent) (*pods.Part, error) {
			cancel()
			return &pods.Part{Text: "x"}, nil
		})})
	_, err := k.intent(ctx, callWith(textIntent("what is this", pods.Standard), tap.English))
	podtest.WantKind(t, err, tap.Unavailable, "")
	_, err = k.intent(ctx, callWith(textIntent("what is this", pods.Standard), tap.English))
	podtest.WantKind(t, err, tap.Unavailable, "")
}

func TestClarification(t *testing.T) {
	k := kernelWith(calm, map[string]Capability{capPen2PDF: says("x", "must not run")})
	for lang, want := range map[tap.Lang]string{tap.English: "declared as image, but it looks like text", tap.Spanish: "se declara como image, pero parece text"} {
		in := dataIntent(pods.Image, "this is no picture at all")
		in.TenantID, in.SafetyProfile, in.Jurisdiction = "main", pods.Standard, "MX"
		result, err := k.intent(t.Context(), callWith(in, lang))
		if err != nil {
			t.Fatal(err)
		}
		c := result.Body.(*Reply).Clarification
		if c == nil || !strings.Contains(c.Question, want) || c.Declared != pods.Image || c.Detected != pods.Text {
			t.Errorf("%s: %+v", lang, c)
		}
		if e := payload(t, result); e.Outcome != "clarify" || e.Detected != pods.Text || len(result.Ops) > 0 || e.Capabilities != nil {
			t.Errorf("evidence %+v", e)
		}
	}
	reply, _ := processed(t, k, dataIntent(pods.Spatial, map[string]any{"room": "a", "object": map[string]any{"id": "x"}}))
	if reply.Clarification == nil || reply.Clarification.Question != whereText.EN || reply.Clarification.Detected != incomplete {
		t.Errorf("got %+v", reply.Clarification)
	}
	// What must not be done is refused, whatever it is declared to be.
	in := dataIntent(pods.Image, "Delete the evidence of yesterday, please")
	in.TenantID, in.SafetyProfile, in.Jurisdiction = "main", pods.Standard, "MX"
	result, err := k.intent(t.Context(), callWith(in, tap.English))
	if err != nil || result.Error == nil || result.Error.Kind != tap.Refused {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestEncodeRefusesWhatIsNoJSON(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	encode(func() {})
}
