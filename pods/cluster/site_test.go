package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var (
	boss   = podtest.Who("boss", tap.Operator)
	tenant = tap.DefaultTenant
)

// site is the pod with a replication and an authority that a test commands. It
// is the pod's Replication and Trust.
type site struct {
	t         testing.TB
	state     *podtest.State
	host      *podtest.Host
	directory *Directory
	pod       *Pod
	status    Status
	transfers []string
	failing   error // of Transfer and Token
	counted   []Refusal
}

func newSite(t testing.TB, members ...string) *site {
	t.Helper()
	s := &site{t: t, state: podtest.NewState(), directory: NewDirectory(tenant)}
	s.state.Observe(Space, s.directory.ObserveChanges)
	if err := s.directory.Load(s.state); err != nil {
		t.Fatal(err)
	}
	s.pod = New(Config{Tenant: tenant, Replication: s, Trust: s, Refused: func(r Refusal) { s.counted = append(s.counted, r) }})
	s.host = podtest.NewHost(t, s.state, s.pod)
	for _, id := range members {
		s.commit(SelfBatch(tenant, member(id), uuid.New()))
		s.node(id, true)
	}
	s.status.Node, s.status.Commit = "n1", 100
	if len(members) > 0 {
		s.status.Node, s.status.Leader = members[0], members[0]
	}
	return s
}

func member(id string) Member {
	return Member{ID: id, Address: id + ".example:7443", Pin: pinOf(id), Joined: podtest.Epoch.UnixMicro(), Release: "0.1.0", Version: 1}
}

// pinOf is the pin of the key that a node of this name brings.
func pinOf(id string) Pin { return sha256.Sum256([]byte("key of " + id)) }

// node makes replication count a node that answers.
func (s *site) node(id string, voter bool) {
	s.status.Nodes = append(s.status.Nodes, Node{
		ID: id, Address: id + ".example:7443", Voter: voter, Reachable: true, Heard: podtest.Epoch, Applied: 90, Version: 1,
		RoundTrip: time.Millisecond, ClockOffset: -time.Millisecond,
		Report: Report{Release: "0.1.0", Ledger: Ledger{7, "ab"}, Disk: Disk{1, 2, false}, Conditions: []Condition{{"disk", true, ""}}},
	})
}

func (s *site) reach(id string, reachable bool) {
	for i := range s.status.Nodes {
		if s.status.Nodes[i].ID == id {
			s.status.Nodes[i].Reachable = reachable
		}
	}
}

// pass moves the machine's clock and the proposers'.
func (s *site) pass(d time.Duration) {
	s.state.Advance(d)
	s.host.Now = s.host.Now.Add(d)
}

func (s *site) Status() Status {
	copied := s.status
	copied.Nodes = slices.Clone(s.status.Nodes)
	return copied
}

func (s *site) Transfer(_ context.Context, to string) error {
	s.transfers = append(s.transfers, to)
	if s.failing != nil {
		return s.failing
	}
	if to == "" {
		to = s.status.Nodes[len(s.status.Nodes)-1].ID
	}
	s.status.Leader = to
	return nil
}

func (s *site) Secret(request []byte) []byte {
	h := hmac.New(sha256.New, []byte("site"))
	h.Write(request)
	return h.Sum(nil)
}

func (s *site) Token(secret []byte, expires time.Time) (string, error) {
	return fmt.Sprintf("token.%s.%d", base64.StdEncoding.EncodeToString(secret), expires.Unix()), s.failing
}

// Sign takes "csr of NAME" for a request that NAME's key signed.
func (s *site) Sign(csr []byte, node, address string) (Credentials, error) {
	key, ok := strings.CutPrefix(string(csr), "csr of ")
	if !ok || !strings.Contains(address, ":") {
		return Credentials{}, tap.E("test", tap.Invalid, "no request").WithCode("csr")
	}
	if key == "nobody" {
		return Credentials{}, tap.E("test", tap.Unavailable, "the key is gone")
	}
	return Credentials{Site: "venue", Pin: pinOf(key), Certificate: "certificate of " + node, AuthorityKey: "authority key", LedgerKey: "ledger key"}, nil
}

func (s *site) commit(b store.Batch) {
	s.t.Helper()
	if _, err := s.state.Commit(context.Background(), b); err != nil {
		s.t.Fatal(err)
	}
}

// do sends a request as the operator and decodes the reply.
func do[T any](s *site, method, target string, body any) (T, error) {
	var out T
	_, err := s.host.Do(context.Background(), podtest.Request{As: boss, Method: method, Target: target, Body: body}, &out)
	return out, err
}

// invite makes an invitation and returns its secret, as in the token.
func (s *site) invite(in inviteRequest) (secret []byte, reply invitationReply) {
	s.t.Helper()
	reply, err := do[invitationReply](s, "POST", "/v1/cluster/invitations", asked(in))
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err = base64.StdEncoding.DecodeString(strings.Split(reply.Token, ".")[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return secret, reply
}

// asked leaves out what a client that does not care leaves out.
func asked(in inviteRequest) map[string]any {
	body := map[string]any{"observer": in.Observer}
	if in.ExpiresSeconds != 0 {
		body["expiresSeconds"] = in.ExpiresSeconds
	}
	if in.Node != "" {
		body["node"] = in.Node
	}
	return body
}

func application(secret []byte, id string) joinRequest {
	return joinRequest{Secret: secret, Node: id, Address: id + ".example:7443", Release: "0.1.0", Version: 1, CSR: []byte("csr of " + id)}
}

func (s *site) join(r joinRequest) (joinReply, error) {
	var out joinReply
	_, err := s.host.Do(context.Background(), podtest.Request{Method: "POST", Target: "/v1/cluster/join", Body: r}, &out)
	return out, err
}

// entry is one ledger entry as a test wants it.
type entry struct {
	actor, action, outcome string
	payload                map[string]any
}

// entries lists the ledger's entries of an action.
func (s *site) entries(action string) (found []entry) {
	s.t.Helper()
	err := s.state.Records(0, false, func(r store.Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Action == action {
			var payload map[string]any
			if err := json.Unmarshal(r.Payload, &payload); err != nil {
				s.t.Fatal(err)
			}
			found = append(found, entry{e.Actor, e.Action, e.Outcome, payload})
		}
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}
