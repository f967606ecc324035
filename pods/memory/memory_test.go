package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

var (
	ana     = podtest.Who("ana", tap.Citizen)
	curator = podtest.Who("cora", tap.Curator)
)

const (
	documentsPath = "/v1/memory/documents"
	searchPath    = "/v1/memory/search"
)

// bagEmbedder gives texts with common words a high cosine: word hashes in 64
// buckets.
type bagEmbedder struct {
	id  string
	err error
}

func (bagEmbedder) Dim() int                    { return 64 }
func (e bagEmbedder) ID() string                { return e.id }
func (bagEmbedder) Languages() []string         { return []string{"en", "es"} }
func (bagEmbedder) RelevanceThreshold() float32 { return 0.3 }

func (e bagEmbedder) Embed(_ context.Context, texts []string) ([][]float32, error) {
	if e.err != nil {
		return nil, e.err
	}
	rows := make([][]float32, len(texts))
	for i, text := range texts {
		if strings.TrimSpace(text) == "" {
			return nil, fmt.Errorf("text %d: %w", i, model.ErrNoText)
		}
		row := make([]float32, 64)
		words(text, func(h uint64) { row[h%64]++ })
		row[0] += 0.01
		norm := float32(0)
		for _, x := range row {
			norm += x * x
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(float64(norm)))
		}
		rows[i] = row
	}
	return rows, nil
}

