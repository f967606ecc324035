package bookpi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// What a client says about a person is sealed, shown to those who may see it, and
// erased with the person's keys; the entry stays as it was.
func TestEvidenceAboutAPerson(t *testing.T) {
	state := podtest.NewState()
	pod := New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, newKeyring()), Opener: podtest.Sealer{State: state}})
	h := podtest.NewHost(t, state, pod)
	send := func(subject string) (reply appendReply, err error) {
		_, err = h.Do(t.Context(), podtest.Request{
			As: till, Method: "POST", Target: "/v1/evidence",
			Body: `{"action":"visit","outcome":"ok","data":{"wrist":"broken"},"subject":"` + subject + `"}`,
		}, &reply)
		return reply, err
	}
	reply, err := send("ana")
	if err != nil {
		t.Fatal(err)
	}
	r, err := state.Record(reply.Position)
	if err != nil || !bookpi.IsSealed(r.Payload) || bytes.Contains(r.Payload, []byte("wrist")) || bytes.Contains(r.Entry, []byte("ana\x00")) {
		t.Fatalf("%q %v", r.Payload, err)
	}
	target := "/v1/evidence/" + reply.EvidenceHash.String()
	var shown entry
	if _, err := get(t, h, till, target, &shown); err != nil || shown.Sealed != "opened" || string(shown.PayloadJSON) != `{"wrist":"broken"}` {
		t.Errorf("%+v %v", shown, err)
	}
	_, err = state.Commit(t.Context(), store.Batch{
		RequestID: uuid.New(), Tenant: tap.DefaultTenant, Ops: []store.Op{store.Put(store.ErasureKey(tap.DefaultTenant, "ana"), []byte(`{"generation":1}`))},
		Evidence: []store.Evidence{{Actor: "x", Action: "subject.erase", Outcome: "ok"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	shown = entry{}
	if _, err := get(t, h, till, target, &shown); err != nil || shown.Sealed != "erased" || shown.Payload != nil || shown.PayloadJSON != nil {
		t.Errorf("after the erasure: %+v %v", shown, err)
	}
	if again, err := state.Record(reply.Position); err != nil || !bytes.Equal(again.Payload, r.Payload) || !bytes.Equal(again.Entry, r.Entry) {
		t.Errorf("the ledger changed: %v", err)
	}
	if reply, err = send("ana"); err != nil { // a new beginning
		t.Fatal(err)
	}
	shown = entry{}
	if _, err := get(t, h, till, "/v1/evidence/"+reply.EvidenceHash.String(), &shown); err != nil || shown.Sealed != "opened" {
		t.Errorf("%+v %v", shown, err)
	}
	for _, name := range []string{"", "Ana", "ana maria", "-ana", strings.Repeat("a", 65), `a\u0000`} {
		_, err := send(name)
		podtest.WantKind(t, err, tap.Invalid, "schema")
	}
}
