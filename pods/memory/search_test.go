package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// fill puts records into an index as Apply does.
func fill(t testing.TB, x *indexes, records map[string]record) {
	t.Helper()
	var changes []store.Change
	for id, r := range records {
		value, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, store.Change{Key: store.K("main", space, id), Value: value})
	}
	x.apply(changes)
}

// searchIn is a search of an index without a store: the records are at hand.
func searchIn(x *indexes, records map[string]record, q *query) ([]match, error) {
	found, err := x.candidates("main", q)
	if err != nil {
		return nil, err
	}
	return q.choose(found, func(id string) (float32, error) {
		r := records[id]
		return cosine(q.vector, decodeVector(r.Vector)), nil
	})
}

func plane(content string, v ...float32) record {
	return record{Type: "MANUAL", Content: content, Model: "m1", Vector: encodeVector(v)}
}

func TestSharedWordsDecideBetweenNearPassages(t *testing.T) {
	x := newIndexes("m1", 2)
	records := map[string]record{
		"near":  plane("algo distinto", 1, 0.10),
		"words": plane("cómo restaurar una copia", 1, 0.12),
		"far":   plane("unas piedras", -1, 0),
	}
	fill(t, x, records)
	q := query{text: "¿Cómo restauro UNA copia?", vector: []float32{1, 0}, space: x.embedder, threshold: 0.5, limit: 2, ranking: hybrid}
	matches, err := searchIn(x, records, &q)
	if err != nil || len(matches) != 2 || matches[0].id != "words" || matches[0].similarity >= matches[1].similarity {
		t.Errorf("%+v, %v", matches, err)
	}
	q.ranking = meaning
	if matches, err := searchIn(x, records, &q); err != nil || len(matches) != 2 || matches[0].id != "near" {
		t.Errorf("by meaning: %+v, %v", matches, err)
	}
	q.vector = []float32{0, 0}
	if matches, err := searchIn(x, records, &q); err == nil {
		t.Errorf("a query without direction: %+v", matches)
	}
	if found, err := x.candidates("other", &q); err != nil || found.all != nil {
		t.Errorf("another tenant: %+v, %v", found, err)
	}
}

// Codes, serial numbers and names are found although their vectors are nowhere
// near, and nothing else is.
func TestNamesAndCodesAreFoundByTheirWords(t *testing.T) {
	x := newIndexes("m1", 2)
	records := map[string]record{}
	for i := range 400 {
		records[fmt.Sprintf("order-%d", i)] = plane(fmt.Sprintf("Order ORD-%d of %d lamps, serial SN%08d.", 2000+i, i, 7*i), 1, float32(i)/1000)
	}
	records["person"] = plane("The workshop is led by Anselmo Quintanar since May.", 1, 0.5)
	records["far"] = plane("The pump PX-40/2 hangs in hall three.", -1, 0.1)
	fill(t, x, records)
	for text, want := range map[string]string{
		"ORD-2291": "order-291", "What became of ord-2291?": "order-291", "ORD2291": "order-291", "SN00000707": "order-101",
		"¿Quién es Anselmo Quintanar?": "person", "quintanar": "person", "px-40/2": "far", "where is the PX-40/2": "far",
	} {
		for _, r := range []ranking{hybrid, rrf, lexical} {
			q := query{text: text, space: x.embedder, threshold: 0.6, limit: 3, ranking: r}
			if r != lexical {
				q.vector = []float32{0, 1} // near to nothing
			}
			matches, err := searchIn(x, records, &q)
			if err != nil || len(matches) == 0 || matches[0].id != want || !matches[0].byWords || matches[0].similarity < 0.6 {
				t.Errorf("%q, %s: %+v, %v", text, r, matches, err)
			}
		}
	}
	for _, text := range []string{"order", "lamps", "What is the order of the day?", "ORD-9999", "who is Anselma Quintana", "of the"} {
		q := query{text: text, vector: []float32{0, 1}, space: x.embedder, threshold: 0.6, limit: 3, ranking: hybrid}
		if matches, err := searchIn(x, records, &q); err != nil || len(matches) != 0 {
			t.Errorf("%q finds %+v, %v", text, matches, err)
		}
	}
}

