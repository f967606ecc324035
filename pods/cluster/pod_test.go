package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
)

func TestConform(t *testing.T) {
	s := newSite(t, "n1", "n2", "n3")
	made := uuid.UUID{1}
	withdrawn := uuid.UUID{2}
	id := invitationID(sum(s.Secret(withdrawn[:])))
	podtest.Conform(t, s.state, s.pod, []podtest.Request{
		{As: boss, Method: "GET", Target: "/v1/cluster"},
		{As: boss, ID: made, Method: "POST", Target: "/v1/cluster/invitations", Body: inviteRequest{60, true, "n4"}},
		{As: boss, ID: withdrawn, Method: "POST", Target: "/v1/cluster/invitations", Body: map[string]any{}},
		{As: boss, Method: "GET", Target: "/v1/cluster/invitations"},
		{As: boss, Method: "DELETE", Target: "/v1/cluster/invitations/" + id},
		{Method: "POST", Target: "/v1/cluster/join", Body: application(s.Secret(made[:]), "n4")},
		{As: boss, Method: "POST", Target: "/v1/cluster/members/n4/promote"},
		{As: boss, Method: "POST", Target: "/v1/cluster/transfer", Body: transferRequest{"n1"}},
		{As: boss, Method: "DELETE", Target: "/v1/cluster/members/n3?force=true"},
	})
	if _, ok := s.directory.Member("n4"); !ok {
		t.Error("the machine that joined is no member")
	}
}

// The life of a node through the interface, with what the ledger says of it.
func TestLifeOfANode(t *testing.T) {
	s := newSite(t, "n1")
	joins(t, s)
	isPromoted(t, s)
	isRemoved(t, s)
	staysAway(t, s)
	isInTheLedger(t, s)
}

func joins(t *testing.T, s *site) {
	changed := s.directory.Changed()
	secret, invitation := s.invite(inviteRequest{ExpiresSeconds: 600, Observer: true})
	if invitation.State != "open" || invitation.By != "boss" || invitation.Receipt == nil || len(invitation.ID) != 16 {
		t.Errorf("%+v", invitation)
	}
	joined, err := s.join(application(secret, "n2"))
	if err != nil {
		t.Fatal(err)
	}
	if joined.Site != "venue" || !joined.Observer || joined.AuthorityKey != "authority key" || joined.LedgerKey != "ledger key" ||
		!slices.Equal(joined.Members, []joinMember{{"n1", "n1.example:7443"}, {"n2", "n2.example:7443"}}) {
		t.Errorf("%+v", joined)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the new member")
	}
	m, ok := s.directory.Member("n2")
	if pin, known := s.directory.Pin("n2"); !ok || !known || m.Pin != pinOf("n2") || pin != m.Pin || !m.Observer || m.By != "boss" {
		t.Errorf("%+v", m)
	}
	if at, ok := s.directory.NodeAt("n2.example:7443"); !ok || at != "n2" {
		t.Errorf("at its address is %q", at)
	}
	status, err := do[statusReply](s, "GET", "/v1/cluster", nil)
	if err != nil || len(status.Nodes) != 2 || status.Nodes[1].Role != roleJoining || status.Voters != 1 || status.Quorum != 1 {
		t.Errorf("%+v %v", status, err)
	}
}

func isPromoted(t *testing.T, s *site) {
	s.node("n2", false)
	if status, _ := do[statusReply](s, "GET", "/v1/cluster", nil); status.Nodes[1].Role != roleObserver || status.Nodes[1].Lag != 10 {
		t.Errorf("%+v", status.Nodes[1])
	}
	if _, err := do[promotedReply](s, "POST", "/v1/cluster/members/n2/promote", nil); err != nil {
		t.Fatal(err)
	}
	if m, _ := s.directory.Member("n2"); m.Observer || m.Pin != pinOf("n2") {
		t.Errorf("promoted: %+v", m)
	}
	_, err := do[promotedReply](s, "POST", "/v1/cluster/members/n2/promote", nil)
	podtest.WantKind(t, err, tap.Conflict, "not_observer")
	s.status.Nodes[1].Voter = true
	if status, _ := do[statusReply](s, "GET", "/v1/cluster", nil); status.Nodes[1].Role != roleFollower || status.Nodes[0].Role != roleLeader {
		t.Errorf("%+v", status.Nodes)
	}
}

