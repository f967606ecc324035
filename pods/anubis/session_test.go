package anubis

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func TestHandshake(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Identity = Rate{1, 2} })
	ana := s.enrol("main", "ana", tap.Citizen, tap.Device)
	old := s.enrol("main", "old", tap.Citizen)
	s.revoke("main", "old")
	ctx := t.Context()
	key, err := s.gate.Key(ctx, ana, home, "wss")
	if err != nil || !key.Equal(public(s.keys[ana])) {
		t.Fatal(err)
	}
	_, err = s.gate.Key(ctx, "main/eve", home, "wss")
	want(t, err, codeUnknownIdentity)
	_, err = s.gate.Key(ctx, "not a key id\x00", home, "wss")
	want(t, err, codeUnknownIdentity)
	_, err = s.gate.Key(ctx, old, home, "wss")
	want(t, err, codeRevoked)
	_, err = s.gate.Established(ctx, old, home, "wss")
	want(t, err, codeRevoked)

	p, err := s.gate.Established(ctx, ana, home, "wss")
	if err != nil || p.KeyID != ana || !p.Has(tap.Device) || p == s.directory.lookup(ana).principal || !s.gate.Active(p) {
		t.Fatal(p, err)
	}
	other, err := s.gate.Established(ctx, ana, home, "quic")
	if err != nil || other == p {
		t.Fatal("two sessions share a principal", err)
	}
	_, err = s.gate.Established(ctx, ana, home, "wss")
	want(t, err, codeRateIdentity)
	_, err = s.gate.Key(ctx, ana, home, "wss")
	want(t, err, codeRateIdentity)
	if s.gate.Active(&tap.Principal{Tenant: "main", Identity: "ana", KeyID: ana}) {
		t.Fatal("a principal of no session is active")
	}
	s.put(identityKey("main", "ana"), nil)
	if s.gate.Active(p) {
		t.Fatal("a session outlived its identity's record")
	}
	s.gate.Closed(p)
	s.gate.Closed(p)
	if s.gate.sessions.len() != 1 {
		t.Fatal("closing closed the wrong number of sessions")
	}
}

// However often the two bucket looks of a handshake race, the token is taken
// by one.
func TestEstablishedTakesTheLastToken(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Identity = Rate{0, 0} })
	ana := s.enrol("main", "ana", tap.Citizen)
	_, err := s.gate.Established(t.Context(), ana, home, "wss")
	want(t, err, codeRateIdentity)
}

func TestFailedCodes(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	for _, code := range []string{"bad_signature", "", "Bad", "bad\x00", strings.Repeat("a", 33), "tímeout"} {
		s.gate.Failed(t.Context(), ana, home, "wss", code)
	}
	s.gate.Failed(t.Context(), "main/eve", netip.Addr{}, "wss", "timeout")
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := s.attemptsIn()
	for key, n := range map[[3]string]int64{
		{"ana", "192.0.2.7", "bad_signature"}: 1, {"ana", "192.0.2.7", "handshake"}: 5, {"eve", "unknown", "timeout"}: 1,
	} {
		if got[key] != n {
			t.Errorf("%v: %d, want %d", key, got[key], n)
		}
	}
}

func TestSessionRecord(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	x := s.enrol("other", "x", tap.Citizen)
	p, _ := s.gate.Established(t.Context(), ana, home, "wss")
	if _, err := s.gate.Established(t.Context(), x, home, "quic"); err != nil {
		t.Fatal(err)
	}
	opened := s.Now().UnixMicro()
	s.pass(time.Minute)
	s.gate.Active(p)
	records := func(tenant string) (found []store.Item) {
		_ = s.state.Scan(store.K(tenant, SpaceSession).Prefix(), "", func(i store.Item) bool { found = append(found, i); return true })
		return found
	}
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := records("main")
	if len(found) != 1 || len(records("other")) != 1 {
		t.Fatalf("%d records", len(found))
	}
	var r sessionRecord
	if err := json.Unmarshal(found[0].Value, &r); err != nil {
		t.Fatal(err)
	}
	touched := s.Now().UnixMicro()
	if r != (sessionRecord{"ana", "192.0.2.7", "wss", opened, touched}) || found[0].Expires != touched+SessionTTL.Microseconds() {
		t.Fatalf("%+v expires %d", r, found[0].Expires)
	}
	// A touch is replicated only when the record is a quarter of its time old.
	s.pass(SessionTTL/4 - time.Second)
	s.gate.Active(p)
	size, _ := s.state.Size()
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, _ := s.state.Size(); now != size {
		t.Fatal("a flush without news wrote something")
	}
	s.pass(time.Second)
	s.gate.Active(p)
	if err := s.gate.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := records("main"); again[0].Expires != s.Now().Add(SessionTTL).UnixMicro() {
		t.Fatal("the touch was not replicated")
	}
	s.gate.Closed(p)
	if err := s.gate.Flush(t.Context()); err != nil || len(records("main")) != 0 || len(records("other")) != 1 {
		t.Fatal("closing did not remove the record", err)
	}
	// One that says nothing for too long is forgotten.
	s.pass(SessionTTL)
	if err := s.gate.Flush(t.Context()); err != nil || s.gate.sessions.len() != 0 || len(records("other")) != 0 {
		t.Fatal("a silent session is kept", err)
	}
}

// More sessions than fit a batch are recorded, and removed, over several.
func TestManySessions(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Limits.Identity, c.Limits.Address = Rate{1e9, 1e9}, Rate{1e9, 1e9}
	})
	ana := s.enrol("main", "ana", tap.Citizen)
	const many = maxChanges + 100
	var all []*tap.Principal
	for range many {
		p, err := s.gate.Established(t.Context(), ana, home, "wss")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	count := func() (n int) {
		_ = s.state.Scan(store.K("main", SpaceSession).Prefix(), "", func(store.Item) bool { n++; return true })
		return n
	}
	steps := ""
	for range 2 {
		if err := s.gate.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		steps += fmt.Sprint(count(), " ")
	}
	for _, p := range all {
		s.gate.Closed(p)
	}
	for range 2 {
		if err := s.gate.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		steps += fmt.Sprint(count(), " ")
	}
	if expected := fmt.Sprint(maxChanges, " ", many, " ", 100, " ", 0, " "); steps != expected {
		t.Fatalf("records after each flush: %s, want %s", steps, expected)
	}
}
