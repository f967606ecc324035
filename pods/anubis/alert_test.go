package anubis

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var attacker = netip.MustParseAddr("203.0.113.9")

// forge makes a request that claims to come from an identity and does not.
func (s *site) forge(keyID string, from netip.Addr) error {
	r := s.signed(keyID, s.request("GET", "/v1/dreamspaces", nil))
	r.Remote, r.RawQuery = from, "forged=1"
	_, err := s.gate.Admit(context.Background(), r, row(tap.Citizen))
	return err
}

// hammer fails as often as it takes to be blocked.
func (s *site) hammer(from netip.Addr) {
	for range s.watchlist.Policy().Hammering.Count {
		_ = s.forge("main/nobody", from)
	}
}

func (s *site) flush() {
	if err := s.gate.Flush(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// alarmed is a site where the attacker's address is blocked; it returns the id
// of the alert.
func (s *site) alarmed() string {
	s.hammer(attacker)
	s.flush()
	return alertID(Hammering, "main", attacker.String())
}

// ask is an honest request from an address.
func (s *site) ask(keyID string, from netip.Addr) error {
	r := s.signed(keyID, s.request("GET", "/v1/dreamspaces", nil))
	r.Remote = from
	_, err := admit(s, r, row(tap.Citizen))
	return err
}

// alertsIn lists the payloads of the ledger's security.alert entries.
func (s *site) alertsIn() (found []alertPayload) {
	err := s.state.Records(0, false, func(r store.Record) bool {
		e, err := bookpi.ParseEntry(r.Entry)
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Action == "security.alert" {
			var p alertPayload
			if err := json.Unmarshal(r.Payload, &p); err != nil || string(p.Pattern) != e.Outcome || e.Actor != system {
				s.t.Fatalf("%+v %s: %v", e, r.Payload, err)
			}
			found = append(found, p)
		}
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// six is one of the addresses of a /64.
func six(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n+1)) }

func nth(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}) }

func TestHammering(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	most := DefaultPolicy().Hammering.Count
	for range most - 1 {
		want(t, s.forge("main/nobody", attacker), codeUnknownIdentity)
	}
	want(t, s.ask(ana, attacker), codeOK)
	want(t, s.forge("main/nobody", attacker), codeUnknownIdentity)
	// At once, on this node, before anything is committed.
	err := s.ask(ana, attacker)
	want(t, err, codeBlocked)
	if e := tap.AsError(err); e.Kind != tap.Limited || e.RetryAfter != 15*time.Minute {
		t.Fatalf("%+v", e)
	}
	anyone := s.request("GET", "/v1/evidence/key", nil)
	anyone.Remote = attacker
	_, err = admit(s, anyone, row(tap.Anyone))
	want(t, err, codeBlocked)
	_, err = s.gate.Key(t.Context(), ana, attacker, "wss")
	want(t, err, codeBlocked)
	_, err = s.gate.Established(t.Context(), ana, attacker, "wss")
	want(t, err, codeBlocked)
	want(t, s.ask(ana, home), codeOK)

	s.flush()
	at := s.Now()
	found := s.alertsIn()
	if len(found) != 1 || found[0] != (alertPayload{
		ID: alertID(Hammering, "main", "203.0.113.9"), Pattern: Hammering, Address: "203.0.113.9", Count: most, WindowSeconds: 300,
		At: at.UnixMicro(), BlockedUntil: at.Add(15 * time.Minute).UnixMicro(), BlocksInARow: 1,
	}) {
		t.Fatalf("%+v", found)
	}
	if log := s.log.String(); !strings.Contains(log, "security alert") || !strings.Contains(log, "203.0.113.9") {
		t.Fatal(log)
	}
	if got := s.watchlist.Alerts(); got != (AlertSummary{1, time.UnixMicro(at.UnixMicro()), Hammering}) {
		t.Fatalf("%+v", got)
	}
	// It ends by itself, to the microsecond.
	s.pass(15*time.Minute - time.Microsecond)
	want(t, s.ask(ana, attacker), codeBlocked)
	s.pass(time.Microsecond)
	want(t, s.ask(ana, attacker), codeOK)
}

// Failures that an honest caller earns by the dozen block nobody and alert
// nobody.
func TestWhatDoesNotCount(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Failures = Rate{1e6, 1e6} })
	ana := s.enrol("main", "ana", tap.Citizen)
	for range 2000 {
		late := s.signedAt(ana, s.request("GET", "/", nil), s.Now().Add(-time.Hour), tap.NewNonce())
		_, err := admit(s, late, row(tap.Citizen))
		want(t, err, tap.CodeExpired)
		_, err = admit(s, s.request("GET", "/", nil), row(tap.Citizen))
		want(t, err, tap.CodeUnsigned)
		_, err = admit(s, s.signed(ana, s.request("GET", "/", nil)), row(tap.Operator))
		want(t, err, codeRole)
		s.gate.Failed(t.Context(), ana, home, "wss", "timeout")
	}
	want(t, s.ask(ana, home), codeOK)
	s.flush()
	if found := s.alertsIn(); len(found) != 0 || s.watchlist.Alerts().Open != 0 {
		t.Fatalf("%+v", found)
	}
}

