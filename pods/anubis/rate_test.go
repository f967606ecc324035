package anubis

import (
	"net/netip"
	"testing"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

func TestIdentityRate(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Identity = Rate{1, 3} })
	ana := s.enrol("main", "ana", tap.Citizen)
	get := func(r *pods.Row) error {
		_, err := admit(s, s.signed(ana, s.request("GET", "/", nil)), r)
		return err
	}
	// A forged request takes nothing from the bucket.
	forged := s.signed(ana, s.request("GET", "/", nil))
	forged.RawQuery = "x"
	for range 10 {
		_, err := admit(s, forged, row(tap.Citizen))
		want(t, err, tap.CodeBadSignature)
	}
	for range 3 {
		want(t, get(row(tap.Citizen)), codeOK)
	}
	err := get(row(tap.Citizen))
	want(t, err, codeRateIdentity)
	if e := tap.AsError(err); e.Kind != tap.Limited || e.RetryAfter <= 0 {
		t.Fatalf("%+v", e)
	}
	s.pass(time.Second)
	want(t, get(row(tap.Citizen)), codeOK)

	// Between the first look at the bucket and the last, another request may
	// have emptied it.
	who := s.directory.lookup(ana)
	_, err = s.gate.authorise(who, who.principal, row(tap.Citizen), s.Now())
	want(t, err, codeRateIdentity)
}

func TestAddressRate(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Address = Rate{1, 2} })
	ask := func(from string) error {
		r := s.request("GET", "/v1/evidence/key", nil)
		r.Remote = netip.MustParseAddr(from)
		_, err := admit(s, r, row(tap.Anyone))
		return err
	}
	// One /64 counts as one address, and so does a mapped IPv4 address.
	want(t, ask("2001:db8::1"), codeOK)
	want(t, ask("2001:db8::2"), codeOK)
	want(t, ask("2001:db8::ffff:1"), codeRateAddress)
	want(t, ask("2001:db8:0:1::1"), codeOK)
	want(t, ask("192.0.2.1"), codeOK)
	want(t, ask("::ffff:192.0.2.1"), codeOK)
	want(t, ask("192.0.2.1"), codeRateAddress)
	want(t, ask("192.0.2.2"), codeOK)
}

// Who failed too often is refused before anything is verified, and only he.
func TestFailureBudget(t *testing.T) {
	s := newSite(t)
	ana := s.enrol("main", "ana", tap.Citizen)
	good := func() *tap.Request { return s.signed(ana, s.request("GET", "/", nil)) }
	for range DefaultLimits().Failures.Burst {
		_, err := admit(s, s.request("GET", "/", nil), row(tap.Citizen))
		want(t, err, tap.CodeUnsigned)
	}
	_, err := admit(s, good(), row(tap.Citizen))
	want(t, err, codeRateAddress)
	_, err = s.gate.Key(t.Context(), ana, home, "wss")
	want(t, err, codeRateAddress)
	other := good()
	other.Remote = netip.MustParseAddr("192.0.2.8")
	_, err = admit(s, other, row(tap.Citizen))
	want(t, err, codeOK)
	s.pass(time.Second)
	_, err = admit(s, good(), row(tap.Citizen))
	want(t, err, codeOK)
	// Reaching for what one may not do uses the budget up as well.
	for range DefaultLimits().Failures.Burst {
		_, err = admit(s, good(), row(tap.Operator))
	}
	want(t, err, codeRateAddress)
}

// A full memory refuses; it does not forget.
func TestNoncesFull(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Nonces = nonceShards })
	ana := s.enrol("main", "ana", tap.Citizen)
	full := 0
	for range 40 * nonceShards {
		_, err := admit(s, s.signed(ana, s.request("GET", "/", nil)), row(tap.Citizen))
		if err != nil {
			want(t, err, codeNoncesFull)
			if tap.KindOf(err) != tap.Unavailable {
				t.Fatal(err)
			}
			full++
		}
	}
	if full != 39*nonceShards || s.gate.nonces.len() != nonceShards {
		t.Fatalf("%d refused, %d remembered", full, s.gate.nonces.len())
	}
	s.pass(2*tap.SignatureWindow + time.Minute)
	_, err := admit(s, s.signed(ana, s.request("GET", "/", nil)), row(tap.Citizen))
	want(t, err, codeOK)
}
