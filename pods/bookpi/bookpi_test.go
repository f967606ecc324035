package bookpi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var (
	ana      = podtest.Who("ana", tap.Citizen)
	till     = podtest.Who("till-7", tap.Device)
	auditor  = podtest.Who("eve", tap.Auditor)
	operator = podtest.Who("oz", tap.Operator)
)

// origin is the name of the log of all tests, firstKeys its first keys.
const origin = "tamv.test/log"

var firstKeys = newKeys(origin)

var verifierKey = firstKeys.Verifiers()[0]

func newKeys(origin string) bookpi.LogKeys {
	k, err := bookpi.GenerateKeys(rand.Reader, origin)
	if err != nil {
		panic(err)
	}
	return k
}

// keyring is the secrets that a node holds.
type keyring struct {
	mu   sync.Mutex
	held map[uint64][]bookpi.LogKeys // guarded by mu
	fail error
}

func (k *keyring) keys(number uint64) []bookpi.LogKeys {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held[number]
}

func (k *keyring) rotate(_ context.Context, number uint64) (bookpi.LogKeys, error) {
	made := newKeys(origin)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return bookpi.LogKeys{}, k.fail
	}
	k.held[number] = append(k.held[number], made)
	return made, nil
}

func newKeyring() *keyring {
	return &keyring{held: map[uint64][]bookpi.LogKeys{0: {firstKeys}}}
}

// site is the state that a ledger of these tests is of.
type site interface {
	store.Ledger
	store.View
	store.Committer
}

func newNotary(l site, k *keyring) *Notary {
	return NewNotary(NotaryConfig{
		Tenant: "main", Ledger: l, View: l, Writer: l, Keys: k.keys, Rotate: k.rotate, Now: func() time.Time { return podtest.Epoch },
		Log: slog.New(slog.DiscardHandler),
	})
}

func newPod(_ fataler, l site) *Pod {
	return New(Config{Tenant: "main", Ledger: l, Notary: newNotary(l, newKeyring())})
}

type fataler interface{ Fatal(args ...any) }

func newHost(t testing.TB) *podtest.Host {
	state := podtest.NewState()
	return podtest.NewHost(t, state, newPod(t, state))
}

func body(action, data string) string {
	return fmt.Sprintf(`{"action":%q,"outcome":"ok","data":%s}`, action, data)
}