func newPod(t fataler, id string) *Pod {
	p, err := New(Config{Embedder: bagEmbedder{id: id}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type fataler interface{ Fatal(args ...any) }

// serve returns a host whose state feeds the pod's index.
func serve(t testing.TB, p *Pod) *podtest.Host {
	t.Helper()
	state := podtest.NewState()
	if err := p.Load(state); err != nil {
		t.Fatal(err)
	}
	state.Observe(Space, p.ObserveChanges)
	return podtest.NewHost(t, state, p)
}

func add(h *podtest.Host, docs ...newDocument) (addReply, error) {
	var reply addReply
	_, err := h.Do(context.Background(), podtest.Request{As: curator, Method: "POST", Target: documentsPath, Body: map[string]any{"documents": fields(docs)}}, &reply)
	return reply, err
}

// fields leaves out what a document does not have.
func fields(docs []newDocument) (list []map[string]any) {
	for _, d := range docs {
		m := map[string]any{"documentType": d.Type, "content": d.Content}
		if d.ID != "" {
			m["id"] = d.ID
		}
		if d.Metadata != nil {
			m["metadata"] = d.Metadata
		}
		list = append(list, m)
	}
	return list
}

func search(h *podtest.Host, body string) (searchReply, error) {
	var reply searchReply
	_, err := h.Do(context.Background(), podtest.Request{As: ana, Method: "POST", Target: searchPath, Body: body}, &reply)
	return reply, err
}

func found(r searchReply) []string {
	ids := []string{}
	for _, p := range r.Results {
		ids = append(ids, p.DocumentID)
	}
	return ids
}

func doc(id, content string) newDocument {
	return newDocument{ID: id, Type: "MANUAL", Content: content}
}

func TestConformance(t *testing.T) {
	p, state := newPod(t, "m1"), podtest.NewState()
	state.Observe(Space, p.ObserveChanges)
	podtest.Conform(t, state, p, []podtest.Request{
		{As: curator, Method: "POST", Target: documentsPath, Body: `{"documents":[
			{"id":"audit","documentType":"CODEX","content":"The audit judges an intent.","metadata":{"title":"Audit","lang":"en"}},
			{"documentType":"MANUAL","content":"La auditoría juzga una intención."}]}`},
		{As: ana, Method: "GET", Target: documentsPath + "?type=CODEX&limit=1"},
		{As: ana, Method: "GET", Target: documentsPath + "/audit"},
		{As: ana, Method: "POST", Target: searchPath, Body: `{"query":"what judges an intent?","limit":3,"threshold":0.1,"type":"CODEX"}`},
		{As: curator, Method: "DELETE", Target: documentsPath + "/audit"},
	})
}

// Feature: tamv-hardened-backend, Property 17: Vector Memory Search Relevance
// Feature: tamv-hardened-backend, Property 18: Vector Memory Incremental Updates
func TestWhatIsAddedIsFoundAndAboveTheThreshold(t *testing.T) {
	word := rapid.StringMatching(`[a-e]{2}`)
	rapid.Check(t, func(rt *rapid.T) {
		h := serve(t, newPod(rt, "m1"))
		texts := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(rt, "batches") {
			id := rapid.StringMatching(`[a-d]`).Draw(rt, "id")
			if _, ok := texts[id]; ok && rapid.Bool().Draw(rt, "remove") {
				delete(texts, id)
				if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "DELETE", Target: documentsPath + "/" + id}, nil); err != nil {
					rt.Fatal(err)
				}
			} else {
				texts[id] = strings.Join(rapid.SliceOfN(word, 1, 12).Draw(rt, "text"), " ")
				if _, err := add(h, doc(id, texts[id])); err != nil {
					rt.Fatal(err)
				}
			}
			checkSearch(rt, h, texts, word.Draw(rt, "query"), rapid.SampledFrom([]float32{0, 0.3, 0.7, 1}).Draw(rt, "threshold"))
			for id, text := range texts { // its own text finds a document at once
				r, err := search(h, fmt.Sprintf(`{"query":%q,"limit":50}`, text))
				if err != nil || !slices.Contains(found(r), id) {
					rt.Fatalf("%s is not found: %v, %v", id, found(r), err)
				}
			}
		}
	})
}

func checkSearch(t *rapid.T, h *podtest.Host, texts map[string]string, query string, threshold float32) {
	r, err := search(h, fmt.Sprintf(`{"query":%q,"limit":50,"threshold":%g}`, query, threshold))
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := bagEmbedder{}.Embed(context.Background(), []string{query})
	above := 0
	for _, text := range texts {
		other, _ := bagEmbedder{}.Embed(context.Background(), []string{text})
		if cosine(rows[0], other[0]) >= threshold+1e-4 {
			above++
		}
	}
	if len(r.Results) < above {
		t.Fatalf("%d results, %d documents are above the threshold", len(r.Results), above)
	}
	for i, p := range r.Results {
		if p.Similarity < threshold || p.Similarity > 1 || i > 0 && p.Similarity > r.Results[i-1].Similarity {
			t.Fatalf("similarity %v after %v, threshold %v", p.Similarity, r.Results[max(i-1, 0)].Similarity, threshold)
		}
		if p.Content != texts[p.DocumentID] || p.Model != "m1" {
			t.Fatalf("%s shows %q", p.DocumentID, p.Content)
		}
	}
}

func cosine(a, b []float32) (sum float32) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func TestSharedWordsDecideBetweenNearPassages(t *testing.T) {
	p := newPod(t, "m1")
	x := newIndexes("m1", 2)
	put := func(id, content string, v ...float32) {
		r := record{Type: "MANUAL", Content: content, Model: "m1", Vector: encodeVector(v)}
		value, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		x.apply([]store.Change{{Key: store.K("main", space, id), Value: value}})
	}
	put("near", "algo distinto", 1, 0.10)
	put("words", "cómo restaurar una copia", 1, 0.12)
	put("far", "cómo restaurar una copia", -1, 0)
	p.indexes = x
	matches, err := x.search("main", "¿Cómo restauro UNA copia?", []float32{1, 0}, "", 0.5, 2)
	if err != nil || len(matches) != 2 || matches[0].id != "words" || matches[0].similarity >= matches[1].similarity {
		t.Errorf("%+v, %v", matches, err)
	}
	if matches, err := x.search("main", "x", []float32{0, 0}, "", 0, 1); err == nil {
		t.Errorf("a query without direction: %+v", matches)
	}
	if matches, err := x.search("other", "x", []float32{1, 0}, "", 0, 1); err != nil || matches != nil {
		t.Errorf("another tenant: %+v, %v", matches, err)
	}
}

func TestFilterAndTenants(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	if _, err := add(h, doc("a", "copper wire"), newDocument{ID: "b", Type: "CODEX", Content: "copper wire"}); err != nil {
		t.Fatal(err)
	}
	r, err := search(h, `{"query":"copper wire","type":"CODEX"}`)
	if err != nil || !slices.Equal(found(r), []string{"b"}) || r.Threshold != 0.3 || r.Model != "m1" {
		t.Errorf("%+v, %v", r, err)
	}
	stranger := podtest.Who("ana", tap.Citizen, tap.Curator)
	stranger.Tenant = "other"
	var reply searchReply
	_, err = h.Do(t.Context(), podtest.Request{As: stranger, Method: "POST", Target: searchPath, Body: `{"query":"copper wire"}`}, &reply)
	if err != nil || len(reply.Results) != 0 {
		t.Errorf("another tenant finds %+v, %v", reply, err)
	}
	_, err = h.Do(t.Context(), podtest.Request{As: stranger, Method: "DELETE", Target: documentsPath + "/a"}, nil)
	podtest.WantKind(t, err, tap.NotFound, "")
}

func TestRefusedDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		docs []newDocument
		code string
	}{
		"none":               {nil, "schema"},
		"too many":           {make([]newDocument, 101), "schema"},
		"type":               {[]newDocument{{Type: "codex", Content: "a"}}, "schema"},
		"long type":          {[]newDocument{{Type: strings.Repeat("A", 51), Content: "a"}}, "schema"},
		"empty":              {[]newDocument{doc("a", "")}, "schema"},
		"blank":              {[]newDocument{doc("a", " \n\u2003")}, "text"},
		"zero byte":          {[]newDocument{doc("a", "a\x00b")}, "text"},
		"carriage return":    {[]newDocument{doc("a", "a\r\nb")}, "text"},
		"escape":             {[]newDocument{doc("a", "a\x1b[31m")}, "text"},
		"C1 control":         {[]newDocument{doc("a", "a\u0085b")}, "text"},
		"too many bytes":     {[]newDocument{doc("a", strings.Repeat("ñ", 4097))}, "too_large"},
		"too many letters":   {[]newDocument{doc("a", strings.Repeat("n", 8193))}, "schema"},
		"bad id":             {[]newDocument{doc("A b", "a")}, "text"},
		"id twice":           {[]newDocument{doc("a", "a"), doc("a", "b")}, "duplicate"},
		"metadata name":      {[]newDocument{{Type: "A", Content: "a", Metadata: map[string]string{"a b": "c"}}}, "schema"},
		"metadata control":   {[]newDocument{{Type: "A", Content: "a", Metadata: map[string]string{"a": "\x07"}}}, "text"},
		"long metadata":      {[]newDocument{{Type: "A", Content: "a", Metadata: map[string]string{"a": strings.Repeat("m", 513)}}}, "schema"},
		"too large together": {slices.Repeat([]newDocument{{Type: "A", Content: strings.Repeat("x", MaxContent), Metadata: manyPairs(16)}}, 100), "too_large"},
		"too many pairs":     {[]newDocument{{Type: "A", Content: "a", Metadata: manyPairs(17)}}, "schema"},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, newPod(t, "m1"))
			_, err := add(h, c.docs...)
			podtest.WantKind(t, err, tap.Invalid, c.code)
			if size, _ := h.State.Size(); size != 0 {
				t.Error("refused documents left evidence")
			}
		})
	}
}

