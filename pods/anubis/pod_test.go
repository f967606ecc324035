package anubis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

func enrolment(name string, roles ...tap.Role) enrolRequest {
	return enrolRequest{name, public(keyOf("main" + name)), roles}
}

func TestConform(t *testing.T) {
	s := newSite(t)
	s.enrol("main", "boss", tap.Operator)
	boss := podtest.Who("boss", tap.Operator)
	id := s.alarmed()
	podtest.Conform(t, s.state, Pod{}, []podtest.Request{
		{As: boss, Method: "POST", Target: "/v1/identities", Body: enrolment("ana", tap.Citizen)},
		{As: boss, Method: "GET", Target: "/v1/identities?limit=1&after=ana"},
		{As: boss, Method: "GET", Target: "/v1/identities/me"},
		{As: boss, Method: "GET", Target: "/v1/identities/ana"},
		{As: boss, Method: "POST", Target: "/v1/identities/ana/revoke", Body: revokeRequest{"left"}},
		{As: boss, Method: "GET", Target: "/v1/security/alerts?limit=1&state=open"},
		{As: boss, Method: "POST", Target: "/v1/security/alerts/" + id + "/acknowledgement"},
		{As: boss, Method: "GET", Target: "/v1/security/blocks?limit=1"},
		{As: boss, Method: "DELETE", Target: "/v1/security/blocks/203.0.113.9"},
		{As: boss, Method: "PUT", Target: "/v1/security/policy", Body: DefaultPolicy()},
		{As: boss, Method: "GET", Target: "/v1/security/policy"},
	})
}

// The life of an identity through the signed interface.
func TestLifeOfAnIdentity(t *testing.T) {
	s := newSite(t)
	boss := s.enrol("main", "boss", tap.Operator)
	s.keys["main/ana"] = keyOf("mainana")
	var enrolled enrolReply
	want(t, s.do(s.signed(boss, s.request("POST", "/v1/identities", enrolment("ana", tap.Citizen))), &enrolled), codeOK)
	if enrolled.KeyID != "main/ana" || enrolled.Receipt.Entries != 1 {
		t.Fatalf("%+v", enrolled)
	}
	intent := func() error { return s.do(s.signed("main/ana", s.request("POST", "/v1/kernel/intent", 1)), nil) }
	want(t, intent(), codeOK)
	var own identityReply
	want(t, s.do(s.signed("main/ana", s.request("GET", "/v1/identities/me", nil)), &own), codeOK)
	if own.Name != "ana" || own.State != StateActive || own.Enrolled != "2026-01-01T00:00:00.000000Z" || own.Revoked != "" {
		t.Fatalf("%+v", own)
	}
	s.pass(1500 * time.Millisecond)
	var revoked revokeReply
	want(t, s.do(s.signed(boss, s.request("POST", "/v1/identities/ana/revoke", revokeRequest{"lost key"})), &revoked), codeOK)
	if revoked.State != StateRevoked || revoked.Name != "ana" {
		t.Fatalf("%+v", revoked)
	}
	err := intent()
	want(t, err, codeRevoked)
	want(t, s.do(s.signed(boss, s.request("GET", "/v1/identities/ana", nil)), &own), codeOK)
	if own.State != StateRevoked || own.Revoked != "2026-01-01T00:00:01.500000Z" || own.Reason != "lost key" {
		t.Fatalf("%+v", own)
	}
	// The ledger names the deed and not the reason's words.
	position, ok, err := s.state.Find(revoked.Receipt.Leaf)
	if err != nil || !ok {
		t.Fatal(err)
	}
	record, _ := s.state.Record(position)
	entry, err := bookpi.ParseEntry(record.Entry)
	if err != nil || entry.Action != "identity.revoke" || entry.Actor != "boss" || strings.Contains(string(record.Payload), "lost key") {
		t.Fatalf("%+v %s", entry, record.Payload)
	}
	// The name is taken for good.
	want(t, s.do(s.signed(boss, s.request("POST", "/v1/identities", enrolment("ana", tap.Citizen))), nil), "exists")
}