func appendEvidence(t testing.TB, h *podtest.Host, who *tap.Principal, action, data string) appendReply {
	t.Helper()
	var reply appendReply
	_, err := h.Do(context.Background(), podtest.Request{As: who, Method: "POST", Target: "/v1/evidence", Body: body(action, data)}, &reply)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func get(t testing.TB, h *podtest.Host, who *tap.Principal, target string, out any) (*tap.Response, error) {
	t.Helper()
	return h.Do(context.Background(), podtest.Request{As: who, Method: "GET", Target: target}, out)
}

func TestConformance(t *testing.T) {
	state := podtest.NewState()
	pod := newPod(t, state)
	archive := &files{t.TempDir(), 1}
	pod.config.Archive = archive
	begin(t, pod) // the first keys are written down
	h := podtest.NewHost(t, state, pod)
	hash := appendEvidence(t, h, till, "sale.done", `{"total":"1.00"}`).EvidenceHash.String()
	if _, _, err := pod.notary.Covering(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	podtest.Conform(t, state, pod, []podtest.Request{
		{As: till, Method: "POST", Target: "/v1/evidence", Body: body("sale.done", `{"total": "2.00"}`)},
		{As: ana, Method: "POST", Target: "/v1/evidence", Body: body("note", `null`)},
		{As: auditor, Method: "GET", Target: "/v1/evidence?action=sale.&from=2020-01-01T00:00:00Z&to=2040-01-01T00:00:00Z&limit=1"},
		{As: till, Method: "GET", Target: "/v1/evidence"},
		{As: till, Method: "GET", Target: "/v1/evidence/" + hash},
		{As: auditor, Method: "GET", Target: "/v1/evidence/" + hash + "/proof"},
		{As: till, Method: "GET", Target: "/v1/evidence/" + hash + "/bundle"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/bundle?from=0&to=3"},
		{Method: "GET", Target: "/v1/evidence/checkpoint"},
		{Method: "GET", Target: "/v1/evidence/consistency?old=1&new=2"},
		{Method: "GET", Target: "/v1/evidence/key"},
		{As: till, Method: "GET", Target: "/v1/evidence/stream?after=0"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/export?from=0&to=2"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/" + hash + "/proof?format=json&cosigned=false"},
		{Method: "GET", Target: "/log/checkpoint"},
		{Method: "GET", Target: "/log/tile/0/000.p/1"},
		{As: auditor, Method: "GET", Target: "/log/tile/entries/000.p/1"},
		{As: auditor, Method: "GET", Target: "/log/payloads/000.p/1"},
		{As: auditor, Method: "GET", Target: "/log/checkpoints"},
		{As: auditor, Method: "GET", Target: "/log/checkpoints/2"},
		{Method: "GET", Target: "/log/key"},
		{Method: "GET", Target: "/log/keys"},
		{Method: "GET", Target: "/log/policy"},
		{As: operator, Method: "POST", Target: "/v1/evidence/witnesses", Body: map[string]string{"key": lucia.Verifier().String()}},
		{As: operator, Method: "GET", Target: "/v1/evidence/anchors"},
		{As: auditor, Method: "GET", Target: "/v1/evidence/anchors/" + url.PathEscape(lucia.Verifier().Name()) + "/request?size=2"},
		{As: auditor, Method: "POST", Target: "/v1/evidence/anchors", Body: map[string]string{"cosignatures": cosign(t, state, 2, lucia)}},
		{As: operator, Method: "DELETE", Target: "/v1/evidence/witnesses/" + url.PathEscape(lucia.Verifier().Name())},
		{As: operator, Method: "GET", Target: "/v1/evidence/segments?limit=2&after=0"},
		{As: operator, Method: "GET", Target: "/v1/evidence/segments/1/file"},
		{As: operator, Method: "POST", Target: "/v1/evidence/segments/1/archive", Body: map[string]string{"sha256": archive.sum(1), "target": "tape 7"}},
		{As: operator, Method: "POST", Target: "/v1/evidence/key"},
	})
}

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

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestBundlesVerifyOfflineUntilAByteChanges(t *testing.T) {
	// With one key: a verifier that knows one cannot judge the lines of others.
	lines := strings.SplitAfter(firstKeys.Text(), "\n")
	one, err := bookpi.ParseLogKeys(strings.Join(lines[:2], ""))
	if err != nil {
		t.Fatal(err)
	}
	state := podtest.NewState()
	ring := &keyring{held: map[uint64][]bookpi.LogKeys{0: {one}}}
	h := podtest.NewHost(t, state, New(Config{Tenant: "main", Ledger: state, Notary: newNotary(state, ring)}))
	var replies []appendReply
	for i := range 20 {
		replies = append(replies, appendEvidence(t, h, []*tap.Principal{ana, till}[i%2], "sale.done", fmt.Sprintf(`{"n":%d}`, i)))
	}
	whole, err := get(t, h, auditor, "/v1/evidence/bundle?from=3&to=17", nil)
	if err != nil {
		t.Fatal(err)
	}
	single, err := get(t, h, ana, "/v1/evidence/"+replies[4].EvidenceHash.String()+"/bundle", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bundle  []byte
		entries int
	}{"range": {whole.Body, 14}, "one": {single.Body, 1}} {
		if whole.ContentType != bundleType {
			t.Errorf("content type %q", whole.ContentType)
		}
		report, err := bookpi.VerifyBundle(c.bundle, verifierKey)
		if err != nil || report.Entries != c.entries || report.Size != 20 {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		damaged := slices.Clone(whole.Body)
		at := rapid.IntRange(0, len(damaged)-1).Draw(t, "byte")
		damaged[at] ^= rapid.ByteRange(1, 255).Draw(t, "mask")
		_, err := bookpi.VerifyBundle(damaged, verifierKey)
		var broken *bookpi.BrokenError
		if !errors.As(err, &broken) {
			t.Fatalf("byte %d changed and the bundle verifies: %v", at, err)
		}
	})
}

func TestForeignPayloadsAreWithheld(t *testing.T) {
	h := newHost(t)
	foreign := podtest.Who("zoe", tap.Citizen)
	foreign.Tenant = "other"
	appendEvidence(t, h, ana, "note", `"mine"`)
	hash := appendEvidence(t, h, foreign, "note", `"a secret"`).EvidenceHash.String()
	response, err := get(t, h, auditor, "/v1/evidence/bundle?from=0&to=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bookpi.ParseBundle(response.Body)
	if err != nil || !b.Items[0].HasPayload || b.Items[1].HasPayload {
		t.Errorf("%+v, %v", b.Items, err)
	}
	if _, err := bookpi.VerifyBundle(response.Body, verifierKey); err != nil {
		t.Error(err)
	}
	for _, tail := range []string{"", "/proof", "/bundle"} {
		_, err := get(t, h, auditor, "/v1/evidence/"+hash+tail, nil)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
	var page struct{ Entries []entry }
	if _, err := get(t, h, auditor, "/v1/evidence", &page); err != nil || len(page.Entries) != 1 {
		t.Errorf("the auditor sees %d entries, %v", len(page.Entries), err)
	}
}

func TestOwnEntriesOnly(t *testing.T) {
	h := newHost(t)
	hers := appendEvidence(t, h, ana, "note", `1`).EvidenceHash.String()
	appendEvidence(t, h, till, "sale.done", `2`)
	for _, tail := range []string{"", "/proof", "/bundle"} {
		if _, err := get(t, h, ana, "/v1/evidence/"+hers+tail, nil); err != nil {
			t.Errorf("her own%s: %v", tail, err)
		}
		_, err := get(t, h, till, "/v1/evidence/"+hers+tail, nil)
		podtest.WantKind(t, err, tap.Forbidden, "not_own")
	}
	_, err := get(t, h, till, "/v1/evidence?actor=ana", nil)
	podtest.WantKind(t, err, tap.Forbidden, "not_own")
	_, err = get(t, h, till, "/v1/evidence/bundle?from=0&to=1", nil)
	podtest.WantKind(t, err, tap.Forbidden, "role")
	for who, want := range map[*tap.Principal]int{ana: 1, till: 1, auditor: 2} {
		var page struct{ Entries []entry }
		if _, err := get(t, h, who, "/v1/evidence", &page); err != nil || len(page.Entries) != want {
			t.Errorf("%s sees %d entries, want %d, %v", who.Identity, len(page.Entries), want, err)
		}
	}
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

// page is what a list answers.
type page struct {
	Entries []entry
	Next    *uint64
}

func TestQueryFilters(t *testing.T) {
	h := newHost(t)
	var times []int64
	for i := range 10 {
		r := appendEvidence(t, h, []*tap.Principal{ana, till}[i%2], []string{"sale.done", "sale.void", "note"}[i%3], `{}`)
		times = append(times, r.Receipt.Time)
	}
	for query, want := range map[string][]uint64{
		"":                              {9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
		"?actor=ana":                    {8, 6, 4, 2, 0},
		"?action=note":                  {8, 5, 2},
		"?action=sale.":                 {9, 7, 6, 4, 3, 1, 0},
		"?action=sale.v*":               {7, 4, 1},
		"?action=*&limit=2":             {9, 8},
		"?action=sale":                  {},
		"?after=3":                      {2, 1, 0},
		"?after=0":                      {},
		"?after=99&limit=1":             {9},
		"?actor=ana&limit=2":            {8, 6},
		"?from=" + fmt.Sprint(times[7]): {9, 8, 7},
		"?to=" + fmt.Sprint(times[2]):   {1, 0},
		"?from=" + fmt.Sprint(times[2]) + "&to=" + fmt.Sprint(times[4]): {3, 2},
		"?to=2020-01-01T00:00:00Z":                                      {},
		"?from=2040-01-01T00:00:00Z":                                    {},
		"?from=" + pods.TimestampMicros(times[8]) + "&to=" + pods.TimestampMicros(times[9]) + "&x=": nil,
	} {
		var p page
		_, err := get(t, h, auditor, "/v1/evidence"+query, &p)
		if want == nil {
			podtest.WantKind(t, err, tap.Invalid, "query")
			continue
		}
		got := []uint64{}
		for _, e := range p.Entries {
			got = append(got, e.Position)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v, %v", query, got, want, err)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?after=x", "?after=-1", "?from=yesterday", "?to=-5"} {
		_, err := get(t, h, auditor, "/v1/evidence"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
}

func TestPagesStandStillWhileTheLedgerGrows(t *testing.T) {
	h := newHost(t)
	for range 7 {
		appendEvidence(t, h, till, "sale.done", `{}`)
	}
	var got []uint64
	for query := "?limit=3"; ; {
		var p page
		if _, err := get(t, h, auditor, "/v1/evidence"+query, &p); err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Entries {
			got = append(got, e.Position)
		}
		if p.Next == nil {
			break
		}
		query = fmt.Sprintf("?limit=3&after=%d", *p.Next)
		appendEvidence(t, h, till, "sale.done", `{}`)
	}
	if !slices.Equal(got, []uint64{6, 5, 4, 3, 2, 1, 0}) {
		t.Errorf("pages show %v", got)
	}
}

// longLedger repeats one record for any position.
type longLedger struct {
	*podtest.State
	size uint64
}

func (l longLedger) Size() (uint64, bookpi.Hash) { return l.size, bookpi.Hash{} }

func (l longLedger) Records(first uint64, _ bool, fn func(store.Record) bool) error {
	r, err := l.State.Record(0)
	for ; err == nil; first-- {
		if r.Position = first; !fn(r) || first == 0 {
			return nil
		}
	}
	return err
}

func TestScanIsBounded(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "sale.done", `{}`)
	p := newPod(t, longLedger{h.State, 1_000_000})
	c := &pods.Call{Principal: auditor, Tenant: "main", Query: map[string]string{"action": "rare"}}
	result, err := p.list(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(result.Body)
	var got page
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Entries) != 0 || got.Next == nil ||
		*got.Next != (1_000_000-maxScanned)/bookpi.SegmentEntries*bookpi.SegmentEntries {
		t.Errorf("%s, %v", raw, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.list(cancelled, c); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled query: %v", err)
	}
}

func TestLongPayloadsAreNotListed(t *testing.T) {
	h := newHost(t)
	long := appendEvidence(t, h, till, "long", `"`+strings.Repeat("x", maxInline)+`"`)
	appendEvidence(t, h, till, "short", `"x"`)
	var p page
	if _, err := get(t, h, till, "/v1/evidence", &p); err != nil {
		t.Fatal(err)
	}
	if p.Entries[0].Payload == nil || p.Entries[1].Payload != nil || p.Entries[1].PayloadBytes != maxInline+2 {
		t.Errorf("%+v", p.Entries)
	}
	var e entry
	if _, err := get(t, h, till, "/v1/evidence/"+long.EvidenceHash.String(), &e); err != nil || len(e.Payload) != maxInline+2 {
		t.Errorf("%d bytes, %v", len(e.Payload), err)
	}
}

func TestShowOddPayloads(t *testing.T) {
	for payload, isJSON := range map[string]bool{`{"a":1}`: true, "\x00\x01": false, "\"\xff\"": false, "": false} {
		e := new(Pod).show(t.Context(), store.Record{Payload: []byte(payload)}, &bookpi.Entry{}, true)
		if (e.PayloadJSON != nil) != isJSON || e.RequestID != "" {
			t.Errorf("%q: %+v", payload, e)
		}
	}
}

func TestUnknownHashes(t *testing.T) {
	h := newHost(t)
	appendEvidence(t, h, till, "a", `1`)
	for _, hash := range []string{strings.Repeat("0", 64), "x", strings.Repeat("A", 64)} {
		_, err := get(t, h, auditor, "/v1/evidence/"+hash, nil)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
}
