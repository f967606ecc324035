package anubis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const podName = "anubis"

// Pod serves the routes below /v1/identities and /v1/security. It keeps nothing:
// what it reads comes from the call's view, revocations reach the gate through
// the [Directory], blocks and the policy through the [Watchlist].
type Pod struct {
	Tenant string // the site's own, as of the Watchlist; empty = tap.DefaultTenant
}

// Manifest says what the pod serves and to whom.
func (p Pod) Manifest() pods.Manifest {
	return pods.Manifest{
		Name: podName,
		Summary: tap.Text{
			EN: "Identities: who may sign requests, with which roles. Security alerts and blocked addresses.",
			ES: "Identidades: quién puede firmar solicitudes y con qué roles. Alertas de seguridad y direcciones bloqueadas.",
		},
		Routes: append([]pods.Route{
			{
				Method: "POST", Pattern: "/v1/identities", Roles: []tap.Role{tap.Operator}, BodyLimit: 4096,
				Summary: "Enrol an identity.",
				Body:    enrolSchema, Reply: enrolReplySchema, Run: enrol,
			},
			{
				Method: "GET", Pattern: "/v1/identities", Roles: []tap.Role{tap.Operator, tap.Auditor},
				Summary: "List identities by name.",
				Query: []pods.Parameter{
					{Name: "limit", Summary: "how many, 1 to 1000; 100 unless given", Integer: true},
					{Name: "after", Summary: "list names behind this one"},
				},
				Reply: listSchema, Run: list,
			},
			{
				Method: "GET", Pattern: "/v1/identities/me", Roles: tap.Roles(),
				Summary: "Show the caller's own record.",
				Reply:   identitySchema, Run: me,
			},
			{
				Method: "GET", Pattern: "/v1/identities/{name}", Roles: tap.Roles(),
				Summary: "Show one identity; without the role operator or auditor, only one's own.",
				Reply:   identitySchema, Run: get,
			},
			{
				Method: "POST", Pattern: "/v1/identities/{name}/revoke", Roles: []tap.Role{tap.Operator}, BodyLimit: 4096,
				Summary: "Revoke an identity for good.",
				Body:    revokeSchema, Reply: revokeReplySchema, Run: revoke,
			},
		}, p.securityRoutes()...),
	}
}

type enrolRequest struct {
	Name      string     `json:"name"`
	PublicKey []byte     `json:"publicKey"`
	Roles     []tap.Role `json:"roles"`
}

type enrolReply struct {
	Name    string        `json:"name"`
	KeyID   string        `json:"keyId"`
	Roles   []tap.Role    `json:"roles"`
	Receipt store.Receipt `json:"receipt"`
}