func TestEvidenceOf(t *testing.T) {
	for code, is := range map[string][2]bool{
		tap.CodeBadSignature: {true, true}, tap.CodeDigestMismatch: {true, true}, codeReplayed: {true, true},
		codeRevoked: {true, false}, codeUnknownIdentity: {false, true}, tap.CodeMalformedSignature: {false, true},
		tap.CodeExpired: {}, tap.CodeUnsigned: {}, codeRole: {}, codeRateAddress: {}, codeRateIdentity: {}, codeBlocked: {},
		codeNoncesFull: {}, codeHandshake: {}, "internal": {},
	} {
		if identity, address := evidenceOf(code); is != [2]bool{identity, address} {
			t.Errorf("%s: %v %v", code, identity, address)
		}
	}
}

// Whatever is tried in an identity's name, it is not shut out; its owner and the
// operators hear of it once per window.
func TestGuessing(t *testing.T) {
	s := newSite(t)
	ana, bob := s.enrol("main", "ana", tap.Citizen), s.enrol("main", "bob", tap.Citizen)
	s.enrol("other", "x", tap.Citizen)
	try := func(id string, n int) {
		for range n {
			s.gate.Failed(t.Context(), id, home, "wss", tap.CodeBadSignature)
		}
	}
	try(ana, 19)
	try(bob, 19)
	try("main/eve", 5) // nobody's name is nobody's alert
	s.flush()
	if n := len(s.alertsIn()); n != 0 {
		t.Fatal(n, "alerts too early")
	}
	try(ana, 6)
	want(t, s.ask(ana, home), codeOK)
	s.flush()
	if found := s.alertsIn(); len(found) != 1 || found[0].Identity != "ana" || found[0].Address != "192.0.2.7" || found[0].Count != 20 || found[0].BlockedUntil != 0 {
		t.Fatalf("%+v", found)
	}
	s.pass(4 * time.Minute)
	s.gate.Failed(t.Context(), ana, nth(1), "wss", tap.CodeBadSignature)
	s.flush()
	if n := len(s.alertsIn()); n != 1 {
		t.Fatal(n, "alerts in one window")
	}
	for i := range 40 { // past the window, from elsewhere
		s.pass(4 * time.Second)
		s.gate.Failed(t.Context(), ana, nth(i%7), "wss", tap.CodeBadSignature)
	}
	s.flush()
	found := s.alertsIn()
	if len(found) != 3 || found[1].Pattern != Spread || found[2].Pattern != Guessing {
		t.Fatalf("%+v", found)
	}
	item, ok, _ := s.state.Get(alertKey("main", found[0].ID))
	a, err := parseAlert(item.Value)
	if !ok || err != nil || a.Times != 2 || a.First != found[0].At || a.Last != found[2].At {
		t.Fatalf("%+v %v", a, err)
	}
	// Another tenant's operators hear of theirs. Home has failed 50 times.
	s.watchlist.lifted(home)
	try("other/x", 20)
	s.flush()
	if item, ok, _ := s.state.Get(alertKey("other", alertID(Guessing, "other", "x"))); !ok || item.Expires == 0 {
		t.Fatal("the other tenant was not told, or for good")
	}
}

