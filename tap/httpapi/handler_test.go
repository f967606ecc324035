package httpapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

var (
	testTime = time.Unix(1_700_000_000, 0)
	quiet    = slog.New(slog.DiscardHandler)
)

// recorded remembers the request it served.
type recorded struct {
	request  *tap.Request
	response *tap.Response
	err      error
}

func (h *recorded) Serve(_ context.Context, r *tap.Request) (*tap.Response, error) {
	h.request = r
	if h.err != nil {
		return nil, h.err
	}
	if h.response != nil {
		return h.response, nil
	}
	return &tap.Response{Body: []byte(`{}`)}, nil
}

func newHandler(next tap.Handler, o Options) http.Handler {
	o.Now = func() time.Time { return testTime }
	if o.Logger == nil {
		o.Logger = quiet
	}
	return Handler(next, o)
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// refusal reads the error body and checks that it is complete.
func refusal(t *testing.T, w *httptest.ResponseRecorder) *tap.Error {
	t.Helper()
	e, id, ok := tap.ParseErrorBody(w.Body.Bytes())
	if !ok {
		t.Fatalf("status %d with no error body: %s", w.Code, w.Body)
	}
	if id == "" || id != w.Header().Get("X-Request-Id") || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("header %v names the request %q otherwise", w.Header(), id)
	}
	if w.Code != e.Kind.Traits().Status {
		t.Errorf("status %d for kind %s", w.Code, e.Kind)
	}
	return e
}

func jsonRequest(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=UTF-8")
	return r
}

