package faults

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// actors are nodes that answer as told: the error of each turn, nil for success.
type actors struct {
	mu   sync.Mutex
	turn int
	says []error
	ids  map[string]bool
}

func (a *actors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[r.Header.Get(tap.HeaderRequestID)] = true
	err := a.says[min(a.turn, len(a.says)-1)]
	a.turn++
	if err == nil {
		_, _ = w.Write([]byte(`{}`))
		return
	}
	e := tap.AsError(err)
	w.WriteHeader(e.Kind.Traits().Status)
	_ = json.NewEncoder(w).Encode(e.Body("", time.Now(), tap.English))
}

// cast is a caller of two such nodes.
func cast(t *testing.T, says ...error) (*Caller, *actors) {
	t.Helper()
	a := &actors{says: says, ids: map[string]bool{}}
	server := httptest.NewTLSServer(a)
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	node := func(address string) *client.Client {
		c, err := client.New(client.Config{Address: address, CA: pool, Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	// The second node is not there: port 1 refuses connections.
	nodes := []*client.Client{node(server.URL), node("https://127.0.0.1:1")}
	return &Caller{Nodes: func() []*client.Client { return nodes }, Journal: NewJournal()}, a
}

func TestCallerOutcomes(t *testing.T) {
	e := func(k tap.Kind, code string) error { return tap.E("", k, "no").WithCode(code) }
	uncertain, busy := e(tap.Timeout, "uncertain"), e(tap.Limited, "busy")
	for name, c := range map[string]struct {
		says   []error
		repeat bool
		want   Outcome
		turns  int
	}{
		"done":                         {[]error{nil}, false, Acknowledged, 1},
		"invalid":                      {[]error{e(tap.Invalid, "schema")}, true, Refused, 1},
		"unanswered":                   {[]error{uncertain}, false, Unknown, 1},
		"unanswered, then done":        {[]error{uncertain, uncertain, nil}, true, Acknowledged, 3},
		"unanswered, then refused":     {[]error{uncertain, e(tap.Forbidden, "role")}, true, Unknown, 2},
		"behind, then done":            {[]error{e(tap.NotFound, ""), nil}, false, Acknowledged, 2},
		"clock is wrong, then invalid": {[]error{e(tap.Unauthenticated, "expired"), e(tap.Invalid, "")}, false, Refused, 2},
		"full, then done":              {[]error{e(tap.Unavailable, "disk_full"), nil}, false, Acknowledged, 2},
		"fast, full, then unanswered":  {[]error{busy, e(tap.Unavailable, "disk_full"), uncertain}, false, Unknown, 3},
		"without a leader, then done":  {[]error{e(tap.Unavailable, "not_leader"), e(tap.Unavailable, "starting"), nil}, false, Acknowledged, 3},
		"stopped":                      {[]error{e(tap.Unavailable, "stopped")}, false, Unknown, 1},
		"a defect":                     {[]error{e(tap.Internal, "")}, false, Unknown, 1},
	} {
		t.Run(name, func(t *testing.T) {
			caller, nodes := cast(t, c.says...)
			a := caller.Do(t.Context(), Operation{Method: "POST", Path: "/x", Body: map[string]int{"n": 1}, Repeat: c.repeat}, 1)
			if a.Outcome != c.want || nodes.turn != c.turns || (a.Err == nil) != (c.want == Acknowledged) {
				t.Errorf("outcome %d after %d turns (%v), want %d after %d", a.Outcome, nodes.turn, a.Err, c.want, c.turns)
			}
			if len(nodes.ids) != 1 || !nodes.ids[a.ID.String()] {
				t.Errorf("sent under the ids %v, not %s alone", nodes.ids, a.ID)
			}
			if a.Span.End < a.Span.Start || caller.Journal.WrittenSince(0) != (c.want == Acknowledged) {
				t.Errorf("noted %+v", a.Span)
			}
		})
	}
}

// With nobody to ask, an operation was certainly not done.
func TestCallerWithoutNodes(t *testing.T) {
	caller, _ := cast(t, nil)
	gone := caller.Nodes()[1]
	caller.Nodes = func() []*client.Client { return []*client.Client{gone} }
	a := caller.Do(within(t, 275*time.Millisecond), Operation{Method: "GET", Path: "/x", Repeat: true}, 0)
	if a.Outcome != Refused || a.Err == nil {
		t.Errorf("%+v", a)
	}
}
