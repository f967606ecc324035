package appliance_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/tap"
)

// The recovery file and its code bring the site's keys and its name back, on a
// machine that has neither; another code does not.
func TestTheRecoveryFileBringsTheKeysBack(t *testing.T) {
	lost, found := t.TempDir(), filepath.Join(t.TempDir(), "new")
	site, err := appliance.Init(appliance.Config{Data: lost, Site: "plaza", Node: "alfa"})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(site.RecoveryFile)
	if err != nil {
		t.Fatal(err)
	}
	var other cluster.Code
	if _, err := appliance.InitFrom(appliance.Config{Data: found}, file, other.Reveal()); !tap.IsKind(err, tap.Unauthenticated) {
		t.Errorf("another code opens it: %v", err)
	}
	again, err := appliance.InitFrom(appliance.Config{Data: found}, file, site.RecoveryCode)
	if err != nil {
		t.Fatal(err)
	}
	if again.Site != "plaza" || again.Fingerprint != site.Fingerprint || again.VerifierKey != site.VerifierKey {
		t.Errorf("brought back %+v, was %+v", again, site)
	}
	for _, name := range []string{"log.key", "ca/ca.key"} {
		was, err := os.ReadFile(filepath.Join(lost, name))
		if err != nil {
			t.Fatal(err)
		}
		if is, err := os.ReadFile(filepath.Join(found, name)); err != nil || !bytes.Equal(is, was) {
			t.Errorf("%s is another: %v", name, err)
		}
	}
}

// A node that listens where it did keeps the address that it was given for the
// others.
func TestTheAdvertisedAddressStays(t *testing.T) {
	m := newMachine(t, "alfa")
	m.cfg.Advertise = "localhost:" + m.cfg.Listen[len("127.0.0.1:"):]
	advertise := m.cfg.Advertise
	m.start(t)
	m.stop(t)
	m.cfg.Advertise = ""
	m.start(t)
	if m.running.Address != advertise {
		t.Errorf("started again it is reached at %s, was %s", m.running.Address, advertise)
	}
}