func TestRequestIsDecoded(t *testing.T) {
	h := &recorded{}
	id := uuid.NewString()
	r := jsonRequest("POST", "/v1/a%2Fb/c%20d?q=%C3%B1&q=2", `{"x":1}`)
	r.RemoteAddr = "[::ffff:192.0.2.7]:4711"
	for name, value := range map[string]string{
		"Idempotency-Key": id, "Tamv-Roles": "citizen", "Accept-Language": "es-MX", "X-Forwarded-For": "10.0.0.1",
		"Forwarded": "for=10.0.0.1", "Cookie": "secret", "Authorization": "Bearer x", "Signature": "s", "Signature-Input": "i",
		"Content-Digest": "d", "Date": "today",
	} {
		r.Header.Set(name, value)
	}
	if w := do(newHandler(h, Options{}), r); w.Code != 200 || w.Header().Get("X-Request-Id") != id {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	got := h.request
	want := map[string]string{
		"idempotency-key": id, "tamv-roles": "citizen", "signature": "s", "signature-input": "i", "content-digest": "d",
		"date": "today", "content-type": "application/json; charset=UTF-8",
	}
	if !maps.Equal(got.Header, want) {
		t.Errorf("header %v", got.Header)
	}
	if got.Method != "POST" || got.Path != "/v1/a%2Fb/c%20d" || got.RawQuery != "q=%C3%B1&q=2" || string(got.Body) != `{"x":1}` {
		t.Errorf("got %+v", got)
	}
	if got.ID.String() != id || got.Remote != netip.MustParseAddr("192.0.2.7") || got.Transport != "https" || got.Lang != tap.Spanish {
		t.Errorf("got %+v", got)
	}
	if got.Session != nil || !got.Received.Equal(testTime) {
		t.Errorf("session %v, received %v", got.Session, got.Received)
	}
}

func TestRequestWithoutAnything(t *testing.T) {
	h := &recorded{}
	r := httptest.NewRequest("GET", "/", nil)
	r.URL.Path, r.RemoteAddr = "", "a pipe"
	do(newHandler(h, Options{}), r)
	if got := h.request; got.Path != "/" || got.ID.Version() != 7 || got.Body != nil || got.Remote.IsValid() || len(got.Header) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestRepliesAreWritten(t *testing.T) {
	h := &recorded{response: &tap.Response{
		Status: 201, ContentType: "text/plain", Header: map[string]string{"Cache-Control": "max-age=5"}, Body: []byte("ok"),
	}}
	w := do(newHandler(h, Options{}), httptest.NewRequest("GET", "/", nil))
	if w.Code != 201 || w.Body.String() != "ok" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain", "Content-Length": "2", "Cache-Control": "max-age=5", "X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	limits := Options{Limit: func(_, path string, _ bool) int64 {
		if path == "/nobody" {
			return 0
		}
		return 8
	}}
	for name, c := range map[string]struct {
		spoil func(*http.Request)
		code  string
	}{
		"no uuid":              {func(r *http.Request) { r.Header.Set("Idempotency-Key", "7") }, "request_id"},
		"uuid in braces":       {func(r *http.Request) { r.Header.Set("Idempotency-Key", "{"+uuid.NewString()+"}") }, "request_id"},
		"zero uuid":            {func(r *http.Request) { r.Header.Set("Idempotency-Key", uuid.Nil.String()) }, "request_id"},
		"two uuids":            {func(r *http.Request) { r.Header["Idempotency-Key"] = []string{uuid.NewString(), uuid.NewString()} }, "request_id"},
		"chunked":              {func(r *http.Request) { r.ContentLength, r.TransferEncoding = -1, []string{"chunked"} }, "length_required"},
		"too large":            {func(r *http.Request) { r.ContentLength = 9 }, "too_large"},
		"no content type":      {func(r *http.Request) { r.Header.Del("Content-Type") }, "content_type"},
		"form":                 {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, "content_type"},
		"broken content type":  {func(r *http.Request) { r.Header.Set("Content-Type", "application/json; =") }, "content_type"},
		"other charset":        {func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=latin1") }, "content_type"},
		"unknown expectation":  {func(r *http.Request) { r.Header.Set("Expect", "200-maybe") }, "expect"},
		"shorter than it says": {func(r *http.Request) { r.ContentLength = 8 }, "truncated_body"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &recorded{}
			r := jsonRequest("POST", "/somebody", `{"x":1}`)
			c.spoil(r)
			if e := refusal(t, do(newHandler(h, limits), r)); e.Kind != tap.Invalid || e.Code != c.code {
				t.Errorf("got %v (%s), want %s", e, e.Code, c.code)
			}
			if h.request != nil {
				t.Error("the handler was called")
			}
		})
	}
}

// A limit of 0 passes the request on without its body, however large.
func TestBodyWithoutLimitIsNotRead(t *testing.T) {
	limit := func(_, path string, signed bool) int64 {
		if path == "/nobody" || !signed {
			return 0
		}
		return defaultLimit
	}
	for name, c := range map[string]struct {
		path   string
		header []string
		read   bool
	}{
		"nobody serves the path": {"/nobody", []string{"Signature", "Signature-Input"}, false},
		"unsigned":               {"/somebody", nil, false},
		"no signature":           {"/somebody", []string{"Signature-Input"}, false},
		"no input":               {"/somebody", []string{"Signature"}, false},
		"signed":                 {"/somebody", []string{"Signature", "Signature-Input"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := &recorded{err: tap.E("pods.route", tap.NotFound, "no such path")}
			r := jsonRequest("POST", c.path, "{}")
			if !c.read {
				r = httptest.NewRequest("POST", c.path, unreadable{t})
				r.ContentLength = 1 << 40
			}
			for _, name := range c.header {
				r.Header.Set(name, "x")
			}
			w := do(newHandler(h, Options{Limit: limit}), r)
			if e := refusal(t, w); e.Kind != tap.NotFound || (h.request.Body != nil) != c.read {
				t.Errorf("got %v with body %q", e, h.request.Body)
			}
			if closes := w.Header().Get("Connection") == "close"; closes == c.read {
				t.Errorf("the connection closes: %t", closes)
			}
		})
	}
}

// unreadable fails the test that reads from it.
type unreadable struct{ t *testing.T }

func (r unreadable) Read([]byte) (int, error) {
	r.t.Error("the body was read")
	return 0, io.EOF
}

func TestLargeBodies(t *testing.T) {
	for _, size := range []int{1, eagerBody - 1, eagerBody, eagerBody + 1, 3 * eagerBody, defaultLimit} {
		h := &recorded{}
		sent := strings.Repeat("0123456789", size/10+1)[:size]
		do(newHandler(h, Options{}), jsonRequest("POST", "/", sent))
		if h.request == nil || string(h.request.Body) != sent {
			t.Errorf("a body of %d bytes did not arrive", size)
		} else if cap(h.request.Body) != size {
			t.Errorf("a body of %d bytes holds %d", size, cap(h.request.Body))
		}
		short := jsonRequest("POST", "/", strings.Repeat("x", size-1))
		short.ContentLength = int64(size)
		if e := refusal(t, do(newHandler(&recorded{}, Options{}), short)); e.Code != "truncated_body" {
			t.Errorf("%d bytes, one missing: %v", size, e)
		}
	}
	if e := refusal(t, do(newHandler(&recorded{}, Options{}), jsonRequest("POST", "/", strings.Repeat("x", defaultLimit+1)))); e.Code != "too_large" {
		t.Errorf("beyond the default limit: %v", e)
	}
}

func TestErrorsOfEveryKind(t *testing.T) {
	for _, kind := range tap.Kinds() {
		h := &recorded{err: tap.Wrap("op", kind, errors.New("a secret cause"), "what is wrong").WithCode("the_code").WithDetail("key", "value")}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Language", "es")
		w := do(newHandler(h, Options{}), r)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s tells its cause", kind)
		}
		e := refusal(t, w)
		if e.Kind != kind || e.Code != "the_code" || e.Details["key"] != "value" {
			t.Errorf("%s arrived as %+v", kind, e)
		}
		if !strings.Contains(w.Body.String(), kind.Traits().Hint.ES[:12]) {
			t.Errorf("the hint of %s is not Spanish: %s", kind, w.Body)
		}
		wait := map[tap.Kind]string{tap.Limited: "1", tap.Unavailable: "1"}[kind]
		if got := w.Header().Get("Retry-After"); got != wait {
			t.Errorf("Retry-After of %s is %q", kind, got)
		}
		if got := w.Header().Get("Accept-Signature"); (got != "") != (kind == tap.Unauthenticated) {
			t.Errorf("Accept-Signature of %s is %q", kind, got)
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for wait, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60"} {
		h := &recorded{err: tap.E("", tap.Limited, "slow").WithRetryAfter(wait)}
		if got := do(newHandler(h, Options{}), httptest.NewRequest("GET", "/", nil)).Header().Get("Retry-After"); got != want {
			t.Errorf("%s is told as %q", wait, got)
		}
	}
}

func TestErrorsWithoutKind(t *testing.T) {
	var log bytes.Buffer
	h := &recorded{err: errors.New("password is hunter2")}
	w := do(newHandler(h, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}), httptest.NewRequest("GET", "/", nil))
	if e := refusal(t, w); e.Kind != tap.Internal || strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("got %s", w.Body)
	}
	if !strings.Contains(log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the log does not name the request: %s", &log)
	}

	unmarshalable := &recorded{err: tap.E("", tap.Conflict, "odd").WithDetail("f", func() {})}
	if e := refusal(t, do(newHandler(unmarshalable, Options{}), httptest.NewRequest("GET", "/", nil))); e.Kind != tap.Conflict || e.Details != nil {
		t.Errorf("details that are no JSON: %+v", e)
	}
}

