package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
)

// host is a member that takes machines in, or does something else.
type host struct {
	t         *testing.T
	authority *Authority
	server    *httptest.Server
	answer    func(w http.ResponseWriter, in JoinBody)

	mu       sync.Mutex
	requests []string // guarded by mu; id and body of each
}

// newHost serves answer; nil takes the machine in.
func newHost(t *testing.T, a *Authority, certificate *tls.Certificate, answer func(http.ResponseWriter, JoinBody)) *host {
	t.Helper()
	h := &host{t: t, authority: a, answer: answer}
	if answer == nil {
		h.answer = func(w http.ResponseWriter, in JoinBody) { json.NewEncoder(w).Encode(h.accept(in)) }
	}
	if certificate == nil {
		c, err := OpenCertificates(keep(t.TempDir(), a, func() time.Time { return epoch }))
		if err != nil {
			t.Fatal(err)
		}
		certificate = c.current.Load()
	}
	h.server = httptest.NewUnstartedServer(h)
	h.server.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
	h.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in JoinBody
	if err == nil {
		err = decodeStrict(body, &in)
	}
	if err != nil || r.URL.Path != JoinPath || r.Method != http.MethodPost {
		h.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	h.mu.Lock()
	h.requests = append(h.requests, r.Header.Get("Idempotency-Key")+" "+string(body))
	h.mu.Unlock()
	h.answer(w, in)
}

func (h *host) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

func (h *host) accept(in JoinBody) JoinReply {
	chain, _, err := h.authority.Sign(in.CSR, in.Node, in.Address, epoch)
	if err != nil {
		h.t.Error(err)
	}
	_, key := h.authority.Keys()
	return JoinReply{"venue", in.Node, true, string(chain), string(key), "ledger key", []JoinMember{{"n1", h.address()}, {in.Node, in.Address}}}
}

func (h *host) address() string { return h.server.Listener.Addr().String() }

func (h *host) token(addresses ...string) Token {
	if len(addresses) == 0 {
		addresses = []string{h.address()}
	}
	return Token{addresses, h.authority.Fingerprint(), bytes.Repeat([]byte("s"), 32), epoch.Add(time.Hour)}
}

func joiner(t *testing.T) (JoinRequest, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	key, err := NodeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	return JoinRequest{"n2", "n2.example:7443", "0.1.0", 1, key, func() time.Time { return epoch }}, dir
}

// silent is an address where nobody answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestJoin(t *testing.T) {
	h := newHost(t, newAuthority(t), nil, nil)
	r, dir := joiner(t)
	joined, err := Join(t.Context(), h.token(silent(t), h.address()), r)
	if err != nil {
		t.Fatal(err)
	}
	if joined.Site != "venue" || !joined.Observer || len(joined.Members) != 2 || string(joined.LedgerKey) != "ledger key" {
		t.Errorf("%+v", joined)
	}
	a, err := joined.Install(dir)
	if err != nil || a.Fingerprint() != h.authority.Fingerprint() {
		t.Fatal(err)
	}
	// The certificate that came is the one that is used.
	first, err := os.ReadFile(filepath.Join(dir, nodeFile))
	if err != nil {
		t.Fatal(err)
	}
	config := keep(dir, a, r.Now, "n2.example", "localhost")
	config.Node = "n2"
	c, err := OpenCertificates(config)
	if err != nil || !r.Key.PublicKey.Equal(c.current.Load().Leaf.PublicKey) {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, nodeFile)); err != nil || !bytes.Equal(now, first) {
		t.Errorf("issued again: %v", err)
	}
	if _, err := joined.Install(filepath.Join(dir, nodeFile)); err == nil {
		t.Error("installed into a file")
	}
}

