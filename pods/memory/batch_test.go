package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
)

func sendBatch(t testing.TB, h *podtest.Host, documents ...string) batchReply {
	t.Helper()
	var reply batchReply
	body := `{"documents":[` + strings.Join(documents, ",") + `]}`
	if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "POST", Target: documentsPath + ":batch", Body: body}, &reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestEveryDocumentOfABatchHasItsOutcome(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	documents := []string{
		`{"id":"a","documentType":"CODEX","content":"copper wire","metadata":{"page":"1"}}`,
		`{"documentType":"CODEX","content":"iron rod"}`,
		`{"id":"v","documentType":"CODEX","content":"x","vector":[1,2],"model":"site"}`,
		`{"id":"exported","documentType":"CODEX","content":"x","created":"2020","updated":"2020","author":"x","version":7}`,
	}
	bad := map[string]string{
		`{"id":"A b","documentType":"CODEX","content":"x"}`:                              "text",
		`{"documentType":"codex","content":"x"}`:                                         "text",
		`{"documentType":"CODEX","content":" "}`:                                         "text",
		`{"documentType":"CODEX","content":"a\u0007"}`:                                   "text",
		`{"documentType":"CODEX"}`:                                                       "text",
		`{"documentType":"CODEX","content":"` + strings.Repeat("x", MaxContent+1) + `"}`: "too_large",
		`{"documentType":"CODEX","content":"x","metadata":{"a b":"c"}}`:                  "text",
		`{"documentType":"CODEX","content":"x","metadata":{"a":1}}`:                      "schema",
		`{"documentType":"CODEX","content":7}`:                                           "schema",
		`{"documentType":"CODEX","content":null}`:                                        "schema",
		`{"documentType":"CODEX","content":"x","colour":"red"}`:                          "schema",
		`{"documentType":"CODEX","content":"x","` + strings.Repeat("y", 50) + `":1}`:     "schema",
		`[1]`: "schema",
		`7`:   "schema",
		`{"id":"a","documentType":"CODEX","content":"twice"}`:                              "duplicate",
		`{"id":"w","documentType":"CODEX","content":"x","vector":[1,2,3],"model":"m1"}`:    "vector",
		`{"id":"w","documentType":"CODEX","content":"x","vector":[1,2,3]}`:                 "model",
		`{"id":"w","documentType":"CODEX","content":"x","vector":[1,2,3],"model":"a b"}`:   "model",
		`{"id":"w","documentType":"CODEX","content":"x","vector":"?","model":"site"}`:      "schema",
		`{"id":"w","documentType":"CODEX","content":"x","vector":[],"model":"site"}`:       "vector",
		`{"id":"w","documentType":"CODEX","content":"x","vector":[1,2,3],"model":"site"}`:  "vector", // the first of this model has two
		`{"id":"w","documentType":"CODEX","content":"x","vector":[1,null],"model":"site"}`: "schema",
		`{"id":"w","documentType":"CODEX","content":"x","vector":[1e99],"model":"site"}`:   "schema",
		`{"id":"w","documentType":"CODEX","content":"x","vector":{"a":1},"model":"site"}`:  "schema",
	}
	all := slices.Clone(documents)
	var codes []string
	for document, code := range bad {
		all, codes = append(all, document), append(codes, code)
	}
	reply := sendBatch(t, h, all...)
	if reply.Created != len(documents) || reply.Refused != len(bad) || reply.Receipt == nil || len(reply.Results) != len(all) {
		t.Fatalf("%+v", reply)
	}
	for i, r := range reply.Results {
		switch {
		case i < len(documents):
			if r.Outcome != created || r.Error != nil || r.ID == "" {
				t.Errorf("%s: %+v", all[i], r)
			}
		case r.Outcome != refused || r.Error == nil || r.Error.Code != codes[i-len(documents)] || r.Error.Message == "":
			t.Errorf("%s: %+v, %+v, want the code %s", all[i], r, r.Error, codes[i-len(documents)])
		}
	}
	if size, _ := h.State.Size(); size != 1 {
		t.Errorf("%d entries of evidence for one batch", size)
	}
	// The same again changes nothing and leaves no evidence; the id of the second is
	// the same, because its content is.
	again := sendBatch(t, h, documents...)
	if again.Unchanged != len(documents) || again.Receipt != nil || again.Results[1].ID != reply.Results[1].ID || !strings.HasPrefix(again.Results[1].ID, "c-") {
		t.Errorf("%+v", again)
	}
	changed := sendBatch(t, h, strings.Replace(documents[0], `"1"`, `"2"`, 1), strings.Replace(documents[2], `[1,2]`, `[2,2]`, 1), documents[3])
	if changed.Replaced != 2 || changed.Unchanged != 1 {
		t.Errorf("%+v", changed)
	}
	if size, _ := h.State.Size(); size != 2 {
		t.Errorf("%d entries of evidence, want 2", size)
	}
	if r, err := search(h, `{"query":"copper wire","metadata":{"page":"2"}}`); err != nil || !slices.Equal(found(r), []string{"a"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// The same document twice in a batch is stored once, also when it has no id.
func TestTheSameDocumentTwice(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	plain, named := `{"documentType":"CODEX","content":"iron rod"}`, `{"id":"a","documentType":"CODEX","content":"wire","vector":[1,2],"model":"site"}`
	reply := sendBatch(t, h, plain, named, plain, named, strings.Replace(named, "[1,2]", "[2,1]", 1))
	var got []outcome
	for _, r := range reply.Results {
		got = append(got, r.Outcome)
	}
	if want := []outcome{created, created, unchanged, unchanged, refused}; !slices.Equal(got, want) || reply.Results[2].ID != reply.Results[0].ID {
		t.Errorf("%v, want %v: %+v", got, want, reply)
	}
}

func TestAFullBatchRefusesTheRest(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	var documents []string
	vector := encodeVectorArg(encodeVector(slices.Repeat([]float32{1}, 4096)))
	for i := range MaxBatch {
		documents = append(documents, fmt.Sprintf(`{"id":"d%d","documentType":"A","content":%q,"vector":%q,"model":"big"}`, i, strings.Repeat("x", 4000), vector))
	}
	// 64 of these are above the body's limit too, so they come in two halves.
	reply := sendBatch(t, h, documents[:MaxBatch-8]...)
	if reply.Created == 0 || reply.Refused == 0 || reply.Results[MaxBatch-9].Error.Code != "batch_full" {
		t.Errorf("%d created, %d refused", reply.Created, reply.Refused)
	}
	_, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "POST", Target: documentsPath + ":batch", Body: `{"documents":[` + strings.Repeat("1,", MaxBatch) + `1]}`}, nil)
	podtest.WantKind(t, err, tap.Invalid, "schema")
	_, err = newPod(t, "m1").batch(t.Context(), &pods.Call{Body: []byte("[")})
	podtest.WantKind(t, err, tap.Invalid, "")
	_, err = newPod(t, "m1").replace(t.Context(), &pods.Call{Body: []byte("[")})
	podtest.WantKind(t, err, tap.Invalid, "")
}

// An embedder that refuses some texts, or fails.
func TestTextsThatTheEmbedderRefuses(t *testing.T) {
	p, err := New(Config{Embedder: picky{bagEmbedder{id: "m"}}})
	if err != nil {
		t.Fatal(err)
	}
	h := serve(t, p)
	reply := sendBatch(t, h, `{"id":"a","documentType":"A","content":"fine words"}`, `{"id":"b","documentType":"A","content":"refused words"}`)
	if reply.Created != 1 || reply.Refused != 1 || reply.Results[1].Error.Code != "text" {
		t.Errorf("%+v", reply)
	}
	for _, bad := range []string{"broken", "refused broken"} {
		_, err := h.Do(t.Context(), podtest.Request{
			As: curator, Method: "POST", Target: documentsPath + ":batch",
			Body: `{"documents":[{"documentType":"A","content":"refused"},{"documentType":"A","content":"` + bad + `"}]}`,
		}, nil)
		if bad == "broken" {
			podtest.WantKind(t, err, tap.Unavailable, "")
		}
	}
}

type picky struct{ bagEmbedder }

func (p picky) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	for i, text := range texts {
		switch {
		case strings.Contains(text, "refused"):
			return nil, fmt.Errorf("text %d: %w", i, model.ErrNoText)
		case strings.Contains(text, "broken"):
			return nil, errors.New("no memory")
		}
	}
	return p.bagEmbedder.Embed(ctx, texts)
}