// A document with the right words is found when 64 others are nearer.
func TestWordsReachBeyondTheNearest(t *testing.T) {
	x := newIndexes("m1", 2)
	records := map[string]record{"wanted": plane("the copper valve", 1, 0.4)}
	for i := range 3 * nearest {
		records[fmt.Sprintf("near-%03d", i)] = plane(fmt.Sprintf("a stone %d", i), 1, float32(i)/1000)
	}
	fill(t, x, records)
	q := query{text: "copper valves please, and stones", vector: []float32{1, 0}, space: x.embedder, threshold: 0.5, limit: 5, ranking: hybrid}
	matches, err := searchIn(x, records, &q)
	if err != nil || len(matches) != 5 || matches[0].id != "wanted" || matches[0].byWords || matches[0].similarity > 0.95 {
		t.Errorf("%+v, %v", matches, err)
	}
	q.threshold = 0.99
	if matches, err := searchIn(x, records, &q); err != nil || len(matches) != 5 || matches[0].id == "wanted" && !matches[0].byWords {
		t.Errorf("below the threshold: %+v, %v", matches, err)
	}
}

// Searches with filters return min(limit, matches) documents: those that a look
// at every document finds.
func TestFiltersAgainstBruteForce(t *testing.T) {
	kinds := []string{"CODEX", "COMPENDIO", "ISABELLA_DOC", "HOUSE_RULES"}
	rapid.Check(t, func(t *rapid.T) {
		x, records := newIndexes("m1", 3), map[string]record{}
		var changes []store.Change
		for i := range rapid.IntRange(0, 150).Draw(t, "steps") {
			id := fmt.Sprintf("d%d", rapid.IntRange(0, 99).Draw(t, "id"))
			if _, ok := records[id]; ok && rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				delete(records, id)
				changes = append(changes, store.Change{Key: store.K("main", space, id)})
				continue
			}
			at := int64(i) * time.Minute.Microseconds()
			r := record{
				Type: rapid.SampledFrom(kinds).Draw(t, "type"), Content: fmt.Sprintf("w%d", i), Model: "m1", Created: at / 2, Updated: at,
				Metadata: map[string]string{"page": fmt.Sprint(i % 3), "topic": rapid.SampledFrom([]string{"water", "wind"}).Draw(t, "topic")},
				Vector:   encodeVector([]float32{rapid.Float32Range(-1, 1).Draw(t, "x"), rapid.Float32Range(-1, 1).Draw(t, "y"), 1}),
			}
			records[id] = r
			value, _ := r.encode()
			changes = append(changes, store.Change{Key: store.K("main", space, id), Value: value})
		}
		for len(changes) > 0 { // in commits of any size
			n := rapid.IntRange(1, len(changes)).Draw(t, "commit")
			x.apply(changes[:n])
			changes = changes[n:]
		}
		f := drawFilter(t, kinds)
		a, err := f.compile()
		if err != nil {
			t.Fatal(err)
		}
		q := query{
			vector: []float32{rapid.Float32Range(-1, 1).Draw(t, "qx"), 1, 1}, space: x.embedder, accepts: a, ranking: meaning,
			threshold: rapid.SampledFrom([]float32{-1, 0.0371, 0.5377}).Draw(t, "threshold"), limit: rapid.IntRange(1, 50).Draw(t, "limit"), recall: 1,
		}
		got, err := searchIn(x, records, &q)
		if err != nil {
			t.Fatal(err)
		}
		want := wanted(&f, &q, records)
		if len(got) != min(q.limit, len(want)) {
			t.Fatalf("%d results of %d matches, limit %d", len(got), len(want), q.limit)
		}
		for i, m := range got {
			if r, ok := records[m.id]; !ok || !f.lets(&r) || m.similarity < want[i]-1e-4 || m.similarity > want[i]+1e-4 {
				t.Fatalf("result %d is %+v, want a similarity of %v", i, m, want[i])
			}
		}
	})
}

