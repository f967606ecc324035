package client

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// appliance answers over TLS the way tap/httpapi does and remembers what it
// was asked.
type appliance struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*tap.Request // guarded by mu
}

// newAppliance lets answer say what the n-th request (from 0) gets.
func newAppliance(t *testing.T, answer func(n int, w http.ResponseWriter)) *appliance {
	a := &appliance{}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		body, _ := io.ReadAll(hr.Body)
		r := &tap.Request{Method: hr.Method, Path: hr.URL.EscapedPath(), RawQuery: hr.URL.RawQuery, Body: body, Header: map[string]string{}}
		for name := range hr.Header {
			r.Header[strings.ToLower(name)] = hr.Header.Get(name)
		}
		r.Header["transfer-encoding"] = strings.Join(hr.TransferEncoding, ", ") // net/http keeps it apart
		a.mu.Lock()
		n := len(a.seen)
		a.seen = append(a.seen, r)
		a.mu.Unlock()
		answer(n, w)
	}))
	a.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func (a *appliance) client(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	config := Config{Addresses: []string{a.URL}, CA: pool, KeyID: "main/ana", Key: testKey, Retries: -1}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func ok(w http.ResponseWriter) { io.WriteString(w, `{"answer":42}`) }

func refuse(w http.ResponseWriter, e *tap.Error) {
	body, _ := json.Marshal(e.Body("the-request", time.UnixMilli(5), tap.English))
	w.WriteHeader(e.Kind.Traits().Status)
	w.Write(body)
}

func TestRequestsAreSigned(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { w.Header().Set("X-Request-Id", "7"); ok(w) })
	c := a.client(t, func(c *Config) { c.Roles, c.Lang = []tap.Role{tap.Citizen, tap.Device}, tap.Spanish })
	reply, err := c.Do(t.Context(), "POST", "/v1/a%2Fb/"+url.PathEscape("ñ x"), url.Values{"q": {"a b"}}, map[string]int{"x": 1})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Answer int }
	if err := reply.Decode(&answer); err != nil || answer.Answer != 42 || reply.Status != 200 || reply.RequestID != "7" {
		t.Errorf("%+v %v", reply, err)
	}
	r := a.seen[0]
	s, err := tap.ParseSignature(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Verify(testKey.Public().(ed25519.PublicKey)), s.VerifyDigest(r), s.CheckTime(time.Now())); err != nil {
		t.Error(err)
	}
	if r.Path != "/v1/a%2Fb/%C3%B1%20x" || r.RawQuery != "q=a+b" || string(r.Body) != `{"x":1}` {
		t.Errorf("sent %+v", r)
	}
	if r.Header["tamv-roles"] != "citizen, device" || r.Header["accept-language"] != "es" || r.Header["content-type"] != "application/json" {
		t.Errorf("header %v", r.Header)
	}
	if _, err := uuid.Parse(r.Header["idempotency-key"]); err != nil || !slices.Contains(s.Components, "tamv-roles") {
		t.Errorf("covers %v of %v", s.Components, r.Header)
	}
}

func TestBodies(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
	c := a.client(t, nil)
	for _, body := range []any{nil, json.RawMessage(`{"a": 1}`), []byte(`[ ]`), struct{ B int }{2}} {
		if _, err := c.Do(t.Context(), "POST", "/", nil, body); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"", `{"a": 1}`, `[ ]`, `{"B":2}`} {
		if got := string(a.seen[i].Body); got != want {
			t.Errorf("body %q, want %q", got, want)
		}
	}
	if _, sent := a.seen[0].Header["content-type"]; sent {
		t.Error("an empty body has a content type")
	}
	if _, err := c.Do(t.Context(), "POST", "/", nil, func() {}); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("a function as body: %v", err)
	}
}

