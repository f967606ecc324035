package anubis

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/pods"
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
	if got := s.gate.Alerts(); got != (AlertSummary{1, time.UnixMicro(at.UnixMicro()), Hammering}) {
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
	if found := s.alertsIn(); len(found) != 0 || s.gate.Alerts().Open != 0 {
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

// Who comes back is blocked for twice as long each time, up to the longest
// block, and starts anew a day after the last one.
func TestBlocksDouble(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	var minutes []int
	round := func() {
		s.hammer(attacker)
		s.flush()
		err := s.ask(ana, attacker)
		want(t, err, codeBlocked)
		left := tap.AsError(err).RetryAfter
		minutes = append(minutes, int(left.Minutes()))
		s.pass(left)
	}
	for range 9 {
		round()
	}
	s.pass(repeatMemory)
	round()
	if got := fmt.Sprint(minutes); got != "[15 30 60 120 240 480 960 1440 1440 15]" {
		t.Fatal(got)
	}
	// The block that ends leaves no record behind.
	s.pass(repeatMemory)
	s.flush()
	if _, ok, _ := s.state.Get(blockKey("main", attacker)); ok || len(s.watchlist.blocks) != 0 {
		t.Fatal("a block is remembered for good")
	}
}

// A policy that blocks nobody still alerts, once per window.
func TestAlertsWithoutBlocks(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	p := DefaultPolicy()
	p.BlockSeconds, p.Hammering.Count = 0, 3
	s.put(policyKey("main"), mustJSON(p))
	for range 20 {
		s.hammer(attacker)
	}
	want(t, s.ask(ana, attacker), codeOK)
	s.flush()
	if found := s.alertsIn(); len(found) != 1 || found[0].Count != 3 {
		t.Fatalf("%+v", found)
	}
}

// neighbour is another node of the site: the same state, its own memory.
func (s *site) neighbour() (*Gate, *Watchlist) {
	w := NewWatchlist("main")
	for _, space := range []string{SpaceAlert, SpaceBlocked, SpaceSecurity} {
		s.state.Observe(space, w.ObserveChanges)
	}
	if err := w.Load(s.state); err != nil {
		s.t.Fatal(err)
	}
	return New(Config{
		Directory: s.directory, View: s.state, Writer: s.state, Now: s.Now, Log: s.gate.recorder.log,
		Limits: DefaultLimits(), Watchlist: w,
	}), w
}

// What one node saw holds on all, and what is lifted is lifted on all: one more
// failure does not bring it back.
func TestBlocksOnEveryNode(t *testing.T) {
	s := newSite(t)
	boss, ana := s.enrol("main", "boss", tap.Operator), s.enrol("main", "ana", tap.Citizen)
	other, _ := s.neighbour()
	there := func() error {
		r := s.signed(ana, s.request("GET", "/", nil))
		r.Remote = attacker
		_, err := other.Admit(t.Context(), r, row(tap.Citizen))
		return err
	}
	for range 49 {
		other.Failed(t.Context(), "main/x", attacker, "wss", tap.CodeBadSignature)
	}
	s.hammer(attacker)
	want(t, there(), codeOK)
	s.flush()
	want(t, there(), codeBlocked)
	late, _ := s.neighbour() // a node that starts later
	r := s.signed(ana, s.request("GET", "/", nil))
	r.Remote = attacker
	_, err := late.Admit(t.Context(), r, row(tap.Citizen))
	want(t, err, codeBlocked)

	want(t, s.do(s.signed(boss, s.request("DELETE", "/v1/security/blocks/203.0.113.9", nil)), nil), codeOK)
	other.Failed(t.Context(), "main/x", attacker, "wss", tap.CodeBadSignature)
	want(t, there(), codeOK)
	want(t, s.ask(ana, attacker), codeOK)
	s.hammer(attacker)
	want(t, s.ask(ana, attacker), codeBlocked)
	s.flush()
	if found := s.alertsIn(); len(found) != 2 || found[1].BlocksInARow != 1 {
		t.Fatalf("%+v", found)
	}
}

// Who proved who they are goes on; the block is for who comes anew.
func TestSessionsOutliveABlock(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	p, err := s.gate.Established(t.Context(), ana, attacker, "wss")
	want(t, err, codeOK)
	s.alarmed()
	r := s.request("GET", "/v1/dreamspaces", nil)
	r.Session, r.Remote = p, attacker
	_, err = admit(s, r, row(tap.Citizen))
	want(t, err, codeOK)
	want(t, s.ask(ana, attacker), codeBlocked)
}

// An operator behind the attacker's address can list and lift blocks, and
// nobody else can do anything.
func TestPleas(t *testing.T) {
	s := newSite(t)
	boss, guard := s.enrol("main", "boss", tap.Operator, tap.Citizen), s.enrol("main", "guard", tap.Guardian)
	s.alarmed()
	ask := func(by, method, path string) error {
		r := s.request(method, path, nil)
		r.Remote = attacker
		if by != "" {
			s.signed(by, r)
		}
		return s.do(r, nil)
	}
	const one = "/v1/security/blocks/203.0.113.9"
	for range 20 { // these take nothing from the operator
		want(t, ask(guard, "GET", "/v1/security/blocks"), codeBlocked)
		want(t, ask("main/nobody", "DELETE", one), codeBlocked)
		want(t, ask("", "DELETE", one), codeBlocked)
		want(t, ask(boss, "GET", "/v1/security/alerts"), codeBlocked)
		want(t, ask(boss, "GET", "/v1/dreamspaces"), codeBlocked)
	}
	s.keys[boss] = keyOf("somebody else")
	want(t, ask(boss, "DELETE", one), tap.CodeBadSignature)
	s.keys[boss] = keyOf("mainboss")
	for range pleaRate.Burst - 1 {
		want(t, ask(boss, "GET", "/v1/security/blocks"), codeOK)
	}
	want(t, ask(boss, "DELETE", one), codeBlocked)
	s.pass(2 * time.Second)
	want(t, ask(boss, "DELETE", one), codeOK)
	want(t, ask(boss, "GET", "/v1/dreamspaces"), codeOK)
	// A path that looks like it in another pod is another matter.
	s.alarmed()
	r := s.signed(boss, s.request("GET", "/v1/security/blocks", nil))
	r.Remote = attacker
	_, err := admit(s, r, &pods.Row{Pod: "probe", Route: pods.Route{Pattern: blocksPattern, Roles: []tap.Role{tap.Operator}}})
	want(t, err, codeBlocked)
}

// What a blocked address sends is counted and written with the successes.
func TestBlockedAttemptsAreCounted(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	s.alarmed()
	for range 30 {
		want(t, s.ask(ana, attacker), codeBlocked)
	}
	if err := s.gate.flush(t.Context(), false); err != nil || s.attemptsIn()[[3]string{anonymous, "203.0.113.9", codeBlocked}] != 0 {
		t.Fatal("written in haste", err)
	}
	s.flush()
	if n := s.attemptsIn()[[3]string{anonymous, "203.0.113.9", codeBlocked}]; n != 30 {
		t.Fatal(n)
	}
}

// However many addresses attack, alerts come at a bounded rate, none hides the
// other sort, and what was withheld is told.
func TestAlertsAreBounded(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	p := DefaultPolicy()
	p.Hammering.Count = 3
	s.put(policyKey("main"), mustJSON(p))
	for i := range 500 {
		for range 3 {
			s.gate.Failed(t.Context(), "main/x", nth(i), "wss", tap.CodeBadSignature)
		}
	}
	for range 20 {
		s.gate.Failed(t.Context(), ana, home, "wss", tap.CodeBadSignature)
	}
	s.flush()
	found := s.alertsIn()
	if len(found) != alarmRate.Burst+1 || found[alarmRate.Burst].Pattern != Guessing {
		t.Fatalf("%d alerts", len(found))
	}
	want(t, s.ask(ana, nth(alarmRate.Burst-1)), codeBlocked)
	want(t, s.ask(ana, nth(alarmRate.Burst)), codeOK)
	// Who was not caught is at the threshold still.
	s.pass(2 * time.Second)
	s.gate.Failed(t.Context(), "main/x", nth(100), "wss", tap.CodeBadSignature)
	want(t, s.ask(ana, nth(100)), codeBlocked)
	s.flush()
	if found := s.alertsIn(); found[len(found)-1].Withheld != 500-int64(alarmRate.Burst)+18 {
		t.Fatalf("%+v", found[len(found)-1])
	}
	// Alarms that cannot be committed wait, and not without bound.
	s.gate.recorder.writer = &flaky{lose: true}
	for i := range 2 * maxAlarms {
		s.pass(2 * time.Second)
		for range 3 {
			s.gate.Failed(t.Context(), "main/x", nth(1000+i), "wss", tap.CodeBadSignature)
		}
		_ = s.gate.Flush(t.Context())
	}
	if n := len(s.gate.sentry.alarms); n != maxAlarms {
		t.Fatal(n, "alarms wait")
	}
}

func TestAlarmMetrics(t *testing.T) {
	s := newSite(t)
	s.alarmed()
	found := gather(t, s.gate.Metrics())
	for name, value := range map[string]float64{
		"tamv_security_alerts_total": 1, "tamv_security_alerts_open": 1, "tamv_security_blocked_addresses": 1, "tamv_security_withheld_total": 0,
	} {
		if got, ok := found[name]; !ok || got != value {
			t.Errorf("%s is %v, want %v", name, got, value)
		}
	}
	s.pass(time.Hour)
	if found := gather(t, s.gate.Metrics()); found["tamv_security_blocked_addresses"] != 0 {
		t.Error("a block that is over is counted")
	}
}

// A gate without a watchlist sees no patterns.
func TestNoWatchlist(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Watchlist = nil })
	ana := s.enrol("main", "ana", tap.Citizen)
	for range 60 {
		_ = s.forge("main/nobody", attacker)
	}
	want(t, s.ask(ana, attacker), codeOK)
	s.flush()
	if len(s.alertsIn()) != 0 || s.gate.Alerts() != (AlertSummary{}) {
		t.Fatal("alerts from nowhere")
	}
}