func drawFilter(t *rapid.T, kinds []string) (f filter) {
	at := rapid.Custom(func(t *rapid.T) string {
		return time.UnixMicro(rapid.Int64Range(0, 120).Draw(t, "minute") * time.Minute.Microseconds()).UTC().Format(time.RFC3339)
	})
	maybe := func(name string) bool { return rapid.Bool().Draw(t, name) }
	if maybe("by type") {
		f.Type = rapid.SampledFrom(append(kinds, "NONE")).Draw(t, "type")
	}
	if maybe("by metadata") {
		f.Metadata = map[string]string{"page": rapid.SampledFrom([]string{"0", "2", "9"}).Draw(t, "page")}
		if maybe("by topic") {
			f.Metadata["topic"] = "wind"
		}
	}
	for _, end := range []*string{&f.CreatedFrom, &f.CreatedTo, &f.UpdatedFrom, &f.UpdatedTo} {
		if rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
			*end = at.Draw(t, "at")
		}
	}
	return f
}

// lets is the filter in so many words.
func (f *filter) lets(r *record) bool {
	for name, value := range f.Metadata {
		if got, ok := r.Metadata[name]; !ok || got != value {
			return false
		}
	}
	micros := func(s string, otherwise int64) int64 {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return otherwise
		}
		return t.UnixMicro()
	}
	return (f.Type == "" || f.Type == r.Type) &&
		r.Created >= micros(f.CreatedFrom, distantPast) && r.Created < micros(f.CreatedTo, distantFuture) &&
		r.Updated >= micros(f.UpdatedFrom, distantPast) && r.Updated < micros(f.UpdatedTo, distantFuture)
}

// wanted are the similarities of all matches, best first.
func wanted(f *filter, q *query, records map[string]record) (all []float32) {
	for _, r := range records {
		if s := cosine(q.vector, decodeVector(r.Vector)); f.lets(&r) && s >= q.threshold {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b float32) int { return cmp.Compare(b, a) })
	return all
}

// However results are ordered, all that pass are among those chosen from.
func TestEveryRankingIsComplete(t *testing.T) {
	word := rapid.StringMatching(`[a-e]{2}`)
	rapid.Check(t, func(rt *rapid.T) {
		h := serve(t, newPod(rt, "m1"))
		texts := map[string]string{}
		var docs []newDocument
		for i := range rapid.IntRange(1, 20).Draw(rt, "documents") {
			id := fmt.Sprintf("d%d", i)
			texts[id] = strings.Join(rapid.SliceOfN(word, 1, 8).Draw(rt, "text"), " ")
			docs = append(docs, doc(id, texts[id]))
		}
		if _, err := add(h, docs...); err != nil {
			rt.Fatal(err)
		}
		query := word.Draw(rt, "query")
		rows, _ := bagEmbedder{}.Embed(context.Background(), []string{query})
		above := 0
		for _, text := range texts {
			other, _ := bagEmbedder{}.Embed(context.Background(), []string{text})
			if cosine(rows[0], other[0]) >= 0.3+1e-4 {
				above++
			}
		}
		for _, r := range []ranking{hybrid, rrf, meaning} {
			limit := rapid.IntRange(1, 25).Draw(rt, "limit")
			got, err := search(h, fmt.Sprintf(`{"query":%q,"ranking":%q,"limit":%d}`, query, r, limit))
			if err != nil || len(got.Results) < min(above, limit) {
				rt.Fatalf("%s: %d results of %d, limit %d, %v", r, len(got.Results), above, limit, err)
			}
			for i, p := range got.Results {
				if p.Similarity < 0.3 || i > 0 && p.Score > got.Results[i-1].Score {
					rt.Fatalf("%s: result %d is %+v", r, i, p)
				}
			}
		}
	})
}

