package cluster

import (
	"crypto/tls"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	trust "tamv.internal/tamv/cluster"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/httpapi"
)

// authority is the site's real one, as the appliance joins it with the pod.
type authority struct {
	*trust.Authority
	address string
}

func (a *authority) Secret(request []byte) []byte {
	return a.Authority.Secret("join invitation", request)
}

func (a *authority) Token(secret []byte, expires time.Time) (string, error) {
	return trust.Token{Addresses: []string{a.address}, Fingerprint: a.Fingerprint(), Secret: secret, Expires: expires}.Encode()
}

func (a *authority) Sign(csr []byte, node, address string) (Credentials, error) {
	chain, pin, err := a.Authority.Sign(csr, node, address, podtest.Epoch)
	if err != nil {
		return Credentials{}, err
	}
	_, key := a.Keys()
	return Credentials{Site: "venue", Pin: pin, Certificate: string(chain), AuthorityKey: string(key), LedgerKey: "ledger key"}, nil
}

// A machine joins over TLS with what an operator was given: both ends of the
// protocol, package cluster's and this one's, agree on every field.
func TestJoinOverTheWire(t *testing.T) {
	now := func() time.Time { return podtest.Epoch }
	root, err := trust.OpenAuthority(t.TempDir(), podtest.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := trust.OpenCertificates(trust.CertificateConfig{
		Authority: root, Dir: t.TempDir(), Node: "n1", Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, real := newSite(t, "n1"), &authority{Authority: root}
	pod := New(Config{Tenant: tenant, Replication: s, Trust: real, Refused: func(Refusal) {}})
	table, err := pods.NewTable(pod)
	if err != nil {
		t.Fatal(err)
	}
	s.host = podtest.NewHost(t, s.state, pod)
	handler := httpapi.Handler(pods.NewServer(pods.ServerConfig{
		Table: table, Gate: s.host, Writer: s.state, View: s.state, Now: now,
		Guards: map[string]*pods.Guard{podName: pods.NewGuard(pod.Manifest())},
	}), httpapi.Options{Limit: func(string, string, bool) int64 { return 1 << 20 }, Logger: slog.New(slog.DiscardHandler)})
	server := httptest.NewUnstartedServer(handler)
	shown, err := certificates.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*shown}}
	server.StartTLS()
	defer server.Close()
	real.address = server.Listener.Addr().String()

	invitation, err := do[invitationReply](s, "POST", "/v1/cluster/invitations", map[string]any{"observer": true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := trust.ParseToken(invitation.Token)
	if err != nil || pods.Timestamp(token.Expires) != invitation.Expires {
		t.Fatalf("%s, expires %s: %v", token.Expires, invitation.Expires, err)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	key, err := trust.NodeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := trust.JoinRequest{Node: "n2", Address: "n2.example:7443", Release: tap.Release, Version: 1, Key: key, Now: now}
	for range 2 { // the first answer is lost
		joined, err := trust.Join(t.Context(), token, r)
		if err != nil {
			t.Fatal(err)
		}
		installed, err := joined.Install(dir)
		if err != nil || !joined.Observer || joined.Site != "venue" || len(joined.Members) != 2 || installed.Fingerprint() != root.Fingerprint() {
			t.Fatalf("%+v %v", joined, err)
		}
	}
	own, err := trust.OpenCertificates(trust.CertificateConfig{Authority: root, Dir: dir, Node: "n2", Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if pin, ok := s.directory.Pin("n2"); !ok || trust.Pin(pin) != own.Pin() {
		t.Errorf("the record pins %x", pin)
	}
	var roster trust.Roster = s.directory.ForLinks(func(string) bool { return false }, func() bool { return true })
	if at, _ := roster.NodeAt("n2.example:7443"); at != "n2" {
		t.Errorf("n2's address is that of %q", at)
	}
	other := filepath.Join(t.TempDir(), "ca")
	if r.Key, err = trust.NodeKey(other); err != nil {
		t.Fatal(err)
	}
	_, err = trust.Join(t.Context(), token, r)
	podtest.WantKind(t, err, tap.Forbidden, "invitation_used")
	if e := s.entries(actionJoin); len(e) != 2 || e[1].outcome != "refused" {
		t.Errorf("%+v", e)
	}
}
