package bookpi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var (
	ana     = podtest.Who("ana", tap.Citizen)
	till    = podtest.Who("till-7", tap.Device)
	auditor = podtest.Who("eve", tap.Auditor)
)

// keys of a log for all tests.
var signerKey, verifierKey = func() (string, string) {
	s, v, err := bookpi.GenerateKey(rand.Reader, "tamv.test/log")
	if err != nil {
		panic(err)
	}
	return s, v
}()

func newPod(t fataler, l store.Ledger) *Pod {
	signer, err := bookpi.NewSigner(signerKey)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Ledger: l, Checkpoints: NewCheckpointer(l, signer), VerifierKey: verifierKey})
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
	h := podtest.NewHost(t, state, newPod(t, state))
	hash := appendEvidence(t, h, till, "sale.done", `{"total":"1.00"}`).EvidenceHash.String()
	podtest.Conform(t, state, newPod(t, state), []podtest.Request{
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
	h := newHost(t)
	var replies []appendReply
	for i := range 20 {
		replies = append(replies, appendEvidence(t, h, []*tap.Principal{ana, till}[i%2], "sale.done", fmt.Sprintf(`{"n":%d}`, i)))
	}
	whole, err := get(t, h, auditor, "/v1/evidence/bundle?from=3&to=17", nil)
	if err != nil {
		t.Fatal(err)
	}
	one, err := get(t, h, ana, "/v1/evidence/"+replies[4].EvidenceHash.String()+"/bundle", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bundle  []byte
		entries int
	}{"range": {whole.Body, 14}, "one": {one.Body, 1}} {
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
		"?from=" + fmt.Sprint(times[2]) + "&to=" + fmt.Sprint(times[4]):       {3, 2},
		"?to=2020-01-01T00:00:00Z":                                            {},
		"?from=2040-01-01T00:00:00Z":                                          {},
		"?from=" + timestamp(times[8]) + "&to=" + timestamp(times[9]) + "&x=": nil,
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
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Entries) != 0 || got.Next == nil || *got.Next != 1_000_000-maxScanned {
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
		e := show(store.Record{Payload: []byte(payload)}, &bookpi.Entry{}, true)
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

func TestProofVerifies(t *testing.T) {
	h := newHost(t)
	var hashes []bookpi.Hash
	for range 9 {
		hashes = append(hashes, appendEvidence(t, h, till, "a", `1`).EvidenceHash)
	}
	for i, hash := range hashes {
		var p proofReply
		if _, err := get(t, h, till, "/v1/evidence/"+hash.String()+"/proof", &p); err != nil {
			t.Fatal(err)
		}
		cp, err := bookpi.OpenCheckpoint([]byte(p.Checkpoint), verifierKey)
		if err != nil || cp.Root != p.Root || cp.Size != p.Size || p.Position != uint64(i) {
			t.Fatalf("%+v, %v", p, err)
		}
		if err := bookpi.VerifyInclusion(hash, p.Position, p.Size, p.Proof, p.Root); err != nil {
			t.Error(err)
		}
	}
}

func TestConsistencyVerifies(t *testing.T) {
	h := newHost(t)
	for range 9 {
		appendEvidence(t, h, till, "a", `1`)
	}
	for old := range 10 {
		var r consistencyReply
		if _, err := get(t, h, nil, fmt.Sprintf("/v1/evidence/consistency?old=%d", old), &r); err != nil {
			t.Fatal(err)
		}
		if err := bookpi.VerifyConsistency(r.OldSize, r.NewSize, r.OldRoot, r.NewRoot, r.Proof); err != nil || r.NewSize != 9 {
			t.Errorf("from %d: %v", old, err)
		}
	}
	for _, query := range []string{"", "?old=x", "?old=10", "?old=3&new=2", "?old=3&new=10", "?old=1&new=x"} {
		_, err := get(t, h, nil, "/v1/evidence/consistency"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	for _, query := range []string{"", "?from=1&to=1", "?from=5&to=2", "?from=0&to=10", "?from=x&to=2"} {
		_, err := get(t, h, auditor, "/v1/evidence/bundle"+query, nil)
		podtest.WantKind(t, err, tap.Invalid, "query")
	}
	p := newPod(t, longLedger{h.State, 1_000_000})
	_, err := p.rangeBundle(t.Context(), &pods.Call{Query: map[string]string{"from": "0", "to": "10001"}})
	podtest.WantKind(t, err, tap.Invalid, "query")
}

func TestCheckpoints(t *testing.T) {
	h := newHost(t)
	empty, err := get(t, h, nil, "/v1/evidence/checkpoint", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cp, err := bookpi.OpenCheckpoint(empty.Body, verifierKey); err != nil || cp.Size != 0 {
		t.Errorf("of an empty ledger: %+v, %v", cp, err)
	}
	again, _ := get(t, h, nil, "/v1/evidence/checkpoint", nil)
	if string(again.Body) != string(empty.Body) {
		t.Error("an unchanged ledger has two checkpoints")
	}
	appendEvidence(t, h, till, "a", `1`)
	grown, err := get(t, h, nil, "/v1/evidence/checkpoint", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cp, err := bookpi.OpenCheckpoint(grown.Body, verifierKey); err != nil || cp.Size != 1 {
		t.Errorf("%+v, %v", cp, err)
	}
	var key map[string]string
	if _, err := get(t, h, nil, "/v1/evidence/key", &key); err != nil || key["verifierKey"] != verifierKey {
		t.Errorf("%v, %v", key, err)
	}
}

// switched is a ledger that can be exchanged behind the checkpointer's back.
type switched struct{ store.Ledger }

func grow(t *testing.T, n int, data string) *podtest.State {
	t.Helper()
	h := newHost(t)
	for range n {
		appendEvidence(t, h, till, "a", data)
	}
	return h.State
}

func TestNoSplitView(t *testing.T) {
	signer, err := bookpi.NewSigner(signerKey)
	if err != nil {
		t.Fatal(err)
	}
	l := &switched{grow(t, 5, `1`)}
	k := NewCheckpointer(l, signer)
	if _, _, err := k.Current(); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*podtest.State{
		"same size": grow(t, 5, `2`), "larger": grow(t, 8, `2`), "smaller": grow(t, 3, `2`),
	} {
		l.Ledger = other
		if _, _, err := k.Current(); !tap.IsKind(err, tap.Internal) || tap.AsError(err).Code != "split_view" {
			t.Errorf("another history, %s: %v", name, err)
		}
	}
	l.Ledger = faulty{grow(t, 8, `1`)}
	if _, _, err := k.Current(); !errors.Is(err, errFaulty) {
		t.Errorf("an unreadable tree: %v", err)
	}
	k = NewCheckpointer(l.Ledger, brokenSigner{})
	if _, _, err := k.Current(); !tap.IsKind(err, tap.Internal) {
		t.Errorf("a signer that fails: %v", err)
	}
}

// Readers that saw an earlier size may sign after others: it is one history.
func TestEarlierSizeOfTheSameHistory(t *testing.T) {
	signer, err := bookpi.NewSigner(signerKey)
	if err != nil {
		t.Fatal(err)
	}
	state := grow(t, 8, `1`)
	l := &sized{State: state, size: 8}
	k := NewCheckpointer(l, signer)
	for _, size := range []uint64{8, 3, 5, 8} {
		l.size = size
		if cp, _, err := k.Current(); err != nil || cp.Size != size {
			t.Errorf("size %d: %+v, %v", size, cp, err)
		}
	}
}

type sized struct {
	*podtest.State
	size uint64
}

func (s *sized) Size() (uint64, bookpi.Hash) {
	root, _ := bookpi.RootAt(s.size, s.State)
	return s.size, root
}

var errFaulty = errors.New("the disk is gone")

// faulty is a ledger whose tree, index and entries cannot be read.
type faulty struct{ *podtest.State }

func (faulty) Tile(uint8, uint64) ([]bookpi.Hash, error)           { return nil, errFaulty }
func (faulty) Find(bookpi.Hash) (uint64, bool, error)              { return 0, false, errFaulty }
func (faulty) Record(uint64) (store.Record, error)                 { return store.Record{}, errFaulty }
func (faulty) Records(uint64, bool, func(store.Record) bool) error { return errFaulty }

type brokenSigner struct{}

func (brokenSigner) Name() string                { return "tamv.test/log" }
func (brokenSigner) KeyHash() uint32             { return 1 }
func (brokenSigner) Sign([]byte) ([]byte, error) { return nil, errFaulty }

// damagedLedger has entries that do not parse.
type damagedLedger struct{ *podtest.State }

func (d damagedLedger) Record(position uint64) (store.Record, error) {
	r, err := d.State.Record(position)
	r.Entry = []byte("BPE?")
	return r, err
}

func (d damagedLedger) Records(first uint64, _ bool, fn func(store.Record) bool) error {
	r, err := d.Record(first)
	fn(r)
	return err
}

// foundLedger finds an entry that it cannot read.
type foundLedger struct{ faulty }

func (foundLedger) Find(bookpi.Hash) (uint64, bool, error) { return 0, true, nil }

// treeless reads entries but not the tree.
type treeless struct{ *podtest.State }

func (treeless) Tile(uint8, uint64) ([]bookpi.Hash, error) { return nil, errFaulty }

func TestDamagedLedgerIsReported(t *testing.T) {
	state := grow(t, 3, `1`)
	first, err := state.Record(0)
	if err != nil {
		t.Fatal(err)
	}
	hash := bookpi.LeafHash(first.Entry).String()
	call := func(query map[string]string) *pods.Call {
		return &pods.Call{RequestID: uuid.New(), Principal: auditor, Tenant: "main", Query: query, Params: map[string]string{"hash": hash}}
	}
	for name, l := range map[string]store.Ledger{
		"damaged": damagedLedger{state}, "faulty": faulty{state}, "found": foundLedger{faulty{state}}, "treeless": treeless{state},
	} {
		p := newPod(t, l)
		for route, run := range map[string]func() error{
			"list":    func() error { _, err := p.list(t.Context(), call(nil)); return err },
			"list to": func() error { _, err := p.list(t.Context(), call(map[string]string{"to": "5"})); return err },
			"get":     func() error { _, err := p.get(t.Context(), call(nil)); return err },
			"proof":   func() error { _, err := p.proof(t.Context(), call(nil)); return err },
			"bundle":  func() error { _, err := p.bundle(t.Context(), call(nil)); return err },
			"range": func() error {
				_, err := p.rangeBundle(t.Context(), call(map[string]string{"from": "0", "to": "2"}))
				return err
			},
			"consistency": func() error { _, err := p.consistency(t.Context(), call(map[string]string{"old": "2"})); return err },
		} {
			needsTree := route == "proof" || route == "bundle" || route == "range" || route == "consistency"
			unaffected := name == "treeless" && !needsTree || name == "damaged" && route == "consistency"
			if err := run(); !unaffected && err == nil {
				t.Errorf("%s ledger: %s succeeds", name, route)
			}
		}
	}
	broken := New(Config{Ledger: state, Checkpoints: NewCheckpointer(state, brokenSigner{})})
	for _, run := range []pods.Func{broken.proof, broken.bundle, broken.checkpoint} {
		_, err := run(t.Context(), call(nil))
		podtest.WantKind(t, err, tap.Internal, "")
	}
}

// hugeLedger has payloads that do not fit one bundle.
type hugeLedger struct{ *podtest.State }

func (h hugeLedger) Records(first uint64, descending bool, fn func(store.Record) bool) error {
	payload := make([]byte, 20<<20)
	return h.State.Records(first, descending, func(r store.Record) bool {
		r.Payload = payload
		return fn(r)
	})
}

func TestBundleIsBounded(t *testing.T) {
	state := grow(t, 5, `1`)
	_, err := newPod(t, hugeLedger{state}).rangeBundle(t.Context(), &pods.Call{Principal: auditor, Tenant: "main", Query: map[string]string{"from": "1", "to": "5"}})
	podtest.WantKind(t, err, tap.Invalid, "too_large")
	if fits := tap.AsError(err).Details["fits"]; fits != uint64(2) {
		t.Errorf("fits %v, want 2", fits)
	}
}

func BenchmarkAppend(b *testing.B) {
	p := newPod(b, podtest.NewState())
	c := &pods.Call{Principal: till, Tenant: "main", Body: []byte(body("sale.done", `{"total":"12.50","items":3,"till":"7"}`))}
	b.ReportAllocs()
	for b.Loop() {
		if err := appendSchema.Validate(c.Body); err != nil {
			b.Fatal(err)
		}
		if _, err := p.append(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRangeBundle(b *testing.B) {
	state := podtest.NewState()
	for i := range 10 {
		batch := store.Batch{RequestID: uuid.UUID{byte(i)}, Tenant: "main"}
		for range store.MaxEvidence {
			batch.Evidence = append(batch.Evidence, store.Evidence{Actor: "ana", Action: "a", Outcome: "ok", Payload: []byte(`{"n":1}`)})
		}
		if _, err := state.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	p := newPod(b, state)
	c := &pods.Call{Principal: auditor, Tenant: "main", Query: map[string]string{"from": "0", "to": "10000"}}
	for b.Loop() {
		if _, err := p.rangeBundle(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
