package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// maxMembers bounds a site: a token names every member's address.
const maxMembers = 16

const codeUnknown = "invitation_unknown"

type joinRequest struct {
	Secret  []byte `json:"secret"`
	Node    string `json:"node"`
	Address string `json:"address"`
	Release string `json:"release"`
	Version uint32 `json:"version"`
	CSR     []byte `json:"csr"`
}

type joinReply struct {
	Site         string       `json:"site"`
	Node         string       `json:"node"`
	Observer     bool         `json:"observer"`
	Certificate  string       `json:"certificate"`
	AuthorityKey string       `json:"authorityKey"`
	LedgerKey    string       `json:"ledgerKey"`
	Members      []joinMember `json:"members"`
}

type joinMember struct {
	Node    string `json:"node"`
	Address string `json:"address"`
}

// joining is one attempt to join.
type joining struct {
	*Pod
	call       *pods.Call
	in         joinRequest
	invitation stored[Invitation]
	members    []stored[Member]
	given      Credentials
}

// join takes in a machine. Nobody has signed the request, so the tenant that it
// is about is the site's own.
func (p *Pod) join(_ context.Context, c *pods.Call) (*pods.Result, error) {
	c.Tenant = p.config.Tenant
	j := joining{Pod: p, call: c}
	if err := decode(c, &j.in); err != nil {
		return nil, err
	}
	ok, err := j.find()
	if err != nil {
		return nil, err
	}
	if !ok {
		j.count(codeUnknown)
		return nil, tap.E("cluster.join", tap.Forbidden, "this invitation is not known; it was withdrawn, has expired or is of another site").
			WithCode(codeUnknown)
	}
	if j.members, err = list(c.View, c.Tenant, kindMember, parseMember); err != nil {
		return nil, err
	}
	if refusal := j.invited(); refusal != nil {
		return j.refused(refusal)
	}
	if j.given, err = p.config.Trust.Sign(j.in.CSR, j.in.Node, j.in.Address); err != nil {
		if tap.IsKind(err, tap.Invalid) {
			return j.refused(tap.AsError(err))
		}
		return nil, err
	}
	if i := j.invitation.T; i.UsedBy != "" {
		return j.again()
	}
	gone, err := j.standing()
	if err != nil {
		return nil, err
	}
	if gone != nil {
		return j.refused(gone)
	}
	return j.accepted(), nil
}

// find looks the invitation up by the hash of its secret. The index holds half
// of the hash's bytes at most, so the whole is compared in constant time.
func (j *joining) find() (bool, error) {
	hash := sha256.Sum256(j.in.Secret)
	i, ok, err := read(j.call.View, invitationKey(j.call.Tenant, invitationID(hash)), parseInvitation)
	j.invitation = i
	return ok && subtle.ConstantTimeCompare(hash[:], i.T.Hash[:]) == 1, err
}

// invited says what is wrong with using this invitation for this node.
func (j *joining) invited() *tap.Error {
	refuse := func(kind tap.Kind, code, format string, args ...any) *tap.Error {
		return tap.E("cluster.join", kind, format, args...).WithCode(code)
	}
	needed := j.config.Replication.Status().Version
	switch i := j.invitation.T; {
	case i.Expires <= j.call.Now.UnixMicro():
		return refuse(tap.Forbidden, "invitation_expired", "this invitation has expired; ask an operator for another")
	case i.Node != "" && i.Node != j.in.Node:
		return refuse(tap.Forbidden, "invitation_node", "this invitation is for a node of another name")
	case i.UsedBy != "" && i.UsedBy != j.in.Node:
		return j.used()
	case j.in.Version < needed:
		return refuse(tap.Conflict, "version", "the site's commands are of version %d and this machine's release knows %d; install a newer one", needed, j.in.Version)
	}
	return nil
}

func (j *joining) used() *tap.Error {
	return tap.E("cluster.join", tap.Forbidden, "this invitation was used; ask an operator for another").WithCode("invitation_used")
}