func manyPairs(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("k%d", i)] = strings.Repeat("m", 500)
	}
	return m
}

func TestHundredFullDocumentsFitOneBatch(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	docs := slices.Repeat([]newDocument{{Type: "A", Content: strings.Repeat("palabra ", MaxContent/8)}}, 100)
	reply, err := add(h, docs...)
	if err != nil || len(reply.Documents) != 100 || reply.Receipt == nil {
		t.Errorf("%d documents, %v", len(reply.Documents), err)
	}
}

func TestRefusedSearches(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	for body, code := range map[string]string{
		`{"query":" "}`:                                  "text",
		`{"query":""}`:                                   "schema",
		`{"query":"a","limit":0}`:                        "schema",
		`{"query":"a","limit":51}`:                       "schema",
		`{"query":"a","threshold":1.1}`:                  "threshold",
		`{"query":"a","threshold":1e-9999999,"limit":0}`: "",
		`{"query":"a","threshold":1e400}`:                "",
		`{"query":"a","threshold":"1"}`:                  "schema",
		`{"query":"a","threshold":-1}`:                   "threshold",
		`{"query":"a","type":"x"}`:                       "schema",
		`{"query":"` + strings.Repeat("a", 4097) + `"}`:  "schema",
	} {
		_, err := search(h, body)
		podtest.WantKind(t, err, tap.Invalid, code)
	}
	p := newPod(t, "m1")
	for _, run := range []pods.Func{p.add, p.search} {
		_, err := run(t.Context(), &pods.Call{Body: []byte("[")})
		podtest.WantKind(t, err, tap.Invalid, "")
	}
}