func TestUnsignedRequests(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
	c := a.client(t, func(c *Config) { c.KeyID = "" })
	if _, err := c.Do(t.Context(), "GET", "/health", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := tap.ParseSignature(a.seen[0]); tap.AsError(err).Code != tap.CodeUnsigned {
		t.Errorf("got %v", err)
	}
}

func TestRawRequestsAreSentAsTheyAre(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
	c := a.client(t, nil)
	r := &tap.Request{Method: "POST", Path: "/", Body: []byte("x"), Header: map[string]string{"content-type": "text/plain", "signature": "mine"}}
	for range 2 {
		if _, err := c.DoRaw(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, got := range a.seen {
		if got.Header["signature"] != "mine" || got.Header["content-type"] != "text/plain" || got.Header["idempotency-key"] != "" {
			t.Errorf("sent %v", got.Header)
		}
	}
	for _, path := range []string{"", "v1", "/a b", "/%zz", "/ñ"} {
		if _, err := c.DoRaw(t.Context(), &tap.Request{Method: "GET", Path: path}); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("path %q: %v", path, err)
		}
	}
	if _, err := c.DoRaw(t.Context(), &tap.Request{Method: "G T", Path: "/"}); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("bad method: %v", err)
	}
}

func TestErrorRepliesAreTyped(t *testing.T) {
	for _, kind := range tap.Kinds() {
		a := newAppliance(t, func(_ int, w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			refuse(w, tap.E("op", kind, "what is wrong").WithCode("the_code").WithDetail("ticket", "t1"))
		})
		reply, err := a.client(t, nil).Do(t.Context(), "GET", "/", nil, nil)
		var e *tap.Error
		if !errors.As(err, &e) || e.Kind != kind || e.Code != "the_code" || e.Details["ticket"] != "t1" || e.RetryAfter != 7*time.Second {
			t.Errorf("%s arrived as %+v", kind, err)
		}
		if reply == nil || reply.Status != kind.Traits().Status || reply.RequestID != "the-request" {
			t.Errorf("%s: reply %+v", kind, reply)
		}
	}
}

func TestRepliesWithoutErrorBody(t *testing.T) {
	for status, kind := range map[int]tap.Kind{
		301: tap.Internal, 401: tap.Unauthenticated, 403: tap.Forbidden, 404: tap.NotFound, 418: tap.Internal, 500: tap.Internal, 503: tap.Unavailable,
	} {
		a := newAppliance(t, func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			io.WriteString(w, `{"ready":false}`)
		})
		reply, err := a.client(t, func(c *Config) { c.Retries = 3 }).Do(t.Context(), "GET", "/ready", nil, nil)
		if e := tap.AsError(err); e.Kind != kind || e.Code != CodeReply || reply == nil || string(reply.Body) != `{"ready":false}` {
			t.Errorf("%d: %v, %+v", status, err, reply)
		}
		if len(a.seen) != 1 {
			t.Errorf("%d was asked for %d times", status, len(a.seen))
		}
	}
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(202); io.WriteString(w, `no error`) })
	reply, err := a.client(t, nil).Do(t.Context(), "GET", "/", nil, nil)
	if err != nil || reply.Status != 202 {
		t.Errorf("a plain 202: %v", err)
	}
	if err := reply.Decode(&struct{}{}); tap.AsError(err).Code != CodeReply {
		t.Errorf("decoding text as JSON: %v", err)
	}
}

func TestReplyBeyondTheLimit(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) {
		chunk := make([]byte, 1<<20)
		for range MaxReply>>20 + 1 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if reply, err := a.client(t, nil).Do(t.Context(), "GET", "/", nil, nil); tap.AsError(err).Code != CodeReply || reply != nil {
		t.Errorf("got %v", err)
	}
}

func TestRetryKeepsTheRequestIDAndSignsAnew(t *testing.T) {
	for _, kind := range []tap.Kind{tap.Limited, tap.Unavailable, tap.Timeout} {
		a := newAppliance(t, func(n int, w http.ResponseWriter) {
			if n == 0 {
				refuse(w, tap.E("op", kind, "not now"))
				return
			}
			ok(w)
		})
		if _, err := a.client(t, func(c *Config) { c.Retries = 1 }).Do(t.Context(), "POST", "/", nil, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		first, second := a.seen[0].Header, a.seen[1].Header
		if first["idempotency-key"] != second["idempotency-key"] || first["signature-input"] == second["signature-input"] {
			t.Errorf("%s: %v, then %v", kind, first, second)
		}
	}
}

func TestOnlyRetryableKindsAreRetried(t *testing.T) {
	for _, kind := range tap.Kinds() {
		if kind.Traits().Retryable {
			continue
		}
		a := newAppliance(t, func(_ int, w http.ResponseWriter) { refuse(w, tap.E("op", kind, "no")) })
		if _, err := a.client(t, func(c *Config) { c.Retries = 5 }).Do(t.Context(), "GET", "/", nil, nil); !tap.IsKind(err, kind) {
			t.Errorf("got %v", err)
		}
		if len(a.seen) != 1 {
			t.Errorf("%s was tried %d times", kind, len(a.seen))
		}
	}
	long := newAppliance(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Retry-After", "30")
		refuse(w, tap.E("op", tap.Unavailable, "rests"))
	})
	if _, err := long.client(t, func(c *Config) { c.Retries = 5 }).Do(t.Context(), "GET", "/", nil, nil); tap.AsError(err).RetryAfter != 30*time.Second || len(long.seen) != 1 {
		t.Errorf("a long rest: %v after %d tries", err, len(long.seen))
	}
}

