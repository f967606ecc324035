package pods

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Gate decides who speaks. It verifies the signature, refuses replays, revoked
// identities, missing roles and excess, and records every attempt. Anubis is
// one.
type Gate interface {
	Admit(ctx context.Context, r *tap.Request, row *Row) (*Admission, error)
}

// Admission is the gate's yes.
type Admission struct {
	Principal *tap.Principal // nil on an Anyone route
	Ops       []store.Op     // to be committed with whatever the request does
}

// Server walks a request along its one way: route table, gate, schema, pod,
// commit, reply. It is a [tap.Handler].
//
// When more writing requests are in flight than the node serves in time, the next
// is answered before the gate with Limited, code "busy", and when to come back, a
// second at most. Nothing of it was looked at or recorded, no rate was charged and
// no breaker counts it: repeat it under the same request id, and over HTTP with a
// new signature. The first 64 in flight are never refused; neither are reads, nor
// the routes that only operators, auditors and guardians have.
type Server struct {
	table    *Table
	gate     Gate
	writer   store.Committer
	view     store.View
	now      func() time.Time
	guards   map[string]*Guard // by pod name
	fresh    func(ctx context.Context, c Consistency) error
	watch    func(row *Row, kind string, took time.Duration)
	throttle throttle
}

// ServerConfig is what a Server joins.
type ServerConfig struct {
	Table  *Table
	Gate   Gate
	Writer store.Committer
	View   store.View
	Now    func() time.Time
	Guards map[string]*Guard
	// Fresh returns when View is as fresh as asked; nil = it always is.
	Fresh func(ctx context.Context, c Consistency) error
	// Watch is told how each request ended ("ok" or a kind's name), for
	// metrics; may be nil.
	Watch func(row *Row, kind string, took time.Duration)
}

// NewServer joins the parts.
func NewServer(c ServerConfig) *Server {
	if c.Watch == nil {
		c.Watch = func(*Row, string, time.Duration) {}
	}
	if c.Fresh == nil {
		c.Fresh = func(context.Context, Consistency) error { return nil }
	}
	return &Server{
		table: c.Table, gate: c.Gate, writer: c.Writer, view: c.View, now: c.Now, guards: c.Guards, fresh: c.Fresh, watch: c.Watch,
	}
}

// AdmissionLimit is how many writing requests may be in flight now.
func (s *Server) AdmissionLimit() int {
	limit, _ := s.throttle.state(s.now())
	return limit
}

// AdmissionsRefused is how many requests were told that this node is busy.
func (s *Server) AdmissionsRefused() uint64 {
	_, refused := s.throttle.state(s.now())
	return refused
}

// unwantedBody is what a route without a body reads of one, in bytes, before it
// refuses the request.
const unwantedBody = 1024

// BodyLimit is how many bytes a request to this path may carry; the transport
// asks before it reads. It is 0, which leaves the body unread, where nobody
// answers, and where a signature is needed and none is there: the gate refuses
// and records such a request whatever it carries.
func (s *Server) BodyLimit(method, path string, signed bool) int64 {
	row, _, err := s.table.Match(method, path)
	switch {
	case err != nil, !signed && !slices.Contains(row.Roles, tap.Anyone):
		return 0
	case row.Body == nil:
		return min(row.BodyLimit, unwantedBody)
	}
	return row.BodyLimit
}

// Serve answers one request.
func (s *Server) Serve(ctx context.Context, r *tap.Request) (*tap.Response, error) {
	began := s.now()
	row, params, err := s.table.Match(r.Method, r.Path)
	if err != nil {
		return nil, err
	}
	response, err := s.serve(ctx, r, row, params)
	outcome := "ok"
	if err != nil {
		outcome = tap.KindOf(err).String()
	}
	s.watch(row, outcome, s.now().Sub(began))
	return response, err
}