func enrol(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var in enrolRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	b, err := Enrolment{Tenant: c.Tenant, Name: in.Name, Key: in.PublicKey, Roles: in.Roles, By: c.Actor(), At: c.Now, RequestID: c.RequestID}.Batch()
	if err != nil {
		return nil, err
	}
	caller, err := checkCaller(c)
	if err != nil {
		return nil, err
	}
	_, found, ok, err := read(c, in.Name)
	if err != nil {
		return nil, err
	}
	// The same request once more gets its receipt from the store.
	if ok && found.EnrolRequest != c.RequestID {
		return nil, tap.E("anubis.enrol", tap.Conflict, "an identity with this name exists, active or revoked").WithCode("exists")
	}
	reply := &enrolReply{Name: in.Name, KeyID: tap.JoinKeyID(c.Tenant, in.Name), Roles: in.Roles}
	return &pods.Result{
		Body: reply, Ops: append([]store.Op{caller}, b.Ops...), Evidence: b.Evidence,
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

type revokeRequest struct {
	Reason string `json:"reason"`
}

type revokeReply struct {
	Name    string        `json:"name"`
	State   State         `json:"state"`
	Receipt store.Receipt `json:"receipt"`
}

func revoke(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var in revokeRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	name := c.Params["name"]
	caller, err := checkCaller(c)
	if err != nil {
		return nil, err
	}
	item, record, err := mustRead(c, name)
	if err != nil {
		return nil, err
	}
	if record.State == StateRevoked && record.RevokeRequest != c.RequestID {
		return nil, tap.E("anubis.revoke", tap.Conflict, "the identity is revoked already").WithCode("already_revoked")
	}
	ops := []store.Op{caller, store.Check(item.Key, item.Version)}
	if record.operates() {
		witness, err := otherOperator(c, name)
		if err != nil {
			return nil, err
		}
		ops = append(ops, witness)
	}
	record.State, record.Reason = StateRevoked, in.Reason
	record.RevokedAt, record.RevokedBy, record.RevokeRequest = c.Now.UnixMicro(), c.Actor(), c.RequestID
	digest := sha256.Sum256([]byte(in.Reason))
	reply := &revokeReply{Name: name, State: StateRevoked}
	return &pods.Result{
		Body: reply,
		Ops:  append(ops, store.Put(item.Key, record.encode())),
		Evidence: []store.Evidence{{
			Actor: c.Actor(), Action: "identity.revoke", Outcome: "ok",
			Payload: mustJSON(map[string]any{
				"name": name, "keyId": tap.JoinKeyID(c.Tenant, name), "reasonDigest": hex.EncodeToString(digest[:]),
			}),
		}},
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}

// checkCaller makes the batch depend on the caller still being an operator.
// The gate leaves this to the pod, because the pod may change that very record
// in the same batch.
func checkCaller(c *pods.Call) (store.Op, error) {
	item, record, ok, err := read(c, c.Actor())
	if err != nil {
		return store.Op{}, err
	}
	if !ok || !record.operates() {
		return store.Op{}, errRevoked()
	}
	return store.Check(item.Key, item.Version), nil
}

// otherOperator finds an active operator besides name and makes the batch
// depend on that one staying as it is. Two operators who revoke each other at
// once each depend on the other, so only the first of them succeeds.
func otherOperator(c *pods.Call, name string) (store.Op, error) {
	var witness store.Op
	var damaged error
	err := c.View.Scan(c.Key(SpaceIdentity).Prefix(), "", func(i store.Item) bool {
		if i.Key.Last() == name {
			return true
		}
		var other Identity
		if other, damaged = parseIdentity(i.Value); damaged != nil {
			return false
		}
		if other.operates() {
			witness = store.Check(i.Key, i.Version)
		}
		return witness.Type == 0
	})
	switch {
	case err != nil:
		return store.Op{}, err
	case damaged != nil:
		return store.Op{}, damaged
	case witness.Type == 0:
		return store.Op{}, tap.E("anubis.revoke", tap.Conflict, "the last active operator cannot be revoked; enrol another one first").
			WithCode("last_operator")
	}
	return witness, nil
}

func me(_ context.Context, c *pods.Call) (*pods.Result, error) { return show(c, c.Actor()) }

func get(_ context.Context, c *pods.Call) (*pods.Result, error) {
	name := c.Params["name"]
	if name != c.Actor() && !c.Principal.Has(tap.Operator, tap.Auditor) {
		return nil, tap.E("anubis.get", tap.Forbidden, "only operators and auditors may see the records of others").WithCode(codeRole)
	}
	return show(c, name)
}

func show(c *pods.Call, name string) (*pods.Result, error) {
	_, record, err := mustRead(c, name)
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: describe(c.Tenant, &record)}, nil
}

type listReply struct {
	Identities []identityReply `json:"identities"`
	Next       string          `json:"next,omitempty"`
}

func list(_ context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(100, 1000)
	if err != nil {
		return nil, err
	}
	after := c.Query["after"]
	var from store.Key
	if after != "" {
		if !tap.ValidName(after) {
			return nil, tap.E("anubis.list", tap.Invalid, "after is the name of an identity").WithCode("query")
		}
		from = c.Key(SpaceIdentity, after)
	}
	reply := listReply{Identities: []identityReply{}}
	var damaged error
	err = c.View.Scan(c.Key(SpaceIdentity).Prefix(), from, func(i store.Item) bool {
		if i.Key == from {
			return true
		}
		if len(reply.Identities) == limit {
			reply.Next = reply.Identities[limit-1].Name
			return false
		}
		record, err := parseIdentity(i.Value)
		if err != nil {
			damaged = err
			return false
		}
		reply.Identities = append(reply.Identities, describe(c.Tenant, &record))
		return true
	})
	if err == nil {
		err = damaged
	}
	if err != nil {
		return nil, err
	}
	return &pods.Result{Body: reply}, nil
}

type identityReply struct {
	Name      string     `json:"name"`
	KeyID     string     `json:"keyId"`
	PublicKey []byte     `json:"publicKey"`
	Roles     []tap.Role `json:"roles"`
	State     State      `json:"state"`
	Enrolled  string     `json:"enrolled"`
	Revoked   string     `json:"revoked,omitempty"`
	Reason    string     `json:"reason,omitempty"`
}

func describe(tenant string, i *Identity) identityReply {
	r := identityReply{
		Name: i.Name, KeyID: tap.JoinKeyID(tenant, i.Name), PublicKey: i.PublicKey, Roles: i.Roles,
		State: i.State, Enrolled: pods.TimestampMicros(i.EnrolledAt), Reason: i.Reason,
	}
	if i.State == StateRevoked {
		r.Revoked = pods.TimestampMicros(i.RevokedAt)
	}
	return r
}

// read finds an identity of the caller's tenant; what cannot be a name is not
// found.
func read(c *pods.Call, name string) (store.Item, Identity, bool, error) {
	if !tap.ValidName(name) {
		return store.Item{}, Identity{}, false, nil
	}
	item, ok, err := c.View.Get(c.Key(SpaceIdentity, name))
	if err != nil || !ok {
		return store.Item{}, Identity{}, false, err
	}
	record, err := parseIdentity(item.Value)
	return item, record, err == nil, err
}

func mustRead(c *pods.Call, name string) (store.Item, Identity, error) {
	item, record, ok, err := read(c, name)
	if err == nil && !ok {
		err = tap.E("anubis.read", tap.NotFound, "no identity has this name")
	}
	return item, record, err
}

// decode reads a body that the route's schema has accepted.
func decode(c *pods.Call, into any) error {
	if err := json.Unmarshal(c.Body, into); err != nil {
		return tap.Wrap("anubis.body", tap.Invalid, err, "the body does not have the form of this route").WithCode("schema")
	}
	return nil
}