// A lost answer: the next member, and the next attempt, see the same request.
func TestJoinRepeatsTheSameRequest(t *testing.T) {
	a := newAuthority(t)
	lost := newHost(t, a, nil, func(w http.ResponseWriter, _ JoinBody) { w.Header().Set("Content-Length", "10"); w.Write([]byte("x")) })
	busy := newHost(t, a, nil, func(w http.ResponseWriter, _ JoinBody) {
		w.WriteHeader(http.StatusServiceUnavailable)
		json.NewEncoder(w).Encode(tap.E("", tap.Unavailable, "no leader").Body("id", epoch, tap.English))
	})
	proxy := newHost(t, a, nil, func(w http.ResponseWriter, _ JoinBody) { http.Error(w, "sorry", http.StatusBadGateway) })
	h := newHost(t, a, nil, nil)
	r, _ := joiner(t)
	for range 2 {
		if _, err := Join(t.Context(), h.token(lost.address(), busy.address(), proxy.address(), h.address()), r); err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Concat(lost.seen(), busy.seen(), proxy.seen(), h.seen())
	if len(all) != 8 || len(slices.Compact(all)) != 1 {
		t.Errorf("%d requests, of which %d differ", len(all), len(slices.Compact(all)))
	}
}

// Whoever is not of the token's site never sees the secret.
func TestJoinTellsStrangersNothing(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	never := func(http.ResponseWriter, JoinBody) { t.Error("a stranger was sent the secret") }
	key, err := NodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	unnamed := nodeTemplate("n1", nil, epoch)
	unnamed.URIs = nil
	nameless, err := a.issue(unnamed, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := OpenCertificates(keep(t.TempDir(), other, func() time.Time { return epoch }))
	if err != nil {
		t.Fatal(err)
	}
	posing := *stolen.current.Load()
	posing.Certificate = [][]byte{posing.Certificate[0], a.certificate.Raw} // shows an authority that did not sign it
	for name, certificate := range map[string]*tls.Certificate{
		"another site":        stolen.current.Load(),
		"a borrowed chain":    &posing,
		"no node's":           {Certificate: [][]byte{nameless.Raw, a.certificate.Raw}, PrivateKey: key},
		"without the chain":   {Certificate: [][]byte{nameless.Raw}, PrivateKey: key},
		"the authority alone": {Certificate: [][]byte{other.certificate.Raw}, PrivateKey: other.key},
	} {
		h := newHost(t, a, certificate, never)
		r, _ := joiner(t)
		if _, err := Join(t.Context(), h.token(), r); !tap.IsKind(err, tap.Unauthenticated) && !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A stranger at one address is no reason not to ask at the next.
	bad, good := newHost(t, a, stolen.current.Load(), never), newHost(t, a, nil, nil)
	r, _ := joiner(t)
	if _, err := Join(t.Context(), good.token(bad.address(), good.address()), r); err != nil {
		t.Error(err)
	}
	r.Now = func() time.Time { return epoch.Add(2 * certificateLife) }
	if _, err := Join(t.Context(), good.token(), r); tap.AsError(err).Code != "clock" {
		t.Errorf("a clock that is wrong: %v", err)
	}
}

func TestJoinRefused(t *testing.T) {
	a := newAuthority(t)
	second := newHost(t, a, nil, nil)
	h := newHost(t, a, nil, func(w http.ResponseWriter, _ JoinBody) {
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(tap.E("", tap.Forbidden, "used").WithCode("invitation_used").Body("id", epoch, tap.English))
	})
	r, _ := joiner(t)
	if _, err := Join(t.Context(), h.token(h.address(), second.address()), r); !tap.IsKind(err, tap.Forbidden) || len(second.seen()) > 0 {
		t.Errorf("%v, then asked %d more", err, len(second.seen()))
	}
	moved := newHost(t, a, nil, func(w http.ResponseWriter, _ JoinBody) {
		w.Header().Set("Location", "https://"+second.address()+JoinPath)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	if _, err := Join(t.Context(), moved.token(), r); err == nil || len(second.seen()) > 0 {
		t.Errorf("the secret was sent on: %v", err)
	}
	if _, err := Join(t.Context(), h.token(silent(t)), r); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Join(cancelled, h.token(h.address(), h.address()), r); err == nil {
		t.Error("joined after all")
	}
	for _, change := range []func(*JoinRequest){
		func(r *JoinRequest) { r.Node = "N 2" },
		func(r *JoinRequest) { r.Address = "here" },
	} {
		bad := r
		change(&bad)
		if _, err := Join(t.Context(), h.token(), bad); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// An answer that is not what was asked for is not installed.
func TestJoinChecksTheAnswer(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	_, otherKey := other.Keys()
	for name, change := range map[string]func(r *JoinReply){
		"another node":   func(r *JoinReply) { r.Node = "n3" },
		"no certificate": func(r *JoinReply) { r.Certificate = "" },
		"no DER":         func(r *JoinReply) { r.Certificate = string(pemCertificate([]byte{1})) },
		"without authority": func(r *JoinReply) {
			r.Certificate = strings.SplitAfter(r.Certificate, "-----END CERTIFICATE-----\n")[0]
		},
		"no key":             func(r *JoinReply) { r.AuthorityKey = "" },
		"another site's key": func(r *JoinReply) { r.AuthorityKey = string(otherKey) },
		"no ledger key":      func(r *JoinReply) { r.LedgerKey = "" },
		"no members":         func(r *JoinReply) { r.Members = nil },
		"a member nowhere":   func(r *JoinReply) { r.Members[0].Address = "" },
		"a member without":   func(r *JoinReply) { r.Members[0].Node = "" },
		"no site":            func(r *JoinReply) { r.Site = "" },
		"another's request": func(r *JoinReply) {
			chain, _, _ := a.Sign(request(t, "n2"), "n2", "n2.example:1", epoch)
			r.Certificate = string(chain)
		},
		"signed by a stranger": func(r *JoinReply) { *r = stranger(t, other, *r) },
		"an ended certificate": func(r *JoinReply) { r.Certificate = ended(t, a, r.Certificate) },
	} {
		var h *host
		h = newHost(t, a, nil, func(w http.ResponseWriter, in JoinBody) {
			reply := h.accept(in)
			change(&reply)
			json.NewEncoder(w).Encode(reply)
		})
		r, _ := joiner(t)
		if _, err := Join(t.Context(), h.token(), r); !tap.IsKind(err, tap.Internal) || tap.AsError(err).Code != "join_reply" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, answer := range map[string]string{
		"no JSON": "hello", "unknown field": `{"more":1}`, "nothing": "", "two": "{} {}", "huge": strings.Repeat(" ", maxJoinReply+1),
	} {
		h := newHost(t, a, nil, func(w http.ResponseWriter, _ JoinBody) { io.WriteString(w, answer) })
		r, _ := joiner(t)
		if _, err := Join(t.Context(), h.token(), r); !tap.IsKind(err, tap.Internal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stranger is the reply of another authority with the same fields.
func stranger(t *testing.T, other *Authority, r JoinReply) JoinReply {
	t.Helper()
	chain, _, err := other.Sign(request(t, r.Node), r.Node, "n2.example:1", epoch)
	if err != nil {
		t.Fatal(err)
	}
	_, key := other.Keys()
	r.Certificate, r.AuthorityKey = string(chain), string(key)
	return r
}

// ended is the chain again, for the same key, long ago.
func ended(t *testing.T, a *Authority, chain string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), nodeFile)
	if err := os.WriteFile(path, []byte(chain), 0o600); err != nil {
		t.Fatal(err)
	}
	leaf, err := readLeaf(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := a.issue(nodeTemplate("n2", nil, epoch.Add(-2*certificateLife)), leaf.PublicKey.(*ecdsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return string(pemCertificate(old.Raw)) + string(pemCertificate(a.certificate.Raw))
}

func FuzzJoinReply(f *testing.F) {
	f.Add([]byte(`{"site":"a","node":"n2","certificate":"-----BEGIN CERTIFICATE-----","members":[{"node":"n1","address":"a:1"}]}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`[`))
	key, err := NodeKey(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	r := JoinRequest{Node: "n2", Address: "a.example:1", Key: key, Now: func() time.Time { return epoch }}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := r.check(Token{}, b); err == nil {
			t.Error("rubbish passed for an answer")
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"site":"venue","node":"n1","advertise":"a.example:1"}`))
	f.Add([]byte(`{"site":"","node":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSettings(b); err == nil && s.validate() != nil {
			t.Errorf("%+v passed", s)
		}
	})
}