func put(h *podtest.Host, id, body string) (replaceReply, error) {
	var reply replaceReply
	_, err := h.Do(context.Background(), podtest.Request{As: curator, Method: "PUT", Target: documentsPath + "/" + id, Body: body}, &reply)
	return reply, err
}

func version(t testing.TB, h *podtest.Host, id string) uint64 {
	t.Helper()
	var d document
	if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: documentsPath + "/" + id}, &d); err != nil {
		t.Fatal(err)
	}
	return d.Version
}

func TestReplaceByVersion(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	r, err := put(h, "a", `{"documentType":"A","content":"first words","ifVersion":0}`)
	if err != nil || r.Outcome != created || r.Receipt == nil || r.ID != "a" {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = put(h, "a", `{"documentType":"A","content":"again","ifVersion":0}`)
	podtest.WantKind(t, err, tap.Conflict, "version")
	now := version(t, h, "a")
	if r, err := put(h, "a", fmt.Sprintf(`{"documentType":"A","content":"second words","ifVersion":%d}`, now)); err != nil || r.Outcome != replaced {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = put(h, "a", fmt.Sprintf(`{"documentType":"A","content":"late","ifVersion":%d}`, now))
	podtest.WantKind(t, err, tap.Conflict, "version")
	if details := tap.AsError(err).Details["version"]; details != version(t, h, "a") {
		t.Errorf("the refusal names the version %v", details)
	}
	if _, err := put(h, "a", `{"documentType":"A","content":"whatever it was"}`); err != nil {
		t.Error(err)
	}
	for body, code := range map[string]string{
		`{"documentType":"A"}`:                              "schema",
		`{"documentType":"A","content":"x","id":"b"}`:       "schema",
		`{"documentType":"A","content":"x","ifVersion":-1}`: "schema",
		`{"documentType":"A","content":"x","vector":[1]}`:   "model",
		`{"documentType":"A","content":" "}`:                "text",
	} {
		_, err := put(h, "a", body)
		podtest.WantKind(t, err, tap.Invalid, code)
	}
	_, err = put(h, "No%20Name", `{"documentType":"A","content":"x"}`)
	podtest.WantKind(t, err, tap.Invalid, "text")

	remove := func(query string) error {
		_, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "DELETE", Target: documentsPath + "/a" + query}, nil)
		return err
	}
	podtest.WantKind(t, remove(fmt.Sprintf("?ifVersion=%d", now)), tap.Conflict, "version")
	if err := remove(fmt.Sprintf("?ifVersion=%d", version(t, h, "a"))); err != nil {
		t.Error(err)
	}
	podtest.WantKind(t, remove(""), tap.NotFound, "")
}

