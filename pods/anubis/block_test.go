package anubis

import (
	"fmt"
	"testing"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

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
	if len(s.alertsIn()) != 0 {
		t.Fatal("alerts from nowhere")
	}
}
