package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// Options bounds what a Handler accepts. The zero value is usable.
type Options struct {
	// Limit says how many bytes a body to this path may have, given whether
	// the request carries a signature, which nobody has verified yet; 0 means
	// that the body is left unread and the request passed on without it. nil =
	// 1 MiB for every path.
	Limit func(method, path string, signed bool) int64
	// BodyBudget is how many bytes the bodies of all requests may take at
	// once, BodyBudgetPerPeer those of one IPv4 address or IPv6 /64; the next
	// is told to come back. A body counts from before it is read until its
	// request was served. 0 = 64 MiB and 16 MiB.
	BodyBudget, BodyBudgetPerPeer int64
	// BodyTimeout is how long a body may take to arrive; 0 = 10 s.
	BodyTimeout time.Duration
	// MaxInFlight is how many requests are served at once; the next is told
	// to come back. 0 = 1,024.
	MaxInFlight int
	Now         func() time.Time // nil = time.Now
	Logger      *slog.Logger     // nil = slog.Default()
}

const (
	defaultLimit             = 1 << 20
	defaultBodyBudget        = 64 << 20
	defaultBodyBudgetPerPeer = 16 << 20
	defaultBodyTimeout       = 10 * time.Second
	defaultMaxInFlight       = 1024
	// eagerBody is the largest body that gets its memory before it arrives.
	eagerBody = 64 << 10
	// requestIDHeader names the request in every reply.
	requestIDHeader = "X-Request-Id"
)

// passedOn are the fields that the gate and the pods may see, canonical name
// to the key in tap.Request.Header.
var passedOn = map[string]string{
	"Content-Digest":  tap.HeaderDigest,
	"Content-Type":    "content-type",
	"Date":            "date",
	"Idempotency-Key": tap.HeaderRequestID,
	"Last-Event-Id":   tap.HeaderLastEventID,
	"Signature":       tap.HeaderSignature,
	"Signature-Input": tap.HeaderSignatureInput,
	"Tamv-Roles":      tap.HeaderRoles,
}

// Handler serves HTTP requests from a tap.Handler.
func Handler(next tap.Handler, o Options) http.Handler {
	if o.Limit == nil {
		o.Limit = func(string, string, bool) int64 { return defaultLimit }
	}
	if o.BodyBudget == 0 {
		o.BodyBudget = defaultBodyBudget
	}
	if o.BodyBudgetPerPeer == 0 {
		o.BodyBudgetPerPeer = defaultBodyBudgetPerPeer
	}
	if o.BodyTimeout == 0 {
		o.BodyTimeout = defaultBodyTimeout
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = defaultMaxInFlight
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &handler{next, o, newBudget(o.BodyBudget, o.BodyBudgetPerPeer), make(chan struct{}, o.MaxInFlight)}
}

type handler struct {
	next     tap.Handler
	options  Options
	bodies   *budget
	inFlight chan struct{} // holds one value per request being served
}

func (h *handler) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	head := tap.Request{
		Method: hr.Method, Path: hr.URL.EscapedPath(), RawQuery: hr.URL.RawQuery,
		Header: fields(hr.Header), Remote: remote(hr.RemoteAddr), Transport: "https",
		Lang: tap.ParseLang(hr.Header.Get("Accept-Language")), Streams: true,
	}
	if head.Path == "" {
		head.Path = "/"
	}
	var err error
	var response *tap.Response
	if head.ID, err = requestID(head.Header); err == nil {
		response, err = h.answer(w, hr, head)
	}
	// The body is gone by now: a peer that does not read its reply keeps no
	// more than the reply.
	if err != nil {
		h.writeError(w, &head, tap.AsError(err))
		return
	}
	if response.Stream != nil {
		h.stream(w, hr, &head, response)
		return
	}
	h.write(w, &head, response)
}

// answer completes a copy of the request with its body and has it served.
func (h *handler) answer(w http.ResponseWriter, hr *http.Request, r tap.Request) (*tap.Response, error) {
	length, err := h.announced(w, hr, &r)
	if err != nil {
		return nil, err
	}
	if length > 0 {
		if !h.bodies.take(r.Remote, length) {
			leaveUnread(w, hr)
			return nil, overload("this node holds as many bodies as it can")
		}
		defer h.bodies.give(r.Remote, length)
		if r.Body, err = h.body(w, hr, length); err != nil {
			return nil, err
		}
	}
	select {
	case h.inFlight <- struct{}{}:
		defer func() { <-h.inFlight }()
	default:
		return nil, overload("this node serves as many requests as it can")
	}
	r.Received = h.options.Now()
	return h.serve(hr.Context(), &r)
}

func overload(message string) error {
	return tap.E("httpapi.serve", tap.Unavailable, "%s", message).WithCode("overload")
}

// serve calls the handler; its panic is an error of this request alone.
func (h *handler) serve(ctx context.Context, r *tap.Request) (response *tap.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.options.Logger.Error("handler panicked", "request", r.ID, "path", r.Path, "panic", p, "stack", string(debug.Stack()))
			response, err = nil, tap.E("httpapi.serve", tap.Internal, "internal error")
		}
	}()
	return h.next.Serve(ctx, r)
}

