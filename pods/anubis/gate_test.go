package anubis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const nonceA, nonceB = "nonce-number-one", "nonce-number-two"

func admit(s *site, r *tap.Request, row *pods.Row) (*pods.Admission, error) {
	return s.gate.Admit(context.Background(), r, row)
}

func TestAdmitSigned(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen, tap.Curator)
	r := s.signedAt(ana, s.request("POST", "/v1/kernel/intent", 1), s.Now(), nonceA)
	a, err := admit(s, r, row(tap.Citizen))
	if err != nil {
		t.Fatal(err)
	}
	if p := a.Principal; p.Identity != "ana" || p.Tenant != "main" || p.KeyID != ana || !p.Has(tap.Curator) || p.Has(tap.Operator) {
		t.Fatalf("principal %+v", a.Principal)
	}
	nonce := store.K("main", SpaceNonce, "ana", nonceA)
	item, _, _ := s.state.Get(store.K("main", SpaceIdentity, "ana"))
	expires := s.state.Clock() + (2 * tap.SignatureWindow).Microseconds()
	if len(a.Ops) != 3 || a.Ops[0].Type != store.OpCreate || a.Ops[0].Key != nonce ||
		a.Ops[1].Type != store.OpExpire || a.Ops[1].Key != nonce || a.Ops[1].Number != expires ||
		a.Ops[2].Type != store.OpCheck || a.Ops[2].Key != item.Key || a.Ops[2].Number != int64(item.Version) {
		t.Fatalf("ops %+v", a.Ops)
	}
	// A signature from the future lives longer, and so does its nonce; one
	// that is about to expire is kept for the clocks' difference.
	for _, age := range []time.Duration{-tap.SignatureWindow, tap.SignatureWindow} {
		a, err := admit(s, s.signedAt(ana, s.request("GET", "/", nil), s.Now().Add(-age), tap.NewNonce()), row(tap.Citizen))
		if err != nil || a.Ops[1].Number != expires-age.Microseconds() {
			t.Fatalf("%s old: kept until %d, %v", age, a.Ops[1].Number, err)
		}
	}
}

// The window's edge, to the microsecond, on both sides.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name string
		off  time.Duration // the node's clock, from the signature's creation
		code string
	}{
		{"newest", -tap.SignatureWindow, codeOK},
		{"too new", -tap.SignatureWindow - time.Microsecond, tap.CodeExpired},
		{"oldest", tap.SignatureWindow, codeOK},
		{"too old", tap.SignatureWindow + time.Microsecond, tap.CodeExpired},
		{"a day old", 24 * time.Hour, tap.CodeExpired},
		{"a day ahead", -24 * time.Hour, tap.CodeExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			ana := s.enrol("main", "ana", tap.Citizen)
			r := s.signed(ana, s.request("GET", "/v1/dreamspaces", nil))
			s.pass(c.off)
			_, err := admit(s, r, row(tap.Citizen))
			want(t, err, c.code)
		})
	}
}

