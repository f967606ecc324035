package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// The demonstration works, in both languages, again and again on one appliance.
func TestDemo(t *testing.T) {
	for i, lang := range []string{"en", "es"} {
		r := tamvctl(t, "demo", "-o", "json", "--lang", lang)
		if r.code != 0 {
			t.Fatalf("exit code %d\n%s\n%s", r.code, r.out, r.errOut)
		}
		var report demoReport
		if err := json.Unmarshal([]byte(r.out), &report); err != nil {
			t.Fatal(err)
		}
		checkReport(t, &report)
		if i > 0 && (report.Memory.Added != 0 || report.Memory.Unchanged == 0) {
			t.Errorf("the second run added %d passages again", report.Memory.Added)
		}
		var steps map[string]json.RawMessage
		if err := json.Unmarshal([]byte(r.out), &steps); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"memory", "intent", "guardian", "money", "rooms", "evidence", "witness", "refusals", "ok"} {
			if steps[key] == nil {
				t.Errorf("the report lacks %q", key)
			}
		}
	}
}

func checkReport(t *testing.T, r *demoReport) {
	t.Helper()
	if !r.OK || !r.Memory.OK || !r.Intent.OK || !r.Guardian.OK || !r.Money.OK || !r.Rooms.OK || !r.Evidence.OK || !r.Witness.OK || !r.Refusals.OK {
		t.Errorf("a step failed: %+v", r)
	}
	if r.Memory.Passages["en"] < 270 || r.Memory.Passages["en"] != r.Memory.Passages["es"] || len(r.Memory.Topics["es"]) != 9 {
		t.Errorf("passages: %v, topics: %v", r.Memory.Passages, r.Memory.Topics["es"])
	}
	if len(r.Intent.Answers) != 2 || len(r.Money.Bookings) != 2 || !r.Money.Repeated || len(r.Refusals.Attempts) != 8 {
		t.Errorf("figures are missing: %+v %+v %+v", r.Intent, r.Money, r.Refusals)
	}
	if b := r.Money.Bookings[0]; b.Impact != "925.92" || b.Operations != "308.64" {
		t.Errorf("split: %+v", b)
	}
	if p := r.Rooms.Participants; !r.Rooms.Same || p[0].State != p[1].State || p[0].Transport != "wss" || p[1].Transport != "quic" {
		t.Errorf("rooms: %+v", r.Rooms)
	}
	for _, b := range r.Evidence.Bundles {
		if b.Part != "entry" || b.Broken < b.First || b.Payloads == 0 {
			t.Errorf("bundle: %+v", b)
		}
	}
	if w := r.Witness; w.Cosigners != 2 || w.Size == 0 || w.Entries < w.Size || w.Payloads == 0 || w.Witness == "" {
		t.Errorf("witness: %+v", w)
	}
	if r.TookMs > 20_000 {
		t.Errorf("it took %.0f ms", r.TookMs)
	}
}

func TestDemoForAPerson(t *testing.T) {
	r := tamvctl(t, "demo")
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	for _, part := range []string{"1/8  Memory", "8/8  Refusals", " ok ", "exactly 75/25", "verification names entry", "All of it worked"} {
		if !strings.Contains(r.out, part) {
			t.Errorf("no %q in\n%s", part, r.out)
		}
	}
	// Nobody of the run can act any more.
	list := tamvctl(t, "identity", "list", "--limit", "1000", "-o", "json")
	var page struct {
		Identities []identity `json:"identities"`
	}
	if err := json.Unmarshal([]byte(list.out), &page); err != nil {
		t.Fatal(err)
	}
	people := 0
	for _, i := range page.Identities {
		if strings.HasPrefix(i.Name, "demo-") {
			people++
			if i.State != "revoked" {
				t.Errorf("%s is %s", i.Name, i.State)
			}
		}
	}
	if people == 0 {
		t.Error("no identity of the run is listed")
	}
}

func TestDemoNeedsAnOperator(t *testing.T) {
	dir := t.TempDir()
	saved := filepath.Join(dir, "citizen.json")
	r := tamvctl(t, "identity", "create", "d-citizen", "--roles", "citizen", "--key", filepath.Join(dir, "key"), "--save-context", saved)
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	r = tamvctl(t, "demo", "--context", saved)
	if r.code != tap.Forbidden.Traits().ExitCode {
		t.Errorf("exit code %d: %s", r.code, r.errOut)
	}
}

// strangeServer answers as told, over TLS, and returns a context for it.
func strangeServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	if _, err := client.GenerateKeyFile(key); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "context.json")
	if err := (&client.Context{Address: s.URL, CA: ca, Identity: "main/op", Key: key}).Save(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// fails answers every request with an error of a kind, but says that the caller is
// an operator.
func fails(kind tap.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/identities/me" {
			_, _ = w.Write([]byte(`{"name":"op","roles":["operator"]}`))
			return
		}
		w.WriteHeader(kind.Traits().Status)
		_ = json.NewEncoder(w).Encode(tap.E("test", kind, "no").Body("r-1", time.Now(), tap.English))
	}
}

