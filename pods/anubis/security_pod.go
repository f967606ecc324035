package anubis

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const blocksPattern = "/v1/security/blocks"

// securityRoutes are the routes about alerts, blocked addresses and the policy.
func (p Pod) securityRoutes() []pods.Route {
	operator := []tap.Role{tap.Operator}
	readers := []tap.Role{tap.Operator, tap.Guardian}
	limit := pods.Parameter{Name: "limit", Summary: "how many, 1 to 1000; 100 unless given", Integer: true}
	return []pods.Route{
		{
			Method: "GET", Pattern: "/v1/security/alerts", Roles: readers,
			Summary: "List security alerts, the newest first.",
			Query: []pods.Parameter{limit, {
				Name: "state", Summary: "only those that are open, or only those that were acknowledged", OneOf: []string{"open", "acknowledged"},
			}},
			Reply: alertsSchema, Run: listAlerts,
		},
		{
			Method: "POST", Pattern: "/v1/security/alerts/{id}/acknowledgement", Roles: operator,
			Summary: "Acknowledge an alert; it opens again when it happens again.",
			Reply:   acknowledgedSchema, Run: acknowledge,
		},
		{
			Method: "GET", Pattern: blocksPattern, Roles: readers,
			Summary: "List blocked addresses, those that stay blocked longest first.",
			Query:   []pods.Parameter{limit},
			Reply:   blocksSchema, Run: p.listBlocks,
		},
		{
			Method: "DELETE", Pattern: blocksPattern + "/{address}", Roles: operator,
			Summary: "Lift the block of an address and forget its earlier ones. An operator may also ask this from a blocked address.",
			Reply:   liftedSchema, Run: p.lift,
		},
		{
			Method: "GET", Pattern: "/v1/security/policy", Roles: readers,
			Summary: "Show from when on failed attempts raise an alert, and how long addresses are blocked.",
			Reply:   policySchema, Run: p.showPolicy,
		},
		{
			Method: "PUT", Pattern: "/v1/security/policy", Roles: operator, BodyLimit: 4096,
			Summary: "Set the policy, on all nodes.",
			Body:    policySchema, Reply: policySetSchema, Run: p.setPolicy,
		},
	}
}

type alertReply struct {
	ID             string  `json:"id"`
	Pattern        Pattern `json:"pattern"`
	State          string  `json:"state"` // open or acknowledged
	Identity       string  `json:"identity,omitempty"`
	Address        string  `json:"address,omitempty"`
	Count          int     `json:"count"`
	WindowSeconds  int     `json:"windowSeconds"`
	Times          int     `json:"times"`
	First          string  `json:"first"`
	Last           string  `json:"last"`
	BlockedUntil   string  `json:"blockedUntil,omitempty"`
	AcknowledgedAt string  `json:"acknowledgedAt,omitempty"`
	AcknowledgedBy string  `json:"acknowledgedBy,omitempty"`
}

const stateOpen, stateAcknowledged = "open", "acknowledged"

func (a *Alert) state() string {
	if a.AcknowledgedAt != 0 {
		return stateAcknowledged
	}
	return stateOpen
}

func describeAlert(a *Alert) alertReply {
	return alertReply{
		ID: a.ID, Pattern: a.Pattern, State: a.state(), Identity: a.Identity, Address: a.Address, Count: a.Count,
		WindowSeconds: a.WindowSeconds, Times: a.Times, First: pods.TimestampMicros(a.First), Last: pods.TimestampMicros(a.Last),
		BlockedUntil: timeOrNone(a.BlockedUntil), AcknowledgedAt: timeOrNone(a.AcknowledgedAt), AcknowledgedBy: a.AcknowledgedBy,
	}
}

func timeOrNone(micros int64) string {
	if micros == 0 {
		return ""
	}
	return pods.TimestampMicros(micros)
}

type alertsReply struct {
	Open   int          `json:"open"` // in all, whatever is listed
	Alerts []alertReply `json:"alerts"`
}

func listAlerts(_ context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(100, 1000)
	if err != nil {
		return nil, err
	}
	all, err := records(c, SpaceAlert, parseAlert)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b Alert) int { return cmp.Compare(b.Last, a.Last) })
	reply := alertsReply{Alerts: []alertReply{}}
	for i := range all {
		a := &all[i]
		if a.AcknowledgedAt == 0 {
			reply.Open++
		}
		if asked := c.Query["state"]; len(reply.Alerts) < limit && (asked == "" || asked == a.state()) {
			reply.Alerts = append(reply.Alerts, describeAlert(a))
		}
	}
	return &pods.Result{Body: reply}, nil
}

// records reads the caller's records of a space, in key order.
func records[T any](c *pods.Call, space string, parse func([]byte) (T, error)) (all []T, err error) {
	var damaged error
	err = c.View.Scan(c.Key(space).Prefix(), "", func(i store.Item) bool {
		var record T
		if record, damaged = parse(i.Value); damaged != nil {
			return false
		}
		all = append(all, record)
		return true
	})
	return all, cmp.Or(err, damaged)
}

type acknowledgedReply struct {
	alertReply
	Receipt store.Receipt `json:"receipt"`
}