func TestReplaceKeepsTheFirstDate(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	if _, err := add(h, doc("a", "first words")); err != nil {
		t.Fatal(err)
	}
	h.Now = h.Now.Add(time.Hour)
	if _, err := add(h, doc("a", "other text")); err != nil {
		t.Fatal(err)
	}
	var d document
	if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: documentsPath + "/a"}, &d); err != nil {
		t.Fatal(err)
	}
	if d.Created != "2026-01-01T00:00:00.000000Z" || d.Updated != "2026-01-01T01:00:00.000000Z" || d.Content != "other text" || d.Author != "cora" {
		t.Errorf("%+v", d)
	}
	if r, _ := search(h, `{"query":"first words"}`); len(r.Results) != 0 {
		t.Errorf("the old text is still found: %+v", r)
	}
}

func TestIDsFollowFromTheRequest(t *testing.T) {
	h, id := serve(t, newPod(t, "m1")), uuid.New()
	for range 2 {
		var reply addReply
		_, err := h.Do(t.Context(), podtest.Request{As: curator, ID: id, Method: "POST", Target: documentsPath, Body: map[string]any{"documents": fields([]newDocument{doc("", "x y"), doc("", "z w")})}}, &reply)
		if err != nil || reply.Documents[1].ID != id.String()+"-1" {
			t.Errorf("%+v, %v", reply, err)
		}
	}
}

func TestEvidenceHasDigestsNotText(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	if _, err := add(h, doc("a", "private words")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "DELETE", Target: documentsPath + "/a"}, nil); err != nil {
		t.Fatal(err)
	}
	for position := range uint64(2) {
		r, err := h.State.Record(position)
		if err != nil || strings.Contains(string(r.Payload), "private") || !strings.Contains(string(r.Payload), digestOf("a", "MANUAL", "private words").SHA256) {
			t.Errorf("entry %d: %s, %v", position, r.Payload, err)
		}
	}
}

func TestListPages(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	if _, err := add(h, doc("c", "x"), doc("a", "x"), newDocument{ID: "b", Type: "CODEX", Content: "x"}, doc("d", "x")); err != nil {
		t.Fatal(err)
	}
	list := func(query string) (ids []string) {
		for after := ""; ; {
			var page listReply
			if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: documentsPath + "?limit=2&after=" + after + query}, &page); err != nil {
				t.Fatal(err)
			}
			for _, d := range page.Documents {
				ids = append(ids, d.ID)
				if d.Content != "" || d.Bytes != 1 || d.Stale {
					t.Errorf("listed %+v", d)
				}
			}
			if after = page.Next; after == "" {
				return ids
			}
		}
	}
	if ids := list(""); !slices.Equal(ids, []string{"a", "b", "c", "d"}) {
		t.Errorf("listed %v", ids)
	}
	if ids := list("&type=MANUAL"); !slices.Equal(ids, []string{"a", "c", "d"}) {
		t.Errorf("listed %v", ids)
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?after=A%20B"} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: documentsPath + query}, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	for _, id := range []string{"nothing", "A%20B"} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: documentsPath + "/" + id}, nil)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
}

func TestVectorsOfAnotherModelAreNotSearched(t *testing.T) {
	old := newPod(t, "m1")
	h := serve(t, old)
	if _, err := add(h, doc("a", "copper wire"), doc("b", "iron rod")); err != nil {
		t.Fatal(err)
	}
	p := newPod(t, "m2")
	if err := p.Load(h.State); err != nil {
		t.Fatal(err)
	}
	h.State.Observe(Space, p.ObserveChanges)
	h = podtest.NewHost(t, h.State, p)
	if r, err := search(h, `{"query":"copper wire","threshold":0}`); err != nil || len(r.Results) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if s := p.Status(); s != (Status{"m2", 2, 2}) {
		t.Errorf("status %+v", s)
	}
	if _, err := add(h, doc("a", "copper wire")); err != nil {
		t.Fatal(err)
	}
	if r, _ := search(h, `{"query":"copper wire"}`); !slices.Equal(found(r), []string{"a"}) {
		t.Errorf("written anew and not found: %+v", r)
	}
	if s := p.Status(); s != (Status{"m2", 2, 1}) {
		t.Errorf("status %+v", s)
	}
	if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "DELETE", Target: documentsPath + "/b"}, nil); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); s != (Status{"m2", 1, 0}) {
		t.Errorf("status %+v", s)
	}
}

