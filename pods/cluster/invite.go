package cluster

import (
	"context"
	"crypto/sha256"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	standardExpiry = time.Hour
	maxOpen        = 64 // invitations at a time
)

type inviteRequest struct {
	ExpiresSeconds int64  `json:"expiresSeconds"`
	Observer       bool   `json:"observer"`
	Node           string `json:"node"`
}

type invitationReply struct {
	ID       string         `json:"id"`
	Token    string         `json:"token,omitempty"`
	State    string         `json:"state"`
	Expires  string         `json:"expires"`
	Observer bool           `json:"observer"`
	Node     string         `json:"node,omitempty"`
	By       string         `json:"by"`
	UsedBy   string         `json:"usedBy,omitempty"`
	Receipt  *store.Receipt `json:"receipt,omitempty"`
}

func describe(i Invitation) invitationReply {
	r := invitationReply{
		ID: invitationID(i.Hash), State: "open", Expires: pods.TimestampMicros(i.Expires),
		Observer: i.Observer, Node: i.Node, By: i.By, UsedBy: i.UsedBy,
	}
	if i.UsedBy != "" {
		r.State = "used"
	}
	return r
}

func (p *Pod) invite(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var in inviteRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	lifetime := standardExpiry
	if in.ExpiresSeconds != 0 {
		lifetime = time.Duration(in.ExpiresSeconds) * time.Second
	}
	open, err := list(c.View, c.Tenant, kindInvitation, parseInvitation)
	if err != nil {
		return nil, err
	}
	if len(open) >= maxOpen {
		return nil, tap.E("cluster.invite", tap.Conflict, "there are %d invitations already; withdraw one, or wait until one expires", maxOpen).WithCode("too_many")
	}
	secret := p.config.Trust.Secret(c.RequestID[:])
	// Whole seconds, as in the token.
	expires := c.Now.Add(lifetime).Truncate(time.Second)
	token, err := p.config.Trust.Token(secret, expires)
	if err != nil {
		return nil, err
	}
	i := Invitation{Hash: sha256.Sum256(secret), Expires: expires.UnixMicro(), Observer: in.Observer, Node: in.Node, By: c.Actor()}
	key := invitationKey(c.Tenant, invitationID(i.Hash))
	reply := describe(i)
	reply.Token = token
	return &pods.Result{
		Body: &reply,
		Ops:  []store.Op{store.Create(key, mustJSON(i)), store.Expire(key, i.Expires)},
		Evidence: evidence(c, "cluster.invite", "ok", map[string]any{
			"id": reply.ID, "expires": i.Expires, "observer": i.Observer, "node": i.Node,
		}),
		Receipted: func(r store.Receipt) { reply.Receipt = &r },
	}, nil
}

type invitationsReply struct {
	Invitations []invitationReply `json:"invitations"`
}

func (p *Pod) invitations(_ context.Context, c *pods.Call) (*pods.Result, error) {
	all, err := list(c.View, c.Tenant, kindInvitation, parseInvitation)
	if err != nil {
		return nil, err
	}
	reply := invitationsReply{Invitations: []invitationReply{}}
	for _, i := range all {
		reply.Invitations = append(reply.Invitations, describe(i.T))
	}
	return &pods.Result{Body: reply}, nil
}

type withdrawnReply struct {
	ID      string        `json:"id"`
	Receipt store.Receipt `json:"receipt"`
}

func (p *Pod) withdraw(_ context.Context, c *pods.Call) (*pods.Result, error) {
	id := c.Params["id"]
	var found stored[Invitation]
	ok := validID(id)
	if ok {
		var err error
		if found, ok, err = read(c.View, invitationKey(c.Tenant, id), parseInvitation); err != nil {
			return nil, err
		}
	}
	if !ok {
		return nil, tap.E("cluster.withdraw", tap.NotFound, "no invitation has this id; it may have expired")
	}
	reply := &withdrawnReply{ID: id}
	return &pods.Result{
		Body:      reply,
		Ops:       []store.Op{store.Check(found.item.Key, found.item.Version), store.Delete(found.item.Key)},
		Evidence:  evidence(c, "cluster.withdraw", "ok", map[string]any{"id": id, "usedBy": found.T.UsedBy}),
		Receipted: func(r store.Receipt) { reply.Receipt = r },
	}, nil
}
