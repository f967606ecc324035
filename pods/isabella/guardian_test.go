package isabella

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/chat"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

var (
	guardian = podtest.Who("gabriela", tap.Guardian, tap.Citizen)
	other    = podtest.Who("omar", tap.Guardian)
	auditor  = podtest.Who("aida", tap.Auditor)
	beto     = podtest.Who("beto", tap.Citizen)
)

// borderline is a text that a rule holds.
const borderline = "Track my neighbour without her consent"

func body(text string) map[string]any {
	return map[string]any{
		"tenantId": "main", "type": "question", "safetyProfile": "STANDARD", "jurisdiction": "MX",
		"input": map[string]any{"type": "text", "data": text},
	}
}

// site is a kernel served over a state.
type site struct {
	*podtest.Host
	kernel *Kernel
}

func newSite(t testing.TB, c Config) *site {
	if c.Classifier == nil {
		c.Classifier = calm
	}
	if c.Capabilities == nil {
		c.Capabilities = map[string]Capability{
			capChat: {Manifest: chat.New().Manifest()},
			capSpatial: capability(capSpatial, 0, func(_ context.Context, c *pods.Call, in *pods.Intent) (*pods.Part, error) {
				key := c.Key("object", c.RequestID.String())
				return &pods.Part{Spatial: c.Actor(), Ops: []store.Op{store.Create(key, []byte(in.Parsed.Spatial.Room))}}, nil
			}),
		}
	}
	c.Memory, c.Threshold = library, testThreshold
	k := New(c)
	return &site{podtest.NewHost(t, podtest.NewState(), k), k}
}

// submit sends an intent that is held and returns its ticket.
func (s *site) submit(t testing.TB, as *tap.Principal, id uuid.UUID, in any) string {
	t.Helper()
	_, err := s.Do(t.Context(), podtest.Request{As: as, ID: id, Method: "POST", Target: "/v1/kernel/intent", Body: in, Lang: tap.Spanish}, nil)
	podtest.WantKind(t, err, tap.Held, "")
	details := tap.AsError(err).Details
	ticket, _ := details["ticket"].(string)
	if hash, _ := details["evidenceHash"].(string); uuid.Validate(ticket) != nil || len(hash) != 64 || details["receipt"] == nil || details["audit"] == nil {
		t.Fatalf("details %v", details)
	}
	return ticket
}

func (s *site) decide(t testing.TB, as *tap.Principal, id uuid.UUID, ticket, what string) (decided, error) {
	t.Helper()
	var out decided
	_, err := s.Do(t.Context(), podtest.Request{
		As: as, ID: id, Method: "POST", Target: "/v1/guardian/reviews/" + ticket + "/decision",
		Body: map[string]string{"decision": what, "reason": "checked with the family"},
	}, &out)
	return out, err
}

// records is what the kernel keeps, by readable key.
func (s *site) records() map[string]string {
	all := map[string]string{}
	for _, space := range []string{spaceIntent, spaceReview} {
		_ = s.State.Scan(store.K("main", space).Prefix(), "", func(i store.Item) bool {
			all[strings.ReplaceAll(string(i.Key), "\x00", "/")] = string(i.Value)
			return true
		})
	}
	return all
}

func (s *site) get(t testing.TB, as *tap.Principal, target string, out any) error {
	t.Helper()
	_, err := s.Do(t.Context(), podtest.Request{As: as, Method: "GET", Target: target}, out)
	return err
}

