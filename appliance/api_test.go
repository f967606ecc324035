package appliance_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"tamv.internal/tamv/tap"
)

// What the appliance says of itself is OpenAPI 3.1, all of it.
func TestOpenAPIOfTheWholeAppliance(t *testing.T) {
	cl := connect(t, start(t, t.TempDir()).Context)
	reply, err := cl.Do(t.Context(), "GET", "/openapi.json", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(reply.Body))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../pods/testdata/openapi-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	for name, doc := range map[string]any{"rules.json": rules, "openapi.json": document} {
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
	}
	openAPI, err := c.Compile("rules.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := openAPI.Validate(document); err != nil {
		t.Errorf("the document breaks OpenAPI 3.1: %v", err)
	}
	schemas := document.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	if len(schemas) < 20 {
		t.Errorf("only %d schemas", len(schemas))
	}
	for name := range schemas {
		if _, err := c.Compile("openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

// An intent inside a session carries its own signature and passes the same gate
// as over HTTPS; replayed, it is refused.
func TestAnIntentOverASession(t *testing.T) {
	running := start(t, t.TempDir())
	operator, conf := connect(t, running.Context), config(t, running.Context)
	if _, err := operator.Do(t.Context(), "POST", "/v1/dreamspaces", nil, map[string]string{"id": "plaza", "name": "Plaza"}); err != nil {
		t.Fatal(err)
	}
	conf.KeyID, conf.Key = enrol(t, operator, "ana", tap.Citizen)
	for _, transport := range []string{"wss", "quic"} {
		ana := enter(t, conf, transport, "plaza")
		signed := func(when time.Time) *tap.Request {
			r := &tap.Request{
				ID: uuid.Must(uuid.NewV7()), Method: "POST", Path: "/v1/kernel/intent",
				Body: []byte(`{"tenantId":"main","type":"question","safetyProfile":"STANDARD","jurisdiction":"MX","input":{"type":"text","data":"What can you tell me?"}}`),
			}
			if err := tap.SignRequest(r, conf.Key, conf.KeyID, when, tap.NewNonce()); err != nil {
				t.Fatal(err)
			}
			return r
		}
		first := signed(time.Now())
		reply, err := ana.session.Request(t.Context(), first)
		if err != nil || reply.Status != 200 {
			t.Fatalf("%s: %v %+v", transport, err, reply)
		}
		var answer struct {
			AIResponse   string `json:"aiResponse"`
			EvidenceHash string `json:"evidenceHash"`
		}
		if err := json.Unmarshal(reply.Body, &answer); err != nil || answer.AIResponse == "" {
			t.Fatalf("%s: %v %s", transport, err, reply.Body)
		}
		entry := get[struct {
			Actor  string `json:"actor"`
			Action string `json:"action"`
		}](t, operator, "/v1/evidence/"+answer.EvidenceHash, nil)
		if entry.Actor != "ana" || entry.Action != "intent.process" {
			t.Errorf("%s: the ledger has %+v", transport, entry)
		}
		unsigned := *first
		unsigned.ID, unsigned.Header = uuid.Must(uuid.NewV7()), nil
		for what, r := range map[string]*tap.Request{
			"replayed": first, "expired": signed(time.Now().Add(-time.Hour)), "unsigned": &unsigned,
		} {
			if r == first { // under another frame id: the signature is what is replayed
				again := *first
				again.ID = uuid.Must(uuid.NewV7())
				r = &again
			}
			if _, err := ana.session.Request(t.Context(), r); !tap.IsKind(err, tap.Unauthenticated) || tap.AsError(err).StableCode() != what {
				t.Errorf("%s: a %s intent: %v", transport, what, err)
			}
		}
		// A body that its schema refuses, and a record that may not be forged.
		for what, body := range map[string]string{
			"too little":      `{}`,
			"a reserved name": `{"action":"auth.attempts","outcome":"ok","data":1}`,
			"no JSON":         "\xff",
		} {
			if _, err := ana.session.Evidence(t.Context(), []byte(body)); !tap.IsKind(err, tap.Invalid) {
				t.Errorf("%s: a record with %s: %v", transport, what, err)
			}
		}
	}
}
