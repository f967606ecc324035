package anubis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func (s *site) listAlerts(by, query string) (r alertsReply) {
	s.t.Helper()
	request := s.request("GET", "/v1/security/alerts", nil)
	request.RawQuery = query
	want(s.t, s.do(s.signed(by, request), &r), codeOK)
	return r
}

func (s *site) listBlocks(by string) (r blocksReply) {
	s.t.Helper()
	want(s.t, s.do(s.signed(by, s.request("GET", "/v1/security/blocks", nil)), &r), codeOK)
	return r
}

// securityActions is what people did about security, by how often the ledger has it.
func (s *site) securityActions() map[string]int {
	s.t.Helper()
	actions := map[string]int{}
	_ = s.state.Records(0, false, func(r store.Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.HasPrefix(e.Action, "security.") && e.Actor != system {
			actions[e.Actor+" "+e.Action+" "+e.Outcome]++
		}
		return true
	})
	return actions
}

// An alert is listed, acknowledged once, and open again when it happens again.
func TestLifeOfAnAlert(t *testing.T) {
	s := newSite(t)
	boss, guard := s.enrol("main", "boss", tap.Operator), s.enrol("main", "guard", tap.Guardian)
	id := s.alarmed()
	began := s.Now()
	s.pass(time.Minute)
	for range 20 {
		s.gate.Failed(t.Context(), guard, home, "wss", tap.CodeBadSignature)
	}
	s.flush()
	all := s.listAlerts(guard, "")
	if all.Open != 2 || len(all.Alerts) != 2 || all.Alerts[0].Identity != "guard" || all.Alerts[1] != (alertReply{
		ID: id, Pattern: Hammering, State: "open", Address: "203.0.113.9", Count: 50, WindowSeconds: 300, Times: 1,
		First: pods.Timestamp(began), Last: pods.Timestamp(began), BlockedUntil: pods.Timestamp(began.Add(15 * time.Minute)),
	}) {
		t.Fatalf("%+v", all)
	}
	if one := s.listAlerts(guard, "limit=1"); one.Open != 2 || len(one.Alerts) != 1 || one.Alerts[0].Pattern != Guessing {
		t.Fatalf("%+v", one)
	}

	path := "/v1/security/alerts/" + id + "/acknowledgement"
	want(t, s.do(s.signed(guard, s.request("POST", path, nil)), nil), codeRole)
	request := s.request("POST", path, nil)
	var first, second acknowledgedReply
	want(t, s.do(s.signed(boss, request), &first), codeOK)
	again := s.request("POST", path, nil)
	again.ID = request.ID
	want(t, s.do(s.signed(boss, again), &second), codeOK)
	if first.State != "acknowledged" || first.AcknowledgedBy != "boss" || first.Receipt.Duplicate || !second.Receipt.Duplicate {
		t.Fatalf("%+v %+v", first, second)
	}
	want(t, s.do(s.signed(boss, s.request("POST", path, nil)), nil), "already_acknowledged")
	if open, done := s.listAlerts(boss, "state=open"), s.listAlerts(boss, "state=acknowledged"); open.Open != 1 || len(open.Alerts) != 1 ||
		open.Alerts[0].Pattern != Guessing || len(done.Alerts) != 1 || done.Alerts[0].ID != id || s.watchlist.Alerts().Open != 1 {
		t.Fatalf("%+v %+v", open, done)
	}

	s.pass(15 * time.Minute) // the block is over
	s.alarmed()
	if now := s.listAlerts(boss, "state=open"); now.Open != 2 || now.Alerts[0].ID != id || now.Alerts[0].Times != 2 || now.Alerts[0].AcknowledgedBy != "" {
		t.Fatalf("%+v", now)
	}
	if actions := s.securityActions(); fmt.Sprint(actions) != "map[boss security.acknowledge ok:1]" {
		t.Fatal(actions)
	}
}

