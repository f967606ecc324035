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
	// Limit says how many bytes a body to this path may have; 0 means that
	// nobody serves the path and its body is left unread. nil = 1 MiB for
	// every path.
	Limit func(method, path string) int64
	// BodyTimeout is how long a body may take to arrive; 0 = 10 s.
	BodyTimeout time.Duration
	// MaxInFlight is how many requests are served at once; the next is told
	// to come back. 0 = 1,024.
	MaxInFlight int
	Now         func() time.Time // nil = time.Now
	Logger      *slog.Logger     // nil = slog.Default()
}

const (
	defaultLimit       = 1 << 20
	defaultBodyTimeout = 10 * time.Second
	defaultMaxInFlight = 1024
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
	"Signature":       tap.HeaderSignature,
	"Signature-Input": tap.HeaderSignatureInput,
	"Tamv-Roles":      tap.HeaderRoles,
}

// Handler serves HTTP requests from a tap.Handler.
func Handler(next tap.Handler, o Options) http.Handler {
	if o.Limit == nil {
		o.Limit = func(string, string) int64 { return defaultLimit }
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
	return &handler{next, o, make(chan struct{}, o.MaxInFlight)}
}

type handler struct {
	next     tap.Handler
	options  Options
	inFlight chan struct{} // holds one value per request being served
}

func (h *handler) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &tap.Request{
		Method: hr.Method, Path: hr.URL.EscapedPath(), RawQuery: hr.URL.RawQuery,
		Header: fields(hr.Header), Remote: remote(hr.RemoteAddr), Transport: "https",
		Lang: tap.ParseLang(hr.Header.Get("Accept-Language")),
	}
	if r.Path == "" {
		r.Path = "/"
	}
	response, err := h.answer(w, hr, r)
	if err != nil {
		h.writeError(w, r, tap.AsError(err))
		return
	}
	h.write(w, r, response)
}

// answer completes the request and has it served.
func (h *handler) answer(w http.ResponseWriter, hr *http.Request, r *tap.Request) (*tap.Response, error) {
	var err error
	if r.ID, err = requestID(r.Header); err != nil {
		return nil, err
	}
	if r.Body, err = h.body(w, hr, r); err != nil {
		return nil, err
	}
	select {
	case h.inFlight <- struct{}{}:
		defer func() { <-h.inFlight }()
	default:
		return nil, tap.E("httpapi.serve", tap.Unavailable, "this node serves as many requests as it can").WithCode("overload")
	}
	r.Received = h.options.Now()
	return h.serve(hr.Context(), r)
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

// body reads what the request carries, within the limit of its path.
func (h *handler) body(w http.ResponseWriter, hr *http.Request, r *tap.Request) ([]byte, error) {
	if expect := hr.Header.Get("Expect"); expect != "" && !strings.EqualFold(expect, "100-continue") {
		return nil, refuse("expect", "no expectation but 100-continue can be met")
	}
	if hr.ContentLength == 0 {
		return nil, nil
	}
	limit := h.options.Limit(r.Method, r.Path)
	switch {
	case limit == 0:
		w.Header().Set("Connection", "close")
		return nil, nil
	case hr.ContentLength < 0:
		return nil, refuse("length_required", "a body needs a Content-Length; chunked bodies are not read")
	case hr.ContentLength > limit:
		return nil, refuse("too_large", "the body is longer than %d bytes", limit).WithDetail("limit", limit)
	case !isJSON(hr.Header.Get("Content-Type")):
		return nil, refuse("content_type", "a body must be application/json in UTF-8")
	}
	control := http.NewResponseController(w)
	// A writer without deadlines, as in tests, reads from memory.
	_ = control.SetReadDeadline(time.Now().Add(h.options.BodyTimeout))
	body, err := read(hr.Body, hr.ContentLength)
	switch {
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, tap.E("httpapi.body", tap.Timeout, "the body did not arrive within %s", h.options.BodyTimeout).WithCode("slow_body")
	}
	return nil, tap.Wrap("httpapi.body", tap.Invalid, err, "the body ended before its Content-Length").WithCode("truncated_body")
}

// read reads exactly n bytes. A large body gets memory as it arrives, so that
// announcing one costs the appliance nothing.
func read(from io.Reader, n int64) ([]byte, error) {
	if n <= eagerBody {
		body := make([]byte, n)
		_, err := io.ReadFull(from, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(from, n))
	if err == nil && int64(len(body)) < n {
		err = io.ErrUnexpectedEOF
	}
	return body, err
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
	header.Set("Content-Length", strconv.Itoa(len(response.Body)))
	status := response.Status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	if _, err := w.Write(response.Body); err != nil {
		h.options.Logger.Debug("the reply did not reach the client", "request", r.ID, "error", err)
	}
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
