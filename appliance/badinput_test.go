package appliance_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// operation is one row of the route table as /openapi.json shows it.
type operation struct {
	method, path string
	roles        []string
	body         bool
}

func operations(t *testing.T, cl *client.Client) []operation {
	t.Helper()
	doc := get[struct {
		Paths map[string]map[string]struct {
			Roles       []string        `json:"x-roles"`
			RequestBody json.RawMessage `json:"requestBody"`
		} `json:"paths"`
	}](t, cl, "/openapi.json", nil)
	var all []operation
	for path, methods := range doc.Paths {
		for method, o := range methods {
			// Any name fits where the pattern has one: nothing must exist.
			for _, p := range strings.Split(path, "/") {
				if strings.HasPrefix(p, "{") {
					path = strings.ReplaceAll(path, p, "nothing")
				}
			}
			all = append(all, operation{strings.ToUpper(method), path, o.Roles, o.RequestBody != nil})
		}
	}
	if len(all) < 25 {
		t.Fatalf("the API has only %d operations", len(all))
	}
	return all
}

func typed(t *testing.T, o operation, what string, reply *client.Reply, err error, kinds ...tap.Kind) {
	t.Helper()
	if err == nil {
		t.Errorf("%s %s: %s was accepted with %d", o.method, o.path, what, reply.Status)
		return
	}
	e := tap.AsError(err)
	if !slices.Contains(kinds, e.Kind) {
		t.Errorf("%s %s: %s gives %v (%s)", o.method, o.path, what, e.Kind, e.Message)
	}
	var body tap.ErrorBody
	if reply == nil || json.Unmarshal(reply.Body, &body) != nil || body.Error.Code == "" || body.Error.RequestID == "" || body.Error.Timestamp == 0 {
		t.Errorf("%s %s: %s is not answered in the error format", o.method, o.path, what)
	}
}

var badBodies = map[string][]byte{
	"nothing":            nil,
	"no JSON":            []byte("hello"),
	"truncated JSON":     []byte(`{"amount": "1", "cur`),
	"two values":         []byte(`{} {}`),
	"an array":           []byte(`[]`),
	"null":               []byte(`null`),
	"NaN":                []byte(`{"amount": NaN}`),
	"infinity":           []byte(`{"amount": 1e999999, "currency": Infinity}`),
	"an unknown field":   []byte(`{"surprise": 1}`),
	"wrong types":        []byte(`{"amount": {}, "input": 7, "documents": "x", "name": [], "query": 1, "action": {}, "decision": 1, "reason": 2, "object": []}`),
	"bad UTF-8":          []byte("{\"name\": \"\xff\xfe\"}"),
	"a duplicate key":    []byte(`{"name": "a", "name": "b"}`),
	"deep nesting":       []byte(strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)),
	"very deep nesting":  []byte(strings.Repeat("[", 100_000)),
	"more than any body": bytes.Repeat([]byte(" "), 2<<20),
}

// Every route answers every malformed body with a typed error, and the ledger
// has nothing but the attempts afterwards.
func TestBadInputOnEveryRoute(t *testing.T) {
	cl := connect(t, start(t, t.TempDir()).Context)
	for _, o := range operations(t, cl) {
		if o.body {
			for what, body := range badBodies {
				reply, err := cl.Do(t.Context(), o.method, o.path, nil, body)
				typed(t, o, what, reply, err, tap.Invalid)
			}
		} else if !slices.Contains([]string{"/health", "/ready"}, o.path) {
			reply, err := cl.Do(t.Context(), o.method, o.path, nil, []byte(`{"a": 1}`))
			typed(t, o, "a body that is not wanted", reply, err, tap.Invalid)
		}
		for what, query := range map[string]url.Values{
			"an unknown parameter": {"surprise": {"1"}},
			"a repeated parameter": {"limit": {"1", "2"}},
			"a bad number":         {"limit": {"-1"}},
		} {
			reply, err := cl.Do(t.Context(), o.method, o.path, query, nil)
			typed(t, o, what, reply, err, tap.Invalid)
		}
	}
	page := get[struct {
		Entries []struct {
			Action string `json:"action"`
		} `json:"entries"`
	}](t, cl, "/v1/evidence", url.Values{"limit": {"500"}})
	for _, e := range page.Entries {
		// The first node, operator, version and keys are in every ledger.
		if !slices.Contains([]string{"auth.attempts", "identity.enrol", "cluster.member", "cluster.version", "log.keys_begun"}, e.Action) {
			t.Errorf("a malformed request left %s in the ledger", e.Action)
		}
	}
}