func TestPanicIsAnErrorOfOneRequest(t *testing.T) {
	var log bytes.Buffer
	h := newHandler(tap.HandlerFunc(func(context.Context, *tap.Request) (*tap.Response, error) { panic("secret cause") }),
		Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), MaxInFlight: 1})
	for range 3 { // a slot that a panic kept would show here
		w := do(h, httptest.NewRequest("GET", "/", nil))
		if e := refusal(t, w); e.Kind != tap.Internal || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("got %s", w.Body)
		}
	}
	if !strings.Contains(log.String(), "secret cause") || !strings.Contains(log.String(), "handler_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", &log)
	}
}

func TestOverload(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	h := newHandler(tap.HandlerFunc(func(context.Context, *tap.Request) (*tap.Response, error) {
		entered <- true
		<-leave
		return &tap.Response{}, nil
	}), Options{MaxInFlight: 1})
	first := make(chan int)
	go func() { first <- do(h, httptest.NewRequest("GET", "/", nil)).Code }()
	<-entered
	w := do(h, httptest.NewRequest("GET", "/", nil))
	if e := refusal(t, w); e.Kind != tap.Unavailable || e.Code != "overload" || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %v", e)
	}
	leave <- true
	if code := <-first; code != 200 {
		t.Errorf("the first request got %d", code)
	}
	go func() { <-entered; leave <- true }()
	if w := do(h, httptest.NewRequest("GET", "/", nil)); w.Code != 200 {
		t.Errorf("after the overload: %d", w.Code)
	}
}