// Every way in which a signed request can be wrong, and its code.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, code string
		spoil      func(*tap.Request)
	}{
		{"nothing wrong", codeOK, func(*tap.Request) {}},
		{"unsigned", tap.CodeUnsigned, func(r *tap.Request) { r.Header = nil }},
		{"other body", tap.CodeDigestMismatch, func(r *tap.Request) { r.Body = []byte("2") }},
		{"no body", tap.CodeDigestMismatch, func(r *tap.Request) { r.Body = nil }},
		{"other method", tap.CodeBadSignature, func(r *tap.Request) { r.Method = "PUT" }},
		{"other path", tap.CodeBadSignature, func(r *tap.Request) { r.Path += "/x" }},
		{"other query", tap.CodeBadSignature, func(r *tap.Request) { r.RawQuery = "a=1" }},
		{"roles added", tap.CodeMalformedSignature, func(r *tap.Request) { r.Header[tap.HeaderRoles] = "operator" }},
		{"id added", tap.CodeMalformedSignature, func(r *tap.Request) { r.Header[tap.HeaderRequestID] = "x" }},
		{"other digest", tap.CodeBadSignature, func(r *tap.Request) {
			r.Body = []byte("2")
			r.Header[tap.HeaderDigest] = tap.ContentDigest(r.Body)
		}},
		{"other algorithm", tap.CodeMalformedSignature, func(r *tap.Request) { r.Header[tap.HeaderSignatureInput] += `;alg="hmac-sha256"` }},
		{"other time", tap.CodeBadSignature, func(r *tap.Request) {
			in := r.Header[tap.HeaderSignatureInput]
			r.Header[tap.HeaderSignatureInput] = strings.Replace(in, "created=1767225600", "created=1767225601", 1)
		}},
		{"other nonce", tap.CodeBadSignature, func(r *tap.Request) { renonce(r, "nonce-number-0ne") }},
		{"short nonce", tap.CodeMalformedSignature, func(r *tap.Request) { renonce(r, "short") }},
		{"long nonce", tap.CodeMalformedSignature, func(r *tap.Request) { renonce(r, strings.Repeat("n", 65)) }},
		{"huge field", tap.CodeMalformedSignature, func(r *tap.Request) {
			r.Header[tap.HeaderSignatureInput] += strings.Repeat(" ", 1<<20)
		}},
		{"unknown name", codeUnknownIdentity, func(r *tap.Request) { rekey(r, "main/eve") }},
		{"unknown tenant", codeUnknownIdentity, func(r *tap.Request) { rekey(r, "else/ana") }},
		{"malformed name", tap.CodeMalformedSignature, func(r *tap.Request) { rekey(r, "main/An a") }},
		{"another's name", tap.CodeBadSignature, func(r *tap.Request) { rekey(r, "main/bob") }},
		{"revoked", codeRevoked, func(r *tap.Request) { rekey(r, "main/old") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			ana := s.enrol("main", "ana", tap.Citizen)
			s.enrol("main", "bob", tap.Citizen)
			old := s.enrol("main", "old", tap.Citizen)
			s.revoke("main", "old")
			signer := ana
			if c.code == codeRevoked {
				signer = old
			}
			r := s.signedAt(signer, s.request("POST", "/v1/kernel/intent", 1), s.Now(), nonceA)
			c.spoil(r)
			a, err := admit(s, r, row(tap.Citizen))
			want(t, err, c.code)
			if c.code == codeOK {
				return
			}
			if a != nil || tap.KindOf(err) != tap.Unauthenticated {
				t.Fatalf("admission %v, kind %s", a, tap.KindOf(err))
			}
			if s.gate.nonces.len() != 0 {
				t.Fatal("a refused request spent its nonce")
			}
		})
	}
}

func renonce(r *tap.Request, nonce string) {
	r.Header[tap.HeaderSignatureInput] = strings.Replace(r.Header[tap.HeaderSignatureInput], nonceA, nonce, 1)
}

func rekey(r *tap.Request, keyID string) {
	r.Header[tap.HeaderSignatureInput] = strings.Replace(r.Header[tap.HeaderSignatureInput], "main/ana", keyID, 1)
}

// revoke writes a revoked record straight into the state.
func (s *site) revoke(tenant, name string) {
	item, ok, _ := s.state.Get(identityKey(tenant, name))
	record, err := parseIdentity(item.Value)
	if !ok || err != nil {
		s.t.Fatal("no such identity", err)
	}
	record.State = StateRevoked
	s.put(item.Key, record.encode())
}

func (s *site) put(k store.Key, value []byte) {
	op := store.Put(k, value)
	if value == nil {
		op = store.Delete(k)
	}
	s.commit(op)
}

