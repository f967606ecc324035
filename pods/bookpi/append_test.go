package bookpi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Feature: tamv-hardened-backend, Property 6: BookPI Evidence Creation
// Feature: tamv-hardened-backend, Property 7: Evidence Record Completeness
func TestWhatIsAppendedIsInTheLedgerAsItCame(t *testing.T) {
	h := newHost(t)
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]string{"", " ", "\n\t "})
		data := fmt.Sprintf(`{%s"zz":1.10,%s"a":[%d,"ñ<&>"]}`, space.Draw(t, "s"), space.Draw(t, "s"), rapid.Int().Draw(t, "n"))
		action := rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,20}`).Filter(func(s string) bool { return !isReserved(s) }).Draw(t, "action")
		who := rapid.SampledFrom([]*tap.Principal{ana, till}).Draw(t, "who")
		var reply appendReply
		_, err := h.Do(context.Background(), podtest.Request{As: who, Method: "POST", Target: "/v1/evidence", Body: body(action, space.Draw(t, "s")+data+space.Draw(t, "s"))}, &reply)
		if err != nil {
			t.Fatal(err)
		}
		record, err := h.State.Record(reply.Position)
		if err != nil {
			t.Fatal(err)
		}
		if string(record.Payload) != data {
			t.Fatalf("the ledger has %q, sent was %q", record.Payload, data)
		}
		var shown entry
		if _, err := h.Do(context.Background(), podtest.Request{As: who, Method: "GET", Target: "/v1/evidence/" + reply.EvidenceHash.String()}, &shown); err != nil {
			t.Fatal(err)
		}
		if shown.Timestamp == 0 || shown.Actor != who.Identity || shown.Action != action || shown.Outcome != "ok" || shown.Position != reply.Position {
			t.Fatalf("incomplete entry %+v", shown)
		}
		if string(shown.Payload) != data || shown.PayloadDigest != bookpi.PayloadDigest([]byte(data)) || shown.RequestID == "" {
			t.Fatalf("the entry shows %q", shown.Payload)
		}
	})
}

func TestRefusedEvidence(t *testing.T) {
	h := newHost(t)
	for name, c := range map[string]struct{ body, code string }{
		"reserved":        {body("tcep.book", `1`), "action"},
		"session":         {body("session.checkpoint", `1`), "action"},
		"upper case":      {body("Note", `1`), "schema"},
		"empty action":    {body("", `1`), "schema"},
		"long action":     {body(strings.Repeat("a", 101), `1`), "schema"},
		"action with nul": {`{"action":"a\u0000","outcome":"ok","data":1}`, "schema"},
		"no outcome":      {`{"action":"a","data":1}`, "schema"},
		"control outcome": {`{"action":"a","outcome":"\u0085","data":1}`, "schema"},
		"long outcome":    {`{"action":"a","outcome":"` + strings.Repeat("ñ", 40) + `","data":1}`, ""},
		"no data":         {`{"action":"a","outcome":"ok"}`, "schema"},
		"too much data":   {body("a", `"`+strings.Repeat("x", MaxData)+`"`), "too_large"},
	} {
		_, err := h.Do(t.Context(), podtest.Request{As: till, Method: "POST", Target: "/v1/evidence", Body: c.body}, nil)
		if !tap.IsKind(err, tap.Invalid) || c.code != "" && tap.AsError(err).StableCode() != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if size, _ := h.State.Size(); size != 0 {
		t.Errorf("%d refused entries are in the ledger", size)
	}
	appendEvidence(t, h, till, "largest", `"`+strings.Repeat("x", MaxData-2)+`"`)
	_, err := newPod(t, h.State).append(t.Context(), &pods.Call{Body: []byte(`[`)})
	podtest.WantKind(t, err, tap.Invalid, "")
	_, err = h.Do(t.Context(), podtest.Request{As: auditor, Method: "POST", Target: "/v1/evidence", Body: body("a", "1")}, nil)
	podtest.WantKind(t, err, tap.Forbidden, "role")
}
