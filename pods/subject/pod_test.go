package subject

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var (
	boss  = podtest.Who("boss", tap.Operator)
	carla = podtest.Who("carla", tap.Guardian)
	dora  = podtest.Who("dora", tap.Guardian)
	emma  = podtest.Who("emma", tap.Operator, tap.Guardian)
	audit = podtest.Who("audit", tap.Auditor)
	ana   = podtest.Who("ana", tap.Citizen)
	eva   = podtest.Who("eva", tap.Citizen)
)

// office is the pod over a state, with what a test may change about it.
type office struct {
	t     testing.TB
	state *podtest.State
	host  *podtest.Host
	pod   *Pod
	gone  map[string]bool   // identities that do not stand any more
	keys  map[string]string // of identities that have somebody's key
}

func newOffice(t testing.TB) *office {
	o := &office{t: t, state: podtest.NewState(), gone: map[string]bool{}, keys: map[string]string{}}
	o.pod = New(Config{
		Standing: func(v store.View, tenant, identity string) (string, store.Op, bool, error) {
			record, _, err := v.Get(identityRecord(tenant, identity))
			return cmp.Or(o.keys[identity], identity), store.Check(identityRecord(tenant, identity), record.Version), !o.gone[identity], err
		},
		Held: func(_, subject string) int { return len(subject) },
	})
	o.host = podtest.NewHost(t, o.state, o.pod)
	return o
}

// identityRecord is where a test has the record of an identity, if it needs one.
func identityRecord(tenant, identity string) store.Key { return store.K(tenant, "identity", identity) }

func do[T any](o *office, as *tap.Principal, method, target string, body any) (reply T, status int, err error) {
	o.t.Helper()
	response, err := o.host.Do(o.t.Context(), podtest.Request{As: as, Method: method, Target: target, Body: body}, &reply)
	if response != nil {
		status = response.Status
	}
	return reply, status, err
}

func (o *office) erase(as *tap.Principal, subject string) (outcome, int, error) {
	o.t.Helper()
	return do[outcome](o, as, "POST", "/v1/subjects/"+subject+"/erasure", map[string]any{"reason": "asked by letter"})
}

func (o *office) approve(as *tap.Principal, id uuid.UUID) (outcome, int, error) {
	o.t.Helper()
	return do[outcome](o, as, "POST", "/v1/subjects/erasures/"+id.String()+"/approval", nil)
}

func (o *office) policy(as *tap.Principal, approvals int) (outcome, int, error) {
	o.t.Helper()
	return do[outcome](o, as, "PUT", "/v1/subjects/policy", map[string]any{"approvals": approvals})
}