func (s *site) commit(ops ...store.Op) {
	_, err := s.state.Commit(context.Background(), store.Batch{
		RequestID: [16]byte([]byte(tap.NewNonce())[:16]), Tenant: ops[0].Key.Tenant(), Ops: ops,
		Evidence: []store.Evidence{{Actor: system, Action: "test", Outcome: "ok"}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestReplay(t *testing.T) {
	s := newSite(t)
	ana, bob := s.enrol("main", "ana", tap.Citizen), s.enrol("main", "bob", tap.Citizen)
	r := s.signedAt(ana, s.request("GET", "/v1/dreamspaces", nil), s.Now(), nonceA)
	_, err := admit(s, r, row(tap.Citizen))
	want(t, err, codeOK)
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeReplayed)

	// Up to the last moment of its life, and before anything costly is asked.
	s.pass(tap.SignatureWindow)
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeReplayed)
	s.pass(-tap.SignatureWindow)
	other := *r
	other.Body = []byte("not what was signed")
	_, err = admit(s, &other, row(tap.Citizen))
	want(t, err, codeReplayed)

	// The same nonce under another signature of the same key is used as well;
	// under another key it is another nonce.
	again := s.signedAt(ana, s.request("GET", "/v1/dreamspaces", nil), s.Now().Add(time.Second), nonceA)
	_, err = admit(s, again, row(tap.Citizen))
	want(t, err, codeReplayed)
	_, err = admit(s, s.signedAt(bob, s.request("GET", "/v1/dreamspaces", nil), s.Now(), nonceA), row(tap.Citizen))
	want(t, err, codeOK)

	// Past the window the old signature is expired and the nonce is free.
	s.pass(2*tap.SignatureWindow + time.Minute)
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, tap.CodeExpired)
	_, err = admit(s, s.signedAt(ana, s.request("GET", "/v1/dreamspaces", nil), s.Now(), nonceA), row(tap.Citizen))
	want(t, err, codeOK)
}

// What one node committed, another refuses, whatever it remembers itself.
func TestReplayOnAnotherNode(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	r := s.signed(ana, s.request("POST", "/v1/kernel/intent", 1))
	want(t, s.do(r, nil), codeOK)
	s.gate.nonces = newNonces(1 << 16)
	want(t, s.do(r, nil), codeReplayed)

	// Both nodes admit at once: the second commit conflicts on the nonce.
	r = s.signed(ana, s.request("POST", "/v1/kernel/intent", 1))
	first, err := admit(s, r, row(tap.Citizen))
	want(t, err, codeOK)
	s.gate.nonces = newNonces(1 << 16)
	second, err := admit(s, r, row(tap.Citizen))
	want(t, err, codeOK)
	s.commit(first.Ops...)
	_, err = s.state.Commit(t.Context(), store.Batch{
		RequestID: r.ID, Tenant: "main", Ops: second.Ops,
		Evidence: []store.Evidence{{Actor: "ana", Action: "test", Outcome: "ok"}},
	})
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.Key != second.Ops[0].Key {
		t.Fatalf("the second commit: %v", err)
	}
}

// Of many copies that arrive at once, one is admitted.
func TestReplayRace(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	r := s.signed(ana, s.request("GET", "/v1/dreamspaces", nil))
	var admitted sync.Map
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if _, err := admit(s, r, row(tap.Citizen)); err == nil {
				admitted.Store(i, true)
			}
		})
	}
	all.Wait()
	n := 0
	admitted.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Fatalf("%d of 16 copies were admitted", n)
	}
}

// A clock that jumps a day and comes back opens no window for used signatures,
// and locks nobody out for longer than a signature lives.
func TestClockJumps(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	get := func() *tap.Request { return s.signed(ana, s.request("GET", "/v1/dreamspaces", nil)) }
	used := get()
	_, err := admit(s, used, row(tap.Citizen))
	want(t, err, codeOK)

	s.pass(24 * time.Hour)
	for range 20 * nonceShards { // every shard sweeps
		_, err = admit(s, get(), row(tap.Citizen))
		want(t, err, codeOK)
	}
	s.pass(-24 * time.Hour)
	_, err = admit(s, used, row(tap.Citizen))
	want(t, err, tap.CodeExpired)
	s.pass(tap.SignatureWindow + time.Minute)
	_, err = admit(s, get(), row(tap.Citizen))
	want(t, err, codeOK)

	// Set back first: what was used stays used when the clock returns.
	used = get()
	_, err = admit(s, used, row(tap.Citizen))
	want(t, err, codeOK)
	s.pass(-24 * time.Hour)
	for range 20 * nonceShards {
		_, err = admit(s, get(), row(tap.Citizen))
		want(t, err, codeOK)
	}
	s.pass(24 * time.Hour)
	_, err = admit(s, used, row(tap.Citizen))
	want(t, err, codeReplayed)
}

