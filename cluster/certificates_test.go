package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/tap"
)

func keep(dir string, a *Authority, now func() time.Time, names ...string) CertificateConfig {
	return CertificateConfig{Authority: a, Dir: dir, Node: "n1", Names: names, Now: now, Log: slog.New(slog.DiscardHandler)}
}

func TestTheNodesCertificate(t *testing.T) {
	dir := t.TempDir()
	at := &clock{now: epoch}
	a, err := OpenAuthority(dir, epoch)
	if err != nil {
		t.Fatal(err)
	}
	open := func(names ...string) *Certificates {
		t.Helper()
		again, err := OpenAuthority(dir, at.Now())
		if err != nil || !again.certificate.Equal(a.certificate) {
			t.Fatalf("the authority changed: %v", err)
		}
		c, err := OpenCertificates(keep(dir, again, at.Now, names...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	names := ServerNames("venue.example", "other.example", "localhost", "")
	first := open(names...)
	served, _ := first.Get(nil)
	for _, name := range []string{"venue.example", "other.example", "localhost", "127.0.0.1", "::1"} {
		if _, err := served.Leaf.Verify(x509.VerifyOptions{Roots: a.roots, DNSName: name, CurrentTime: epoch}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(served.Certificate) != 2 || !bytes.Equal(served.Certificate[1], a.certificate.Raw) {
		t.Error("the authority's certificate does not go along")
	}
	if nodeOf(served.Leaf) != "n1" || served.Leaf.NotAfter.Sub(served.Leaf.NotBefore) != certificateLife || !first.Expires().Equal(served.Leaf.NotAfter) {
		t.Errorf("%s from %s to %s", nodeOf(served.Leaf), served.Leaf.NotBefore, served.Leaf.NotAfter)
	}
	if same, _ := open(names...).GetClient(nil); !same.Leaf.Equal(served.Leaf) {
		t.Error("the certificate changed without a reason")
	}
	if c, _ := open(append(names, "third.example")...).Get(nil); c.Leaf.Equal(served.Leaf) {
		t.Error("a new name did not renew the certificate")
	}
	at.pass(certificateLife - RenewBefore)
	renewed := open(names...)
	if c, _ := renewed.Get(nil); c.Leaf.NotAfter.Equal(served.Leaf.NotAfter) || renewed.Pin() != first.Pin() {
		t.Error("the end in sight did not renew the certificate under its key")
	}
	for _, file := range []string{AuthorityKeyFile, nodeKeyFile} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A certificate of a release that had one node is replaced under its key.
func TestOldCertificateIsReplacedUnderItsKey(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(dir, epoch)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NodeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	template := nodeTemplate("tamvd", []string{"localhost"}, epoch)
	template.URIs, template.ExtKeyUsage = nil, template.ExtKeyUsage[:1]
	old, err := a.issue(template, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{pemCertificate(old.Raw), []byte("rubbish"), nil} {
		if err := os.WriteFile(filepath.Join(dir, nodeFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenCertificates(keep(dir, a, func() time.Time { return epoch }, "localhost"))
		if err != nil {
			t.Fatal(err)
		}
		if now, _ := c.Get(nil); nodeOf(now.Leaf) != "n1" || c.Pin() != PinOf(old) {
			t.Error("not replaced, or under another key")
		}
	}
}

func TestRunningNodeRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, late := t.TempDir(), time.Duration(0)
		a, err := OpenAuthority(dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		config := keep(dir, a, func() time.Time { return time.Now().Add(late) })
		config.Log = slog.New(slog.NewTextHandler(&log, nil))
		c, err := OpenCertificates(config)
		if err != nil {
			t.Fatal(err)
		}
		// run lets the node run until well after the certificate is due.
		run := func() (before, after time.Time) {
			const hours = 3
			before = c.Expires()
			late = time.Until(before.Add(-RenewBefore - hours*renewalInterval))
			ctx, cancel := context.WithTimeout(t.Context(), 2*hours*renewalInterval)
			defer cancel()
			c.Run(ctx)
			return before, c.Expires()
		}
		if before, after := run(); !after.After(before) || log.Len() > 0 {
			t.Errorf("the end is %s and was %s\n%s", after, before, &log)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if before, after := run(); !after.Equal(before) || !bytes.Contains(log.Bytes(), []byte("cannot be renewed")) {
			t.Errorf("a renewal that fails is not in the log: %s", &log)
		}
	})
}

func TestAuthorityIsKeptOrMended(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(dir, epoch)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, AuthorityFile), filepath.Join(dir, AuthorityKeyFile)
	// Cut off between key and certificate, or with ca.pem lost: the same key
	// founds again, and what clients trust stays good.
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	again, err := OpenAuthority(dir, epoch)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenCertificates(keep(t.TempDir(), again, func() time.Time { return epoch }, "third.example"))
	if err != nil {
		t.Fatal(err)
	}
	served, _ := c.Get(nil)
	if _, err := served.Leaf.Verify(x509.VerifyOptions{Roots: a.roots, DNSName: "third.example", CurrentTime: epoch}); err != nil {
		t.Errorf("the old trust does not hold: %v", err)
	}
	if !bytes.Equal(a.Secret("x", []byte{1}), again.Secret("x", []byte{1})) || bytes.Equal(a.Secret("x", []byte{1}), a.Secret("x", []byte{2})) ||
		bytes.Equal(a.Secret("x", nil), a.Secret("y", nil)) {
		t.Error("a derived secret is not a function of key, label and id")
	}
	for _, loss := range []func() error{
		func() error { return os.WriteFile(certFile, []byte("rubbish"), 0o600) },
		func() error { return os.Remove(keyFile) },
		func() error { return errors.Join(os.Remove(certFile), os.WriteFile(keyFile, []byte("rubbish"), 0o600)) },
	} {
		if err := loss(); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenAuthority(dir, epoch); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("a damaged or half lost authority: %v", err)
		}
	}
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(filepath.Join(blocked, "ca"), epoch); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a folder that cannot be made: %v", err)
	}
	if _, err := NodeKey(filepath.Join(blocked, "ca")); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a folder that cannot be made: %v", err)
	}
}

func TestInstalledAuthorityIsTheSame(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	dir := filepath.Join(t.TempDir(), "ca")
	certificate, key := a.Keys()
	for range 2 { // again is fine
		b, err := InstallAuthority(dir, certificate, key)
		if err != nil || b.Fingerprint() != a.Fingerprint() {
			t.Fatal(err)
		}
	}
	if b, err := OpenAuthority(dir, epoch); err != nil || !b.certificate.Equal(a.certificate) {
		t.Fatalf("not installed: %v", err)
	}
	foreign, foreignKey := other.Keys()
	if _, err := InstallAuthority(dir, foreign, foreignKey); !tap.IsKind(err, tap.Conflict) {
		t.Errorf("over another site's: %v", err)
	}
	leaf, _, err := a.Sign(request(t, "n1"), "n1", "a.example:1", epoch)
	if err != nil {
		t.Fatal(err)
	}
	nodeKey, err := NodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{
		"another key": {certificate, foreignKey}, "nothing": {}, "no authority": {leaf, pemKey(nodeKey)}, "no key": {certificate, certificate},
	} {
		if _, err := InstallAuthority(t.TempDir(), pair[0], pair[1]); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// request is a PKCS#10 request of a fresh key.
func request(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSign(t *testing.T) {
	a := newAuthority(t)
	for _, name := range []string{"n2", ""} {
		chain, pin, err := a.Sign(request(t, name), "n2", "n2.example:7443", epoch)
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(chain)
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil || nodeOf(leaf) != "n2" || PinOf(leaf) != pin || !bytes.Equal(rest, pemCertificate(a.certificate.Raw)) || len(pin.String()) != 64 {
			t.Fatalf("%v %v", leaf, err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.roots, DNSName: "n2.example", CurrentTime: epoch}); err != nil {
			t.Error(err)
		}
	}
	good := request(t, "n2")
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edRequest, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, ed)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		csr           []byte
		node, address string
	}{
		"no request":       {nil, "n2", "a.example:1"},
		"cut short":        {good[:len(good)-1], "n2", "a.example:1"},
		"forged":           {forged, "n2", "a.example:1"},
		"another key kind": {edRequest, "n2", "a.example:1"},
		"another node":     {good, "n3", "a.example:1"},
		"no name":          {request(t, ""), "N 2", "a.example:1"},
		"no address":       {good, "n2", "everywhere"},
	} {
		if _, _, err := a.Sign(c.csr, c.node, c.address, epoch); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A node's key that was damaged is named; none is ever made anew over it.
func TestDamagedNodeKeyIsKept(t *testing.T) {
	a := newAuthority(t)
	good, err := NodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{
		nil, []byte("rubbish"), append(pemKey(good), 'x'), pemCertificate([]byte{1}), pemKey(other),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2, 3}}),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, nodeKeyFile)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCertificates(keep(dir, a, func() time.Time { return epoch })); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("%q: %v", bad, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
			t.Errorf("the key was overwritten: %v", err)
		}
	}
	if _, err := openKey(t.TempDir()); err == nil {
		t.Error("a folder is a key")
	}
}

func TestListeningEverywhereNamesTheWholeMachine(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, everywhere := range []string{"", "0.0.0.0", "::"} {
		if names := ServerNames(everywhere); !slices.Contains(names, host) || slices.Contains(names, everywhere) {
			t.Errorf("%q: %v", everywhere, names)
		}
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadSettings(dir); !tap.IsKind(err, tap.NotFound) {
		t.Errorf("no settings: %v", err)
	}
	want := Settings{Site: "venue", Node: "n1", Advertise: "192.0.2.7:7443", Listen: ":7443", Joined: true}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSettings(dir); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []Settings{{}, {Site: "a b", Node: "n1", Advertise: "h:1"}, {Site: "s", Advertise: "h:1"}, {Site: "s", Node: "n1"}, {Site: "s", Node: "n1", Advertise: ":1"}} {
		if err := bad.Write(dir); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "{}", `{"site":"a","node":"b","advertise":"c:1","more":1}`, `{"site":"a","node":"b","advertise":"c:1"} x`, string(make([]byte, maxSettings+1))} {
		if err := os.WriteFile(filepath.Join(dir, SettingsFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSettings(dir); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	if err := WritePrivate(filepath.Join(dir, "none", "x"), nil); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// A key that could not be written is no damaged one, and nothing is left of it.
func TestAuthorityThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	inTheWay := filepath.Join(dir, AuthorityKeyFile+".incoming", "x")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := OpenAuthority(dir, time.Now())
	if e := tap.AsError(err); e == nil || e.Kind != tap.Unavailable || !strings.Contains(e.Message, "cannot be written") {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(filepath.Dir(inTheWay)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, time.Now()); err != nil {
		t.Errorf("once it can be written: %v", err)
	}
}