func (s *Server) serve(ctx context.Context, r *tap.Request, row *Row, params map[string]string) (*tap.Response, error) {
	if int64(len(r.Body)) > row.BodyLimit {
		return nil, tap.E("pods.serve", tap.Invalid, "the body is longer than %d bytes", row.BodyLimit).WithCode("too_large")
	}
	served := false
	if row.throttled() {
		place, err := s.throttle.enter(r.ID, s.now())
		if err != nil {
			return nil, err
		}
		defer func() { s.throttle.leave(place, s.now(), served) }()
	}
	admission, err := s.gate.Admit(ctx, r, row)
	if err != nil {
		return nil, err
	}
	query, err := row.validate(r)
	if err != nil {
		return nil, err
	}
	if row.reads() {
		if err := s.fresh(ctx, consistency(query)); err != nil {
			return nil, err
		}
		// The gate judged by what this node had; it may have more now.
		if err := s.stillAdmitted(admission); err != nil {
			return nil, err
		}
	}
	call := &Call{
		RequestID: r.ID, Principal: admission.Principal, Params: params, Query: query, Body: r.Body,
		Lang: r.Lang, View: s.view, Remote: r.Remote.String(), Transport: r.Transport, Admission: admission.Ops,
		LastEvent: r.Header[tap.HeaderLastEventID], streams: r.Streams,
	}
	if call.Principal != nil {
		call.Tenant = call.Principal.Tenant
	}
	asked := store.Fingerprint([]byte(r.Method), []byte(r.Path), []byte(r.RawQuery), r.Body)
	result, err := s.runAndCommit(ctx, row, call, asked)
	if err != nil {
		return nil, err
	}
	served = true
	return s.render(result, admission)
}

// maxQueryValue bounds one query parameter, in bytes.
const maxQueryValue = 1024

// validate checks the query and the body against the row.
func (row *Row) validate(r *tap.Request) (map[string]string, error) {
	values, err := r.Query()
	if err != nil {
		return nil, err
	}
	query := make(map[string]string, len(values))
	for name, sent := range values {
		known := false
		for _, p := range row.Query {
			if p.Name != name {
				continue
			}
			known = true
			if _, err := strconv.ParseUint(sent[0], 10, 63); p.Integer && err != nil {
				return nil, tap.E("pods.query", tap.Invalid, "query parameter %q must be a whole number", name).WithCode("query")
			}
			if len(p.OneOf) > 0 && !slices.Contains(p.OneOf, sent[0]) {
				return nil, tap.E("pods.query", tap.Invalid, "query parameter %q must be one of %s", name, strings.Join(p.OneOf, ", ")).WithCode("query")
			}
		}
		if !known || len(sent) != 1 || len(sent[0]) > maxQueryValue || !isText(sent[0]) {
			return nil, tap.E("pods.query", tap.Invalid, "a query parameter is unknown, given twice, longer than %d bytes or not text", maxQueryValue).
				WithCode("query")
		}
		query[name] = sent[0]
	}
	if row.Body == nil {
		if len(r.Body) > 0 {
			return nil, tap.E("pods.body", tap.Invalid, "this route takes no body").WithCode("schema")
		}
		return query, nil
	}
	return query, row.Body.Validate(r.Body)
}