// A demonstration against an appliance where nothing works says so, step by step.
func TestDemoReportsEveryFailure(t *testing.T) {
	file := strangeServer(t, fails(tap.Conflict))
	r := tamvctl(t, "demo", "--context", file, "-o", "json")
	if r.code != tap.Conflict.Traits().ExitCode {
		t.Errorf("exit code %d", r.code)
	}
	var report demoReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatal(err)
	}
	d := demo{report: report}
	for i, s := range d.steps() {
		if o := s.figures.base(); o.OK || o.Error == nil {
			t.Errorf("step %d: %+v", i+1, o)
		}
	}
	if report.OK || report.Refusals.Error.RequestID != "r-1" {
		t.Errorf("%+v", report)
	}
	r = tamvctl(t, "demo", "--context", file)
	if strings.Count(r.out, "FAILED") != 8 || !strings.Contains(r.out, "Something failed") {
		t.Errorf("%s", r.out)
	}
}

func TestDemoIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut strings.Builder
	code := run(ctx, []string{"demo", "--context", contextFile}, console{out: &out, errOut: &errOut, getenv: func(string) string { return "" }})
	if code != cli.Interrupted || strings.Contains(out.String(), "FAILED") || !strings.Contains(errOut.String(), "ended by a signal") {
		t.Errorf("exit code %d: %s\n%s", code, errOut.String(), out.String())
	}
}

// What the steps check, they must be able to miss.
func TestChecksCanFail(t *testing.T) {
	good := answer{AIResponse: "x", EvidenceHash: strings.Repeat("a", hashDigits), Receipt: &receipt{Leaf: strings.Repeat("a", hashDigits)}}
	good.Audit = audit{Verdict: "allowed", Principles: map[string]finding{}}
	for _, name := range strings.Fields("a b c d e f g h") {
		good.Audit.Principles[name] = finding{Basis: "rule"}
	}
	if err := json.Unmarshal([]byte(`[{"documentId":"manual.en.x"}]`), &good.Citations); err != nil {
		t.Fatal(err)
	}
	check := func(change func(*answer)) error {
		v := good
		change(&v)
		q := answerFigures{Lang: tap.English, Question: "?"}
		q.fill(&v)
		return q.check(&v)
	}
	if err := check(func(*answer) {}); err != nil {
		t.Errorf("a good answer fails: %v", err)
	}
	for name, change := range map[string]func(*answer){
		"no answer":    func(v *answer) { v.AIResponse = " " },
		"no citation":  func(v *answer) { v.Citations = nil },
		"held":         func(v *answer) { v.Audit.Verdict = "held" },
		"no receipt":   func(v *answer) { v.Receipt = nil },
		"another leaf": func(v *answer) { v.Receipt = &receipt{Leaf: "b"} },
		"seven":        func(v *answer) { v.Audit.Principles = map[string]finding{} },
	} {
		if check(change) == nil {
			t.Errorf("%s passes", name)
		}
	}
	for _, b := range []booking{
		{Amount: "100.00", Impact: "75.01", Operations: "24.99"},
		{Amount: "100.00", Impact: "75.00", Operations: "25.01"},
		{Amount: "0", Impact: "0", Operations: "0"},
		{Amount: "x", Impact: "75", Operations: "25"},
	} {
		if new(moneyStep).add(b) == nil {
			t.Errorf("the split %+v passes", b)
		}
	}
	if err := new(moneyStep).add(booking{Amount: "0.00000001", Impact: "0.0000000075", Operations: "0.0000000025"}); err != nil {
		t.Error(err)
	}
	if refused(nil, tap.Forbidden, "role") == nil || refused(tap.E("", tap.Forbidden, "x"), tap.Forbidden, "role") == nil {
		t.Error("the wrong refusal passes")
	}
	if recordByte([]byte("nothing"), 1) >= 0 || recordByte([]byte("x\nentry 1\nhash y\n"), 1) >= 0 {
		t.Error("a record is found where none is")
	}
	if _, err := new(evidenceStep).take(filepath.Join(t.TempDir(), "x"), []byte("no bundle"), 1); err == nil {
		t.Error("no bundle passes")
	}
}

func TestParticipantRefusesNonsense(t *testing.T) {
	p := newParticipant(&person{})
	if p.apply("put", json.RawMessage(`[`)) == nil || p.apply("put", json.RawMessage(`{"id":"a"} x`)) == nil {
		t.Error("nonsense is applied")
	}
	if err := p.apply("put", json.RawMessage(`{"position":{"y":2,"x":1.50,"z":3},"id":"a"}`)); err != nil {
		t.Fatal(err)
	}
	if got, want := string(p.objects["a"]), `{"id":"a","position":{"x":1.50,"y":2,"z":3}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	before := p.state()
	if err := p.apply("remove", json.RawMessage(`{"id":"a"}`)); err != nil || len(p.objects) != 0 || p.state() == before {
		t.Error("the object is still there")
	}
}

func TestReadyNamesWhatIsMissing(t *testing.T) {
	file := strangeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"ready":false,"conditions":[{"name":"leader-known","ok":false,"message":"no leader"}]}`))
	})
	r := tamvctl(t, "ready", "--context", file)
	if r.code != tap.Unavailable.Traits().ExitCode || !strings.Contains(r.out, "no leader") || !strings.Contains(r.errOut, "not_ready") {
		t.Errorf("%+v", r)
	}
}

func TestRepliesThatAreNotAsPromised(t *testing.T) {
	file := strangeServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	for _, line := range []string{
		"status", "ready", "identity me", "memory add - --type NOTE", "tcep book 1 USD --source x --purpose y",
		"evidence export x --out y", "identity create x --roles citizen --key k", "demo",
	} {
		args := append(strings.Fields(line), "--context", file)
		if r := tamvctlIn(t, nil, "text", args...); r.code == 0 || r.errOut == "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}
