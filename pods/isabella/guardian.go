package isabella

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Bounds of one listing.
const (
	listDefault = 50
	listMax     = 200
	scanMax     = 10000 // records looked at before the listing continues on the next page
)

// List is a page of reviews, by ticket: with the time-ordered identifiers that
// clients use, oldest first.
type List struct {
	Reviews []Review `json:"reviews"`
	Next    string   `json:"next,omitempty"` // goes into "after" of the next call
}

// reviews serves GET /v1/guardian/reviews.
func (k *Kernel) reviews(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	state := State(c.Query["state"])
	switch state {
	case "", StateHeld, StateApproved, StateDenied:
	default:
		return nil, errQuery("state must be held, approved or denied")
	}
	limit, err := c.PageSize(listDefault, listMax)
	if err != nil {
		return nil, err
	}
	after := c.Query["after"]
	if after != "" && uuid.Validate(after) != nil {
		return nil, errQuery("after must be a ticket")
	}
	page := List{Reviews: []Review{}}
	tickets, next, err := scan(c.View, c.Tenant, state, after, limit)
	if err != nil {
		return nil, err
	}
	for _, ticket := range tickets {
		r, err := load(c.View, c.Tenant, ticket)
		if err != nil {
			return nil, err
		}
		page.Reviews = append(page.Reviews, r.Review)
	}
	page.Next = next
	return &pods.Result{Body: page}, ctx.Err()
}

func errQuery(why string) error {
	return tap.E("isabella.query", tap.Invalid, "%s", why).WithCode("query")
}

// scan lists tickets after a given one. Open reviews have an index; the others
// are found by looking at each.
func scan(view store.View, tenant string, state State, after string, limit int) (tickets []string, next string, err error) {
	parent, open := store.K(tenant, spaceReview), store.K(tenant, spaceReview, string(StateHeld)).Prefix()
	if state == StateHeld {
		parent = store.K(tenant, spaceReview, string(StateHeld))
	}
	from := store.Key("")
	if after != "" {
		from = parent.Prefix() + store.Key(after) + "\x00"
	}
	looked, last := 0, ""
	err = view.Scan(parent.Prefix(), from, func(i store.Item) bool {
		indexed := strings.HasPrefix(string(i.Key), string(open))
		if indexed && state != StateHeld {
			return true
		}
		if len(tickets) == limit || looked == scanMax {
			next = last
			return false
		}
		looked++
		last = i.Key.Last()
		if state == "" || indexed || stateOf(i.Value) == state {
			tickets = append(tickets, last)
		}
		return true
	})
	return tickets, next, err
}

// stateOf reads the state alone; a damaged record has none.
func stateOf(record []byte) State {
	var r struct {
		State State `json:"state"`
	}
	_ = json.Unmarshal(record, &r) // a damaged record is in no listing by state; load reports it
	return r.State
}

// detail is one review with the intent, while it is held.
type detail struct {
	Review
	Intent json.RawMessage `json:"intent,omitempty"`
}

// review serves GET /v1/guardian/reviews/{ticket}.
func (k *Kernel) review(_ context.Context, c *pods.Call) (*pods.Result, error) {
	r, err := visible(c, c.Params["ticket"])
	if err != nil {
		return nil, err
	}
	d := detail{Review: r.Review}
	if r.State == StateHeld {
		if d.Intent, err = r.body(c.View, c.Tenant); err != nil {
			return nil, err
		}
	}
	return &pods.Result{Body: d}, nil
}

// visible loads a review for somebody who may see it: a guardian, an auditor or
// the submitter. To anybody else it does not exist.
func visible(c *pods.Call, ticket string) (*stored, error) {
	r, err := load(c.View, c.Tenant, ticket)
	if err == nil && r.Submitter != c.Actor() && !c.Principal.Has(tap.Guardian, tap.Auditor) {
		return nil, errNoReview()
	}
	return r, err
}