// roundTrip is a connection that needs no network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// offline is a client whose requests all fail as f says.
func offline(t *testing.T, retries int, f roundTrip) *Client {
	t.Helper()
	c, err := New(Config{Address: "https://127.0.0.1:1", KeyID: "main/ana", Key: testKey, Retries: retries})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = f
	return c
}

func TestPausesGrowAndAreJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		c := offline(t, 0, func(*http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			return nil, net.ErrClosed
		})
		_, err := c.Do(t.Context(), "GET", "/", nil, nil)
		if e := tap.AsError(err); e.Kind != tap.Unavailable || e.Code != CodeUnreachable || len(at) != 1+defaultRetries {
			t.Fatalf("%v after %d tries", err, len(at))
		}
		for i := range defaultRetries {
			want := 100 * time.Millisecond << i
			if got := at[i+1].Sub(at[i]); got < want/2 || got > want*3/2 {
				t.Errorf("pause %d is %s, want around %s", i, got, want)
			}
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, _ := json.Marshal(tap.E("", tap.Limited, "slow").Body("id", time.Now(), tap.English))
		c := offline(t, 1, func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"3"}}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
		})
		began := time.Now()
		_, err := c.Do(t.Context(), "GET", "/", nil, nil)
		if took := time.Since(began); !tap.IsKind(err, tap.Limited) || took < 3*time.Second || took > 4*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestContextEndsRequestsAndPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := offline(t, 5, func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := hang.Do(ctx, "GET", "/", nil, nil); !tap.IsKind(err, tap.Timeout) {
			t.Errorf("a slow server: %v", err)
		}
		stopped, stop := context.WithCancel(t.Context())
		fails := offline(t, 5, func(*http.Request) (*http.Response, error) {
			time.AfterFunc(time.Millisecond, stop)
			return nil, net.ErrClosed
		})
		began := time.Now()
		if _, err := fails.Do(stopped, "GET", "/", nil, nil); tap.AsError(err).Code != CodeUnreachable || time.Since(began) != time.Millisecond {
			t.Errorf("cancelled in a pause: %v after %s", err, time.Since(began))
		}
	})
}

func TestUnknownCertificateIsNotTrusted(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
	c := a.client(t, func(c *Config) { c.CA, c.Retries = x509.NewCertPool(), 5 })
	if _, err := c.Do(t.Context(), "GET", "/", nil, nil); tap.AsError(err).Code != CodeCertificate {
		t.Errorf("got %v", err)
	}
	if len(a.seen) != 0 {
		t.Error("a request was sent")
	}
}

func TestBrokenReplies(t *testing.T) {
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { w.Header().Set("Content-Length", "9"); io.WriteString(w, "half") })
	if _, err := a.client(t, nil).Do(t.Context(), "GET", "/", nil, nil); tap.AsError(err).Code != CodeUnreachable {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var opened int
	a := newAppliance(t, func(_ int, w http.ResponseWriter) { ok(w) })
	c := a.client(t, nil)
	transport := c.http.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		opened++
		return dial(ctx, network, address)
	}
	for range 5 {
		if _, err := c.Do(t.Context(), "GET", "/", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if opened != 1 {
		t.Errorf("%d connections for 5 requests", opened)
	}
	if transport.TLSClientConfig.MinVersion != tls.VersionTLS13 || transport.Proxy != nil {
		t.Error("TLS version or proxy")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:1", "http://127.0.0.1:1", "https://", "https://h/path", "https://h?q", "https://u@h", "\x00"} {
		if _, err := New(Config{Address: address}); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("address %q: %v", address, err)
		}
	}
	for _, c := range []Config{{KeyID: "ana", Key: testKey}, {KeyID: "main/ana"}, {KeyID: "main/ana", Key: testKey[:5]}} {
		c.Address = "https://h"
		if _, err := New(c); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%q: %v", c.KeyID, err)
		}
	}
}