func TestOwnVectors(t *testing.T) {
	p := newPod(t, "m1")
	h := serve(t, p)
	own := func(id string, v ...float32) newDocument {
		return newDocument{ID: id, Type: "CODEX", Content: "text of " + id, Vector: v, Model: "site-3d"}
	}
	if _, err := add(h, own("x", 1, 0, 0), own("y", 0, 1, 0), doc("plain", "text of plain")); err != nil {
		t.Fatal(err)
	}
	r, err := search(h, `{"vector":[0.9,0.5,0],"model":"site-3d"}`)
	if err != nil || !slices.Equal(found(r), []string{"x", "y"}) || r.Threshold != -1 || r.Model != "site-3d" || r.Results[0].Similarity < 0.87 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := search(h, `{"vector":[0.9,0.5,0],"model":"site-3d","query":"y"}`); err != nil || len(r.Results) != 2 {
		t.Errorf("with words: %+v, %v", r, err)
	}
	if r, err := search(h, `{"vector":"AACAPwAAAAAAAAAA","model":"site-3d","threshold":0.5}`); err != nil || !slices.Equal(found(r), []string{"x"}) {
		t.Errorf("in base64: %+v, %v", r, err)
	}
	if r, err := search(h, `{"query":"x"}`); err != nil || len(r.Results) != 0 {
		t.Errorf("one letter: %+v, %v", r, err)
	}
	if r, err := search(h, `{"vector":[1,2,3],"model":"nobody"}`); err != nil || len(r.Results) != 0 {
		t.Errorf("a model that nobody used: %+v, %v", r, err)
	}
	rows, _ := bagEmbedder{}.Embed(t.Context(), []string{"text of plain"})
	if r, err := search(h, `{"vector":"`+encodeVectorArg(encodeVector(rows[0]))+`"}`); err != nil || !slices.Equal(found(r), []string{"plain"}) || r.Threshold != 0.3 {
		t.Errorf("the embedder's own: %+v, %v", r, err)
	}
	if s := p.Status(); s.Own != 2 || s.Stale != 0 || s.Documents != 3 || s.Bytes <= 0 || s.Words != 3 {
		t.Errorf("status %+v", s)
	}
	var d document
	if _, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "GET", Target: documentsPath + "/x"}, &d); err != nil || !d.Own || d.Stale || d.Model != "site-3d" {
		t.Errorf("%+v, %v", d, err)
	}
	for name, d := range map[string]newDocument{
		"dimension":  own("z", 1, 2),
		"embedder's": {ID: "z", Type: "A", Content: "a", Vector: vectorArg{1}, Model: "m1"},
		"zero":       own("z", 0, 0, 0), "huge": own("z", 1e20, 0, 0),
	} {
		_, err := add(h, d)
		if podtest.WantKind(t, err, tap.Invalid, "vector"); err == nil {
			t.Error(name)
		}
	}
	_, err = add(h, newDocument{ID: "z", Type: "A", Content: "a", Vector: vectorArg{1}})
	podtest.WantKind(t, err, tap.Invalid, "model")
	// With text of its own, a document leaves the space of the vector it had.
	if _, err := add(h, newDocument{ID: "x", Type: "CODEX", Content: "now plain"}); err != nil {
		t.Fatal(err)
	}
	if r, err := search(h, `{"vector":[1,0,0],"model":"site-3d"}`); err != nil || !slices.Equal(found(r), []string{"y"}) {
		t.Errorf("after the change: %+v, %v", r, err)
	}
}

func TestRefusedFiltersAndVectors(t *testing.T) {
	h := serve(t, newPod(t, "m1"))
	for body, code := range map[string]string{
		`{}`:                                     "text",
		`{"ranking":"words","vector":[1]}`:       "text",
		`{"query":"a","ranking":"best"}`:         "schema",
		`{"query":"a","model":"x"}`:              "model",
		`{"query":"a","model":" "}`:              "schema",
		`{"query":"a","createdFrom":"today"}`:    "time",
		`{"query":"a","updatedTo":"2026-01-01"}`: "time",
		`{"query":"a","metadata":{"a b":"c"}}`:   "schema",
		`{"query":"a","metadata":{"a":1}}`:       "schema",
		`{"query":"a","recall":0}`:               "recall",
		`{"query":"a","recall":1.5}`:             "recall",
		`{"vector":[]}`:                          "schema",
		`{"vector":[1,2]}`:                       "vector",
		`{"vector":[0],"model":"x"}`:             "vector",
		`{"vector":[1e30],"model":"x"}`:          "vector",
		`{"vector":[1e39],"model":"x"}`:          "",
		`{"vector":["1"],"model":"x"}`:           "schema",
		`{"vector":"AAA=","model":"x"}`:          "",
		`{"vector":"AADAfw==","model":"x"}`:      "vector", // NaN
		`{"vector":"","model":"x"}`:              "",
	} {
		_, err := search(h, body)
		if podtest.WantKind(t, err, tap.Invalid, code); t.Failed() {
			t.Fatal(body)
		}
	}
}