func isRemoved(t *testing.T, s *site) {
	removed, err := do[removedReply](s, "DELETE", "/v1/cluster/members/n2", nil)
	if err != nil || removed.Forced || removed.ID != "n2" {
		t.Fatal(err)
	}
	if _, still := s.directory.Member("n2"); still || !s.directory.Removed("n2") || !s.directory.RevokedKey(pinOf("n2")) || s.directory.Removed("n1") {
		t.Error("removed, but not for those who ask")
	}
	if status, _ := do[statusReply](s, "GET", "/v1/cluster", nil); status.Nodes[1].Role != roleLeaving {
		t.Errorf("%+v", status.Nodes[1])
	}
	_, err = do[removedReply](s, "DELETE", "/v1/cluster/members/n2", nil)
	podtest.WantKind(t, err, tap.Conflict, "too_late")
}

// staysAway: neither the name nor the key comes back.
func staysAway(t *testing.T, s *site) {
	secret, _ := s.invite(inviteRequest{})
	_, err := s.join(application(secret, "n2"))
	podtest.WantKind(t, err, tap.Conflict, "member_removed")
	same := application(secret, "n5")
	same.CSR = []byte("csr of n2")
	_, err = s.join(same)
	podtest.WantKind(t, err, tap.Conflict, "key_known")
}

func isInTheLedger(t *testing.T, s *site) {
	for action, outcomes := range map[string][]string{
		"cluster.invite": {"ok", "ok"}, "cluster.join": {"ok", "refused", "refused"}, "cluster.promote": {"ok"}, "cluster.remove": {"ok"}, "cluster.member": {"ok"},
	} {
		var got []string
		for _, e := range s.entries(action) {
			got = append(got, e.outcome)
		}
		if !slices.Equal(got, outcomes) {
			t.Errorf("%s: %v, want %v", action, got, outcomes)
		}
	}
	if e := s.entries("cluster.join")[0]; e.actor != "anonymous" || e.payload["node"] != "n2" || e.payload["invitedBy"] != "boss" || e.payload["pin"] == nil {
		t.Errorf("%+v", e)
	}
}

