package memory

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
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
		words(text, func(h uint64, _ bool) { row[h%64]++ })
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
		if d.Vector != nil {
			m["vector"] = d.Vector
		}
		if d.Model != "" {
			m["model"] = d.Model
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
		{As: ana, Method: "POST", Target: searchPath, Body: `{"query":"intent","ranking":"rrf","metadata":{"lang":"en"},"createdFrom":"2026-01-01T00:00:00Z","updatedTo":"2027-01-01T00:00:00Z","recall":1}`},
		{As: curator, Method: "POST", Target: documentsPath + ":batch", Body: `{"documents":[
			{"id":"own","documentType":"CODEX","content":"A vector of one's own.","vector":[1,2,3],"model":"site/embedder-1"},
			{"documentType":"codex","content":"refused"},
			{"documentType":"MANUAL","content":"An id from the content.","created":"ignored"}]}`},
		{As: ana, Method: "POST", Target: searchPath, Body: `{"vector":[1,2,2.5],"model":"site/embedder-1"}`},
		{As: ana, Method: "GET", Target: "/v1/memory/export?limit=2&vectors=all&type=CODEX"},
		{As: curator, Method: "PUT", Target: documentsPath + "/audit", Body: `{"documentType":"CODEX","content":"The audit judges every intent."}`},
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
		if p.Similarity < threshold || p.Similarity > 1 || i > 0 && p.Score > r.Results[i-1].Score {
			t.Fatalf("similarity %v, threshold %v, score %v after %v", p.Similarity, threshold, p.Score, r.Results[max(i-1, 0)].Score)
		}
		if p.Content != texts[p.DocumentID] || p.Model != "m1" {
			t.Fatalf("%s shows %q", p.DocumentID, p.Content)
		}
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
		"long metadata":      {[]newDocument{{Type: "A", Content: "a", Metadata: map[string]string{"a": strings.Repeat("m", 257)}}}, "schema"},
		"too large together": {slices.Repeat([]newDocument{{Type: "A", Content: strings.Repeat("x", MaxContent), Metadata: manyPairs(16)}}, 100), "too_large"},
		"long bytes":         {[]newDocument{{Type: "A", Content: "a", Metadata: map[string]string{"a": strings.Repeat("ñ", 129)}}}, "text"},
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
		m[fmt.Sprintf("k%d", i)] = strings.Repeat("m", 250)
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
