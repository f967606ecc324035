package tap

import (
	"context"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Request is one decoded request, whatever transport brought it.
type Request struct {
	ID        uuid.UUID         // chosen by the client (Idempotency-Key) or the transport; the same id is applied at most once
	Method    string            // HTTP method, upper case
	Path      string            // URL path, without query
	RawQuery  string            // query as sent, without '?'
	Header    map[string]string // the fields that matter to the gate and the pods, keys in lower case
	Body      []byte            // as received, never re-encoded
	Remote    netip.Addr        // the peer's address
	Transport string            // "https", "wss" or "quic"
	Received  time.Time         // when the transport had it whole
	Lang      Lang              // the language to answer in
	Session   *Principal        // set by a TAP session for frames it authenticated itself
	Streams   bool              // the transport can carry a [Response.Stream]
}

// HeaderLastEventID is the header field, as in [Request.Header], with which a
// client of server-sent events says which one it saw last.
const HeaderLastEventID = "last-event-id"

// Query parses the query string.
func (r *Request) Query() (url.Values, error) {
	v, err := url.ParseQuery(r.RawQuery)
	if err != nil {
		return nil, Wrap("tap.query", Invalid, err, "the query string is malformed")
	}
	return v, nil
}

// Response is what a Handler answers.
type Response struct {
	Status      int
	ContentType string // empty = application/json
	Header      map[string]string
	Body        []byte
	// Stream, when set, writes the body instead of Body, for as long as it
	// takes. The transport calls it once, and only for a request that [Request.Streams].
	Stream StreamFunc
}

// StreamFunc writes a body of unknown length until it is complete, ctx ends or the
// peer stops reading. What is written reaches the peer at the latest with flush;
// an error of either means that the peer is gone, and writing is over.
//
// An error that it returns before its first byte is answered as any other.
// After that it can only cut the body short, in a way that the peer notices.
type StreamFunc func(ctx context.Context, w io.Writer, flush func() error) error

// Handler serves a request. An error is always an *Error or becomes one by
// AsError.
type Handler interface {
	Serve(ctx context.Context, r *Request) (*Response, error)
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(ctx context.Context, r *Request) (*Response, error)

// Serve calls f.
func (f HandlerFunc) Serve(ctx context.Context, r *Request) (*Response, error) { return f(ctx, r) }

// Role is what an identity may be. Routes name the roles that may call them.
type Role string

// The roles. Anyone is no role: it marks a route that needs no signature.
const (
	Anyone   Role = "anyone"
	Citizen  Role = "citizen"  // intents, rooms, transactions, reading memory
	Device   Role = "device"   // appends evidence and joins rooms; a headset, a sensor, a till
	Curator  Role = "curator"  // writes civilizational memory
	Guardian Role = "guardian" // decides held intents
	Auditor  Role = "auditor"  // reads the whole ledger
	Operator Role = "operator" // enrols and revokes identities, sees the appliance's state
)

// Roles lists every role that an identity can hold.
func Roles() []Role { return []Role{Citizen, Device, Curator, Guardian, Auditor, Operator} }

// Principal is who a verified request speaks for.
type Principal struct {
	Tenant   string
	Identity string // unique in its tenant
	Roles    []Role
	KeyID    string // the key that signed
}

// Has says whether the principal holds one of the roles.
func (p *Principal) Has(roles ...Role) bool {
	return p != nil && slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(p.Roles, r) })
}

// Actor is the principal's name in the ledger.
func (p *Principal) Actor() string {
	if p == nil {
		return "anonymous"
	}
	return p.Identity
}

// DefaultTenant is the tenant of a site that has only one.
const DefaultTenant = "main"

// ValidName says whether s can name a tenant, an identity, a room or a
// currency holder: 1 to 64 bytes of lower-case letters, digits, '-', '_' and
// '.', starting with a letter or a digit. The set excludes every separator
// that keys use.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("-_.", rune(c))) {
			return false
		}
	}
	return true
}