// The same request once more is answered with the same receipt.
func TestRepeatedRequests(t *testing.T) {
	s := newSite(t)
	boss := s.enrol("main", "boss", tap.Operator)
	var first, second enrolReply
	enrolRequest, revokeAna := uuid.New(), uuid.New()
	send := func(id uuid.UUID, path string, body, out any) error {
		r := s.request("POST", path, body)
		r.ID = id
		return s.do(s.signed(boss, r), out)
	}
	want(t, send(enrolRequest, "/v1/identities", enrolment("ana", tap.Citizen), &first), codeOK)
	want(t, send(enrolRequest, "/v1/identities", enrolment("ana", tap.Citizen), &second), codeOK)
	if !second.Receipt.Duplicate || second.Receipt.Position != first.Receipt.Position {
		t.Fatalf("%+v, then %+v", first.Receipt, second.Receipt)
	}
	want(t, send(uuid.New(), "/v1/identities", enrolment("ana", tap.Citizen), nil), "exists")
	var r1, r2 revokeReply
	want(t, send(revokeAna, "/v1/identities/ana/revoke", revokeRequest{"x"}, &r1), codeOK)
	want(t, send(revokeAna, "/v1/identities/ana/revoke", revokeRequest{"x"}, &r2), codeOK)
	if !r2.Receipt.Duplicate || r2.Receipt.Leaf != r1.Receipt.Leaf {
		t.Fatalf("%+v, then %+v", r1.Receipt, r2.Receipt)
	}
	want(t, send(uuid.New(), "/v1/identities/ana/revoke", revokeRequest{"x"}, nil), "already_revoked")
}

func TestLastOperator(t *testing.T) {
	s := newSite(t)
	a, b := s.enrol("main", "a", tap.Operator), s.enrol("main", "b", tap.Operator, tap.Citizen)
	s.enrol("other", "x", tap.Operator) // another tenant's operator does not count
	s.enrol("main", "c", tap.Citizen)
	revoke := func(by, name string) error {
		return s.do(s.signed(by, s.request("POST", "/v1/identities/"+name+"/revoke", revokeRequest{"x"})), nil)
	}
	want(t, revoke(a, "c"), codeOK)
	want(t, revoke(b, "b"), codeOK) // one may revoke oneself
	want(t, revoke(b, "a"), codeRevoked)
	err := revoke(a, "a")
	want(t, err, "last_operator")
	if tap.KindOf(err) != tap.Conflict {
		t.Fatal(err)
	}
	s.enrol("main", "d", tap.Operator)
	want(t, revoke(a, "a"), codeOK)
}

// Operators who revoke each other at once: however the commits fall, one
// operator is left.
func TestOperatorsRevokeEachOther(t *testing.T) {
	for range 20 {
		s := newSite(t)
		ids := []string{s.enrol("main", "a", tap.Operator), s.enrol("main", "b", tap.Operator), s.enrol("main", "c", tap.Operator)}
		var all sync.WaitGroup
		for i, by := range ids {
			for _, name := range []string{"a", "b", "c"}[:i+1] {
				r := s.signed(by, s.request("POST", "/v1/identities/"+name+"/revoke", revokeRequest{"x"}))
				all.Go(func() { _ = s.do(r, nil) })
			}
		}
		all.Wait()
		left := 0
		for _, id := range ids {
			if s.directory.lookup(id).identity.operates() {
				left++
			}
		}
		if left == 0 {
			t.Fatal("no operator is left")
		}
	}
}

// Both decided on the same state: the second commit must conflict.
func TestWitness(t *testing.T) {
	s := newSite(t)
	s.enrol("main", "a", tap.Operator)
	s.enrol("main", "b", tap.Operator)
	batch := func(by, name string) store.Batch {
		r, err := revoke(t.Context(), s.call(by, revokeRequest{"x"}, "name", name))
		if err != nil {
			t.Fatal(err)
		}
		return store.Batch{RequestID: uuid.New(), Tenant: "main", Ops: r.Ops, Evidence: r.Evidence}
	}
	for _, pair := range [][2]store.Batch{{batch("a", "a"), batch("b", "b")}, {batch("a", "b"), batch("b", "a")}} {
		_, first := s.state.Commit(t.Context(), pair[0])
		_, second := s.state.Commit(t.Context(), pair[1])
		var conflict *store.ConflictError
		if !errors.As(second, &conflict) {
			t.Fatalf("first %v, second %v", first, second)
		}
	}
}