// progress is what the submitter of a held intent sees.
type progress struct {
	ID        string          `json:"id"`
	State     State           `json:"state"`
	Submitted string          `json:"submitted"`
	Decided   string          `json:"decided,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Response  json.RawMessage `json:"response,omitempty"`
}

// progress serves GET /v1/kernel/intent/{id}. An intent that was answered or
// refused at once is not kept and is not found.
func (k *Kernel) progress(_ context.Context, c *pods.Call) (*pods.Result, error) {
	r, err := visible(c, c.Params["id"])
	if err != nil {
		return nil, err
	}
	p := progress{ID: r.Ticket, State: r.State, Submitted: r.Submitted, Decided: r.Decided, Reason: r.Reason}
	if p.Response, err = kept(c, r.Ticket); err != nil {
		return nil, err
	}
	return &pods.Result{Body: p}, nil
}

// kept is the stored reply of an approved intent; nil when there is none.
func kept(c *pods.Call, id string) (json.RawMessage, error) {
	item, _, err := c.View.Get(responseKey(c.Tenant, id))
	return json.RawMessage(item.Value), err
}

// decision is what a guardian sends, and decided what comes back.
type decision struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
}

type decided struct {
	Ticket   string         `json:"ticket"`
	State    State          `json:"state"`
	Response any            `json:"response,omitempty"`
	Receipt  *store.Receipt `json:"receipt,omitempty"` // absent when the same decision is sent again
}

// decide serves POST /v1/guardian/reviews/{ticket}/decision.
func (k *Kernel) decide(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	var d decision
	if json.Unmarshal(c.Body, &d) != nil || safeText(d.Reason, maxContext) != nil || strings.TrimSpace(d.Reason) == "" {
		return nil, errInput()
	}
	r, err := load(c.View, c.Tenant, c.Params["ticket"])
	if err != nil {
		return nil, err
	}
	switch {
	case r.Submitter == c.Actor():
		return nil, tap.E("isabella.decide", tap.Forbidden, "nobody decides on an intent of their own").WithCode("own_intent")
	case r.State != StateHeld && r.DecisionID == c.RequestID && r.Guardian == c.Actor():
		response, err := kept(c, r.Ticket)
		return &pods.Result{Body: again(r, response)}, err
	case r.State != StateHeld:
		return nil, errDecided(r.State)
	}
	r.Guardian, r.Decided, r.Reason, r.DecisionID = c.Actor(), pods.Timestamp(c.Now), d.Reason, c.RequestID
	if d.Decision == "approve" {
		return k.approve(ctx, c, r)
	}
	r.State = StateDenied
	reply := &decided{Ticket: r.Ticket, State: r.State}
	return &pods.Result{
		Body: reply, Ops: r.close(c.Tenant), Evidence: []store.Evidence{r.evidence(c, "intent.denied")},
		Receipted: func(receipt store.Receipt) { reply.Receipt = &receipt },
	}, nil
}

// again answers a decision that was already carried out under the same request
// id, as after a lost connection.
func again(r *stored, response json.RawMessage) *decided {
	d := &decided{Ticket: r.Ticket, State: r.State}
	if response != nil {
		d.Response = response
	}
	return d
}

// approve runs the intent in its submitter's name. The decision, the effects,
// the reply and both evidence entries are one batch.
func (k *Kernel) approve(ctx context.Context, c *pods.Call, r *stored) (*pods.Result, error) {
	submitter := &tap.Principal{Tenant: c.Tenant, Identity: r.Submitter, Roles: r.Roles, KeyID: r.KeyID}
	if !k.active(submitter) {
		return nil, tap.E("isabella.decide", tap.Conflict, "the submitter may no longer act; deny the intent").WithCode("submitter_inactive")
	}
	body, err := r.body(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	call := *c
	call.RequestID, call.Principal, call.Lang, call.Remote = uuid.MustParse(r.Ticket), submitter, r.Lang, r.Address
	call.Body, call.Params, call.Query, call.Admission = body, nil, nil, nil
	t, err := readTask(&call, body)
	if err != nil {
		return nil, err
	}
	t.audit, t.approval = r.Audit, &approval{Ticket: r.Ticket, Guardian: r.Guardian}
	a, err := k.serve(ctx, t)
	if err != nil {
		return nil, err
	}
	r.State = StateApproved
	response := a.reply()
	ops := append(r.close(c.Tenant), store.Put(responseKey(c.Tenant, r.Ticket), encode(response)))
	reply := &decided{Ticket: r.Ticket, State: r.State, Response: response}
	return &pods.Result{
		Body: reply, Ops: append(ops, a.ops...),
		Evidence: append([]store.Evidence{r.evidence(c, "intent.approved")}, a.evidence()...),
		Receipted: func(receipt store.Receipt) {
			reply.Receipt = &receipt
			response.proven(receipt)
		},
	}, nil
}

// evidence is the guardian's entry in the ledger. The reason is in the review;
// here is its digest.
func (r *stored) evidence(c *pods.Call, action string) store.Evidence {
	return store.Evidence{Actor: c.Actor(), Action: action, Outcome: "ok", Payload: encode(struct {
		Ticket       string  `json:"ticket"`
		Submitter    string  `json:"submitter"`
		InputDigest  string  `json:"inputDigest"`
		BodyDigest   string  `json:"bodyDigest"`
		Score        float32 `json:"score"`
		ReasonDigest string  `json:"reasonDigest"`
		Address      string  `json:"address"`
	}{r.Ticket, r.Submitter, r.InputDigest, r.BodyDigest, r.Audit.Score, digest([]byte(r.Reason)), c.Remote})}
}
