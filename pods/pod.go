package pods

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Pod is one capability of the appliance.
type Pod interface {
	Manifest() Manifest
}

// Manifest is everything the appliance needs to know about a pod.
type Manifest struct {
	Name    string // lower case, a label in metrics and errors
	Summary tap.Text
	Routes  []Route
	// Intent serves the pod's part of an intent; nil for a pod that takes
	// no part in them.
	Intent IntentFunc
	// Budget is how long one call may take; zero = DefaultBudget.
	Budget time.Duration
}

// DefaultBudget is the budget of a pod that names none.
const DefaultBudget = 2 * time.Second

// Route is one row of the route table. Pattern has net/http's form with
// {name} segments ("/v1/evidence/{hash}"). A route with roles needs a valid
// signature by an identity that holds one of them; Anyone stands alone.
type Route struct {
	Method    string
	Pattern   string
	Summary   string
	Roles     []tap.Role
	Body      *Schema // what the request body must be; nil = no body allowed
	Query     []Parameter
	Reply     *Schema // of a 200 reply, for OpenAPI
	BodyLimit int64   // bytes; zero = DefaultBodyLimit
	// AboutNode marks a GET whose answer is about the node that is asked and
	// not about the replicated state: it has no consistency.
	AboutNode bool
	// Brief marks a Run that waits for nothing and ends within microseconds: it
	// needs no budget, so a busy route is spared a goroutine and a timer per call.
	Brief bool
	Run   Func
}

// DefaultBodyLimit bounds a request body unless its route says otherwise.
const DefaultBodyLimit = 1 << 20

// Parameter is one query parameter, for validation and OpenAPI.
type Parameter struct {
	Name, Summary string
	Integer       bool     // else a string
	OneOf         []string // the values of a string; empty = any
}

// Func serves one call.
type Func func(ctx context.Context, c *Call) (*Result, error)

// IntentFunc serves a pod's part of an intent.
type IntentFunc func(ctx context.Context, c *Call, in *Intent) (*Part, error)

// Call is one request to a pod, already verified, authorised and validated.
type Call struct {
	RequestID uuid.UUID
	Principal *tap.Principal // nil only on Anyone routes
	Tenant    string
	Params    map[string]string // the pattern's {name} segments
	Query     map[string]string // declared parameters that were sent
	Body      json.RawMessage   // valid against the route's schema
	Now       time.Time         // the proposer's clock
	Lang      tap.Lang
	View      store.View
	Remote    string // the peer's address
	Transport string
	LastEvent string // the server-sent event that the caller saw last; empty = not said
	// Admission is what the gate wants committed with the call's effects:
	// the nonce that makes the signature single-use.
	Admission []store.Op

	streams bool // the transport can carry a Result.Stream
}

// Actor is the caller's name in the ledger.
func (c *Call) Actor() string { return c.Principal.Actor() }

// Key builds a key in the caller's tenant.
func (c *Call) Key(space string, parts ...string) store.Key {
	return store.K(c.Tenant, space, parts...)
}

// PageSize is the query's "limit": standard when it is absent, Invalid when it
// is not from 1 to most.
func (c *Call) PageSize(standard, most int) (int, error) {
	sent, ok := c.Query["limit"]
	if !ok {
		return standard, nil
	}
	limit, err := strconv.Atoi(sent)
	if err != nil || limit < 1 || limit > most {
		return 0, tap.E("pods.query", tap.Invalid, `"limit" must be from 1 to %d`, most).WithCode("query")
	}
	return limit, nil
}

// Result is what a pod answers and wants done.
type Result struct {
	Status int    // HTTP status; zero = 200
	Body   any    // rendered as JSON
	Raw    []byte // rendered as it is instead of Body
	Type   string // content type of Raw and Stream
	Header map[string]string
	// Stream, when set, writes the reply instead of Body and Raw. It runs after
	// the call has ended, outside of the pod's budget and behind no breaker, and
	// is cut when the caller's admission ends. A transport that cannot carry it
	// gets Invalid (code "no_stream") instead, and nothing is committed.
	Stream   tap.StreamFunc
	Ops      []store.Op       // effects
	Evidence []store.Evidence // required when Ops is not empty
	// Error, when set, is what the caller gets once the evidence is
	// committed: a refusal that the ledger must know.
	Error *tap.Error
	// Receipted, when set, is called with the receipt before the reply is
	// rendered, so that a reply can carry it.
	Receipted func(store.Receipt)
}

// Commits says whether the result changes anything.
func (r *Result) Commits() bool { return len(r.Ops) > 0 || len(r.Evidence) > 0 }