// A block ends by itself, or when an operator lifts it.
func TestLifeOfABlock(t *testing.T) {
	s := newSite(t)
	boss, guard := s.enrol("main", "boss", tap.Operator), s.enrol("main", "guard", tap.Guardian)
	s.alarmed()
	began := s.Now()
	if got := s.listBlocks(guard); got.Blocked != 1 || got.Blocks[0] != (blockReply{
		Address: "203.0.113.9", Network: "203.0.113.9/32", Pattern: Hammering,
		Since: pods.Timestamp(began), Until: pods.Timestamp(began.Add(15 * time.Minute)), Times: 1,
	}) {
		t.Fatalf("%+v", got)
	}
	s.pass(15 * time.Minute)
	if got := s.listBlocks(guard); got.Blocked != 0 || got.Blocks == nil {
		t.Fatalf("%+v", got)
	}
	s.alarmed()
	var lifted liftedReply
	want(t, s.do(s.signed(guard, s.request("DELETE", "/v1/security/blocks/203.0.113.9", nil)), nil), codeRole)
	want(t, s.do(s.signed(boss, s.request("DELETE", "/v1/security/blocks/::ffff:203.0.113.9", nil)), &lifted), codeOK)
	if lifted.Times != 2 || lifted.Receipt.Entries != 1 || s.listBlocks(guard).Blocked != 0 {
		t.Fatalf("%+v", lifted)
	}
	want(t, s.do(s.signed(boss, s.request("DELETE", "/v1/security/blocks/203.0.113.9", nil)), nil), "not_found")
	if actions := s.securityActions(); fmt.Sprint(actions) != "map[boss security.lift ok:1]" {
		t.Fatal(actions)
	}
}

// An IPv6 address is lifted by any address of its /64.
func TestLiftNetwork(t *testing.T) {
	s := newSite(t)
	boss := s.enrol("main", "boss", tap.Operator)
	for i := range 50 {
		_ = s.forge("main/nobody", six(i))
	}
	s.flush()
	var all blocksReply
	want(t, s.do(s.signed(boss, s.request("GET", "/v1/security/blocks", nil)), &all), codeOK)
	if all.Blocks[0].Network != "2001:db8::/64" || all.Blocks[0].Address != "2001:db8::" {
		t.Fatalf("%+v", all)
	}
	want(t, s.do(s.signed(boss, s.request("DELETE", "/v1/security/blocks/2001:db8::beef", nil)), nil), codeOK)
	want(t, s.ask(boss, six(1)), codeRole) // a citizen's route, and no block
}

func TestPolicyRoutes(t *testing.T) {
	s := newSite(t)
	boss, guard := s.enrol("main", "boss", tap.Operator), s.enrol("main", "guard", tap.Guardian)
	show := func() (p Policy) {
		want(t, s.do(s.signed(guard, s.request("GET", "/v1/security/policy", nil)), &p), codeOK)
		return p
	}
	if show() != DefaultPolicy() {
		t.Fatalf("%+v", show())
	}
	p := DefaultPolicy()
	p.Hammering, p.BlockSeconds = Threshold{5, 60}, 60
	set := func(by string, body any) error {
		return s.do(s.signed(by, s.request("PUT", "/v1/security/policy", body)), nil)
	}
	want(t, set(guard, p), codeRole)
	want(t, set(boss, p), codeOK)
	if show() != p || s.watchlist.Policy() != p {
		t.Fatalf("%+v", show())
	}
	bad := p
	bad.BlockSeconds, bad.LongestBlockSeconds = 120, 60
	want(t, set(boss, bad), "policy")
	bad.Guessing.Count = 1
	want(t, set(boss, bad), "schema")
	want(t, set(boss, map[string]int{"blockSeconds": 1}), "schema")
	if show() != p {
		t.Fatal("a refused policy was set")
	}
	// It is followed at once.
	s.hammer(attacker)
	want(t, s.ask(boss, attacker), codeBlocked)
}

// Addresses and policy are the site's; alerts are each tenant's own.
func TestOtherTenants(t *testing.T) {
	s := newSite(t)
	boss := s.enrol("other", "boss", tap.Operator)
	s.alarmed()
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/v1/security/blocks", nil},
		{"DELETE", "/v1/security/blocks/203.0.113.9", nil},
		{"GET", "/v1/security/policy", nil},
		{"PUT", "/v1/security/policy", DefaultPolicy()},
	} {
		err := s.do(s.signed(boss, s.request(r.method, r.path, r.body)), nil)
		if want(t, err, "tenant"); tap.KindOf(err) != tap.Forbidden {
			t.Fatal(err)
		}
	}
	var all alertsReply
	want(t, s.do(s.signed(boss, s.request("GET", "/v1/security/alerts", nil)), &all), codeOK)
	if all.Open != 0 || len(all.Alerts) != 0 {
		t.Fatalf("%+v", all)
	}
	p := Pod{Tenant: "other"}
	if r, err := p.showPolicy(t.Context(), &pods.Call{Tenant: "other", View: s.state}); err != nil || r.Body != DefaultPolicy() {
		t.Fatal(err)
	}
}