// Feature: tamv-hardened-backend, Property 27: Borderline Ethical Intent Flagging
func TestBorderlineIntentsWaitForAGuardian(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		score := float32(rapid.Float64Range(float64(refuseBelow), 0.6999).Draw(rt, "score"))
		s := newSite(t, Config{Classifier: always(model.LabelHarm, 1-score)})
		in := body("a sentence on the border")
		spatial := rapid.Bool().Draw(rt, "spatial")
		if spatial {
			in["input"] = map[string]any{"type": "multimodal", "data": map[string]any{
				"spatial": spatialData("lobby", 1, 2, 3), "text": "put the chair there",
			}}
		}
		id := uuid.New()
		ticket := s.submit(t, ana, id, in)
		key := store.K("main", "object", ticket)
		if _, ran, _ := s.State.Get(key); ran || ticket != id.String() {
			rt.Fatal("a held intent ran, or its ticket is not its id")
		}
		approve := rapid.Bool().Draw(rt, "approve")
		what, want := "deny", StateDenied
		if approve {
			what, want = "approve", StateApproved
		}
		out, err := s.decide(t, guardian, uuid.New(), ticket, what)
		if err != nil || out.State != want || out.Receipt == nil {
			rt.Fatalf("%v %+v", err, out)
		}
		var seen progress
		if err := s.get(t, ana, "/v1/kernel/intent/"+ticket, &seen); err != nil || seen.State != want {
			rt.Fatalf("%v %+v", err, seen)
		}
		if approve != (seen.Response != nil) || approve != (out.Response != nil) {
			rt.Fatalf("response %s", seen.Response)
		}
		if _, ran, _ := s.State.Get(key); ran != (approve && spatial) {
			rt.Fatalf("approved %v, ran %v", approve, ran)
		}
	})
}

// An approved intent runs as its submitter, in the submitter's language, and one
// batch carries the decision, the effects and both evidence entries.
func TestApproval(t *testing.T) {
	s := newSite(t, Config{})
	in := body(borderline)
	in["input"] = map[string]any{"type": "multimodal", "data": map[string]any{"spatial": spatialData("lobby", 1, 2, 3), "text": borderline}}
	ticket := s.submit(t, ana, uuid.New(), in)

	var shown detail
	if err := s.get(t, guardian, "/v1/guardian/reviews/"+ticket, &shown); err != nil || !strings.Contains(string(shown.Intent), borderline) {
		t.Fatalf("the guardian does not see what is asked: %v %+v", err, shown)
	}
	before, _ := s.State.Size()
	out, err := s.decide(t, guardian, uuid.New(), ticket, "approve")
	if err != nil {
		t.Fatal(err)
	}
	response, _ := out.Response.(map[string]any)
	if after, _ := s.State.Size(); after != before+2 || response["spatialData"] != "ana" || response["evidenceHash"] != out.Receipt.Leaf.String() ||
		response["id"] != ticket {
		t.Errorf("%d entries, response %v", after-before, response)
	}
	var entries []string
	_ = s.State.Records(before, false, func(r store.Record) bool {
		entries = append(entries, string(r.Payload))
		return true
	})
	if !strings.Contains(entries[0], `"submitter":"ana"`) || strings.Contains(entries[0], "family") ||
		!strings.Contains(entries[1], `"approval":{"ticket":"`+ticket+`","guardian":"gabriela"}`) {
		t.Errorf("evidence %v", entries)
	}
	for name, value := range s.records() {
		if strings.Contains(value, borderline) {
			t.Errorf("the text outlives the decision in %q", name)
		}
	}
	if err := s.get(t, guardian, "/v1/guardian/reviews/"+ticket, &shown); err != nil || shown.Guardian != "gabriela" || shown.Reason == "" {
		t.Errorf("%v %+v", err, shown.Review)
	}
	shown = detail{}
	if err := s.get(t, ana, "/v1/guardian/reviews/"+ticket, &shown); err != nil || shown.Intent != nil {
		t.Errorf("the submitter: %v %+v", err, shown)
	}
}

