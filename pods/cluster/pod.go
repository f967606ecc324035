package cluster

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const podName = "cluster"

// budget is how long a call may take: a hand-over of leadership waits for an
// election.
const budget = 10 * time.Second

// Replication is what moves the log between the nodes.
type Replication interface {
	// Status is what this node knows now; it does not wait for anybody.
	Status() Status
	// Transfer hands the leadership to a voter, "" = the fittest, and returns
	// once this node has seen the new leader.
	Transfer(ctx context.Context, to string) error
}

// Trust is the site's authority.
type Trust interface {
	// Secret is 32 bytes that every node of the site derives alike from the id
	// of an invitation's request, and nobody else can.
	Secret(request []byte) []byte
	// Token is the text that an operator passes on. It names the members'
	// addresses.
	Token(secret []byte, expires time.Time) (string, error)
	// Sign checks a PKCS#10 request, address and name, and answers with what a
	// new member needs. The error is Invalid when one of them is not sound.
	Sign(csr []byte, node, address string) (Credentials, error)
}

// Credentials is what a machine gets when it joins. Printing it shows nothing.
type Credentials struct {
	Site         string
	Pin          [32]byte // of the key that the request was signed with
	Certificate  string   // PEM: the node's, then the authority's
	AuthorityKey string   // PEM
	LedgerKey    string
}

// String does not show the keys.
func (Credentials) String() string { return "(credentials)" }

// GoString does not show the keys.
func (c Credentials) GoString() string { return c.String() }

// Config is what the pod joins. Every field is needed.
type Config struct {
	Tenant      string // the site's own, whose operators run the cluster
	Replication Replication
	Trust       Trust
	Refused     func(Refusal) // counts what a stranger tried, see [Refusals]
}

// Refusals with a real invitation that are written to the ledger at once; more
// are counted like those of strangers. An invitation that was used is soon known
// to more than should know it, so one an hour has to do.
const (
	refusalsEach  = time.Hour
	refusalsBurst = 16
)

// Pod serves the routes below /v1/cluster.
type Pod struct {
	config   Config
	refusals *rate.Limiter
}

// New makes the pod.
func New(c Config) *Pod { return &Pod{c, rate.NewLimiter(rate.Every(refusalsEach), refusalsBurst)} }

// Manifest says what the pod serves and to whom.
func (p *Pod) Manifest() pods.Manifest {
	operators := []tap.Role{tap.Operator}
	own := func(run pods.Func) pods.Func {
		return func(ctx context.Context, c *pods.Call) (*pods.Result, error) {
			if c.Tenant != p.config.Tenant {
				return nil, tap.E("cluster.tenant", tap.Forbidden, "the cluster is run by the operators of the site's own tenant").WithCode("tenant")
			}
			return run(ctx, c)
		}
	}
	return pods.Manifest{
		Name: podName, Budget: budget,
		Summary: tap.Text{
			EN: "The members of the site: which nodes there are, who may join, who leads.",
			ES: "Los miembros del sitio: qué nodos hay, quién puede unirse, quién lidera.",
		},
		Routes: []pods.Route{
			{
				Method: "GET", Pattern: "/v1/cluster", Roles: operators,
				Summary: "Every node with its role, lag, ledger head, clock, disk and conditions, as this node knows them.",
				Reply:   statusSchema, AboutNode: true, Run: own(p.status),
			},
			{
				Method: "POST", Pattern: "/v1/cluster/invitations", Roles: operators, BodyLimit: 1024,
				Summary: "Invite one machine; the reply has the token that it joins with.",
				Body:    inviteSchema, Reply: invitedSchema, Run: own(p.invite),
			},
			{
				Method: "GET", Pattern: "/v1/cluster/invitations", Roles: operators,
				Summary: "List the invitations that have not expired, without their secrets.",
				Reply:   invitationsSchema, Run: own(p.invitations),
			},
			{
				Method: "DELETE", Pattern: "/v1/cluster/invitations/{id}", Roles: operators,
				Summary: "Withdraw an invitation.",
				Reply:   withdrawnSchema, Run: own(p.withdraw),
			},
			{
				Method: "POST", Pattern: "/v1/cluster/join", Roles: []tap.Role{tap.Anyone}, BodyLimit: 16 << 10,
				Summary: "Take in a machine that was invited; the invitation's secret is the credential.",
				Body:    joinSchema, Reply: joinedSchema, Run: p.join,
			},
			{
				Method: "DELETE", Pattern: "/v1/cluster/members/{id}", Roles: operators,
				Summary: "Remove a node for good.",
				Query: []pods.Parameter{
					{Name: "force", Summary: `"true" removes it although the rest that answers is no majority`},
				},
				Reply: removedSchema, Run: own(p.remove),
			},
			{
				Method: "POST", Pattern: "/v1/cluster/members/{id}/promote", Roles: operators,
				Summary: "Let an observer vote, once it has caught up.",
				Reply:   promotedSchema, Run: own(p.promote),
			},
			{
				Method: "POST", Pattern: "/v1/cluster/transfer", Roles: operators, BodyLimit: 1024,
				Summary: "Hand the leadership to another voter.",
				Body:    transferSchema, Reply: transferredSchema, Run: own(p.transfer),
			},
		},
	}
}

// decode reads a body that the route's schema has accepted.
func decode(c *pods.Call, into any) error {
	if err := json.Unmarshal(c.Body, into); err != nil {
		return tap.Wrap("cluster.body", tap.Invalid, err, "the body does not have the form of this route").WithCode("schema")
	}
	return nil
}

// evidence is one entry about what the caller did.
func evidence(c *pods.Call, action, outcome string, payload any) []store.Evidence {
	return []store.Evidence{{Actor: c.Actor(), Action: action, Outcome: outcome, Payload: mustJSON(payload)}}
}

// named finds the member that a route names.
func named(c *pods.Call) (stored[Member], error) {
	id := c.Params["id"]
	if !tap.ValidName(id) {
		return stored[Member]{}, errNoMember()
	}
	m, ok, err := read(c.View, memberKey(c.Tenant, id), parseMember)
	if err != nil || ok {
		return m, err
	}
	_, gone, err := read(c.View, removedKey(c.Tenant, id), parseRemoval)
	if err == nil && gone {
		err = tap.E("cluster.member", tap.Conflict, "this node was removed already").WithCode("too_late")
	}
	if err == nil {
		err = errNoMember()
	}
	return m, err
}

func errNoMember() error {
	return tap.E("cluster.member", tap.NotFound, "no member has this name; GET /v1/cluster lists them")
}

// flag reads a query parameter that is "true" or "false".
func flag(c *pods.Call, name string) (bool, error) {
	switch strings.ToLower(c.Query[name]) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, tap.E("cluster.query", tap.Invalid, "%q is true or false", name).WithCode("query")
}