// What is exported and imported elsewhere is the same, and finds the same.
func TestExportAndImportRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		from, to := serve(t, newPod(rt, "m1")), serve(t, newPod(rt, "m1"))
		var docs []newDocument
		for i := range rapid.IntRange(0, 12).Draw(rt, "documents") {
			d := newDocument{
				ID: fmt.Sprintf("d%02d", i), Type: rapid.SampledFrom([]string{"CODEX", "NOTE"}).Draw(rt, "type"),
				Content: rapid.StringMatching(`[ñzx"\\<]{1,8}[a-c]`).Draw(rt, "content"),
			}
			if rapid.Bool().Draw(rt, "metadata") {
				d.Metadata = map[string]string{"k": rapid.StringMatching(`[a-zé"]{0,6}`).Draw(rt, "value")}
			}
			if rapid.Bool().Draw(rt, "own") {
				d.Vector, d.Model = vectorArg{1, rapid.Float32Range(-3, 3).Draw(rt, "x")}, "site"
			}
			docs = append(docs, d)
		}
		if len(docs) > 0 {
			if _, err := add(from, docs...); err != nil {
				rt.Fatal(err)
			}
		}
		vectors := rapid.SampledFrom([]string{"own", "all"}).Draw(rt, "vectors")
		lines := exportAll(rt, from, vectors, rapid.IntRange(1, 5).Draw(rt, "page"))
		if len(lines) != len(docs) {
			rt.Fatalf("%d documents exported of %d", len(lines), len(docs))
		}
		if len(lines) > 0 {
			if reply := sendBatch(t, to, lines...); reply.Created != len(docs) {
				rt.Fatalf("%+v", reply)
			}
		}
		plain := exportAll(rt, to, "none", 1000)
		for i, line := range exportAll(rt, from, "none", 1000) {
			if withoutVersion(rt, line) != withoutVersion(rt, plain[i]) {
				rt.Fatalf("%s became %s", line, plain[i])
			}
		}
		for _, query := range []string{`{"vector":[1,1],"model":"site","limit":50}`, `{"query":"a zc","threshold":0,"limit":50}`} {
			a, err := search(from, query)
			if err != nil {
				rt.Fatal(err)
			}
			if b, err := search(to, query); err != nil || !slices.Equal(found(a), found(b)) {
				rt.Fatalf("%s finds %v there and %v here, %v", query, found(a), found(b), err)
			}
		}
	})
}