func TestNarrowing(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen, tap.Curator)
	for _, c := range []struct {
		field string
		row   tap.Role
		code  string
	}{
		{"citizen", tap.Citizen, codeOK},
		{"citizen", tap.Curator, codeRole},
		{"curator, citizen", tap.Curator, codeOK},
		{"operator", tap.Operator, codeRole}, // widening
		{"citizen,operator", tap.Operator, codeRole},
		{"citizen,operator", tap.Citizen, codeOK},
		{"CITIZEN", tap.Citizen, codeRole},
		{"", tap.Citizen, codeRole},
		{",,", tap.Citizen, codeRole},
		{"anyone", tap.Anyone, codeOK}, // a route for anyone asks for no role
	} {
		r := s.request("GET", "/v1/dreamspaces", nil)
		r.Header[tap.HeaderRoles] = c.field
		a, err := admit(s, s.signed(ana, r), row(c.row))
		want(t, err, c.code)
		if err == nil && a.Principal.Has(tap.Operator) {
			t.Fatal("roles were widened")
		}
		if c.code == codeRole && tap.KindOf(err) != tap.Forbidden {
			t.Fatal(err)
		}
	}
	// A route that names no role, or anyone beside a role, is for nobody.
	for _, r := range []*pods.Row{row(), row(tap.Anyone, tap.Operator)} {
		_, err := admit(s, s.signed(ana, s.request("GET", "/", nil)), r)
		want(t, err, codeRole)
	}
	// The record's own roles are not what a narrowed request changes.
	if who := s.directory.lookup(ana); !who.principal.Has(tap.Citizen) || !who.principal.Has(tap.Curator) {
		t.Fatal("the shared principal was changed")
	}
}

func TestAnyone(t *testing.T) {
	s := newSite(t)
	a, err := admit(s, s.request("GET", "/v1/evidence/key", nil), row(tap.Anyone))
	if err != nil || a.Principal != nil || len(a.Ops) != 0 {
		t.Fatal(a, err)
	}
	if s.gate.attempts.waiting() != 0 {
		t.Fatal("a route for anyone is no attempt to authenticate")
	}
}

func TestSessionRequests(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Identity = Rate{1, 2} })
	ana := s.enrol("main", "ana", tap.Citizen)
	r := s.request("POST", "/v1/kernel/intent", 1)
	r.Session = &tap.Principal{Tenant: "main", Identity: "ana", Roles: []tap.Role{tap.Citizen, tap.Operator}, KeyID: ana}
	a, err := admit(s, r, row(tap.Citizen))
	if err != nil || a.Principal != r.Session || len(a.Ops) != 1 || a.Ops[0].Type != store.OpCheck {
		t.Fatal(a, err)
	}
	// A role that the record does not have counts for nothing.
	_, err = admit(s, r, row(tap.Operator))
	want(t, err, codeRole)
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeOK)
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeRateIdentity)
	s.pass(time.Minute)
	s.revoke("main", "ana")
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeRevoked)
	s.put(identityKey("main", "ana"), nil)
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeUnknownIdentity)
}

// brokenView cannot be read.
type brokenView struct{ store.View }

var errBroken = errors.New("the disk is gone")

func (brokenView) Get(store.Key) (store.Item, bool, error) { return store.Item{}, false, errBroken }
func (brokenView) Scan(store.Key, store.Key, func(store.Item) bool) error {
	return errBroken
}

func TestUnreadableState(t *testing.T) {
	s := newSite(t, func(c *Config) { c.View = brokenView{} })
	ana := s.enrol("main", "ana", tap.Citizen)
	_, err := admit(s, s.signed(ana, s.request("GET", "/", nil)), row(tap.Citizen))
	if !errors.Is(err, errBroken) || tap.KindOf(err) != tap.Internal {
		t.Fatal(err)
	}
}