func TestWhoMayDecideAndSee(t *testing.T) {
	s := newSite(t, Config{})
	ticket := s.submit(t, guardian, uuid.New(), body(borderline))
	_, err := s.decide(t, guardian, uuid.New(), ticket, "approve")
	podtest.WantKind(t, err, tap.Forbidden, "own_intent")
	_, err = s.decide(t, ana, uuid.New(), ticket, "approve")
	podtest.WantKind(t, err, tap.Forbidden, "role")
	_, err = s.decide(t, auditor, uuid.New(), ticket, "approve")
	podtest.WantKind(t, err, tap.Forbidden, "role")
	for _, target := range []string{"/v1/guardian/reviews/" + ticket, "/v1/kernel/intent/" + ticket} {
		podtest.WantKind(t, s.get(t, beto, target, nil), tap.NotFound, "")
		for _, p := range []*tap.Principal{guardian, other, auditor} {
			if err := s.get(t, p, target, nil); err != nil {
				t.Errorf("%s: %v", p.Identity, err)
			}
		}
	}
	for _, unknown := range []string{uuid.NewString(), "held", "x", "..", strings.ToUpper(ticket)} {
		podtest.WantKind(t, s.get(t, other, "/v1/guardian/reviews/"+unknown, nil), tap.NotFound, "")
		_, err = s.decide(t, other, uuid.New(), unknown, "deny")
		podtest.WantKind(t, err, tap.NotFound, "")
	}
	for _, reason := range []string{" ", "\x00", "<script>x</script>"} {
		_, err = s.Do(t.Context(), podtest.Request{
			As: other, Method: "POST", Target: "/v1/guardian/reviews/" + ticket + "/decision",
			Body: map[string]string{"decision": "deny", "reason": reason},
		}, nil)
		podtest.WantKind(t, err, tap.Invalid, "input")
	}
}

func TestDecidedOnce(t *testing.T) {
	s := newSite(t, Config{})
	for _, what := range []string{"approve", "deny"} {
		ticket, id := s.submit(t, ana, uuid.New(), body(borderline)), uuid.New()
		first, err := s.decide(t, other, id, ticket, what)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.decide(t, other, uuid.New(), ticket, "deny")
		podtest.WantKind(t, err, tap.Conflict, "decided")
		_, err = s.decide(t, guardian, id, ticket, "deny")
		podtest.WantKind(t, err, tap.Conflict, "decided")
		again, err := s.decide(t, other, id, ticket, what)
		if err != nil || again.State != first.State || (again.Response == nil) != (first.Response == nil) {
			t.Errorf("the same decision sent again: %v %+v", err, again)
		}
	}
}

