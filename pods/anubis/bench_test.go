package anubis

import (
	"context"
	"net/netip"
	"testing"

	"tamv.internal/tamv/tap"
)

func benchSite(b *testing.B) (*site, string) {
	s := newSite(b, func(c *Config) {
		all := Rate{1e12, 1 << 40}
		c.Limits.Identity, c.Limits.Address, c.Limits.Failures = all, all, all
		c.Exempt = func(netip.Addr) bool { return true }
	})
	return s, s.enrol("main", "ana", tap.Citizen)
}

// A signed request with a new nonce each time, 200 bytes of body.
func BenchmarkAdmitSigned(b *testing.B) {
	s, ana := benchSite(b)
	requests := make([]*tap.Request, 2000)
	for i := range requests {
		requests[i] = s.signed(ana, s.request("POST", "/v1/kernel/intent", make([]byte, 150)))
	}
	r := row(tap.Citizen)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(requests) == 0 {
			s.gate.nonces = newNonces(1 << 20)
		}
		if _, err := s.gate.Admit(context.Background(), requests[i%len(requests)], r); err != nil {
			b.Fatal(err)
		}
	}
}

func benchRefused(b *testing.B, spoil func(*site, string) *tap.Request) {
	s, ana := benchSite(b)
	request, r := spoil(s, ana), row(tap.Citizen)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.gate.Admit(context.Background(), request, r); err == nil {
			b.Fatal("admitted")
		}
	}
}

func BenchmarkRefuseUnsigned(b *testing.B) {
	benchRefused(b, func(s *site, _ string) *tap.Request { return s.request("GET", "/v1/dreamspaces", nil) })
}

func BenchmarkRefuseUnknown(b *testing.B) {
	benchRefused(b, func(s *site, _ string) *tap.Request {
		return s.signed("main/eve", s.request("GET", "/v1/dreamspaces", nil))
	})
}

// Beyond the budget of failures even a good signature is not looked at.
func BenchmarkRefuseSpentAddress(b *testing.B) {
	benchRefused(b, func(s *site, ana string) *tap.Request {
		s.gate.failures.rate = Rate{}
		s.gate.failures.take(network(home), s.Now())
		return s.signed(ana, s.request("GET", "/v1/dreamspaces", nil))
	})
}

// Nothing is looked at that a blocked address sends.
func BenchmarkRefuseBlocked(b *testing.B) {
	benchRefused(b, func(s *site, ana string) *tap.Request {
		s.gate.sentry.exempt = nil
		s.hammer(home)
		return s.signed(ana, s.request("GET", "/v1/dreamspaces", nil))
	})
}

func BenchmarkAdmitSession(b *testing.B) {
	s, ana := benchSite(b)
	p, err := s.gate.Established(context.Background(), ana, home, "wss")
	if err != nil {
		b.Fatal(err)
	}
	request, r := s.request("POST", "/v1/evidence", 1), row(tap.Citizen)
	request.Session = p
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.gate.Admit(context.Background(), request, r); err != nil || !s.gate.Active(p) {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpendNonce(b *testing.B) {
	n := newNonces(1 << 26)
	s := newSite(b)
	b.ReportAllocs()
	nonces := make([]string, 1<<16)
	for i := range nonces {
		nonces[i] = tap.NewNonce()
	}
	for i := 0; b.Loop(); i++ {
		id := idOfNonce("main/ana", nonces[i%len(nonces)])
		id[1], id[2], id[3] = byte(i>>16), byte(i>>24), byte(i>>32)
		n.spend(id, s.now, s.now)
	}
}
