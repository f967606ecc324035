package subject

import (
	"context"
	"encoding/json"
	"net/http"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Bounds of one listing.
const (
	listDefault = 50
	listMax     = 200
)

// Config is what the pod joins. Both fields are needed.
type Config struct {
	// Standing is the key of an identity in a view, and the check that its record stays as
	// it is there; ok says whether it is active.
	Standing func(v store.View, tenant, identity string) (key string, unchanged store.Op, ok bool, err error)
	Held     func(tenant, subject string) (keys int) // how many keys of a subject this node has
}

// Pod serves the routes below /v1/subjects.
type Pod struct{ config Config }

// New makes the pod.
func New(c Config) *Pod { return &Pod{c} }

// Manifest says what the pod serves and to whom.
func (p *Pod) Manifest() pods.Manifest {
	deciders := []tap.Role{tap.Operator, tap.Guardian}
	readers := []tap.Role{tap.Operator, tap.Guardian, tap.Auditor}
	all := []tap.Role{tap.Operator, tap.Guardian, tap.Auditor, tap.Citizen}
	return pods.Manifest{
		Name: "subject",
		Summary: tap.Text{
			EN: "The right to erasure: destroys the keys of what was recorded about a person.",
			ES: "El derecho de supresión: destruye las claves de lo registrado sobre una persona.",
		},
		Routes: []pods.Route{
			{
				Method: http.MethodPost, Pattern: "/v1/subjects/{subject}/erasure", BodyLimit: 8 << 10,
				Summary: "Erase a subject, or ask for it where the policy wants approvals (202).",
				Roles:   []tap.Role{tap.Operator, tap.Guardian, tap.Citizen}, Body: eraseSchema, Reply: outcomeSchema, Run: p.erase,
			}, {
				Method: http.MethodGet, Pattern: "/v1/subjects/{subject}/erasure",
				Summary: "How often a subject was erased, and when.",
				Roles:   all, Reply: shownSchema, Run: p.show,
			}, {
				Method: http.MethodGet, Pattern: "/v1/subjects/erasures",
				Summary: "List the requests that wait and the subjects that were erased.",
				Roles:   readers, Reply: listSchema, Run: p.list,
				Query: []pods.Parameter{
					{Name: "limit", Summary: "at most this many subjects, 1 to 200; 50 when absent", Integer: true},
					{Name: "after", Summary: "continue after this subject"},
				},
			}, {
				Method: http.MethodPost, Pattern: "/v1/subjects/erasures/{id}/approval",
				Summary: "Approve an erasure, or a change of the policy, that waits.",
				Roles:   deciders, Reply: outcomeSchema, Run: p.approve,
			}, {
				Method: http.MethodDelete, Pattern: "/v1/subjects/erasures/{id}",
				Summary: "Withdraw a request that waits: who asked, or an operator.",
				Roles:   []tap.Role{tap.Operator, tap.Guardian, tap.Citizen}, Reply: outcomeSchema, Run: p.withdraw,
			}, {
				Method: http.MethodGet, Pattern: "/v1/subjects/policy",
				Summary: "How many identities an erasure needs.",
				Roles:   readers, Reply: policySchema, Run: p.policy,
			}, {
				Method: http.MethodPut, Pattern: "/v1/subjects/policy", BodyLimit: 1 << 10,
				Summary: "Change how many identities an erasure needs; a lower number needs their approval first (202).",
				Roles:   []tap.Role{tap.Operator}, Body: setPolicySchema, Reply: outcomeSchema, Run: p.setPolicy,
			},
		},
	}
}

type shown struct {
	Subject    string `json:"subject"`
	Generation uint64 `json:"generation"`
	ErasedAt   string `json:"erasedAt,omitempty"`
	Pending    string `json:"pending,omitempty"`  // a request that waits
	KeysHere   *int   `json:"keysHere,omitempty"` // on this node; for operators
}

// show says how a subject stands.
func (p *Pod) show(_ context.Context, c *pods.Call) (*pods.Result, error) {
	name, err := named(c)
	if err != nil {
		return nil, err
	}
	e, _, err := read[Erasure](c.View, store.ErasureKey(c.Tenant, name))
	if err != nil {
		return nil, err
	}
	s := shown{Subject: name, Generation: e.Generation}
	if e.At != 0 {
		s.ErasedAt = pods.TimestampMicros(e.At)
	}
	pending, err := requests(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	for _, r := range pending {
		if r.Kind == kindErasure && r.Subject == name {
			s.Pending = r.ID.String()
		}
	}
	if c.Principal.Has(tap.Operator) {
		keys := p.config.Held(c.Tenant, name)
		s.KeysHere = &keys
	}
	return &pods.Result{Body: s}, nil
}

type waiting struct {
	ID         string   `json:"id"`
	Kind       string   `json:"kind"`
	Subject    string   `json:"subject,omitempty"`
	Approvals  *int     `json:"approvals,omitempty"`
	Reason     string   `json:"reason"`
	By         string   `json:"by"`
	At         string   `json:"at"`
	Expires    string   `json:"expires"`
	ApprovedBy []string `json:"approvedBy"`
}

type erased struct {
	Subject     string   `json:"subject"`
	Generation  uint64   `json:"generation"`
	ErasedAt    string   `json:"erasedAt"`
	RequestedBy string   `json:"requestedBy"`
	ApprovedBy  []string `json:"approvedBy"`
}

type listed struct {
	Pending []waiting `json:"pending"`
	Erased  []erased  `json:"erased"`
	Next    string    `json:"next,omitempty"` // goes into "after" of the next call
}

// list shows what waits, and the erased subjects by name.
func (p *Pod) list(_ context.Context, c *pods.Call) (*pods.Result, error) {
	limit, err := c.PageSize(listDefault, listMax)
	if err != nil {
		return nil, err
	}
	pending, err := requests(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	page := listed{Pending: []waiting{}, Erased: []erased{}}
	for i := range pending {
		r := &pending[i]
		counting, _, err := p.counting(c.View, c.Tenant, r.Approvers)
		if err != nil {
			return nil, err
		}
		page.Pending = append(page.Pending, waiting{
			r.ID.String(), r.Kind, r.Subject, r.approvals(), r.Reason, r.By, pods.TimestampMicros(r.At), pods.TimestampMicros(r.Expires),
			names(counting),
		})
	}
	parent, from := store.K(c.Tenant, store.SpaceErasure), store.Key("")
	if after := c.Query["after"]; after != "" {
		from = parent.Prefix() + store.Key(after) + "\x00"
	}
	var damaged error
	err = c.View.Scan(parent.Prefix(), from, func(i store.Item) bool {
		if len(page.Erased) == limit {
			page.Next = page.Erased[limit-1].Subject
			return false
		}
		var e Erasure
		if e, damaged = parse[Erasure](i.Value); damaged == nil {
			page.Erased = append(page.Erased, erased{i.Key.Last(), e.Generation, pods.TimestampMicros(e.At), e.Requested, e.Approvers})
		}
		return damaged == nil
	})
	if err == nil {
		err = damaged
	}
	return &pods.Result{Body: page}, err
}

type policyShown struct {
	Approvals int    `json:"approvals"`
	ChangedBy string `json:"changedBy,omitempty"`
	ChangedAt string `json:"changedAt,omitempty"`
}

// policy shows the rule in force.
func (p *Pod) policy(_ context.Context, c *pods.Call) (*pods.Result, error) {
	rule, version, err := policyOf(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	s := policyShown{Approvals: rule.Approvals, ChangedBy: rule.By}
	if version != 0 {
		s.ChangedAt = pods.TimestampMicros(rule.At)
	}
	return &pods.Result{Body: s}, nil
}

// setPolicy raises the number at once; lowering it is a request.
func (p *Pod) setPolicy(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var body struct {
		Approvals int `json:"approvals"`
	}
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return nil, tap.Wrap("subject.body", tap.Invalid, err, "the body does not have the form of this route").WithCode("schema")
	}
	known, version, err := find(c.View, c.Tenant, c.RequestID.String())
	if err != nil {
		return nil, err
	}
	if version != 0 {
		return p.repeated(c, &known, "")
	}
	rule, version, err := policyOf(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	r := Request{ID: c.RequestID, Kind: kindPolicy, Approvals: body.Approvals}
	if body.Approvals < rule.Approvals {
		return p.begin(c, r, true)
	}
	r.by(c, true)
	return p.finish(c, &r, rule, append(r.unknown(c.Tenant), store.Check(policyKey(c.Tenant), version)), names(r.Approvers), nil)
}
