package cluster

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func sum(b []byte) Pin { return sha256.Sum256(b) }

// damage writes a record that does not parse.
func (s *site) damage(kind, name string) {
	s.commit(store.Batch{
		RequestID: uuid.New(), Tenant: tenant, Ops: []store.Op{store.Put(store.K(tenant, Space, kind, name), []byte(`{"id":7}`))},
		Evidence: []store.Evidence{{Actor: system, Action: "test", Outcome: "ok"}},
	})
}

// newHostOf is a fresh server, whose breaker has seen no failure.
func newHostOf(s *site) *podtest.Host { return podtest.NewHost(s.t, s.state, s.pod) }

func TestJoinIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		invitation inviteRequest
		before     func(s *site)
		change     func(r *joinRequest)
		kind       tap.Kind
		code       string
	}{
		"unknown secret":   {change: func(r *joinRequest) { r.Secret[0] ^= 1 }, kind: tap.Forbidden, code: codeUnknown},
		"expired":          {before: func(s *site) { s.pass(time.Hour) }, kind: tap.Forbidden, code: codeUnknown},
		"expired here":     {before: func(s *site) { s.host.Now = podtest.Epoch.Add(time.Hour) }, kind: tap.Forbidden, code: "invitation_expired"},
		"another name":     {invitation: inviteRequest{Node: "n7"}, kind: tap.Forbidden, code: "invitation_node"},
		"old release":      {before: func(s *site) { s.status.Version = 2 }, kind: tap.Conflict, code: "version"},
		"a member's name":  {change: func(r *joinRequest) { r.Node = "n1" }, kind: tap.Conflict, code: "member_exists"},
		"a member's place": {change: func(r *joinRequest) { r.Address = "n1.example:7443" }, kind: tap.Conflict, code: "address_taken"},
		"a member's key":   {change: func(r *joinRequest) { r.CSR = []byte("csr of n1") }, kind: tap.Conflict, code: "key_known"},
		"no request":       {change: func(r *joinRequest) { r.CSR = []byte("rubbish") }, kind: tap.Invalid, code: "csr"},
		"no address":       {change: func(r *joinRequest) { r.Address = "here" }, kind: tap.Invalid, code: "csr"},
		"no authority":     {change: func(r *joinRequest) { r.CSR = []byte("csr of nobody") }, kind: tap.Unavailable, code: ""},
		"a full site": {before: func(s *site) {
			for i := range maxMembers {
				s.commit(SelfBatch(tenant, member("m"+string(rune('a'+i))), uuid.New()))
			}
		}, kind: tap.Conflict, code: "too_many"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "n1")
			secret, invitation := s.invite(c.invitation)
			if c.before != nil {
				c.before(s)
			}
			r := application(secret, "n2")
			if c.change != nil {
				c.change(&r)
			}
			members := len(s.directory.Members())
			_, err := s.join(r)
			podtest.WantKind(t, err, c.kind, c.code)
			if len(s.directory.Members()) != members {
				t.Error("a refused machine is a member")
			}
			written := s.entries(actionJoin)
			switch {
			case c.code == codeUnknown:
				if len(s.counted) != 1 || s.counted[0].Reason != codeUnknown || len(written) != 0 {
					t.Errorf("counted %+v, written %+v", s.counted, written)
				}
			case c.kind != tap.Unavailable:
				if len(written) != 1 || written[0].outcome != "refused" || written[0].payload["reason"] != c.code ||
					written[0].payload["invitation"] != invitation.ID || len(s.counted) != 0 {
					t.Errorf("written %+v", written)
				}
			}
		})
	}
}

// An invitation takes in one machine. That one may repeat itself, nobody else.
func TestInvitationIsUsedOnce(t *testing.T) {
	s := newSite(t, "n1")
	secret, _ := s.invite(inviteRequest{})
	first, err := s.join(application(secret, "n2"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.join(application(secret, "n2"))
	if err != nil || again.Certificate != first.Certificate || len(again.Members) != 2 {
		t.Fatalf("the same machine again: %+v %v", again, err)
	}
	another := application(secret, "n3")
	otherKey, otherPlace := application(secret, "n2"), application(secret, "n2")
	otherKey.CSR, otherPlace.Address = []byte("csr of n3"), "n4.example:7443"
	for _, r := range []joinRequest{another, otherKey, otherPlace} {
		_, err := s.join(r)
		podtest.WantKind(t, err, tap.Forbidden, "invitation_used")
	}
	list, err := do[invitationsReply](s, "GET", "/v1/cluster/invitations", nil)
	if err != nil || len(list.Invitations) != 1 || list.Invitations[0].State != "used" || list.Invitations[0].UsedBy != "n2" {
		t.Errorf("%+v %v", list, err)
	}
	// Once removed, not even the same machine.
	if _, err := do[removedReply](s, "DELETE", "/v1/cluster/members/n2", nil); err != nil {
		t.Fatal(err)
	}
	_, err = s.join(application(secret, "n2"))
	podtest.WantKind(t, err, tap.Forbidden, "invitation_used")
	var outcomes []string
	for _, e := range s.entries(actionJoin) {
		outcomes = append(outcomes, e.outcome)
	}
	if len(outcomes) != 6 || outcomes[0] != "ok" || outcomes[1] != "repeated" || outcomes[5] != "refused" {
		t.Errorf("the ledger has %v", outcomes)
	}
	// The right to repeat ends with the invitation.
	s.pass(time.Hour)
	_, err = s.join(application(secret, "n2"))
	podtest.WantKind(t, err, tap.Forbidden, codeUnknown)
}

// Whoever repeats a used token cannot fill the ledger.
func TestRefusalsAreLimited(t *testing.T) {
	s := newSite(t, "n1")
	secret, _ := s.invite(inviteRequest{})
	if _, err := s.join(application(secret, "n2")); err != nil {
		t.Fatal(err)
	}
	for range 3 * refusalsBurst {
		_, err := s.join(application(secret, "n3"))
		podtest.WantKind(t, err, tap.Forbidden, "invitation_used")
	}
	if written := len(s.entries(actionJoin)) - 1; written != refusalsBurst || len(s.counted) != 2*refusalsBurst {
		t.Errorf("%d written, %d counted", written, len(s.counted))
	}
}

func TestJoinBodies(t *testing.T) {
	s := newSite(t, "n1")
	secret, _ := s.invite(inviteRequest{})
	for name, change := range map[string]func(r *joinRequest){
		"short secret":  func(r *joinRequest) { r.Secret = r.Secret[:15] },
		"long secret":   func(r *joinRequest) { r.Secret = make([]byte, 34) },
		"no name":       func(r *joinRequest) { r.Node = "" },
		"odd name":      func(r *joinRequest) { r.Node = "N 2" },
		"long address":  func(r *joinRequest) { r.Address = string(make([]byte, 300)) },
		"odd release":   func(r *joinRequest) { r.Release = "a b" },
		"no request":    func(r *joinRequest) { r.CSR = nil },
		"large request": func(r *joinRequest) { r.CSR = make([]byte, 8192) },
	} {
		r := application(secret, "n2")
		change(&r)
		_, err := s.join(r)
		podtest.WantKind(t, err, tap.Invalid, "schema")
		if err == nil {
			t.Error(name)
		}
	}
	raw := map[string]any{"secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAA", "node": "n2", "address": "a:1", "release": "", "version": 1, "csr": "AAAA"}
	_, err := s.host.Do(t.Context(), podtest.Request{Method: "POST", Target: "/v1/cluster/join", Body: raw}, nil)
	podtest.WantKind(t, err, tap.Invalid, "schema") // base64 without its padding
}
