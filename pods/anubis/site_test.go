package anubis

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net/netip"
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

var home = netip.MustParseAddr("192.0.2.7")

// site is a gate in front of real pods over a state in memory.
type site struct {
	t         testing.TB
	state     *podtest.State
	directory *Directory
	watchlist *Watchlist
	gate      *Gate
	server    *pods.Server
	table     *pods.Table
	log       bytes.Buffer
	keys      map[string]ed25519.PrivateKey // by key id

	mu      sync.Mutex
	now     time.Time // guarded by mu
	reached int       // guarded by mu; calls that reached a pod
}

// fatalf lets a fixture serve tests and rapid's checks alike.
type fatalf interface{ Fatalf(string, ...any) }

func newSite(t testing.TB, change ...func(*Config)) *site {
	s := &site{
		t: t, state: podtest.NewState(), directory: NewDirectory(), watchlist: NewWatchlist("main"),
		keys: map[string]ed25519.PrivateKey{}, now: podtest.Epoch,
	}
	s.state.Observe(SpaceIdentity, s.directory.ObserveChanges)
	for _, space := range []string{SpaceAlert, SpaceBlocked, SpaceSecurity} {
		s.state.Observe(space, s.watchlist.ObserveChanges)
	}
	c := Config{
		Directory: s.directory, View: s.state, Writer: s.state, Now: s.Now,
		Log: slog.New(slog.NewTextHandler(&s.log, nil)), Limits: DefaultLimits(),
		Watchlist: s.watchlist,
	}
	for _, f := range change {
		f(&c)
	}
	s.gate = New(c)
	probe := probePod{s}
	table, err := pods.NewTable(Pod{}, probe)
	if err != nil {
		t.Fatal(err)
	}
	s.table = table
	s.server = pods.NewServer(pods.ServerConfig{
		Table: table, Gate: s.gate, Writer: c.Writer, View: s.state, Now: s.Now,
		Guards: map[string]*pods.Guard{podName: pods.NewGuard(Pod{}.Manifest()), "probe": pods.NewGuard(probe.Manifest())},
	})
	return s
}

func (s *site) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// pass moves the node's clock and the machine's.
func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	s.now = s.now.Add(d)
	s.mu.Unlock()
	if d > 0 {
		s.state.Advance(d)
	}
}

func (s *site) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// keyOf makes a key from a name, so that tests repeat.
func keyOf(name string) ed25519.PrivateKey {
	seed := bookpi.PayloadDigest([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// enrol puts an identity straight into the state.
func (s *site) enrol(tenant, name string, roles ...tap.Role) string {
	key := keyOf(tenant + name)
	b, err := Enrolment{Tenant: tenant, Name: name, Key: public(key), Roles: roles, By: system, At: s.Now(), RequestID: uuid.New()}.Batch()
	if err == nil {
		_, err = s.state.Commit(context.Background(), b)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	keyID := tap.JoinKeyID(tenant, name)
	s.keys[keyID] = key
	return keyID
}

// request is an unsigned request from home.
func (s *site) request(method, path string, body any) *tap.Request {
	var raw []byte
	if body != nil {
		raw, _ = json.Marshal(body)
	}
	return &tap.Request{
		ID: uuid.New(), Method: method, Path: path, Body: raw, Header: map[string]string{},
		Remote: home, Transport: "https", Received: s.Now(),
	}
}

// signed signs with the identity's key, now.
func (s *site) signed(keyID string, r *tap.Request) *tap.Request {
	return s.signedAt(keyID, r, s.Now(), tap.NewNonce())
}

func (s *site) signedAt(keyID string, r *tap.Request, created time.Time, nonce string) *tap.Request {
	key, ok := s.keys[keyID]
	if !ok {
		key = keyOf("stranger")
	}
	if err := tap.SignRequest(r, key, keyID, created, nonce); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// do serves a request and decodes the reply.
func (s *site) do(r *tap.Request, out any) error {
	response, err := s.server.Serve(context.Background(), r)
	if err == nil && out != nil {
		err = json.Unmarshal(response.Body, out)
	}
	return err
}

// row is a row of the probe pod with these roles.
func row(roles ...tap.Role) *pods.Row {
	return &pods.Row{Pod: "probe", Route: pods.Route{Roles: roles}}
}

// want fails unless the error has the code.
func want(t fatalf, err error, code string) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	got := codeOK
	if err != nil {
		got = tap.AsError(err).StableCode()
	}
	if got != code {
		t.Fatalf("outcome %q, want %q (%v)", got, code, err)
	}
}

// attemptsIn adds up the ledger's auth.attempts by actor, address and outcome.
func (s *site) attemptsIn() map[[3]string]int64 {
	found := map[[3]string]int64{}
	err := s.state.Records(0, false, func(r store.Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Action == "auth.attempts" {
			var p attemptPayload
			if err := json.Unmarshal(r.Payload, &p); err != nil || p.Reason != e.Outcome || p.First > p.Last || p.Count < 1 {
				s.t.Fatalf("payload %s: %v", r.Payload, err)
			}
			found[[3]string{e.Actor, p.Address, e.Outcome}] += p.Count
		}
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// probePod has a route per role set that the tests need. It commits on POST.
type probePod struct{ site *site }

func (p probePod) Manifest() pods.Manifest {
	route := func(method, pattern string, body *pods.Schema, roles ...tap.Role) pods.Route {
		return pods.Route{Method: method, Pattern: pattern, Summary: "probe", Roles: roles, Body: body, Run: p.run}
	}
	any := pods.MustSchema(`true`)
	return pods.Manifest{Name: "probe", Routes: []pods.Route{
		route("GET", "/v1/evidence/key", nil, tap.Anyone),
		route("GET", "/v1/dreamspaces", nil, tap.Citizen, tap.Device),
		route("POST", "/v1/kernel/intent", any, tap.Citizen),
		route("POST", "/v1/economy/tcep", any, tap.Citizen),
		route("POST", "/v1/evidence", any, tap.Device, tap.Citizen, tap.Operator),
		route("POST", "/v1/memory/documents", any, tap.Curator),
		route("POST", "/v1/guardian/reviews/{ticket}/decision", any, tap.Guardian),
	}}
}

func (p probePod) run(_ context.Context, c *pods.Call) (*pods.Result, error) {
	p.site.mu.Lock()
	p.site.reached++
	p.site.mu.Unlock()
	r := &pods.Result{Body: map[string]string{"actor": c.Actor()}}
	if len(c.Body) > 0 {
		r.Evidence = []store.Evidence{{Actor: c.Actor(), Action: "probe", Outcome: "ok", Payload: c.Body}}
	}
	return r, nil
}
