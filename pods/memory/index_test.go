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

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

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
	if r, err := search(h, `{"query":"copper wire","threshold":0,"ranking":"meaning"}`); err != nil || len(r.Results) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := search(h, `{"query":"copper wire"}`); err != nil || !slices.Equal(found(r), []string{"a"}) || r.Results[0].FoundBy != "words" {
		t.Errorf("a stale document is not found by its words: %+v, %v", r, err)
	}
	if s := p.Status(); s.Model != "m2" || s.Documents != 2 || s.Stale != 2 {
		t.Errorf("status %+v", s)
	}
	if _, err := add(h, doc("a", "copper wire")); err != nil {
		t.Fatal(err)
	}
	if r, _ := search(h, `{"query":"copper wire"}`); !slices.Equal(found(r), []string{"a"}) || r.Results[0].FoundBy != "meaning" {
		t.Errorf("written anew and not found: %+v", r)
	}
	if s := p.Status(); s.Documents != 2 || s.Stale != 1 {
		t.Errorf("status %+v", s)
	}
	if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "DELETE", Target: documentsPath + "/b"}, nil); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); s.Documents != 1 || s.Stale != 0 {
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
