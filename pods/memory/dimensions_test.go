package memory

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func sized(id string, dim int) newDocument {
	d := newDocument{ID: id, Type: "CODEX", Content: "text of " + id, Vector: make(vectorArg, dim), Model: "site"}
	d.Vector[0] = 1
	return d
}

// The first vector of a model decides how many dimensions the others have, also in
// its own request, until all of them are removed.
func TestTheFirstVectorDecides(t *testing.T) {
	p := newPod(t, "m1")
	h := serve(t, p)
	_, err := add(h, sized("a", 3), sized("b", 2))
	podtest.WantKind(t, err, tap.Invalid, "vector")
	if _, err := add(h, sized("a", 3), sized("b", 3)); err != nil {
		t.Fatal(err)
	}
	_, err = add(h, sized("c", 2))
	podtest.WantKind(t, err, tap.Invalid, "vector")
	for _, id := range []string{"a", "b"} {
		if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "DELETE", Target: documentsPath + "/" + id}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Do(t.Context(), podtest.Request{As: curator, Method: "PUT", Target: documentsPath + "/c", Body: fields([]newDocument{
		{Type: "CODEX", Content: "x", Vector: vectorArg{1, 2}, Model: "site"},
	})[0]}, nil); err != nil {
		t.Fatal(err)
	}
	if dims := p.dimensions("main", "site"); len(dims) != 1 || dims[0] != 2 {
		t.Errorf("dimensions %v", dims)
	}
}

// Requests that would all bring the first vector of a model cannot all be committed.
func TestOneOfTheFirstVectorsDecides(t *testing.T) {
	p := newPod(t, "m1")
	h := serve(t, p)
	c := &pods.Call{Principal: curator, Tenant: "main", View: h.State, Now: h.Now}
	var batches []store.Batch
	for dim := 2; dim < 5; dim++ {
		d, models := sized("d", dim), p.newModels("main")
		if err := models.check(&d); err != nil {
			t.Fatal(err)
		}
		ops, err := models.ops(c)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, store.Batch{RequestID: uuid.New(), Tenant: "main", Ops: ops, Evidence: []store.Evidence{{Actor: "cora", Action: "memory.add", Outcome: "ok"}}})
	}
	for i, b := range batches {
		_, err := h.State.Commit(t.Context(), b)
		var overtaken *store.ConflictError
		if i == 0 && err != nil || i > 0 && !errors.As(err, &overtaken) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	flaky := &podtest.Flaky{View: h.State}
	c.View = flaky
	models := p.newModels("main")
	d := sized("d", 2)
	if models.check(&d) != nil {
		t.Fatal("refused")
	}
	if _, err := models.ops(c); err == nil {
		t.Error("an unreadable state")
	}
}