// What an operator decided before being revoked is not committed after.
func TestRevokedWhileDeciding(t *testing.T) {
	s := newSite(t)
	s.enrol("main", "a", tap.Operator)
	s.enrol("main", "b", tap.Operator)
	s.enrol("main", "c", tap.Citizen)
	enrolled, err := enrol(t.Context(), s.call("a", enrolment("new", tap.Citizen)))
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := revoke(t.Context(), s.call("a", revokeRequest{"x"}, "name", "c"))
	if err != nil {
		t.Fatal(err)
	}
	s.revoke("main", "a")
	for _, r := range []*pods.Result{enrolled, revoked} {
		_, err := s.state.Commit(t.Context(), store.Batch{RequestID: uuid.New(), Tenant: "main", Ops: r.Ops, Evidence: r.Evidence})
		var conflict *store.ConflictError
		if !errors.As(err, &conflict) || conflict.Key != identityKey("main", "a") {
			t.Fatal(err)
		}
	}
}

// call is a call as the server would make it.
func (s *site) call(by string, body any, params ...string) *pods.Call {
	raw, _ := json.Marshal(body)
	c := &pods.Call{
		RequestID: uuid.New(), Tenant: "main", Principal: podtest.Who(by, tap.Operator), Params: map[string]string{},
		Query: map[string]string{}, Body: raw, Now: s.Now(), View: s.state,
	}
	for i := 0; i < len(params); i += 2 {
		c.Params[params[i]], c.Query[params[i]] = params[i+1], params[i+1]
	}
	return c
}

func TestList(t *testing.T) {
	s := newSite(t)
	boss := s.enrol("main", "boss", tap.Operator)
	names := []string{"boss"}
	for i := range 7 {
		names = append(names, fmt.Sprint("c", i))
		s.enrol("main", names[i+1], tap.Citizen)
		s.enrol("other", names[i+1], tap.Citizen)
	}
	var got []string
	after := ""
	for pages := 0; pages == 0 || after != ""; pages++ {
		r := s.request("GET", "/v1/identities", nil)
		r.RawQuery = "limit=3"
		if after != "" {
			r.RawQuery += "&after=" + after
		}
		var page listReply
		want(t, s.do(s.signed(boss, r), &page), codeOK)
		for _, i := range page.Identities {
			got = append(got, i.Name)
		}
		after = page.Next
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Fatalf("%v", got)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=-1", "limit=x", "limit=99999999999999999999", "limit=9223372036854775807", "after=%00", "after=A", "what=1"} {
		r := s.request("GET", "/v1/identities", nil)
		r.RawQuery = query
		want(t, s.do(s.signed(boss, r), nil), "query")
	}
	// A page of its own size has no next one; neither has the default page.
	r := s.request("GET", "/v1/identities", nil)
	var page listReply
	want(t, s.do(s.signed(boss, r), &page), codeOK)
	if page.Next != "" || len(page.Identities) != 8 {
		t.Fatalf("%+v", page)
	}
}

func TestOwnRecordOnly(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	aud := s.enrol("main", "aud", tap.Auditor)
	get := func(by, path string) error { return s.do(s.signed(by, s.request("GET", path, nil)), nil) }
	want(t, get(ana, "/v1/identities/ana"), codeOK)
	want(t, get(ana, "/v1/identities/aud"), codeRole)
	want(t, get(ana, "/v1/identities/nobody"), codeRole)
	want(t, get(ana, "/v1/identities"), codeRole)
	want(t, get(aud, "/v1/identities/ana"), codeOK)
	want(t, get(aud, "/v1/identities/nobody"), "not_found")
	want(t, get(aud, "/v1/identities/AN%00A"), "not_found")
	// An auditor who narrows away the role is like anybody.
	r := s.request("GET", "/v1/identities/ana", nil)
	r.Header[tap.HeaderRoles] = "citizen"
	want(t, s.do(s.signed(aud, r), nil), codeRole)
}