// Of many concurrent decisions one is carried out.
func TestConcurrentDecisions(t *testing.T) {
	s := newSite(t, Config{})
	ticket := s.submit(t, ana, uuid.New(), body(borderline))
	before, _ := s.State.Size()
	results := make([]*pods.Result, 8)
	for i := range results {
		call := callWith(decision{"deny", fmt.Sprint(i)}, tap.English)
		if i%2 == 0 {
			call = callWith(decision{"approve", fmt.Sprint(i)}, tap.English)
		}
		call.Principal, call.View, call.Params = other, s.State, map[string]string{"ticket": ticket}
		var err error
		if results[i], err = s.kernel.decide(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(results))
	for i, r := range results {
		wg.Go(func() {
			_, errs[i] = s.State.Commit(t.Context(), store.Batch{RequestID: uuid.New(), Tenant: "main", Ops: r.Ops, Evidence: r.Evidence})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		var conflict *store.ConflictError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &conflict):
			t.Error(err)
		}
	}
	after, _ := s.State.Size()
	if won != 1 || after-before > 2 {
		t.Errorf("%d decisions were carried out, %d entries", won, after-before)
	}
}

// A submitter who has been revoked cannot act through a guardian.
func TestRevokedSubmitter(t *testing.T) {
	active := true
	s := newSite(t, Config{Active: func(p *tap.Principal) bool { return active && p.Identity == "ana" && p.Tenant == "main" }})
	ticket := s.submit(t, ana, uuid.New(), body(borderline))
	active = false
	_, err := s.decide(t, other, uuid.New(), ticket, "approve")
	podtest.WantKind(t, err, tap.Conflict, "submitter_inactive")
	if out, err := s.decide(t, other, uuid.New(), ticket, "deny"); err != nil || out.State != StateDenied {
		t.Errorf("%v %+v", err, out)
	}
}

func TestHeldTwice(t *testing.T) {
	s := newSite(t, Config{})
	id := uuid.New()
	ticket := s.submit(t, ana, id, body(borderline))
	size, _ := s.State.Size()
	if again := s.submit(t, ana, id, body(borderline)); again != ticket {
		t.Errorf("a repeated request got another ticket")
	}
	if after, _ := s.State.Size(); after != size {
		t.Error("a repeated request was recorded twice")
	}
	s.State.Forget()
	s.submit(t, ana, id, body(borderline)) // long afterwards: the same ticket, said again
	post := func(as *tap.Principal, text string) error {
		_, err := s.Do(t.Context(), podtest.Request{As: as, ID: id, Method: "POST", Target: "/v1/kernel/intent", Body: body(text)}, nil)
		return err
	}
	podtest.WantKind(t, post(beto, borderline), tap.Conflict, "request_id_reused")
	podtest.WantKind(t, post(ana, borderline+"!"), tap.Conflict, "request_id_reused")
	if _, err := s.decide(t, other, uuid.New(), ticket, "deny"); err != nil {
		t.Fatal(err)
	}
	podtest.WantKind(t, post(ana, borderline), tap.Conflict, "decided")
}

// A held intent may be as large as the route takes.
func TestLargeHeldIntent(t *testing.T) {
	s := newSite(t, Config{})
	in := body("x")
	in["safetyProfile"] = "STRICT_DEKATEOTL"
	picture := pngBytes(8, 8)
	padding := make([]byte, bodyLimit*3/4-2048)
	chunk := append([]byte("paDd"), padding...)
	picture = append(append(append(append(picture[:33:33], be32(uint32(len(padding)))...), chunk...), be32(crc(chunk))...), picture[33:]...)
	in["input"] = map[string]any{"type": "image", "data": b64(picture)}
	ticket := s.submit(t, ana, uuid.New(), in)
	var shown detail
	if err := s.get(t, other, "/v1/guardian/reviews/"+ticket, &shown); err != nil || string(shown.Intent) != string(encode(in)) {
		t.Fatalf("%v, %d bytes", err, len(shown.Intent))
	}
	out, err := s.decide(t, other, uuid.New(), ticket, "approve")
	if err != nil || out.State != StateApproved {
		t.Fatal(err)
	}
	for name, value := range s.records() {
		if len(value) > 100000 {
			t.Errorf("%q keeps %d bytes", name, len(value))
		}
	}
}

func TestConformance(t *testing.T) {
	s := podtest.NewState()
	k := New(Config{Classifier: calm, Memory: library, Threshold: testThreshold, Capabilities: map[string]Capability{capChat: {Manifest: chat.New().Manifest()}}})
	ticket := uuid.NewString()
	host := podtest.NewHost(t, s, k)
	_, err := host.Do(t.Context(), podtest.Request{As: ana, ID: uuid.MustParse(ticket), Method: "POST", Target: "/v1/kernel/intent", Body: body(borderline)}, nil)
	podtest.WantKind(t, err, tap.Held, "")
	podtest.Conform(t, s, k, []podtest.Request{
		{As: ana, Method: "POST", Target: "/v1/kernel/intent", Body: body("What does the impact fund receive?")},
		{As: ana, Method: "GET", Target: "/v1/kernel/intent/" + ticket},
		{As: other, Method: "GET", Target: "/v1/guardian/reviews?state=held"},
		{As: other, Method: "GET", Target: "/v1/guardian/reviews/" + ticket},
		{As: other, Method: "POST", Target: "/v1/guardian/reviews/" + ticket + "/decision", Body: decision{"deny", "not without consent"}},
	})
}

// Approved replies match the schema that the route declares.
func TestApprovedReplyMatchesItsSchema(t *testing.T) {
	s := newSite(t, Config{})
	ticket := s.submit(t, ana, uuid.New(), body(borderline))
	out, err := s.decide(t, other, uuid.New(), ticket, "approve")
	if err != nil {
		t.Fatal(err)
	}
	if err := decidedSchema.Validate(encode(out)); err != nil {
		t.Errorf("%v %v", err, tap.AsError(err).Details)
	}
	var raw json.RawMessage
	if err := s.get(t, ana, "/v1/kernel/intent/"+ticket, &raw); err != nil {
		t.Fatal(err)
	}
	if err := progressSchema.Validate(raw); err != nil {
		t.Errorf("%v %v", err, tap.AsError(err).Details)
	}
}