// announced is the length of the body that is to be read, 0 for none: the
// request has none, or is passed on without it.
func (h *handler) announced(w http.ResponseWriter, hr *http.Request, r *tap.Request) (int64, error) {
	if expect := hr.Header.Get("Expect"); expect != "" && !strings.EqualFold(expect, "100-continue") {
		return 0, refuse("expect", "no expectation but 100-continue can be met")
	}
	if hr.ContentLength == 0 {
		return 0, nil
	}
	signed := r.Header[tap.HeaderSignature] != "" && r.Header[tap.HeaderSignatureInput] != ""
	limit := h.options.Limit(r.Method, r.Path, signed)
	switch {
	case limit == 0:
		leaveUnread(w, hr)
		return 0, nil
	case hr.ContentLength < 0:
		return 0, refuse("length_required", "a body needs a Content-Length; chunked bodies are not read")
	case hr.ContentLength > limit:
		return 0, refuse("too_large", "the body is longer than %d bytes", limit).WithDetail("limit", limit)
	case !isJSON(hr.Header.Get("Content-Type")):
		return 0, refuse("content_type", "a body must be application/json in UTF-8")
	}
	return hr.ContentLength, nil
}

// leaveUnread ends an HTTP/1 connection after the reply, because the next
// request on it would begin behind a body that nobody reads. HTTP/2 resets the
// one stream.
func leaveUnread(w http.ResponseWriter, hr *http.Request) {
	if hr.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
}

// body reads the announced length in time.
func (h *handler) body(w http.ResponseWriter, hr *http.Request, length int64) ([]byte, error) {
	control := http.NewResponseController(w)
	// A writer without deadlines, as in tests, reads from memory.
	_ = control.SetReadDeadline(time.Now().Add(h.options.BodyTimeout))
	body, err := read(hr.Body, length)
	switch {
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, tap.E("httpapi.body", tap.Timeout, "the body did not arrive within %s", h.options.BodyTimeout).WithCode("slow_body")
	}
	return nil, tap.Wrap("httpapi.body", tap.Invalid, err, "the body ended before its Content-Length").WithCode("truncated_body")
}

// read reads exactly n bytes into memory of that size. A large body gets it by
// doubling as it arrives, so that announcing one costs the appliance nothing.
func read(from io.Reader, n int64) ([]byte, error) {
	body := make([]byte, 0, min(n, eagerBody))
	for {
		arrived, err := io.ReadFull(from, body[len(body):cap(body)])
		body = body[:len(body)+arrived]
		if err != nil || int64(len(body)) == n {
			return body, err
		}
		body = append(make([]byte, 0, min(n, 2*int64(cap(body)))), body...)
	}
}

func isJSON(contentType string) bool {
	kind, params, err := mime.ParseMediaType(contentType)
	charset := params["charset"]
	return err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

func fields(header http.Header) map[string]string {
	out := make(map[string]string, 6)
	for name, key := range passedOn {
		if values := header[name]; len(values) > 0 {
			out[key] = strings.Join(values, ", ")
		}
	}
	return out
}

// requestID is the client's, in the one canonical form, or a new one.
func requestID(header map[string]string) (uuid.UUID, error) {
	sent, ok := header[tap.HeaderRequestID]
	if !ok {
		return uuid.NewV7()
	}
	id, err := uuid.Parse(sent)
	if err != nil || id == uuid.Nil || !strings.EqualFold(id.String(), sent) {
		own, _ := uuid.NewV7() // the refusal needs a name, too
		return own, refuse("request_id", "Idempotency-Key must be one UUID")
	}
	return id, nil
}

func remote(address string) netip.Addr {
	peer, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}

func refuse(code, format string, args ...any) *tap.Error {
	return tap.E("httpapi.request", tap.Invalid, format, args...).WithCode(code)
}

func (h *handler) write(w http.ResponseWriter, r *tap.Request, response *tap.Response) {
	w.Header().Set("Content-Length", strconv.Itoa(len(response.Body)))
	h.head(w, r, response)
	if _, err := w.Write(response.Body); err != nil {
		h.options.Logger.Debug("the reply did not reach the client", "request", r.ID, "error", err)
	}
}

// head writes the header of a reply.
func (h *handler) head(w http.ResponseWriter, r *tap.Request, response *tap.Response) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	if response.ContentType != "" {
		header.Set("Content-Type", response.ContentType)
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set(requestIDHeader, r.ID.String())
	for name, value := range response.Header {
		header.Set(name, value)
	}
	status := response.Status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
}

// writeError renders the error; what must not cross the wire goes to the log.
func (h *handler) writeError(w http.ResponseWriter, r *tap.Request, e *tap.Error) {
	if e.Kind == tap.Internal {
		h.options.Logger.Error("request failed", "request", r.ID, "method", r.Method, "path", r.Path, "error", e)
	}
	body, err := json.Marshal(e.Body(r.ID.String(), h.options.Now(), r.Lang))
	if err != nil { // details that are no JSON: the error itself still counts
		h.options.Logger.Error("error details cannot be rendered", "request", r.ID, "error", err)
		plain := &tap.Error{Kind: e.Kind, Code: e.Code, Message: e.Message}
		body, _ = json.Marshal(plain.Body(r.ID.String(), h.options.Now(), r.Lang))
	}
	response := &tap.Response{Status: e.Kind.Traits().Status, Header: map[string]string{}, Body: body}
	if wait := retryAfter(e); wait > 0 {
		response.Header["Retry-After"] = strconv.Itoa(wait)
	}
	if e.Kind == tap.Unauthenticated {
		response.Header["Accept-Signature"] = tap.AcceptSignature
	}
	h.write(w, r, response)
}

// retryAfter is the number of whole seconds to wait; 0 = not said.
func retryAfter(e *tap.Error) int {
	wait := e.RetryAfter
	if wait <= 0 && (e.Kind == tap.Limited || e.Kind == tap.Unavailable) {
		wait = tap.DefaultRetryAfter
	}
	return int(math.Ceil(wait.Seconds()))
}