func TestBadBodies(t *testing.T) {
	s := newSite(t)
	boss := s.enrol("main", "boss", tap.Operator)
	good := `"name":"ana","publicKey":"` + strings.Repeat("A", 43) + `=","roles":["citizen"]`
	for body, code := range map[string]string{
		"":                                   "json",
		"{":                                  "json",
		"{" + good + "}":                     "public_key", // all zero
		"{" + good + `,"x":1}`:               "schema",
		"{" + good + "} {}":                  "json",
		`{"name":"ana"}`:                     "schema",
		`{"name":1,"publicKey":2,"roles":3}`: "schema",
		strings.Replace("{"+good+"}", "ana", "a\xffa", 1):                    "utf8",
		strings.Replace("{"+good+"}", "ana", "A n", 1):                       "schema",
		strings.Replace("{"+good+"}", "ana", "system", 1):                    "name",
		strings.Replace("{"+good+"}", `"citizen"`, "", 1):                    "schema",
		strings.Replace("{"+good+"}", "citizen", "root", 1):                  "schema",
		strings.Replace("{"+good+"}", `"citizen"`, `"citizen","citizen"`, 1): "schema",
		strings.Replace("{"+good+"}", "AA", "A", 1):                          "schema",
		"{" + good + strings.Repeat(" ", 4096) + "}":                         "too_large",
	} {
		r := s.request("POST", "/v1/identities", nil)
		r.Body = []byte(body)
		want(t, s.do(s.signed(boss, r), nil), code)
	}
	for _, body := range []string{`{}`, `{"reason":""}`, `{"reason":1}`, `{"reason":"` + strings.Repeat("x", 501) + `"}`} {
		r := s.request("POST", "/v1/identities/boss/revoke", nil)
		r.Body = []byte(body)
		want(t, s.do(s.signed(boss, r), nil), "schema")
	}
	want(t, s.do(s.signed(boss, s.request("POST", "/v1/identities/nobody/revoke", revokeRequest{"x"})), nil), "not_found")
}

// What the schema let pass and the decoder does not, and what the state cannot
// tell, is an error of the right kind, never an effect.
func TestPodErrors(t *testing.T) {
	s := newSite(t)
	s.enrol("main", "boss", tap.Operator)
	s.enrol("main", "ana", tap.Citizen)
	s.enrol("main", "op", tap.Operator)
	item, _, _ := s.state.Get(identityKey("main", "op"))
	s.put(identityKey("main", "aaa"), []byte("damaged"))
	funcs := map[string]pods.Func{"enrol": enrol, "revoke": revoke, "list": list, "me": me, "get": get}
	for _, c := range []struct {
		name, fn, by string
		body         any
		param        string
		view         store.View
		kind         tap.Kind
	}{
		{"enrol of no object", "enrol", "boss", 1, "", s.state, tap.Invalid},
		{"revoke of no object", "revoke", "boss", 1, "ana", s.state, tap.Invalid},
		{"enrol by a citizen", "enrol", "ana", enrolment("new", tap.Citizen), "", s.state, tap.Unauthenticated},
		{"revoke by a stranger", "revoke", "eve", revokeRequest{"x"}, "ana", s.state, tap.Unauthenticated},
		{"enrol over damage", "enrol", "boss", enrolment("aaa", tap.Citizen), "", s.state, tap.Internal},
		{"revoke of damage", "revoke", "boss", revokeRequest{"x"}, "aaa", s.state, tap.Internal},
		{"revoke beside damage", "revoke", "boss", revokeRequest{"x"}, "op", s.state, tap.Internal},
		{"list over damage", "list", "boss", nil, "", s.state, tap.Internal},
		{"get of damage", "get", "boss", nil, "aaa", s.state, tap.Internal},
		{"get of no name", "get", "boss", nil, "a\x00b", s.state, tap.NotFound},
		{"enrol unreadable", "enrol", "boss", enrolment("new", tap.Citizen), "", brokenView{}, tap.Internal},
		{"list unreadable", "list", "boss", nil, "", brokenView{}, tap.Internal},
		{"me unreadable", "me", "boss", nil, "", brokenView{}, tap.Internal},
		{"revoke, then unreadable", "revoke", "boss", revokeRequest{"x"}, "op", scanless{s.state}, tap.Internal},
	} {
		call := s.call(c.by, c.body, "name", c.param)
		call.View, call.Query = c.view, map[string]string{}
		r, err := funcs[c.fn](context.Background(), call)
		if r != nil || err == nil || tap.KindOf(err) != c.kind {
			t.Errorf("%s: %v %v", c.name, r, err)
		}
	}
	if now, _, _ := s.state.Get(item.Key); now.Version != item.Version {
		t.Fatal("something was changed")
	}
}

// scanless can be read, not scanned.
type scanless struct{ store.View }

func (scanless) Scan(store.Key, store.Key, func(store.Item) bool) error { return errBroken }
