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
		for i := range 9 { // under many names
			r.Note(Refusal{Action: actionJoin, Reason: codeUnknown, Node: fmt.Sprint("n", i), Address: "2001:db8::1"})
		}
		<-time.After(3*refusalsEvery + time.Second)
		links, joins := s.entries(actionLink), s.entries(actionJoin)
		if len(links) != 1 || len(joins) != 1 || links[0].outcome != "refused" || links[0].actor != system {
			t.Fatalf("%+v %+v", links, joins)
		}
		if p := links[0].payload; p["count"] != float64(6) || p["address"] != "192.0.2.1" || p["by"] != "n1" || p["reason"] != "foreign" || p["node"] != "" {
			t.Errorf("%+v", p)
		}
		if p := joins[0].payload; p["count"] != float64(9) || p["node"] != "" {
			t.Errorf("%+v", p)
		}
		if len(w.asked) != 3 || w.asked[0].RequestID != w.asked[2].RequestID {
			t.Errorf("%d attempts, not under one id", len(w.asked))
		}
		// An attack is one entry per kind, and 65 at most.
		for i := range 1000 {
			r.Note(Refusal{Reason: "foreign", Address: fmt.Sprint("name-without-port-", i)})
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

// refusing runs a counter on a fresh site, notes what f returns each step for a
// time, and returns what was written.
func refusing(t *testing.T, d, step time.Duration, f func(i int) (Refusal, bool)) (written []entry) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1")
		r := NewRefusals(tenant, "n1", s.state, time.Now, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() { r.Run(ctx); close(ended) }()
		ticks := time.NewTicker(step)
		defer ticks.Stop()
		for i := range int(d / step) {
			if refusal, ok := f(i); ok {
				r.Note(refusal)
			}
			<-ticks.C
		}
		stop()
		<-ended
		written = s.entries(actionLink)
	})
	return written
}

// A node that was removed and goes on trying costs little, and the sums are
// whole.
func TestAPersistentNodeCostsLittle(t *testing.T) {
	const day = 24 * time.Hour
	written := refusing(t, day, time.Second, func(int) (Refusal, bool) {
		return Refusal{Reason: "removed", Node: "n9", Address: "192.0.2.1:4000"}, true
	})
	total := 0.0
	for _, e := range written {
		total += e.payload["count"].(float64)
		if e.payload["node"] != "n9" {
			t.Errorf("%+v", e.payload)
		}
	}
	if len(written) > 36 || total != day.Seconds() {
		t.Errorf("a day of it is %d entries about %v attempts", len(written), total)
	}
}

// Pauses, many names and many addresses do not make a stranger's attempts cost
// more than a bound.
func TestAPatientStrangerCostsLittle(t *testing.T) {
	const hours = 12
	for name, c := range map[string]struct {
		most int
		note func(i int) (Refusal, bool)
	}{
		"a burst each half minute": {10 + hours, func(i int) (Refusal, bool) {
			return Refusal{Reason: "foreign", Node: fmt.Sprint("n", i), Address: "192.0.2.1:4000"}, i%30 == 0
		}},
		"names that the authority signed": {10 + hours, func(i int) (Refusal, bool) {
			return Refusal{Reason: "unknown", Node: fmt.Sprint("n", i), Address: "192.0.2.1:4000"}, true
		}},
		"less than one an hour": {hours, func(i int) (Refusal, bool) {
			return Refusal{Reason: "foreign", Address: "192.0.2.1:4000"}, i%(3600+60) == 0
		}},
		"many addresses": {(10 + hours) * (maxRefusals + 1), func(i int) (Refusal, bool) {
			return Refusal{Reason: "foreign", Address: fmt.Sprint("a", i)}, true
		}},
	} {
		written := refusing(t, hours*time.Hour, time.Second, c.note)
		if len(written) > c.most || len(written) == 0 {
			t.Errorf("%s: %d entries in %d hours", name, len(written), hours)
		}
		if name == "names that the authority signed" && written[0].payload["node"] != "n0" {
			t.Errorf("who tried first is not told: %+v", written[0].payload)
		}
	}
}

// After a quiet hour the first refusal is soon in the ledger again.
func TestRefusalsStartOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "n1")
		r := NewRefusals(tenant, "n1", s.state, time.Now, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() { r.Run(ctx); close(ended) }()
		for _, c := range []struct{ quiet, wait time.Duration }{
			{0, refusalsEvery}, {time.Minute, 2 * refusalsEvery}, {time.Minute, 4 * refusalsEvery}, {refusalsMost, refusalsEvery},
		} {
			<-time.After(c.quiet)
			before := len(s.entries(actionLink))
			r.Note(Refusal{Reason: "foreign", Address: "192.0.2.1:4000"})
			<-time.After(c.wait - time.Millisecond)
			if n := len(s.entries(actionLink)); n != before {
				t.Errorf("after %v without any it was written sooner than after %v", c.quiet, c.wait)
			}
			<-time.After(2 * time.Millisecond)
			if n := len(s.entries(actionLink)); n != before+1 {
				t.Errorf("after %v without any it was not written within %v", c.quiet, c.wait)
			}
		}
		stop()
		<-ended
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
