package anubis

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func someRoles(t *rapid.T, label string, least int) []tap.Role {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(tap.Roles()), least, len(tap.Roles()), rapid.ID[tap.Role]).Draw(t, label)
}

// Feature: tamv-hardened-backend, Property 1: Signature Validation Enforcement
func TestPropertySignatureEnforced(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		ana := s.enrol("main", "ana", tap.Citizen)
		path := rapid.SampledFrom([]string{"/v1/kernel/intent", "/v1/economy/tcep", "/v1/evidence"}).Draw(rt, "path")
		body := rapid.StringN(1, 200, 400).Draw(rt, "body")
		r := s.request("POST", path, body)
		// A request is signed by a stranger, changed after it was signed, or
		// carries fields that somebody made up.
		switch kind := rapid.SampledFrom([]string{"none", "stranger", "changed", "made up"}).Draw(rt, "kind"); kind {
		case "stranger":
			s.keys[ana] = keyOf("somebody else")
			s.signed(ana, r)
		case "changed":
			s.signed(ana, r)
			change(rt, r)
		case "made up":
			for _, name := range []string{tap.HeaderDigest, tap.HeaderSignatureInput, tap.HeaderSignature} {
				if rapid.Bool().Draw(rt, "send "+name) {
					r.Header[name] = rapid.String().Draw(rt, name)
				}
			}
		}
		if err := s.do(r, nil); tap.KindOf(err) != tap.Unauthenticated || err == nil {
			rt.Fatalf("not refused: %v", err)
		}
		if s.calls() != 0 {
			rt.Fatal("the request reached a pod")
		}
		// The very same request, honestly signed, does get through.
		s.keys[ana] = keyOf("mainana")
		honest := s.signed(ana, s.request("POST", path, body))
		if err := s.do(honest, nil); err != nil || s.calls() != 1 {
			rt.Fatalf("the honest request was refused: %v", err)
		}
	})
}

// change alters one thing that the signature covers.
func change(rt *rapid.T, r *tap.Request) {
	flip := func(field string) string {
		b := []byte(field)
		i := rapid.IntRange(0, len(b)-1).Draw(rt, "byte")
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(rt, "mask"))
		return string(b)
	}
	switch rapid.IntRange(0, 5).Draw(rt, "part") {
	case 0:
		r.Body = []byte(flip(string(r.Body)))
	case 1:
		r.RawQuery = "limit=" + fmt.Sprint(rapid.IntRange(0, 9).Draw(rt, "limit"))
	case 2:
		r.Path = map[bool]string{true: "/v1/evidence", false: "/v1/kernel/intent"}[r.Path != "/v1/evidence"]
	case 3:
		r.Header[tap.HeaderSignatureInput] = flip(r.Header[tap.HeaderSignatureInput])
	case 4:
		r.Header[tap.HeaderSignature] = flip(r.Header[tap.HeaderSignature])
	case 5:
		r.Header[tap.HeaderDigest] = flip(r.Header[tap.HeaderDigest])
	}
}

// Feature: tamv-hardened-backend, Property 2: Role-Based Access Control
func TestPropertyRoles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		held := someRoles(rt, "held", 1)
		route := someRoles(rt, "route", 0)
		ana := s.enrol("main", "ana", held...)
		r := s.request("GET", "/v1/dreamspaces", nil)
		effective := held
		if rapid.Bool().Draw(rt, "narrow") {
			asked := someRoles(rt, "asked", 0)
			r.Header[tap.HeaderRoles] = strings.Join(toStrings(asked), rapid.SampledFrom([]string{",", ", "}).Draw(rt, "comma"))
			effective = slices.DeleteFunc(slices.Clone(held), func(h tap.Role) bool { return !slices.Contains(asked, h) })
		}
		session := rapid.Bool().Draw(rt, "session")
		if session {
			r.Session = &tap.Principal{Tenant: "main", Identity: "ana", Roles: effective, KeyID: ana}
		} else {
			s.signed(ana, r)
		}
		a, err := s.gate.Admit(context.Background(), r, row(route...))
		allowed := slices.ContainsFunc(route, func(x tap.Role) bool { return slices.Contains(effective, x) })
		if !allowed {
			want(rt, err, codeRole)
			return
		}
		want(rt, err, codeOK)
		got, model := slices.Sorted(slices.Values(a.Principal.Roles)), slices.Sorted(slices.Values(effective))
		if !slices.Equal(got, model) {
			rt.Fatalf("speaks with %v, want %v", got, model)
		}
	})
}

func toStrings(roles []tap.Role) (names []string) {
	for _, r := range roles {
		names = append(names, string(r))
	}
	return names
}