func (o *office) generation(subject string) uint64 {
	o.t.Helper()
	g, _, err := store.Generation(o.state, tap.DefaultTenant, subject)
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

// said lists the ledger's entries: action and outcome.
func (o *office) said() (all []string) {
	o.t.Helper()
	err := o.state.Records(0, false, func(r store.Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil {
			o.t.Fatal(err)
		}
		all = append(all, e.Actor+" "+e.Action+" "+e.Outcome)
		if strings.Contains(string(r.Payload), "letter") {
			o.t.Errorf("the reason is in the ledger: %s", r.Payload)
		}
		return true
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

func TestConform(t *testing.T) {
	o := newOffice(t)
	change, withdrawn := uuid.UUID{7}, uuid.UUID{9}
	podtest.Conform(t, o.state, o.pod, []podtest.Request{
		{As: boss, Method: "POST", Target: "/v1/subjects/ana/erasure", Body: map[string]any{"reason": "asked by letter"}},
		{As: ana, Method: "GET", Target: "/v1/subjects/ana/erasure"},
		{As: audit, Method: "GET", Target: "/v1/subjects/policy"},
		{As: boss, Method: "PUT", Target: "/v1/subjects/policy", Body: map[string]any{"approvals": 2}},
		{As: boss, ID: change, Method: "PUT", Target: "/v1/subjects/policy", Body: map[string]any{"approvals": 0}},
		{As: eva, Method: "POST", Target: "/v1/subjects/eva/erasure", Body: map[string]any{"reason": "I leave"}, Lang: tap.Spanish},
		{As: audit, Method: "GET", Target: "/v1/subjects/erasures?limit=1"},
		{As: carla, Method: "POST", Target: "/v1/subjects/erasures/" + change.String() + "/approval"},
		{As: boss, ID: uuid.UUID{8}, Method: "PUT", Target: "/v1/subjects/policy", Body: map[string]any{"approvals": 3}},
		{As: boss, ID: withdrawn, Method: "PUT", Target: "/v1/subjects/policy", Body: map[string]any{"approvals": 1}},
		{As: boss, Method: "DELETE", Target: "/v1/subjects/erasures/" + withdrawn.String()},
	})
}

func TestOneIsEnoughByDefault(t *testing.T) {
	o := newOffice(t)
	for n, who := range []*tap.Principal{boss, carla, ana} {
		done, status, err := o.erase(who, "ana")
		if err != nil || status != http.StatusOK || done.State != stateDone || done.Generation != uint64(n+1) || done.Receipt == nil || done.Remains == "" {
			t.Fatalf("%s: %+v %d %v", who.Identity, done, status, err)
		}
	}
	if o.generation("ana") != 3 || o.generation("eva") != 0 {
		t.Error("not exactly ana was erased")
	}
	if want := []string{"boss subject.erase ok", "carla subject.erase ok", "ana subject.erase ok"}; !slices.Equal(o.said(), want) {
		t.Errorf("the ledger says %v", o.said())
	}
	spoken, _, err := do[outcome](o, ana, "GET", "/v1/subjects/ana/erasure", nil)
	if err != nil || spoken.Generation != 3 {
		t.Error(err)
	}
}

func TestWhoMayAsk(t *testing.T) {
	o := newOffice(t)
	_, _, err := o.erase(eva, "ana")
	podtest.WantKind(t, err, tap.Forbidden, "not_own")
	_, _, err = o.erase(audit, "ana")
	podtest.WantKind(t, err, tap.Forbidden, "role")
	_, _, err = o.erase(boss, "Ana")
	podtest.WantKind(t, err, tap.Invalid, "subject")
	_, _, err = do[shown](o, eva, "GET", "/v1/subjects/ana/erasure", nil)
	podtest.WantKind(t, err, tap.Forbidden, "not_own")
	_, _, err = o.policy(carla, 3)
	podtest.WantKind(t, err, tap.Forbidden, "role")
	for _, body := range []any{map[string]any{"reason": ""}, map[string]any{"reason": strings.Repeat("x", 1025)}, map[string]any{"reason": "a\u0000b"}, map[string]any{}} {
		_, _, err = do[outcome](o, boss, "POST", "/v1/subjects/ana/erasure", body)
		podtest.WantKind(t, err, tap.Invalid, "schema")
	}
	for _, n := range []any{-1, 6, 1.5, "3"} {
		_, _, err = do[outcome](o, boss, "PUT", "/v1/subjects/policy", map[string]any{"approvals": n})
		podtest.WantKind(t, err, tap.Invalid, "schema")
	}
	if len(o.said()) != 0 {
		t.Errorf("the ledger says %v", o.said())
	}
}

// asked is an erasure of ana that boss asked for where three have to agree.
func (o *office) asked() outcome {
	o.t.Helper()
	if set, status, err := o.policy(boss, 3); err != nil || status != http.StatusOK || *set.Approvals != 3 {
		o.t.Fatalf("%+v %v", set, err)
	}
	asked, status, err := o.erase(boss, "ana")
	if err != nil || status != http.StatusAccepted || asked.State != statePending || asked.Needed != 3 || !slices.Equal(asked.ApprovedBy, []string{"boss"}) {
		o.t.Fatalf("%+v %v", asked, err)
	}
	return asked
}

// approved has somebody approve a request and checks who counts then.
func (o *office) approved(as *tap.Principal, id uuid.UUID, state string, by ...string) outcome {
	o.t.Helper()
	got, _, err := o.approve(as, id)
	if err != nil || got.State != state || !slices.Equal(got.ApprovedBy, by) {
		o.t.Fatalf("%+v %v", got, err)
	}
	return got
}

func TestTripleSign(t *testing.T) {
	o := newOffice(t)
	asked := o.asked()
	_, _, err := o.erase(carla, "ana")
	podtest.WantKind(t, err, tap.Conflict, "pending")
	for range 3 { // the same identity counts once
		if again := o.approved(boss, asked.ID, statePending, "boss"); again.Receipt != nil {
			t.Fatalf("%+v", again)
		}
	}
	for _, who := range []*tap.Principal{ana, audit} {
		_, _, err = o.approve(who, asked.ID)
		podtest.WantKind(t, err, tap.Forbidden, "role")
	}
	o.approved(carla, asked.ID, statePending, "boss", "carla")
	if o.generation("ana") != 0 {
		t.Fatal("erased by two")
	}
	if done := o.approved(emma, asked.ID, stateDone, "boss", "carla", "emma"); done.Generation != 1 {
		t.Fatalf("%+v", done)
	}
	// The same approval again, as after a lost connection.
	again, status, err := o.approve(emma, asked.ID)
	if err != nil || status != http.StatusOK || again.State != stateDone || again.Receipt != nil || o.generation("ana") != 1 {
		t.Errorf("%+v %v", again, err)
	}
	want := []string{
		"boss subject.policy ok", "boss subject.erase pending", "carla subject.approve ok",
		"emma subject.approve ok", "emma subject.erase ok",
	}
	if !slices.Equal(o.said(), want) {
		t.Errorf("the ledger says %v", o.said())
	}
}

// A guardian that was revoked meanwhile does not count any more.
func TestWhoWasRevokedDoesNotCount(t *testing.T) {
	o := newOffice(t)
	asked := o.asked()
	o.approved(carla, asked.ID, statePending, "boss", "carla")
	o.gone["carla"] = true
	o.approved(dora, asked.ID, statePending, "boss", "dora")
	if o.generation("ana") != 0 {
		t.Fatal("erased by two")
	}
	o.approved(emma, asked.ID, stateDone, "boss", "dora", "emma")
	if want := "emma subject.erase ok"; !slices.Contains(o.said(), want) || o.generation("ana") != 1 {
		t.Errorf("the ledger says %v", o.said())
	}
}

func TestWhatIsShownOfAnErasure(t *testing.T) {
	o := newOffice(t)
	asked := o.asked()
	o.approved(carla, asked.ID, statePending, "boss", "carla")
	page, _, err := do[listed](o, audit, "GET", "/v1/subjects/erasures", nil)
	if err != nil || len(page.Pending) != 1 || page.Pending[0].Reason != "asked by letter" || !slices.Equal(page.Pending[0].ApprovedBy, []string{"boss", "carla"}) {
		t.Fatalf("%+v %v", page, err)
	}
	if s, _, err := do[shown](o, ana, "GET", "/v1/subjects/ana/erasure", nil); err != nil || s.Pending != asked.ID.String() || s.KeysHere != nil || s.Generation != 0 {
		t.Errorf("%+v %v", s, err)
	}
	o.approved(emma, asked.ID, stateDone, "boss", "carla", "emma")
	page, _, err = do[listed](o, audit, "GET", "/v1/subjects/erasures", nil)
	if err != nil || len(page.Pending) != 0 || len(page.Erased) != 1 || page.Erased[0].RequestedBy != "boss" || page.Erased[0].Generation != 1 {
		t.Errorf("%+v %v", page, err)
	}
	if s, _, err := do[shown](o, boss, "GET", "/v1/subjects/ana/erasure", nil); err != nil || s.KeysHere == nil || *s.KeysHere != 3 || s.ErasedAt == "" || s.Pending != "" {
		t.Errorf("%+v %v", s, err)
	}
}

// A subject's own wish is no approval, where one is not enough.
func TestTheSubjectsOwnWish(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.policy(boss, 2); err != nil {
		t.Fatal(err)
	}
	asked, status, err := o.erase(ana, "ana")
	if err != nil || status != http.StatusAccepted || len(asked.ApprovedBy) != 0 {
		t.Fatalf("%+v %v", asked, err)
	}
	for _, who := range []*tap.Principal{boss, carla} {
		if asked, _, err = o.approve(who, asked.ID); err != nil {
			t.Fatal(err)
		}
	}
	if asked.State != stateDone || o.generation("ana") != 1 {
		t.Errorf("%+v", asked)
	}
}

func TestLoweringTheNumberNeedsTheNumber(t *testing.T) {
	o := newOffice(t)
	for _, n := range []int{0, 1, 2, 3} {
		if _, status, err := o.policy(boss, n); err != nil || status != http.StatusOK {
			t.Fatalf("to %d: %d %v", n, status, err)
		}
	}
	lower, status, err := o.policy(boss, 1)
	if err != nil || status != http.StatusAccepted || lower.Kind != kindPolicy || lower.Needed != 3 {
		t.Fatalf("%+v %v", lower, err)
	}
	_, _, err = o.policy(emma, 0)
	podtest.WantKind(t, err, tap.Conflict, "pending")
	if _, status, err := o.policy(emma, 4); err != nil || status != http.StatusOK { // it is more now
		t.Fatal(err)
	}
	for _, who := range []*tap.Principal{carla, dora} {
		if lower, _, err = o.approve(who, lower.ID); err != nil || lower.State != statePending || lower.Needed != 4 {
			t.Fatalf("%+v %v", lower, err)
		}
	}
	if lower, status, err = o.approve(emma, lower.ID); err != nil || status != http.StatusOK || *lower.Approvals != 1 || lower.Remains != "" {
		t.Fatalf("%+v %v", lower, err)
	}
	rule, _, err := do[policyShown](o, audit, "GET", "/v1/subjects/policy", nil)
	if err != nil || rule.Approvals != 1 || rule.ChangedBy != "boss" || rule.ChangedAt == "" {
		t.Errorf("%+v %v", rule, err)
	}
}

func TestARequestExpires(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.policy(boss, 2); err != nil {
		t.Fatal(err)
	}
	asked, _, err := o.erase(boss, "ana")
	if err != nil {
		t.Fatal(err)
	}
	o.state.Advance(RequestLife)
	_, _, err = o.approve(carla, asked.ID)
	podtest.WantKind(t, err, tap.NotFound, "")
	_, _, err = do[outcome](o, carla, "POST", "/v1/subjects/erasures/none/approval", nil)
	podtest.WantKind(t, err, tap.NotFound, "")
	o.host.Now = o.host.Now.Add(RequestLife)
	if _, status, err := o.erase(carla, "ana"); err != nil || status != http.StatusAccepted {
		t.Errorf("the way is not free: %v", err)
	}
}

func TestTheSameRequestAgain(t *testing.T) {
	o := newOffice(t)
	request := podtest.Request{As: boss, ID: uuid.New(), Method: "POST", Target: "/v1/subjects/ana/erasure", Body: map[string]any{"reason": "x"}}
	policy := podtest.Request{As: boss, ID: uuid.New(), Method: "PUT", Target: "/v1/subjects/policy", Body: map[string]any{"approvals": 2}}
	for _, r := range []podtest.Request{request, policy} {
		for range 2 {
			var done outcome
			if _, err := o.host.Do(t.Context(), r, &done); err != nil || done.State != stateDone {
				t.Fatal(done, err)
			}
			o.state.Forget()
		}
	}
	if o.generation("ana") != 1 || len(o.said()) != 2 {
		t.Errorf("erased %d times: %v", o.generation("ana"), o.said())
	}
	request.As = carla
	_, err := o.host.Do(t.Context(), request, nil)
	podtest.WantKind(t, err, tap.Conflict, "request_id_reused")
}

func TestOnlySoManyWait(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.policy(boss, 2); err != nil {
		t.Fatal(err)
	}
	for n := range MaxPending {
		if _, _, err := o.erase(boss, fmt.Sprint("s", n)); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := o.erase(boss, "ana")
	podtest.WantKind(t, err, tap.Limited, "too_many")
}

func TestListingPages(t *testing.T) {
	o := newOffice(t)
	var want, got []string
	for n := range 7 {
		name := fmt.Sprint("s", n)
		want = append(want, name)
		if _, _, err := o.erase(boss, name); err != nil {
			t.Fatal(err)
		}
	}
	for after := ""; ; {
		page, _, err := do[listed](o, audit, "GET", "/v1/subjects/erasures?limit=3&after="+after, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Erased {
			got = append(got, e.Subject)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	_, _, err := do[listed](o, audit, "GET", "/v1/subjects/erasures?limit=201", nil)
	podtest.WantKind(t, err, tap.Invalid, "query")
}

func TestDamagedRecordsAreReported(t *testing.T) {
	o := newOffice(t)
	put := func(k store.Key, value string) {
		t.Helper()
		_, err := o.state.Commit(t.Context(), store.Batch{
			RequestID: uuid.New(), Tenant: tap.DefaultTenant, Ops: []store.Op{store.Put(k, []byte(value))},
			Evidence: []store.Evidence{{Actor: "x", Action: "x", Outcome: "ok"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	id := uuid.New()
	for _, k := range []store.Key{policyKey(tap.DefaultTenant), requestKey(tap.DefaultTenant, id.String()), store.ErasureKey(tap.DefaultTenant, "ana")} {
		for _, value := range []string{"", "[]", `{"approvals":1}{}`, `{"unknown":1}`} {
			put(k, value)
			o.host = podtest.NewHost(t, o.state, o.pod) // whose breaker is closed
			_, _, err := o.erase(boss, "ana")
			podtest.WantKind(t, err, tap.Internal, "")
		}
		_, _, err := do[listed](o, audit, "GET", "/v1/subjects/erasures", nil)
		if k.Space() != SpacePolicy {
			podtest.WantKind(t, err, tap.Internal, "")
		}
		if _, err := o.state.Commit(t.Context(), store.Batch{
			RequestID: uuid.New(), Tenant: tap.DefaultTenant, Ops: []store.Op{store.Delete(k)},
			Evidence: []store.Evidence{{Actor: "x", Action: "x", Outcome: "ok"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
}
