package appliance

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
)

func TestTheNodesCertificate(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a, err := openAuthority(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.serverCertificate(dir, serverNames("venue.example"), now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	for _, name := range []string{"venue.example", "localhost", "127.0.0.1", "::1"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Opened again, both are the same; a new name or an end in sight renews
	// the node's certificate under the same authority.
	again, err := openAuthority(dir, now.Add(time.Hour))
	if err != nil || !again.certificate.Equal(a.certificate) {
		t.Fatalf("the authority changed: %v", err)
	}
	same, err := again.serverCertificate(dir, serverNames("venue.example"), now)
	if err != nil || !same.Leaf.Equal(first.Leaf) {
		t.Fatalf("the certificate changed without a reason: %v", err)
	}
	for reason, renew := range map[string]func() (*x509.Certificate, error){
		"a new name": func() (*x509.Certificate, error) {
			c, err := again.serverCertificate(dir, serverNames("other.example"), now)
			return c.Leaf, err
		},
		"the end in sight": func() (*x509.Certificate, error) {
			c, err := again.serverCertificate(dir, serverNames("venue.example"), first.Leaf.NotAfter.Add(-time.Hour))
			return c.Leaf, err
		},
	} {
		if c, err := renew(); err != nil || c.Equal(first.Leaf) {
			t.Errorf("%s did not renew the certificate: %v", reason, err)
		}
	}
	for _, file := range []string{"ca.key", "node.key"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}
	// Cut off between key and certificate, or with ca.pem lost: the same key
	// founds again, and what clients trust stays good.
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if again, err = openAuthority(dir, now); err != nil {
		t.Fatal(err)
	}
	other, err := again.serverCertificate(dir, serverNames("third.example"), now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "third.example", CurrentTime: now}); err != nil {
		t.Errorf("the old trust does not hold: %v", err)
	}
	kept := &certificates{authority: again, folder: dir, names: serverNames("venue.example"), now: func() time.Time { return now }}
	if err := kept.refresh(); err != nil {
		t.Fatal(err)
	}
	served, err := kept.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	kept.now = func() time.Time { return served.Leaf.NotAfter.Add(-time.Hour) }
	if err := kept.refresh(); err != nil {
		t.Fatal(err)
	}
	if renewed, _ := kept.get(nil); renewed.Leaf.Equal(served.Leaf) {
		t.Error("a running node lets its certificate end")
	}
	for _, loss := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("rubbish"), 0o600) },
		func() error { return os.Remove(filepath.Join(dir, "ca.key")) },
		func() error {
			err := os.Remove(filepath.Join(dir, "ca.pem"))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "ca.key"), []byte("rubbish"), 0o600))
		},
	} {
		if err := loss(); err != nil {
			t.Fatal(err)
		}
		if _, err := openAuthority(dir, now); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("a damaged or half lost authority: %v", err)
		}
	}
}

func TestListeningEverywhereNamesTheWholeMachine(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, everywhere := range []string{"", "0.0.0.0", "::"} {
		if names := serverNames(everywhere); !slices.Contains(names, host) || slices.Contains(names, everywhere) {
			t.Errorf("%q: %v", everywhere, names)
		}
		if localName(everywhere) != "localhost" {
			t.Errorf("%q is reached as %s", everywhere, localName(everywhere))
		}
	}
}

// A key file that was damaged is named; none is ever made anew over it.
func TestDamagedKeysAreKept(t *testing.T) {
	dir := t.TempDir()
	for _, bad := range []string{"", "one", "one two", "not a key\nat all\n"} {
		log, operator := filepath.Join(dir, "log.key"), filepath.Join(dir, "operator.key")
		for _, file := range []string{log, operator} {
			if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openLedgerKey(log, "tamv/n1", true); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("log key %q: %v", bad, err)
		}
		if _, err := openOperatorKey(operator); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("operator key %q: %v", bad, err)
		}
		for _, file := range []string{log, operator} {
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, []byte(bad)) {
				t.Errorf("%s was overwritten: %v", file, err)
			}
		}
	}
	// A ledger that exists keeps its key: a new one would be another ledger.
	if _, err := openLedgerKey(filepath.Join(dir, "gone.key"), "tamv/n1", false); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a lost ledger key was replaced: %v", err)
	}
	made, err := openOperatorKey(filepath.Join(dir, "fresh.key"))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := openOperatorKey(filepath.Join(dir, "fresh.key")); err != nil || !kept.Equal(made) {
		t.Errorf("the key is another one: %v", err)
	}
}
