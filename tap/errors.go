package tap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Error is the one error type that crosses packages and transports.
type Error struct {
	Op         string         // where it happened: "anubis.verify", "tcep.book"
	Kind       Kind           // what sort of failure
	Code       string         // stable machine-readable code; empty = the kind's name
	Message    string         // for people: what is wrong, never a secret
	Details    map[string]any // machine-readable facts for the client
	RetryAfter time.Duration  // zero = unknown
	Err        error          // the cause; stays in the log, never crosses the wire
}

// E makes an error with a message for people.
func E(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error around a cause. The message crosses the wire, the cause
// does not.
func Wrap(op string, kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Message: fmt.Sprintf(format, args...), Err: cause}
}

// WithCode sets the stable code and returns the error.
func (e *Error) WithCode(code string) *Error { e.Code = code; return e }

// WithDetail adds one fact for the client and returns the error.
func (e *Error) WithDetail(key string, value any) *Error {
	if e.Details == nil {
		e.Details = make(map[string]any, 1)
	}
	e.Details[key] = value
	return e
}

// WithRetryAfter says when a retry makes sense and returns the error.
func (e *Error) WithRetryAfter(d time.Duration) *Error { e.RetryAfter = d; return e }

func (e *Error) Error() string {
	s := e.Message
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// StableCode is the code that clients may switch on.
func (e *Error) StableCode() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Kind.String()
}

// AsError turns any error into an *Error: itself, a Timeout for an expired
// context, Unavailable for a cancelled one, else Internal with a neutral
// message, so that no internal text leaks.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Wrap("", Timeout, err, "the request took longer than its budget")
	case errors.Is(err, context.Canceled):
		return Wrap("", Unavailable, err, "the request was cancelled")
	}
	return Wrap("", Internal, err, "internal error")
}

// KindOf is the kind of any error; Internal when it carries none.
func KindOf(err error) Kind { return AsError(err).Kind }

// IsKind says whether err carries the kind.
func IsKind(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// ErrorBody is the JSON form of an error: {"error": {...}}.
type ErrorBody struct {
	Error ErrorFields `json:"error"`
}

// maxRetryAfterMs is the longest time to come back that a body is believed, a day.
const maxRetryAfterMs = 24 * 60 * 60 * 1000

// ErrorFields is what a client sees of an error.
type ErrorFields struct {
	Type      Family         `json:"type"`
	Code      string         `json:"code"`
	Kind      string         `json:"kind"`
	Message   string         `json:"message"`
	Hint      string         `json:"hint,omitempty"`
	Details   map[string]any `json:"details,omitempty"`
	RequestID string         `json:"requestId"`
	Timestamp int64          `json:"timestamp"` // milliseconds since the Unix epoch
	// RetryAfterMs is when to come back, finer than the Retry-After of HTTP, whose
	// unit is the second; 0 = as that says.
	RetryAfterMs int64 `json:"retryAfterMs,omitempty"`
}

// Body renders the error for a client.
func (e *Error) Body(requestID string, now time.Time, lang Lang) ErrorBody {
	t := e.Kind.Traits()
	return ErrorBody{ErrorFields{
		Type: t.Family, Code: e.StableCode(), Kind: t.Name, Message: e.Message, Hint: t.Hint.In(lang),
		Details: e.Details, RequestID: requestID, Timestamp: now.UnixMilli(),
		RetryAfterMs: e.RetryAfter.Milliseconds(),
	}}
}

// ParseErrorBody reads the JSON form back into an Error; ok is false when the
// bytes are not an error body.
func ParseErrorBody(b []byte) (e *Error, requestID string, ok bool) {
	var body ErrorBody
	if json.Unmarshal(b, &body) != nil || body.Error.Code == "" {
		return nil, "", false
	}
	kind, known := KindNamed(body.Error.Kind)
	if !known {
		kind = Internal
	}
	return &Error{
		Kind: kind, Code: body.Error.Code, Message: body.Error.Message, Details: body.Error.Details,
		RetryAfter: time.Duration(min(max(body.Error.RetryAfterMs, 0), maxRetryAfterMs)) * time.Millisecond,
	}, body.Error.RequestID, true
}