// What the state cannot tell, and what nobody should ask, is an error of the
// right kind, never an effect.
func TestSecurityPodErrors(t *testing.T) {
	s := newSite(t)
	s.enrol("main", "boss", tap.Operator)
	s.enrol("main", "ana", tap.Citizen)
	id := s.alarmed()
	const damaged = "192.0.2.99"
	s.put(alertKey("main", uuid.Max.String()), []byte("damaged"))
	s.put(store.K("main", SpaceBlocked, damaged), []byte("damaged"))
	var p Pod
	funcs := map[string]pods.Func{
		"alerts": listAlerts, "acknowledge": acknowledge, "blocks": p.listBlocks, "lift": p.lift, "policy": p.showPolicy, "set": p.setPolicy,
	}
	for _, c := range []struct {
		fn, by, param string
		body          any
		query         string
		view          store.View
		kind          tap.Kind
	}{
		{"alerts", "boss", "", nil, "0", s.state, tap.Invalid},
		{"alerts", "boss", "", nil, "", s.state, tap.Internal}, // damage
		{"alerts", "boss", "", nil, "", brokenView{}, tap.Internal},
		{"acknowledge", "ana", id, nil, "", s.state, tap.Unauthenticated},
		{"acknowledge", "boss", "x", nil, "", s.state, tap.NotFound},
		{"acknowledge", "boss", uuid.Nil.String(), nil, "", s.state, tap.NotFound},
		{"acknowledge", "boss", uuid.Max.String(), nil, "", s.state, tap.Internal},
		{"acknowledge", "boss", id, nil, "", &secondGetBroken{View: s.state}, tap.Internal},
		{"blocks", "boss", "", nil, "1001", s.state, tap.Invalid},
		{"blocks", "boss", "", nil, "", s.state, tap.Internal},
		{"blocks", "boss", "", nil, "", brokenView{}, tap.Internal},
		{"lift", "ana", attacker.String(), nil, "", s.state, tap.Unauthenticated},
		{"lift", "boss", "everybody", nil, "", s.state, tap.Invalid},
		{"lift", "boss", "192.0.2.0/24", nil, "", s.state, tap.Invalid},
		{"lift", "boss", "192.0.2.98", nil, "", s.state, tap.NotFound},
		{"lift", "boss", damaged, nil, "", s.state, tap.Internal},
		{"lift", "boss", attacker.String(), nil, "", &secondGetBroken{View: s.state}, tap.Internal},
		{"policy", "boss", "", nil, "", brokenView{}, tap.Internal},
		{"set", "ana", "", DefaultPolicy(), "", s.state, tap.Unauthenticated},
		{"set", "boss", "", 1, "", s.state, tap.Invalid},
		{"set", "boss", "", Policy{}, "", s.state, tap.Invalid},
	} {
		call := s.call(c.by, c.body, "id", c.param, "address", c.param)
		call.View, call.Query = c.view, map[string]string{}
		if c.query != "" {
			call.Query["limit"] = c.query
		}
		r, err := funcs[c.fn](context.Background(), call)
		if r != nil || err == nil || tap.KindOf(err) != c.kind {
			t.Errorf("%s of %q by %s: %v %v", c.fn, c.param, c.by, r, err)
		}
	}
	// A record of a block that names no address is neither listed nor lifted.
	s.put(store.K("main", SpaceBlocked, damaged), mustJSON(Block{Address: "nowhere", Until: s.Now().Add(time.Hour).UnixMicro()}))
	for name, fn := range map[string]pods.Func{"blocks": p.listBlocks, "lift": p.lift} {
		call := s.call("boss", nil, "address", damaged)
		call.Query = map[string]string{}
		if _, err := fn(t.Context(), call); !tap.IsKind(err, tap.Internal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.put(policyKey("main"), []byte("damaged"))
	if _, err := p.showPolicy(t.Context(), s.call("boss", nil)); !tap.IsKind(err, tap.Internal) {
		t.Error(err)
	}
}

// secondGetBroken tells who asks, and nothing else.
type secondGetBroken struct {
	store.View
	gets int
}

func (v *secondGetBroken) Get(k store.Key) (store.Item, bool, error) {
	if v.gets++; v.gets > 1 {
		return store.Item{}, false, errBroken
	}
	return v.View.Get(k)
}