// standing says what is wrong with the node itself.
func (j *joining) standing() (*tap.Error, error) {
	conflict := func(code, message string) (*tap.Error, error) {
		return tap.E("cluster.join", tap.Conflict, "%s", message).WithCode(code), nil
	}
	for _, m := range j.members {
		switch {
		case m.T.ID == j.in.Node:
			return conflict("member_exists", "a member has this name; choose another name for this machine")
		case m.T.Address == j.in.Address:
			return conflict("address_taken", "a member has this address; remove it first, or choose another port")
		case m.T.Pin == j.given.Pin:
			return conflict("key_known", "a member has this key; was its data folder copied?")
		}
	}
	if len(j.members) >= maxMembers {
		return conflict("too_many", "the site has as many members as it may have")
	}
	removals, err := list(j.call.View, j.call.Tenant, kindRemoved, parseRemoval)
	if err != nil {
		return nil, err
	}
	for _, r := range removals {
		switch {
		case r.T.ID == j.in.Node:
			return conflict("member_removed", "a node of this name was removed; names are not used again, choose another")
		case r.T.Pin == j.given.Pin:
			return conflict("key_known", "this key is that of a node that was removed; start with an empty data folder")
		}
	}
	return nil, nil
}

// accepted makes the machine a member and the invitation used, in one batch.
func (j *joining) accepted() *pods.Result {
	c, i := j.call, j.invitation.T
	i.UsedBy, i.UsedPin, i.UsedAt = j.in.Node, j.given.Pin, c.Now.UnixMicro()
	m := Member{
		ID: j.in.Node, Address: j.in.Address, Pin: j.given.Pin, Observer: i.Observer, Joined: c.Now.UnixMicro(),
		Release: j.in.Release, Version: j.in.Version, Request: c.RequestID, By: i.By, Invited: invitationID(i.Hash),
	}
	key := j.invitation.item.Key
	ops := []store.Op{
		store.Check(key, j.invitation.item.Version), store.Put(key, mustJSON(i)), store.Expire(key, i.Expires),
		store.Check(removedKey(c.Tenant, m.ID), 0), store.Create(memberKey(c.Tenant, m.ID), mustJSON(m)),
	}
	// Two that join at once must not take the same address or key.
	for _, other := range j.members {
		ops = append(ops, store.Check(other.item.Key, other.item.Version))
	}
	j.members = append(j.members, stored[Member]{T: m})
	return &pods.Result{Body: j.reply(), Ops: ops, Evidence: j.evidence("ok", "")}
}

// again answers the machine that used the invitation once more: its first answer
// was lost.
func (j *joining) again() (*pods.Result, error) {
	for _, m := range j.members {
		if m.T.ID == j.in.Node && m.T.Pin == j.given.Pin && m.T.Address == j.in.Address && j.invitation.T.UsedPin == j.given.Pin {
			return &pods.Result{
				Body: j.reply(), Ops: []store.Op{store.Check(m.item.Key, m.item.Version)}, Evidence: j.evidence("repeated", ""),
			}, nil
		}
	}
	return j.refused(j.used())
}

// refused is the answer to somebody with a real invitation that does not do.
func (j *joining) refused(e *tap.Error) (*pods.Result, error) {
	if !j.refusals.AllowN(j.call.Now, 1) {
		j.count(e.StableCode())
		return nil, e
	}
	return &pods.Result{Error: e, Evidence: j.evidence("refused", e.StableCode())}, nil
}

// count leaves a refusal to those who sum up, without the name: anybody may
// claim any.
func (j *joining) count(reason string) {
	j.config.Refused(Refusal{Action: actionJoin, Reason: reason, Address: j.call.Remote})
}

func (j *joining) evidence(outcome, reason string) []store.Evidence {
	payload := map[string]any{
		"node": j.in.Node, "address": j.in.Address, "release": j.in.Release, "version": j.in.Version, "remote": j.call.Remote,
		"invitation": invitationID(j.invitation.T.Hash), "invitedBy": j.invitation.T.By, "observer": j.invitation.T.Observer,
	}
	if reason != "" {
		payload["reason"] = reason
	} else {
		payload["pin"] = Pin(j.given.Pin)
	}
	return evidence(j.call, actionJoin, outcome, payload)
}

func (j *joining) reply() joinReply {
	r := joinReply{
		Site: j.given.Site, Node: j.in.Node, Observer: j.invitation.T.Observer,
		Certificate: j.given.Certificate, AuthorityKey: j.given.AuthorityKey, LedgerKey: j.given.LedgerKey, Members: []joinMember{},
	}
	for _, m := range j.members {
		r.Members = append(r.Members, joinMember{m.T.ID, m.T.Address})
	}
	return r
}