// runAndCommit runs the pod and commits what it decided; when the state moved
// in between, the pod decides again.
func (s *Server) runAndCommit(ctx context.Context, row *Row, call *Call, fingerprint [32]byte) (*Result, error) {
	for attempt := 1; ; attempt++ {
		call.Now = s.now()
		before := s.view.Clock()
		result, err := s.run(ctx, row, call)
		if attempt == 1 && stale(row, result, err) && s.fresh(ctx, FromLeader) == nil && s.view.Clock() != before {
			continue // it may have missed what another node had just acknowledged
		}
		if err == nil && result == nil {
			err = tap.E("pods.run", tap.Internal, "pod %s answered nothing", row.Pod)
		}
		if err == nil && result.Stream != nil && !call.streams {
			err = tap.E("pods.run", tap.Invalid, "this answer is a stream, which only HTTPS carries").WithCode("no_stream")
		}
		if err != nil || !result.Commits() {
			return result, err
		}
		receipt, err := s.writer.Commit(ctx, store.Batch{
			RequestID: call.RequestID, Tenant: call.Tenant, Fingerprint: fingerprint,
			Ops: append(result.Ops[:len(result.Ops):len(result.Ops)], call.Admission...), Evidence: result.Evidence,
		})
		var conflict *store.ConflictError
		if errors.As(err, &conflict) {
			if refusal := overtaken(call.Admission, conflict); refusal != nil {
				return nil, refusal
			}
			if attempt < store.MaxAttempts {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if result.Receipted != nil {
			result.Receipted(receipt)
		}
		return result, nil
	}
}

// stale says whether an answer may come from a state that is behind the other
// nodes': nothing is there, or something else is. The pod has changed nothing
// yet and can decide again. What only reads has a fresh state already.
func stale(row *Row, result *Result, err error) bool {
	if err == nil && result != nil && result.Error != nil {
		err = result.Error
	}
	if err == nil || row.reads() || row.AboutNode {
		return false
	}
	kind := tap.KindOf(err)
	return kind == tap.NotFound || kind == tap.Conflict || kind == tap.Forbidden
}

func (s *Server) run(ctx context.Context, row *Row, call *Call) (*Result, error) {
	if row.Brief {
		return s.guards[row.Pod].RunBrief(ctx, row.Run, call)
	}
	return s.guards[row.Pod].Run(ctx, row.Run, call)
}

// stillAdmitted holds an admission to the present state, as a commit would: what
// the gate wants unchanged must be.
func (s *Server) stillAdmitted(a *Admission) error {
	for _, op := range a.Ops {
		if op.Type != store.OpCheck {
			continue
		}
		item, ok, err := s.view.Get(op.Key)
		if err != nil {
			return err
		}
		if !ok || int64(item.Version) != op.Number {
			return errChanged()
		}
	}
	return nil
}

func errChanged() error {
	return tap.E("anubis.revoked", tap.Unauthenticated, "this identity changed or was revoked while the request was served").WithCode("revoked")
}

// ErrReplayed is the refusal of a signature that was used before.
func ErrReplayed() error {
	return tap.E("anubis.replay", tap.Unauthenticated, "this signature was used before").WithCode("replayed")
}

// overtaken is what the caller hears when the commit found that the gate's own
// operations no longer hold; nil when the conflict is another.
func overtaken(admission []store.Op, conflict *store.ConflictError) error {
	for _, op := range admission {
		if op.Key != conflict.Key || op.Type != conflict.Op {
			continue
		}
		if op.Type == store.OpCheck {
			return errChanged()
		}
		return ErrReplayed()
	}
	return nil
}

// render makes the reply, or the error that the ledger now knows of.
func (s *Server) render(r *Result, a *Admission) (*tap.Response, error) {
	if r.Error != nil {
		return nil, r.Error
	}
	response := &tap.Response{Status: r.Status, ContentType: r.Type, Header: r.Header, Body: r.Raw}
	if response.Status == 0 {
		response.Status = http.StatusOK
	}
	if r.Stream != nil {
		response.Body, response.Stream = nil, s.whileAdmitted(r.Stream, a)
		return response, nil
	}
	if r.Raw != nil {
		return response, nil
	}
	body, err := json.Marshal(r.Body)
	if err != nil {
		return nil, tap.Wrap("pods.render", tap.Internal, err, "the reply cannot be rendered")
	}
	response.ContentType, response.Body = "application/json", body
	return response, nil
}

// whileAdmitted ends a stream at the first write or flush that finds its caller
// revoked or changed: nobody reads on with rights that were taken away.
func (s *Server) whileAdmitted(stream tap.StreamFunc, a *Admission) tap.StreamFunc {
	return func(ctx context.Context, w io.Writer, flush func() error) error {
		still := func() error { return s.stillAdmitted(a) }
		return stream(ctx, admittedWriter{w, still}, func() error {
			if err := still(); err != nil {
				return err
			}
			return flush()
		})
	}
}

// admittedWriter writes for as long as its caller is admitted.
type admittedWriter struct {
	w     io.Writer
	still func() error
}

func (a admittedWriter) Write(b []byte) (int, error) {
	if err := a.still(); err != nil {
		return 0, err
	}
	return a.w.Write(b)
}