// Feature: tamv-hardened-backend, Property 22: Command Function Authentication
func TestEveryRouteButTheOpenOnesNeedsASignature(t *testing.T) {
	running := start(t, t.TempDir())
	cl := connect(t, running.Context)
	open := []string{
		"/health", "/ready", "/metrics", "/openapi.json", "/v1/evidence/checkpoint", "/v1/evidence/consistency", "/v1/evidence/key", "/v1/cluster/join",
		"/log/checkpoint", "/log/key", "/log/keys", "/log/policy", "/log/tile/nothing",
	}
	for _, o := range operations(t, cl) {
		if slices.Equal(o.roles, []string{"anyone"}) {
			if !slices.Contains(open, o.path) {
				t.Errorf("%s is open to anyone", o.path)
			}
			continue
		}
		unsigned := &tap.Request{ID: uuid.New(), Method: o.method, Path: o.path, Body: []byte(`{}`)}
		reply, err := cl.DoRaw(t.Context(), unsigned)
		typed(t, o, "no signature", reply, err, tap.Unauthenticated)
	}
}

// A peer that speaks an old TLS is turned away; one that sends its header drop
// by drop is cut off, and costs one connection, not the server.
func TestSlowAndOldPeers(t *testing.T) {
	t.Parallel()
	running := start(t, t.TempDir())
	cl := connect(t, running.Context)
	c, err := client.Load(running.Context)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	if old, err := tls.Dial("tcp", running.Address, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err == nil {
		old.Close()
		t.Error("TLS 1.2 was accepted")
	}
	conn, err := tls.Dial("tcp", running.Address, &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("POST /v1/kernel/intent HTTP/1.1\r\nHost: x\r\nX-Slow: ")); err != nil {
		t.Fatal(err)
	}
	get[map[string]string](t, cl, "/health", nil)
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestTimeout && response.StatusCode != http.StatusBadRequest {
			t.Fatalf("an unfinished request got %d", response.StatusCode)
		}
	} else if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
		t.Fatal("the server waits for the header for ever")
	}
}

// A stopped appliance leaves no goroutine and no lock behind: it can start
// again on the same folder in the same process.
func TestStopLeavesNothingBehind(t *testing.T) {
	data := t.TempDir()
	run := func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := appliance.Run(ctx, appliance.Config{
			Data: data, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
			Ready: func(r appliance.Running) {
				cl := connect(t, r.Context)
				if _, err := cl.Do(ctx, "POST", "/v1/evidence", nil, map[string]any{"action": "test.stop", "outcome": "ok", "data": 1}); err != nil {
					t.Error(err)
				}
				cl.Close()
				cancel()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	run()
	before := runtime.NumGoroutine()
	run()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

func TestRunRefusesBadConfigurations(t *testing.T) {
	for what, cfg := range map[string]appliance.Config{
		"no folder":   {},
		"bad listen":  {Data: t.TempDir(), Listen: "nowhere"},
		"bad node":    {Data: t.TempDir(), Node: "N 1"},
		"no folder 2": {Data: "/dev/null/x", Listen: "127.0.0.1:0"},
	} {
		cfg.Logger = slog.New(slog.DiscardHandler)
		if err := appliance.Run(t.Context(), cfg); !tap.IsKind(err, tap.Invalid) && !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	running := start(t, t.TempDir())
	second := appliance.Config{Data: t.TempDir(), Listen: running.Address, Logger: slog.New(slog.DiscardHandler)}
	if err := appliance.Run(t.Context(), second); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a port in use: %v", err)
	}
	second.Data, second.Listen = running.Data, "127.0.0.1:0"
	if err := appliance.Run(t.Context(), second); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a folder in use: %v", err)
	}
	if _, err := os.Stat(running.Context); err != nil {
		t.Errorf("a second start took the running one's context away: %v", err)
	}
}
