package anubis

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
)

// Whoever was enrolled at another node a moment ago is admitted here: the gate
// looks again after it has caught up. A stranger stays one, and a node that
// cannot ask the others judges by what it knows.
func TestTheGateCatchesUpBeforeItRefuses(t *testing.T) {
	var s *site
	var asked int
	var arrives func() // what the other node had already committed
	s = newSite(t, func(c *Config) {
		c.Fresh = func(context.Context) error {
			asked++
			if arrives == nil {
				return errors.New("nobody leads")
			}
			arrives()
			return nil
		}
	})
	key := keyOf("mainlate")
	s.keys["main/late"] = key
	request := func() *tap.Request { return s.signed("main/late", s.request("GET", "/", nil)) }
	refused := func(what, code string, asks int) {
		t.Helper()
		asked = 0
		_, err := admit(s, request(), row(tap.Operator))
		if got := tap.AsError(err).StableCode(); got != code || asked != asks {
			t.Errorf("%s: %s after asking %d times, want %s after %d", what, got, asked, code, asks)
		}
	}
	refused("no other node answers", codeUnknownIdentity, 1)
	arrives = func() {}
	refused("the others know no more", codeUnknownIdentity, 1)
	arrives = func() { s.state.Advance(time.Second); s.enrol("main", "late", tap.Citizen); arrives = func() {} }
	refused("enrolled elsewhere, for less", codeRole, 1)
	if _, err := admit(s, request(), row(tap.Citizen)); err != nil {
		t.Errorf("enrolled elsewhere: %v", err)
	}

	s.keys["main/guest"] = keyOf("mainguest")
	arrives = func() { s.state.Advance(time.Second); s.enrol("main", "guest", tap.Citizen); arrives = func() {} }
	if _, err := s.gate.Key(t.Context(), "main/guest", netip.MustParseAddr("192.0.2.9"), "wss"); err != nil {
		t.Errorf("a session of somebody enrolled elsewhere: %v", err)
	}
}
