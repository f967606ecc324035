// Package httpapi carries HTTP requests to a [tap.Handler] and its answers
// back. It decodes and bounds, nothing more: who speaks, what is asked and
// whether it may be is decided behind the handler.
//
// # What becomes of a request
//
//   - Path and query stay as they were sent, percent-escapes included, because
//     the signature covers those bytes. The few fields that matter are passed
//     on in lower case; a field sent twice is joined with ", ", as RFC 9110
//     says, so that the gate sees, refuses and records a doubled signature.
//   - Idempotency-Key must be a UUID and becomes the request id; without one
//     the request gets a new UUIDv7. Every reply names it in X-Request-Id.
//   - The remote address is the connection's, never a forwarding header's.
//   - A body needs a Content-Length, the type application/json, and must
//     arrive whole within [Options.BodyTimeout]. A path that nobody serves gets
//     its answer without its body being read, and so does an unsigned request
//     to a path that wants a signature, when [Options.Limit] says so.
//   - What bodies take in memory is bounded before they are read: each is
//     charged to [Options.BodyBudget] and to its sender's share of it until its
//     request was served. So the memory that strangers can make the appliance
//     hold does not grow with their connections and streams.
//   - A reply of unknown length ([tap.Response].Stream) is written as it comes,
//     for as long as its peer takes something every 30 s. It is no request in
//     flight meanwhile. When it fails, the connection (over HTTP/2 the stream) is
//     cut without the end of the body; when the server shuts down, too.
//   - A session is never set: only the TAP transports authenticate sessions.
//
// # Errors
//
// All errors have the one body of package tap. This package itself answers
// with Invalid (codes request_id, length_required, too_large, content_type,
// truncated_body, expect), Timeout (slow_body), Unavailable (overload, with
// Retry-After) and, when the handler panics, Internal without detail. The
// server's own refusals come before any handler and are plain HTTP: 400 for
// what is no HTTP, 417 for an unknown Expect over HTTP/1.1, 431 for more than
// 16 KiB of header.
package httpapi