func TestInvitations(t *testing.T) {
	s := newSite(t, "n1")
	for name, c := range map[string]struct {
		in       inviteRequest
		lifetime time.Duration
	}{
		"standard": {inviteRequest{}, time.Hour},
		"short":    {inviteRequest{ExpiresSeconds: 60, Node: "n9"}, time.Minute},
		"long":     {inviteRequest{ExpiresSeconds: 86400, Observer: true}, 24 * time.Hour},
	} {
		_, reply := s.invite(c.in)
		expires, err := time.Parse(time.RFC3339, reply.Expires)
		if err != nil || expires.Sub(podtest.Epoch) != c.lifetime || reply.Node != c.in.Node || reply.Observer != c.in.Observer {
			t.Errorf("%s: %+v %v", name, reply, err)
		}
	}
	response, err := s.host.Do(t.Context(), podtest.Request{As: boss, Method: "GET", Target: "/v1/cluster/invitations"}, nil)
	if err != nil || strings.Contains(string(response.Body), "token") || strings.Count(string(response.Body), `"state":"open"`) != 3 {
		t.Errorf("%s %v", response.Body, err)
	}
	// The same request gets the same token, also from the same state later on.
	id := uuid.New()
	again := func() (r invitationReply) {
		if _, err := s.host.Do(t.Context(), podtest.Request{As: boss, ID: id, Method: "POST", Target: "/v1/cluster/invitations", Body: map[string]any{}}, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if first, second := again(), again(); first.Token != second.Token || !second.Receipt.Duplicate {
		t.Errorf("%+v and %+v", first, second)
	}
	// They expire by themselves.
	s.pass(time.Minute)
	left, err := do[invitationsReply](s, "GET", "/v1/cluster/invitations", nil)
	if err != nil || len(left.Invitations) != 3 {
		t.Errorf("%d invitations after a minute: %v", len(left.Invitations), err)
	}
	if _, err := do[withdrawnReply](s, "DELETE", "/v1/cluster/invitations/"+left.Invitations[0].ID, nil); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{left.Invitations[0].ID, "nothing", "0123456789ABCDEF", strings.Repeat("0", 16)} {
		_, err := do[withdrawnReply](s, "DELETE", "/v1/cluster/invitations/"+gone, nil)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
	for range maxOpen - 2 {
		s.invite(inviteRequest{})
	}
	_, err = do[invitationReply](s, "POST", "/v1/cluster/invitations", map[string]any{})
	podtest.WantKind(t, err, tap.Conflict, "too_many")
	s.pass(time.Hour)
	s.failing = tap.E("test", tap.Unavailable, "no address")
	_, err = do[invitationReply](s, "POST", "/v1/cluster/invitations", map[string]any{})
	podtest.WantKind(t, err, tap.Unavailable, "")
	for _, bad := range []any{
		map[string]any{"expiresSeconds": 59}, map[string]any{"expiresSeconds": 86401}, map[string]any{"node": "N 1"}, map[string]any{"observer": 1},
	} {
		_, err := do[invitationReply](s, "POST", "/v1/cluster/invitations", bad)
		podtest.WantKind(t, err, tap.Invalid, "schema")
	}
}

// The cluster is the site's: operators of another tenant see and do nothing.
func TestOtherTenants(t *testing.T) {
	s := newSite(t, "n1")
	stranger := *boss
	stranger.Tenant = "other"
	for _, r := range []podtest.Request{
		{Method: "GET", Target: "/v1/cluster"},
		{Method: "GET", Target: "/v1/cluster/invitations"},
		{Method: "POST", Target: "/v1/cluster/invitations", Body: map[string]any{}},
		{Method: "DELETE", Target: "/v1/cluster/members/n1"},
		{Method: "POST", Target: "/v1/cluster/transfer", Body: map[string]any{}},
	} {
		r.As = &stranger
		_, err := s.host.Do(t.Context(), r, nil)
		podtest.WantKind(t, err, tap.Forbidden, "tenant")
	}
}

func TestRemovingKeepsAMajority(t *testing.T) {
	remove := func(s *site, target string) error {
		_, err := do[removedReply](s, "DELETE", "/v1/cluster/members/"+target, nil)
		return err
	}
	s := newSite(t, "n1")
	podtest.WantKind(t, remove(s, "n1"), tap.Conflict, "last_voter")
	podtest.WantKind(t, remove(s, "n1?force=true"), tap.Conflict, "last_voter")
	podtest.WantKind(t, remove(s, "n1?force=maybe"), tap.Invalid, "query")
	for _, unknown := range []string{"n9", "N%201"} {
		podtest.WantKind(t, remove(s, unknown), tap.NotFound, "")
	}

	s = newSite(t, "n1", "n2", "n3")
	s.reach("n3", false)
	podtest.WantKind(t, remove(s, "n2"), tap.Conflict, "quorum")
	if err := remove(s, "n3"); err != nil { // the one that is away may go
		t.Fatal(err)
	}
	// Replication still counts n3; the records do not.
	if err := remove(s, "n2"); err != nil {
		t.Fatal(err)
	}
	podtest.WantKind(t, remove(s, "n1"), tap.Conflict, "last_voter")

	s = newSite(t, "n1", "n2", "n3")
	s.reach("n3", false)
	if err := remove(s, "n2?force=true"); err != nil {
		t.Error(err)
	}
	if e := s.entries("cluster.remove")[0]; e.payload["forced"] != true {
		t.Errorf("%+v", e)
	}

	// Observers go without a question, and count for nothing.
	s = newSite(t, "n1")
	o := member("o1")
	o.Observer = true
	s.commit(SelfBatch(tenant, o, uuid.New()))
	s.node("o1", false)
	podtest.WantKind(t, remove(s, "n1"), tap.Conflict, "last_voter")
	if err := remove(s, "o1"); err != nil {
		t.Error(err)
	}
}

func TestTransfer(t *testing.T) {
	s := newSite(t, "n1", "n2", "n3")
	s.node("o1", false)
	transfer := func(to string) (transferredReply, error) {
		body := map[string]any{}
		if to != "" {
			body["to"] = to
		}
		return do[transferredReply](s, "POST", "/v1/cluster/transfer", body)
	}
	if r, err := transfer("n2"); err != nil || r.From != "n1" || r.Leader != "n2" {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := transfer("n2"); err != nil || r.Leader != "n2" || len(s.transfers) != 1 {
		t.Errorf("to the leader: %+v %v", r, err)
	}
	_, err := transfer("n9")
	podtest.WantKind(t, err, tap.NotFound, "")
	_, err = transfer("o1")
	podtest.WantKind(t, err, tap.Conflict, "not_voter")
	s.reach("n3", false)
	_, err = transfer("n3")
	podtest.WantKind(t, err, tap.Conflict, "not_reachable")
	s.failing = tap.E("test", tap.Conflict, "behind").WithCode("behind")
	_, err = transfer("n1")
	podtest.WantKind(t, err, tap.Conflict, "behind")
	s.failing = errors.New("odd")
	_, err = transfer("")
	podtest.WantKind(t, err, tap.Internal, "")
	got := s.entries("cluster.transfer")
	if len(got) != 4 || got[0].payload["leader"] != "n2" || got[2].outcome != "failed" || got[2].payload["reason"] != "behind" {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.host.Do(ctx, podtest.Request{As: boss, Method: "POST", Target: "/v1/cluster/transfer", Body: map[string]any{}}, nil); err == nil {
		t.Error("a cancelled transfer succeeded")
	}
	alone := newSite(t, "n1")
	_, err = do[transferredReply](alone, "POST", "/v1/cluster/transfer", map[string]any{})
	podtest.WantKind(t, err, tap.Conflict, "no_peer")
}

// A site whose majority is lost goes on with one.
func TestRecoveredBatch(t *testing.T) {
	s := newSite(t, "n1", "n2")
	o := member("o1")
	o.Observer = true
	s.commit(SelfBatch(tenant, o, uuid.New()))
	if _, err := RecoveredBatch(s.state, tenant, "n9", podtest.Epoch, uuid.New()); !tap.IsKind(err, tap.NotFound) {
		t.Errorf("an unknown survivor: %v", err)
	}
	b, err := RecoveredBatch(s.state, tenant, "o1", podtest.Epoch, uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	s.commit(b)
	if m := s.directory.Members(); len(m) != 1 || m[0].ID != "o1" || m[0].Observer || !s.directory.Removed("n1") || !s.directory.RevokedKey(pinOf("n2")) {
		t.Errorf("%+v", m)
	}
	if e := s.entries("cluster.recover"); len(e) != 1 || e[0].actor != system {
		t.Errorf("%+v", e)
	}
	if _, err := s.state.Commit(t.Context(), SelfBatch(tenant, member("n1"), uuid.New())); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("a removed node wrote itself back: %v", err)
	}
}

// A record that does not parse is a defect of every route that needs it.
func TestDamagedRecords(t *testing.T) {
	for _, kind := range []string{kindMember, kindInvitation, kindRemoved} {
		s := newSite(t, "n1")
		secret, invitation := s.invite(inviteRequest{})
		name := "n2"
		if kind == kindInvitation {
			name = invitation.ID
		}
		s.damage(kind, name)
		failed := 0
		for _, r := range []podtest.Request{
			{Method: "POST", Target: "/v1/cluster/join", Body: application(secret, "n3")},
			{As: boss, Method: "GET", Target: "/v1/cluster"},
			{As: boss, Method: "GET", Target: "/v1/cluster/invitations"},
			{As: boss, Method: "DELETE", Target: "/v1/cluster/invitations/" + invitation.ID},
			{As: boss, Method: "POST", Target: "/v1/cluster/invitations", Body: map[string]any{}},
			{As: boss, Method: "DELETE", Target: "/v1/cluster/members/n2"},
		} {
			if _, err := newHostOf(s).Do(t.Context(), r, nil); tap.IsKind(err, tap.Internal) {
				failed++
			}
		}
		if want := map[string]int{kindMember: 3, kindInvitation: 4, kindRemoved: 2}[kind]; failed < want {
			t.Errorf("%s damaged: %d requests failed", kind, failed)
		}
		if _, err := RecoveredBatch(s.state, tenant, "n1", podtest.Epoch, uuid.New()); (err != nil) != (kind == kindMember) {
			t.Errorf("%s damaged: %v", kind, err)
		}
		fresh := NewDirectory(tenant)
		if err := fresh.Load(s.state); (err != nil) != (kind != kindInvitation) {
			t.Errorf("%s damaged: %v", kind, err)
		}
	}
}