// Feature: tamv-hardened-backend, Property 22: Command Function Authentication
func TestPropertyCommandsAuthenticated(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		keyID := s.enrol("main", "all", tap.Roles()...)
		s.enrol("main", "other", tap.Operator)
		alert := s.alarmed()
		rows := slices.DeleteFunc(slices.Clone(s.table.Rows()), func(r pods.Row) bool { return slices.Contains(r.Roles, tap.Anyone) })
		target := rapid.SampledFrom(rows).Draw(rt, "row")
		path := strings.NewReplacer("{name}", "other", "{ticket}", "t-1", "{id}", alert, "{address}", "203.0.113.9").Replace(target.Pattern)
		bodies := map[string]any{
			"/v1/identities":              map[string]any{"name": "new", "publicKey": []byte(public(keyOf("new"))), "roles": []string{"citizen"}},
			"/v1/identities/other/revoke": map[string]string{"reason": "test"},
			"/v1/security/policy":         DefaultPolicy(),
		}
		var body any
		if target.Body != nil {
			if body = bodies[path]; body == nil {
				body = rapid.String().Draw(rt, "body")
			}
		}
		before, _ := s.state.Size()
		for _, r := range []*tap.Request{
			s.request(target.Method, path, body),
			s.signed("main/nobody", s.request(target.Method, path, body)),
		} {
			if err := s.do(r, nil); tap.KindOf(err) != tap.Unauthenticated {
				rt.Fatalf("%s %s: %v", target.Method, path, err)
			}
		}
		if after, _ := s.state.Size(); s.calls() != 0 || after != before {
			rt.Fatal("an unauthenticated command was carried out")
		}
		if err := s.do(s.signed(keyID, s.request(target.Method, path, body)), nil); err != nil {
			rt.Fatalf("the signed command %s %s: %v", target.Method, path, err)
		}
	})
}

// Feature: tamv-hardened-backend, Property 37: Authentication Attempt Logging
func TestPropertyAttemptsRecorded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		ana := s.enrol("main", "ana", tap.Citizen)
		s.enrol("main", "old", tap.Citizen)
		s.revoke("main", "old")
		model := map[[3]string]int64{}
		for range rapid.IntRange(1, 40).Draw(rt, "attempts") {
			from := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}).Draw(rt, "from")
			kind := rapid.SampledFrom([]string{"ok", "unsigned", "unknown", "foreign", "forged", "revoked", "role", "session", "handshake"}).Draw(rt, "kind")
			actor, outcome := s.attempt(ana, kind, netip.MustParseAddr(from))
			model[[3]string{actor, from, outcome}]++
			s.pass(time.Duration(rapid.IntRange(0, 3_000_000).Draw(rt, "pause")) * time.Microsecond)
			if rapid.IntRange(0, 4).Draw(rt, "flush") == 0 {
				if err := s.gate.Flush(context.Background()); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if err := s.gate.Flush(context.Background()); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(model, s.attemptsIn()); diff != "" {
			rt.Fatalf("the ledger differs from what happened (-happened +ledger):\n%s", diff)
		}
	})
}

// attempt makes one attempt and says which actor and outcome it must be
// recorded under.
func (s *site) attempt(ana, kind string, from netip.Addr) (actor, outcome string) {
	r := s.request("GET", "/v1/dreamspaces", nil)
	r.Remote = from
	target := row(tap.Citizen)
	actor, outcome = "ana", kind
	switch kind {
	case "ok":
		s.signed(ana, r)
	case "unsigned":
		actor = anonymous
	case "unknown":
		actor, outcome = "eve", codeUnknownIdentity
		s.signed("main/eve", r)
	case "foreign":
		actor, outcome = anonymous, codeUnknownIdentity
		s.signed("elsewhere/ana", r)
	case "forged":
		outcome = tap.CodeBadSignature
		s.signed(ana, r).Method = "PUT"
	case "revoked":
		actor = "old"
		s.signed("main/old", r)
	case "role":
		target = row(tap.Operator)
		s.signed(ana, r)
	case "session":
		outcome = codeOK
		if _, err := s.gate.Established(context.Background(), ana, from, "wss"); err != nil {
			s.t.Fatal(err)
		}
		return actor, outcome
	case "handshake":
		outcome = tap.CodeBadSignature
		s.gate.Failed(context.Background(), ana, from, "quic", outcome)
		return actor, outcome
	}
	_, err := s.gate.Admit(context.Background(), r, target)
	want(s.t, err, outcome)
	return actor, outcome
}

