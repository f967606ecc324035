package anubis

import (
	"context"
	"net/netip"

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

// alarmed is a site where the attacker's address is blocked; it returns the id
// of the alert.
func (s *site) alarmed() string {
	s.hammer(attacker)
	if err := s.gate.Flush(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	return alertID(Hammering, "main", attacker.String())
}