func TestLoadAndReset(t *testing.T) {
	p := newPod(t, "m1")
	h := serve(t, p)
	if _, err := add(h, doc("a", "copper wire")); err != nil {
		t.Fatal(err)
	}
	other := podtest.Who("cora", tap.Curator)
	other.Tenant = "zone2"
	for _, who := range []*tap.Principal{other, {Tenant: "between", Identity: "x", Roles: []tap.Role{tap.Curator}}} {
		_, err := h.Do(t.Context(), podtest.Request{As: who, Method: "POST", Target: documentsPath, Body: map[string]any{"documents": fields([]newDocument{doc("b", "iron rod")})}}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	fresh := newPod(t, "m1")
	fresh.ObserveChanges(nil, true) // before anything is loaded
	if err := fresh.Load(h.State); err != nil {
		t.Fatal(err)
	}
	p.ObserveChanges(nil, true)
	for _, p := range []*Pod{fresh, p} {
		if s := p.Status(); s.Documents != 3 || s.Stale != 0 {
			t.Errorf("status %+v", s)
		}
		got, err := p.Recall(t.Context(), h.State, "zone2", "iron rod", 5, float32(math.NaN()))
		if err != nil || len(got) != 1 || got[0].DocumentID != "b" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for good := range 7 {
		if err := fresh.Load(&podtest.Flaky{View: h.State, Good: good}); !errors.Is(err, podtest.ErrUnreadable) {
			t.Errorf("after %d reads: %v", good, err)
		}
	}
}

func TestTitleIsSearched(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	d := doc("a", "unrelated content")
	d.Metadata = map[string]string{"title": "copper wire"}
	if _, err := add(h, d); err != nil {
		t.Fatal(err)
	}
	if r, err := search(h, `{"query":"copper wire"}`); err != nil || len(r.Results) != 1 || r.Results[0].Metadata["title"] != "copper wire" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestEmbedderFailures(t *testing.T) {
	for err, kind := range map[error]tap.Kind{
		errors.New("no memory"): tap.Unavailable, model.ErrTooLong: tap.Invalid, model.ErrInvalidText: tap.Invalid,
	} {
		p, newErr := New(Config{Embedder: bagEmbedder{id: "m", err: err}})
		if newErr != nil {
			t.Fatal(newErr)
		}
		h := serve(t, p)
		_, got := add(h, doc("a", "x"))
		podtest.WantKind(t, got, kind, "")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	p, _ := New(Config{Embedder: bagEmbedder{id: "m", err: context.Canceled}})
	_, err := p.Recall(cancelled, podtest.NewState(), "main", "x", 1, 0)
	podtest.WantKind(t, err, tap.Unavailable, "")
	if _, err := New(Config{}); err == nil {
		t.Error("a pod without an embedder")
	}
	if _, err := New(Config{Embedder: flat{}}); err == nil {
		t.Error("a pod with an embedder of no dimensions")
	}
}

type flat struct{ bagEmbedder }

func (flat) Dim() int { return 0 }

func TestReadFailuresAndDamage(t *testing.T) {
	p := newPod(t, "m1")
	h := serve(t, p)
	if _, err := add(h, doc("a", "copper wire")); err != nil {
		t.Fatal(err)
	}
	call := func(v store.View, body any) *pods.Call {
		raw, _ := json.Marshal(body)
		return &pods.Call{RequestID: uuid.New(), Principal: curator, Tenant: "main", View: v, Body: raw, Now: podtest.Epoch, Params: map[string]string{"id": "a"}}
	}
	runs := map[string]func(v store.View) error{
		"add": func(v store.View) error {
			_, err := p.add(t.Context(), call(v, map[string]any{"documents": fields([]newDocument{doc("a", "x")})}))
			return err
		},
		"remove": func(v store.View) error { _, err := p.remove(t.Context(), call(v, nil)); return err },
		"get":    func(v store.View) error { _, err := p.get(t.Context(), call(v, nil)); return err },
		"list":   func(v store.View) error { _, err := p.list(t.Context(), call(v, nil)); return err },
		"search": func(v store.View) error {
			_, err := p.search(t.Context(), call(v, map[string]any{"query": "copper wire"}))
			return err
		},
	}
	for name, run := range runs {
		if err := run(&podtest.Flaky{View: h.State}); !errors.Is(err, podtest.ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
		if err := run(h.State); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := run(garbage{h.State}); !tap.IsKind(err, tap.Internal) {
			t.Errorf("%s of a damaged record: %v", name, err)
		}
	}
	if got, err := p.Recall(t.Context(), podtest.NewState(), "main", "copper wire", 5, 0); err != nil || len(got) != 0 {
		t.Errorf("a document that is gone: %+v, %v", got, err)
	}
	p.ObserveChanges([]store.Change{{Key: store.K("main", space, "a"), Value: []byte("?")}}, false)
	if s := p.Status(); s.Stale != 1 {
		t.Errorf("a damaged record counts as searchable: %+v", s)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.list(cancelled, call(h.State, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled list: %v", err)
	}
}

// garbage is a view whose records do not parse.
type garbage struct{ store.View }

func (g garbage) Get(k store.Key) (store.Item, bool, error) {
	i, ok, err := g.View.Get(k)
	i.Value = []byte{0xc1}
	return i, ok, err
}

func (g garbage) Scan(prefix, from store.Key, fn func(store.Item) bool) error {
	return g.View.Scan(prefix, from, func(i store.Item) bool {
		i.Value = []byte{0xc1}
		return fn(i)
	})
}

// Searches run while Apply changes the index.
func TestConcurrentUse(t *testing.T) {
	p := newPod(t, "m1")
	h := serve(t, p)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				if _, err := p.Recall(context.Background(), h.State, "main", "copper wire", 5, 0); err != nil {
					t.Error(err)
				}
				p.Status()
			}
		})
	}
	for i := range 50 {
		if _, err := add(h, doc(fmt.Sprintf("d%d", i%7), "copper wire")); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
}

func TestWords(t *testing.T) {
	same := func(a, b string) bool {
		return slices.EqualFunc(newBag(a).terms, newBag(b).terms, func(x, y term) bool { return x == y })
	}
	for _, pair := range [][2]string{
		{"Acción", "accion"}, {"acción", "accio\u0301n"}, {"rooms", "room"}, {"¿QUÉ?", "que"}, {"a b c", ""}, {"año 2026!", "ano, 2026"}, {"Ünïcode", "unicode"},
	} {
		if !same(pair[0], pair[1]) {
			t.Errorf("%q and %q have different words", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"gas", "ga"}, {"room", "broom"}, {"one two", "two"}, {"日本", "中国"}} {
		if same(pair[0], pair[1]) {
			t.Errorf("%q and %q have the same words", pair[0], pair[1])
		}
	}
	if b := newBag("one two two"); b.length != 3 || len(b.terms) != 2 {
		t.Errorf("%+v", b)
	}
	var empty lexicon
	if got := empty.overlap([]weighted{{1, 1}}, &bag{}); got != 0 {
		t.Errorf("overlap in an empty lexicon: %v", got)
	}
}

// The overlap is a share: within [0,1], and more shared words never count less.
func TestOverlapIsAShare(t *testing.T) {
	text := rapid.Map(rapid.SliceOfN(rapid.StringMatching(`[a-f]{2}`), 1, 15), func(w []string) string { return strings.Join(w, " ") })
	rapid.Check(t, func(t *rapid.T) {
		l := lexicon{documents: map[uint64]int{}}
		var bags []bag
		for _, content := range rapid.SliceOfN(text, 1, 8).Draw(t, "documents") {
			bags = append(bags, newBag(content))
			l.add(&bags[len(bags)-1])
		}
		query := text.Draw(t, "query")
		for i := range bags {
			if o := l.overlap(l.query(query), &bags[i]); o < 0 || o >= 1 {
				t.Fatalf("overlap %v", o)
			}
		}
		for i := range bags {
			l.remove(&bags[i])
		}
		if l.count != 0 || l.length != 0 || len(l.documents) != 0 {
			t.Fatalf("left over: %+v", l)
		}
	})
}

func FuzzRecord(f *testing.F) {
	r := record{Type: "A", Content: "x", Metadata: map[string]string{"b": "c", "a": "d"}, Model: "m", Vector: encodeVector([]float32{1}), Created: 1, Updated: 2, Author: "x"}
	seed, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x80})
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		encoded, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRecord(encoded)
		if err != nil {
			t.Fatalf("%x encodes to %x, which does not parse: %v", b, encoded, err)
		}
		if twice, _ := again.encode(); string(twice) != string(encoded) {
			t.Errorf("%x has two encodings", b)
		}
	})
}

func BenchmarkRecall(b *testing.B) {
	p := newPod(b, "m1")
	h := serve(b, p)
	for i := range 10 {
		var docs []newDocument
		for j := range 60 {
			docs = append(docs, doc("", fmt.Sprintf("passage %d about room %d and the audit of intents by a guardian who decides case %d", j, i, i*j)))
		}
		if _, err := add(h, docs...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Recall(b.Context(), h.State, "main", "who decides about an audit of intents?", 5, 0.3); err != nil {
			b.Fatal(err)
		}
	}
}