// Feature: tamv-hardened-backend, Property 38: Identity Revocation Enforcement
func TestPropertyRevocation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		boss := s.enrol("main", "boss", tap.Operator)
		ids := []string{s.enrol("main", "a", tap.Citizen), s.enrol("main", "b", tap.Citizen, tap.Operator)}
		revoked := map[string]bool{}
		sessions := map[string]*tap.Principal{}
		type waiting struct {
			keyID string
			batch store.Batch
		}
		var late []waiting // admitted before, committed later
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			id := rapid.SampledFrom(ids).Draw(rt, "identity")
			name := strings.TrimPrefix(id, "main/")
			code := codeOK
			if revoked[id] {
				code = codeRevoked
			}
			switch rapid.SampledFrom([]string{"send", "admit", "commit", "revoke", "open", "session"}).Draw(rt, "step") {
			case "send":
				want(rt, s.do(s.signed(id, s.request("POST", "/v1/kernel/intent", 1)), nil), code)
			case "admit":
				r := s.signed(id, s.request("POST", "/v1/kernel/intent", 1))
				a, err := s.gate.Admit(context.Background(), r, row(tap.Citizen))
				want(rt, err, code)
				if err == nil {
					late = append(late, waiting{id, store.Batch{
						RequestID: uuid.New(), Tenant: "main", Ops: a.Ops,
						Evidence: []store.Evidence{{Actor: name, Action: "late", Outcome: "ok"}},
					}})
				}
			case "commit":
				for _, w := range late {
					_, err := s.state.Commit(context.Background(), w.batch)
					if revoked[w.keyID] != (err != nil) {
						rt.Fatalf("revoked %v, yet the commit gave %v", revoked[w.keyID], err)
					}
				}
				late = nil
			case "revoke":
				err := s.do(s.signed(boss, s.request("POST", "/v1/identities/"+name+"/revoke", revokeRequest{"test"})), nil)
				want(rt, err, map[bool]string{false: codeOK, true: "already_revoked"}[revoked[id]])
				revoked[id] = true
			case "open":
				p, err := s.gate.Established(context.Background(), id, home, "wss")
				want(rt, err, code)
				if err == nil {
					sessions[id] = p
				}
			case "session":
				if p := sessions[id]; p != nil {
					if s.gate.Active(p) == revoked[id] {
						rt.Fatalf("revoked %v, session active %v", revoked[id], !revoked[id])
					}
					r := s.request("POST", "/v1/kernel/intent", 1)
					r.Session = p
					want(rt, s.do(r, nil), code)
				}
			}
		}
	})
}

// Feature: tamv-hardened-backend, Property 20: Session TTL Expiration
func TestPropertySessionTTL(t *testing.T) {
	type model struct {
		p        *tap.Principal
		touched  time.Time // as this node knows it
		recorded time.Time // as the replicated record tells; zero = no record
		closed   bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		ana := s.enrol("main", "ana", tap.Citizen)
		var all []*model
		alive := func(m *model) bool { return !m.closed && s.Now().Sub(m.touched) < SessionTTL }
		flush := func() {
			if err := s.gate.Flush(context.Background()); err != nil {
				rt.Fatal(err)
			}
			for _, m := range all {
				switch {
				case !alive(m):
					m.recorded = time.Time{}
				case m.recorded.IsZero(), m.touched != m.recorded && s.Now().Sub(m.recorded) >= SessionTTL/4:
					m.recorded = m.touched
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch step := rapid.SampledFrom([]string{"open", "touch", "close", "flush", "pass"}).Draw(rt, "step"); {
			case step == "open":
				p, err := s.gate.Established(context.Background(), ana, home, "quic")
				want(rt, err, codeOK)
				all = append(all, &model{p: p, touched: s.Now()})
			case step == "flush":
				flush()
			case step == "pass":
				s.pass(time.Duration(rapid.IntRange(1, 20).Draw(rt, "hours")) * time.Hour)
			case len(all) > 0:
				m := rapid.SampledFrom(all).Draw(rt, "session")
				if step == "close" {
					s.gate.Closed(m.p)
					m.closed = true
					continue
				}
				if s.gate.Active(m.p) != alive(m) {
					rt.Fatalf("active %v %v after its last touch", !alive(m), s.Now().Sub(m.touched))
				}
				if alive(m) {
					m.touched = s.Now()
				}
			}
		}
		flush()
		stored := 0
		_ = s.state.Scan(store.K("main", SpaceSession).Prefix(), "", func(store.Item) bool { stored++; return true })
		expected := 0
		for _, m := range all {
			if !m.recorded.IsZero() && s.Now().Sub(m.recorded) < SessionTTL {
				expected++
			}
		}
		if stored != expected {
			rt.Fatalf("%d session records, want %d", stored, expected)
		}
		// Silence removes every record, without anybody asking.
		s.pass(SessionTTL)
		_ = s.state.Scan(store.K("main", SpaceSession).Prefix(), "", func(i store.Item) bool {
			rt.Fatalf("the record %q outlived its time", i.Key.Last())
			return false
		})
	})
}