func acknowledge(_ context.Context, c *pods.Call) (*pods.Result, error) {
	caller, err := checkCaller(c)
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(c.Params["id"])
	if err != nil {
		return nil, tap.E("anubis.alert", tap.NotFound, "no alert has this id")
	}
	item, ok, err := c.View.Get(c.Key(SpaceAlert, id.String()))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, tap.E("anubis.alert", tap.NotFound, "no alert has this id; it may have expired, the ledger still has it")
	}
	a, err := parseAlert(item.Value)
	if err != nil {
		return nil, err
	}
	if a.AcknowledgedAt != 0 && a.AckRequest != c.RequestID {
		return nil, tap.E("anubis.alert", tap.Conflict, "the alert is acknowledged already").WithCode("already_acknowledged")
	}
	a.AcknowledgedAt, a.AcknowledgedBy, a.AckRequest = c.Now.UnixMicro(), c.Actor(), c.RequestID
	reply := &acknowledgedReply{alertReply: describeAlert(&a)}
	return &pods.Result{
		Body: reply,
		Ops: []store.Op{
			caller, store.Check(item.Key, item.Version), store.Put(item.Key, mustJSON(a)), store.Expire(item.Key, item.Expires),
		},
		Evidence: []store.Evidence{{
			Actor: c.Actor(), Action: "security.acknowledge", Outcome: "ok",
			Payload: mustJSON(map[string]any{"id": a.ID, "pattern": a.Pattern, "identity": a.Identity, "address": a.Address, "last": a.Last}),
		}},
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

type blockReply struct {
	Address string  `json:"address"` // what lifting takes
	Network string  `json:"network"` // what is refused
	Pattern Pattern `json:"pattern"`
	Since   string  `json:"since"`
	Until   string  `json:"until"`
	Times   int     `json:"times"`
}

func describeBlock(b *Block) (r blockReply, err error) {
	address, err := netip.ParseAddr(b.Address)
	if err != nil {
		return r, tap.Wrap("anubis.block", tap.Internal, err, "the record of a block names no address")
	}
	bits := 32
	if address.Is6() {
		bits = 64
	}
	return blockReply{
		Address: b.Address, Network: netip.PrefixFrom(address, bits).String(), Pattern: b.Pattern,
		Since: pods.TimestampMicros(b.Since), Until: pods.TimestampMicros(b.Until), Times: b.Times,
	}, nil
}

type blocksReply struct {
	Blocked int          `json:"blocked"` // in all, however many are listed
	Blocks  []blockReply `json:"blocks"`
}

func (p Pod) listBlocks(_ context.Context, c *pods.Call) (*pods.Result, error) {
	if err := p.ofSite(c); err != nil {
		return nil, err
	}
	limit, err := c.PageSize(100, 1000)
	if err != nil {
		return nil, err
	}
	all, err := records(c, SpaceBlocked, parseBlock)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(b Block) bool { return b.Until <= c.Now.UnixMicro() })
	slices.SortStableFunc(all, func(a, b Block) int { return cmp.Compare(b.Until, a.Until) })
	reply := blocksReply{Blocked: len(all), Blocks: []blockReply{}}
	for _, b := range all[:min(limit, len(all))] {
		described, err := describeBlock(&b)
		if err != nil {
			return nil, err
		}
		reply.Blocks = append(reply.Blocks, described)
	}
	return &pods.Result{Body: reply}, nil
}

type liftedReply struct {
	blockReply
	Receipt store.Receipt `json:"receipt"`
}

func (p Pod) lift(_ context.Context, c *pods.Call) (*pods.Result, error) {
	if err := p.ofSite(c); err != nil {
		return nil, err
	}
	caller, err := checkCaller(c)
	if err != nil {
		return nil, err
	}
	address, err := netip.ParseAddr(c.Params["address"])
	if err != nil {
		return nil, tap.E("anubis.lift", tap.Invalid, "the path names no IP address").WithCode("address")
	}
	item, ok, err := c.View.Get(blockKey(c.Tenant, network(address)))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, tap.E("anubis.lift", tap.NotFound, "this address is not blocked")
	}
	b, err := parseBlock(item.Value)
	if err != nil {
		return nil, err
	}
	described, err := describeBlock(&b)
	if err != nil {
		return nil, err
	}
	reply := &liftedReply{blockReply: described}
	return &pods.Result{
		Body: reply,
		Ops:  []store.Op{caller, store.Delete(item.Key)},
		Evidence: []store.Evidence{{
			Actor: c.Actor(), Action: "security.lift", Outcome: "ok", Payload: mustJSON(described),
		}},
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

// readPolicy is the stored policy, or the default one.
func readPolicy(c *pods.Call) (Policy, error) {
	item, ok, err := c.View.Get(policyKey(c.Tenant))
	if err != nil || !ok {
		return DefaultPolicy(), err
	}
	return parsePolicy(item.Value)
}

func (p Pod) showPolicy(_ context.Context, c *pods.Call) (*pods.Result, error) {
	if err := p.ofSite(c); err != nil {
		return nil, err
	}
	policy, err := readPolicy(c)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: policy}, nil
}

type policySetReply struct {
	Policy  Policy        `json:"policy"`
	Receipt store.Receipt `json:"receipt"`
}

func (p Pod) setPolicy(_ context.Context, c *pods.Call) (*pods.Result, error) {
	if err := p.ofSite(c); err != nil {
		return nil, err
	}
	var policy Policy
	if err := decode(c, &policy); err != nil {
		return nil, err
	}
	if err := policy.check(); err != nil {
		return nil, err
	}
	caller, err := checkCaller(c)
	if err != nil {
		return nil, err
	}
	reply := &policySetReply{Policy: policy}
	return &pods.Result{
		Body: reply,
		Ops:  []store.Op{caller, store.Put(policyKey(c.Tenant), mustJSON(policy))},
		Evidence: []store.Evidence{{
			Actor: c.Actor(), Action: "security.policy", Outcome: "ok", Payload: mustJSON(policy),
		}},
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

// ofSite refuses callers of other tenants: addresses and policy are the site's.
func (p Pod) ofSite(c *pods.Call) error {
	if c.Tenant != cmp.Or(p.Tenant, tap.DefaultTenant) {
		return tap.E("anubis.security", tap.Forbidden, "blocked addresses and the security policy are for the site's own tenant").
			WithCode("tenant")
	}
	return nil
}