// A stolen key that was revoked is told about, and shuts nobody out.
func TestRevokedKeyKnocks(t *testing.T) {
	s := newSite(t)
	ana, old := s.enrol("main", "ana", tap.Citizen), s.enrol("main", "old", tap.Citizen)
	s.revoke("main", "old")
	for range 100 {
		want(t, s.ask(old, attacker), codeRevoked)
	}
	want(t, s.ask(ana, attacker), codeOK)
	s.flush()
	if found := s.alertsIn(); len(found) != 1 || found[0].Pattern != Guessing || found[0].Identity != "old" {
		t.Fatalf("%+v", found)
	}
}

func TestSprayAndSpread(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	x := s.enrol("other", "ana", tap.Citizen)
	// Names, from all over one /64; the same name counts once, and in another
	// tenant it is another name. Who claims no name is not told apart.
	for i := range 6 {
		for range 3 {
			want(t, s.forge(fmt.Sprint("main/n", i), six(i)), codeUnknownIdentity)
		}
	}
	for i := range 4 {
		want(t, s.forge(fmt.Sprint("nowhere/n", i), six(i)), codeUnknownIdentity)
	}
	s.gate.Failed(t.Context(), ana, six(9), "quic", tap.CodeBadSignature)
	want(t, s.ask(ana, six(99)), codeOK)
	s.gate.Failed(t.Context(), x, six(9), "quic", tap.CodeBadSignature)
	want(t, s.ask(ana, six(99)), codeBlocked)
	want(t, s.ask(ana, netip.MustParseAddr("2001:db8:0:1::1")), codeOK)
	s.flush()
	if found := s.alertsIn(); len(found) != 1 || found[0].Pattern != Spray || found[0].Count != 8 || found[0].Address != "2001:db8::" {
		t.Fatalf("%+v", found)
	}
	// One identity from eight places.
	for i := range 8 {
		s.gate.Failed(t.Context(), ana, nth(i), "quic", tap.CodeBadSignature)
	}
	s.flush()
	if found := s.alertsIn(); len(found) != 2 || found[1].Pattern != Spread || found[1].Count != 8 || found[1].Identity != "ana" {
		t.Fatalf("%+v", found)
	}
}

// Loopback, exempt addresses, and nowhere at all are told about and never
// blocked, not even by their neighbours in the /64.
func TestExempt(t *testing.T) {
	member, near := netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("fe80::10%eth0")
	s := newSite(t, func(c *Config) { c.Exempt = func(a netip.Addr) bool { return a == member || a == near.WithZone("") } })
	ana := s.enrol("main", "ana", tap.Citizen)
	for _, from := range []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1"), netip.IPv6Loopback(), member, near, {}} {
		s.hammer(from)
		s.hammer(from)
		want(t, s.ask(ana, from), codeOK)
	}
	s.flush()
	var places []string
	for _, a := range s.alertsIn() {
		if a.Pattern != Hammering || a.BlockedUntil != 0 || a.BlocksInARow != 0 {
			t.Fatalf("%+v", a)
		}
		places = append(places, a.Address)
	}
	if fmt.Sprint(places) != "[127.0.0.1 ::1 2001:db8::10 fe80::10%eth0 unknown]" {
		t.Fatal(places)
	}
	neighbour := netip.MustParseAddr("2001:db8::11")
	want(t, s.ask(ana, neighbour), codeOK)
	s.hammer(neighbour)
	want(t, s.ask(ana, neighbour), codeBlocked)
	want(t, s.ask(ana, member), codeOK)
}