func exportAll(t *rapid.T, h *podtest.Host, vectors string, limit int) (lines []string) {
	for after := ""; ; {
		var page struct {
			Documents []json.RawMessage
			Next      string
		}
		target := fmt.Sprintf("/v1/memory/export?vectors=%s&limit=%d&after=%s", vectors, limit, after)
		if _, err := h.Do(context.Background(), podtest.Request{As: ana, Method: "GET", Target: target}, &page); err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Documents {
			lines = append(lines, string(d))
		}
		if after = page.Next; after == "" {
			return lines
		}
	}
}

func withoutVersion(t *rapid.T, line string) string {
	var d exportedDocument
	if err := json.Unmarshal([]byte(line), &d); err != nil {
		t.Fatal(err)
	}
	d.Version = 0
	b, _ := json.Marshal(d)
	return string(b)
}

func TestExportPages(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	var docs []newDocument
	for i := range 60 {
		docs = append(docs, newDocument{ID: fmt.Sprintf("d%02d", i), Type: "A", Content: strings.Repeat("word ", 1600)})
	}
	for range 3 {
		for i := range docs {
			docs[i].ID += "x"
		}
		if _, err := add(h, docs...); err != nil {
			t.Fatal(err)
		}
	}
	var page exportReply
	if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: "/v1/memory/export?limit=1000"}, &page); err != nil || page.Next == "" || len(page.Documents) > 140 {
		t.Errorf("a page of %d long documents, next %q, %v", len(page.Documents), page.Next, err)
	}
	if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: "/v1/memory/export?type=B"}, &page); err != nil {
		t.Error(err)
	}
	for _, query := range []string{"?limit=1001", "?vectors=some", "?after=A%20B"} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: "/v1/memory/export" + query}, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	p := newPod(t, "m1")
	call := &pods.Call{Principal: ana, Tenant: "main", View: garbage{h.State}}
	if _, err := p.export(t.Context(), call); !tap.IsKind(err, tap.Internal) {
		t.Errorf("an export of damaged records: %v", err)
	}
}

func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","documentType":"CODEX","content":"x","metadata":{"a":"b"},"vector":[1,2],"model":"m"}`,
		`{"vector":"AACAPw=="}`, `{"vector":"AAA"}`, `{"vector":[1e39]}`, `{"content":"\ud800"}`, `{"content":null}`, `[]`, `7`, `{`, "\xff", `{"id":"a","id":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parseDocument(raw)
		if err != nil {
			if !tap.IsKind(err, tap.Invalid) {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		d.ID = d.contentID()
		if !tap.ValidName(d.ID) {
			t.Errorf("%q is no id", d.ID)
		}
		if err := d.check(); err == nil && (len(d.Content) > MaxContent || len(d.Metadata) > MaxPairs || !clean(d.Content)) {
			t.Errorf("%q passes", raw)
		}
	})
}
