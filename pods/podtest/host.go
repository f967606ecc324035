package podtest

import (
	"context"
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// Who returns a principal of the default tenant with these roles.
func Who(identity string, roles ...tap.Role) *tap.Principal {
	return &tap.Principal{
		Tenant: tap.DefaultTenant, Identity: identity, Roles: roles, KeyID: tap.JoinKeyID(tap.DefaultTenant, identity),
	}
}

// Host serves pods over a State as the appliance does.
type Host struct {
	State  *State
	Now    time.Time // the proposer's clock; tests move it
	server *pods.Server
	table  *pods.Table
	caller *tap.Principal // owned by the goroutine that calls Do
}

// NewHost serves the pods over the state.
func NewHost(t testing.TB, state *State, all ...pods.Pod) *Host {
	t.Helper()
	table, err := pods.NewTable(all...)
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{State: state, Now: Epoch, table: table}
	guards := map[string]*pods.Guard{}
	for _, p := range all {
		guards[p.Manifest().Name] = pods.NewGuard(p.Manifest())
	}
	h.server = pods.NewServer(pods.ServerConfig{
		Table: table, Gate: h, Writer: state, View: state, Guards: guards, Now: func() time.Time { return h.Now },
	})
	return h
}

// Admit is the gate: the principal is who the test says, the role is demanded.
func (h *Host) Admit(_ context.Context, _ *tap.Request, row *pods.Row) (*pods.Admission, error) {
	if slices.Contains(row.Roles, tap.Anyone) {
		return &pods.Admission{}, nil
	}
	if !h.caller.Has(row.Roles...) {
		return nil, tap.E("podtest.gate", tap.Forbidden, "the caller has no role for this route").WithCode("role")
	}
	return &pods.Admission{Principal: h.caller}, nil
}

// Request is one request of a test. Body is sent as it is when it is a string
// or bytes, else as JSON; nil sends none.
type Request struct {
	As     *tap.Principal // nil = unsigned
	ID     uuid.UUID      // zero = a new one
	Method string
	Target string // path, with an optional query
	Body   any
	Lang   tap.Lang
}

// Do serves a request and decodes the JSON reply into out, unless out is nil.
// It must not be called concurrently.
func (h *Host) Do(ctx context.Context, r Request, out any) (*tap.Response, error) {
	h.caller = r.As
	response, err := h.server.Serve(ctx, r.decoded(h.Now))
	if err != nil || out == nil {
		return response, err
	}
	return response, json.Unmarshal(response.Body, out)
}

// decoded is the request as a transport would hand it on.
func (r Request) decoded(now time.Time) *tap.Request {
	if r.ID == uuid.Nil {
		r.ID = uuid.New()
	}
	path, query, _ := strings.Cut(r.Target, "?")
	return &tap.Request{
		ID: r.ID, Method: r.Method, Path: path, RawQuery: query, Body: r.bytes(), Received: now, Lang: r.Lang,
		Remote: netip.MustParseAddr("192.0.2.7"), Transport: "test", Streams: true,
	}
}

func (r Request) bytes() []byte {
	switch b := r.Body.(type) {
	case nil:
		return nil
	case string:
		return []byte(b)
	case []byte:
		return b
	}
	b, err := json.Marshal(r.Body)
	if err != nil {
		panic("podtest: a body that is no JSON: " + err.Error())
	}
	return b
}

// WantKind fails the test unless err is of the kind and, when code is not
// empty, carries that code.
func WantKind(t testing.TB, err error, kind tap.Kind, code string) {
	t.Helper()
	switch e := tap.AsError(err); {
	case err == nil:
		t.Errorf("no error, want %s %s", kind, code)
	case e.Kind != kind:
		t.Errorf("error of kind %s, want %s: %v", e.Kind, kind, err)
	case code != "" && e.StableCode() != code:
		t.Errorf("error code %q, want %q: %v", e.StableCode(), code, err)
	}
}

// call is the request as the pod will see it.
func (h *Host) call(r Request, params map[string]string) *pods.Call {
	decoded := r.decoded(h.Now)
	values, _ := url.ParseQuery(decoded.RawQuery) // the server refuses a malformed one
	query := map[string]string{}
	for name := range values {
		query[name] = values.Get(name)
	}
	c := &pods.Call{
		RequestID: r.ID, Principal: r.As, Params: params, Query: query, Body: decoded.Body, Now: h.Now,
		Lang: r.Lang, View: h.State, Remote: decoded.Remote.String(), Transport: decoded.Transport,
	}
	if r.As != nil {
		c.Tenant = r.As.Tenant
	}
	return c
}
