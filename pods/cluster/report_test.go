package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func podtestCall(s *site, params map[string]string) *pods.Call {
	return &pods.Call{Principal: boss, Tenant: tenant, Params: params, Query: map[string]string{}, Now: s.host.Now, View: s.state}
}

// A report fits whatever it says, and what has to be seen survives the cut.
func TestReportFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune{'a', '"', '\\', '<', 'ñ', '\x00', 0x1F600}), 0, 400, -1)
		r := Report{
			Release: text.Draw(t, "release"), Ledger: Ledger{rapid.Uint64().Draw(t, "size"), text.Draw(t, "root")},
			Disk: Disk{Free: rapid.Uint64().Draw(t, "free"), Low: rapid.Bool().Draw(t, "low")},
			Conditions: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Condition {
				return Condition{text.Draw(t, "name"), rapid.Bool().Draw(t, "ok"), text.Draw(t, "message")}
			}), 0, 80).Draw(t, "conditions"),
		}
		b := r.Encode()
		got, err := ParseReport(b)
		if len(b) > MaxReport || err != nil || got.Ledger.Size != r.Ledger.Size || got.Disk != r.Disk {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
	})
	small := Report{"0.1.0", Ledger{7, "ab"}, Disk{1, 2, true}, []Condition{{"disk", false, "low"}, {"clock", true, ""}}}
	if got, err := ParseReport(small.Encode()); err != nil || !reflect.DeepEqual(got, small) {
		t.Errorf("%+v %v", got, err)
	}
	long := small
	for i := range 31 {
		long.Conditions = append(long.Conditions, Condition{fmt.Sprint(i), true, strings.Repeat("m", 200)})
	}
	if got, err := ParseReport(long.Encode()); err != nil || got.Conditions[0].Name != "disk" || got.Conditions[0].OK {
		t.Errorf("what does not hold was cut: %+v %v", got, err)
	}
	many := strings.TrimSuffix(strings.Repeat(`{},`, maxConditions+1), ",")
	for _, bad := range []string{
		"", "[]", `{"release":7}`, `{"release":"` + strings.Repeat("a", 65) + `"}`, `{"conditions":[` + many + `]}`,
		`{"conditions":[{"message":"` + strings.Repeat("a", 161) + `"}]}`, "{\"release\":\"\xff\"}", `{}` + strings.Repeat(" ", MaxReport),
	} {
		if _, err := ParseReport([]byte(bad)); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	if _, err := ParseReport([]byte(`{"ofTheNextRelease":1}`)); err != nil {
		t.Errorf("a newer node: %v", err)
	}
}

func FuzzReport(f *testing.F) {
	f.Add(Report{Conditions: []Condition{{"disk", false, "low"}}}.Encode())
	f.Add([]byte(`{"ledger":{"size":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			return
		}
		if _, err := ParseReport(r.Encode()); err != nil {
			t.Error(err)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(mustJSON(member("n1")))
	f.Add(mustJSON(Removal{ID: "n1"}))
	f.Add(mustJSON(Invitation{Expires: 1}))
	f.Add([]byte(`{"id":"n1","pin":"00"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseMember(b); err == nil {
			if again, err := parseMember(mustJSON(m)); err != nil || again != m {
				t.Errorf("%+v reads as %+v: %v", m, again, err)
			}
		}
		if r, err := parseRemoval(b); err == nil {
			if again, err := parseRemoval(mustJSON(r)); err != nil || again != r {
				t.Errorf("%+v reads as %+v: %v", r, again, err)
			}
		}
		if i, err := parseInvitation(b); err == nil {
			if again, err := parseInvitation(mustJSON(i)); err != nil || again != i {
				t.Errorf("%+v reads as %+v: %v", i, again, err)
			}
		}
	})
}

// flaky fails as often as it is told, and says what it was asked to commit.
type flaky struct {
	*podtest.State
	failures int
	asked    []store.Batch
}

func (f *flaky) Commit(ctx context.Context, b store.Batch) (store.Receipt, error) {
	f.asked = append(f.asked, b)
	if f.failures > 0 {
		f.failures--
		return store.Receipt{}, errors.New("no leader")
	}
	return f.State.Commit(ctx, b)
}

func TestRefusalsAreSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1")
		w := &flaky{State: s.state, failures: 2}
		r := NewRefusals(tenant, "n1", w, time.Now, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() { r.Run(ctx); close(ended) }()
		for range 3 {
			r.Note(Refusal{Reason: "foreign", Node: "n9", Address: "192.0.2.1:4000"})
			r.Note(Refusal{Reason: "foreign", Node: "n9", Address: "192.0.2.1:4001"})
		}
		r.Note(Refusal{Action: actionJoin, Reason: codeUnknown, Node: "n2", Address: "2001:db8::1"})
		<-time.After(3*refusalsEvery + time.Second)
		links, joins := s.entries(actionLink), s.entries(actionJoin)
		if len(links) != 1 || len(joins) != 1 || links[0].outcome != "refused" || links[0].actor != system {
			t.Fatalf("%+v %+v", links, joins)
		}
		if p := links[0].payload; p["count"] != float64(6) || p["address"] != "192.0.2.1" || p["by"] != "n1" || p["reason"] != "foreign" {
			t.Errorf("%+v", p)
		}
		if len(w.asked) != 3 || w.asked[0].RequestID != w.asked[2].RequestID {
			t.Errorf("%d attempts, not under one id", len(w.asked))
		}
		// An attack is one entry per kind, and 65 at most.
		for i := range 1000 {
			r.Note(Refusal{Reason: "foreign", Node: fmt.Sprint("n", i), Address: "name-without-port"})
		}
		stop()
		<-ended
		links = s.entries(actionLink)
		last := links[len(links)-1].payload
		if len(links) != 1+maxRefusals+1 || last["reason"] != "others" || last["count"] != float64(1000-maxRefusals) {
			t.Errorf("%d entries, the last %+v", len(links), last)
		}
	})
}

func TestPinText(t *testing.T) {
	p := pinOf("n1")
	text, err := json.Marshal(p)
	var back Pin
	if err != nil || json.Unmarshal(text, &back) != nil || back != p {
		t.Errorf("%s %v", text, err)
	}
	for _, bad := range []string{"", "zz", "00"} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is a pin", bad)
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v", Credentials{AuthorityKey: "secret"}, Credentials{AuthorityKey: "secret"}, Credentials{AuthorityKey: "secret"})
	if strings.Contains(out.String(), "secret") {
		t.Error("credentials were printed")
	}
}