// A signature made over a tap.Request holds after a trip through a real TLS
// connection, with HTTP/1.1 and HTTP/2; a doubled field does not.
func TestSignatureSurvivesTheWire(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h := newHandler(tap.HandlerFunc(func(_ context.Context, r *tap.Request) (*tap.Response, error) {
		s, err := tap.ParseSignature(r)
		if err != nil {
			return nil, err
		}
		return &tap.Response{Body: []byte(`{}`)}, errors.Join(s.Verify(public), s.VerifyDigest(r))
	}), Options{})
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		ts := httptest.NewUnstartedServer(nil)
		ts.Config = NewServer(h, nil)
		ts.EnableHTTP2 = protocol == "HTTP/2.0"
		ts.StartTLS()
		defer ts.Close()
		for _, body := range []string{"", `{"a":1}`} {
			signed := &tap.Request{
				Method: "POST", Path: "/v1/a%2Fb/%C3%B1/..;x", RawQuery: "q=a+b&r=%20", Body: []byte(body),
				Header: map[string]string{tap.HeaderRequestID: uuid.NewString(), "content-type": "application/json"},
			}
			if err := tap.SignRequest(signed, key, "main/ana", testTime, tap.NewNonce()); err != nil {
				t.Fatal(err)
			}
			send := func(double string) (*http.Response, *tap.Error) {
				r, err := http.NewRequestWithContext(t.Context(), signed.Method, ts.URL+signed.Path+"?"+signed.RawQuery, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				for name, value := range signed.Header {
					r.Header.Set(name, value)
				}
				if double != "" {
					r.Header.Add(double, signed.Header[double])
				}
				response, err := ts.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				raw, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				e, _, _ := tap.ParseErrorBody(raw)
				return response, e
			}
			if response, e := send(""); response.StatusCode != 200 || response.Proto != protocol {
				t.Errorf("%s: %d %v", response.Proto, response.StatusCode, e)
			}
			for _, name := range []string{tap.HeaderSignature, tap.HeaderSignatureInput, tap.HeaderDigest} {
				if _, e := send(name); e == nil || e.Code != tap.CodeMalformedSignature {
					t.Errorf("%s twice: %v", name, e)
				}
			}
		}
	}
}

func TestServerSettings(t *testing.T) {
	given := &tls.Config{ServerName: "n1"}
	s := NewServer(http.NotFoundHandler(), given)
	if s.TLSConfig.MinVersion != tls.VersionTLS13 || given.MinVersion != 0 || s.TLSConfig.ServerName != "n1" {
		t.Errorf("TLS from %x", s.TLSConfig.MinVersion)
	}
	if s.ReadHeaderTimeout != 5*time.Second || s.IdleTimeout != 2*time.Minute || s.WriteTimeout == 0 || s.ReadTimeout == 0 {
		t.Errorf("timeouts of %+v", s)
	}
}
