package subject

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// outcome is how a request stands.
type outcome struct {
	ID         uuid.UUID      `json:"id"`
	Kind       string         `json:"kind"`
	State      string         `json:"state"` // "done", "pending" or "withdrawn"
	Subject    string         `json:"subject,omitempty"`
	Generation uint64         `json:"generation,omitempty"` // that began
	Approvals  *int           `json:"approvals,omitempty"`  // of a policy: what shall hold
	ApprovedBy []string       `json:"approvedBy"`
	Needed     int            `json:"needed"`
	Expires    string         `json:"expires,omitempty"` // while it is pending
	Withdrawn  string         `json:"withdrawnBy,omitempty"`
	Remains    string         `json:"remains,omitempty"` // what an erasure leaves
	Receipt    *store.Receipt `json:"receipt,omitempty"` // absent when nothing was written
}

const (
	stateDone      = "done"
	statePending   = "pending"
	stateWithdrawn = "withdrawn"
)

// remains says what an erasure does not remove.
var remains = tap.Text{
	EN: "Every node destroys the keys of what was sealed for this subject when it applies this entry. What stays: names of actors and subjects in the ledger's entries, which are pseudonyms; payloads that were recorded without this subject; documents in memory, which their own route deletes; what somebody has read or been given.",
	ES: "Cada nodo destruye las claves de lo que se selló para esta persona al aplicar esta entrada. Permanecen: los nombres de actores y personas en las entradas del registro, que son seudónimos; los datos registrados sin nombrar a esta persona; los documentos en memoria, que se borran por su propia ruta; lo que alguien ya leyó o recibió.",
}

// decides says whether somebody's approval counts.
func decides(p *tap.Principal) bool { return p.Has(tap.Operator, tap.Guardian) }

// erase asks for an erasure, and does it when one identity is enough.
func (p *Pod) erase(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return nil, tap.Wrap("subject.body", tap.Invalid, err, "the body does not have the form of this route").WithCode("schema")
	}
	name, err := named(c)
	if err != nil {
		return nil, err
	}
	known, version, err := find(c.View, c.Tenant, c.RequestID.String())
	if err != nil {
		return nil, err
	}
	if version != 0 { // the same request, sent again
		return p.repeated(c, &known, name)
	}
	r := Request{ID: c.RequestID, Kind: kindErasure, Subject: name, Reason: body.Reason}
	return p.begin(c, r, decides(c.Principal))
}

// named is the subject in the path, if the caller may ask about it.
func named(c *pods.Call) (string, error) {
	name := c.Params["subject"]
	switch {
	case !tap.ValidName(name):
		return "", tap.E("subject.name", tap.Invalid, "this cannot be the name of a subject").WithCode("subject")
	case name != c.Actor() && !c.Principal.Has(tap.Operator, tap.Guardian, tap.Auditor):
		return "", tap.E("subject.name", tap.Forbidden, "only operators, guardians and auditors ask about others").WithCode("not_own")
	}
	return name, nil
}

// repeated answers a request that was carried out, as after a lost connection.
func (p *Pod) repeated(c *pods.Call, r *Request, name string) (*pods.Result, error) {
	if r.By != c.Actor() || r.Subject != name {
		return nil, store.ErrReused()
	}
	return p.standing(c, r)
}

// standing shows a request as it is.
func (p *Pod) standing(c *pods.Call, r *Request) (*pods.Result, error) {
	policy, _, err := policyOf(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	return p.answer(c, r, policy, nil, nil)
}

// begin writes down a new request, with the caller's approval if it counts, and
// carries it out when that is enough.
func (p *Pod) begin(c *pods.Call, r Request, counts bool) (*pods.Result, error) {
	policy, version, err := policyOf(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	pending, err := requests(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	for _, other := range pending {
		if other.Kind == r.Kind && other.Subject == r.Subject {
			return nil, tap.E("subject.request", tap.Conflict, "such a request waits for approvals already").
				WithCode("pending").WithDetail("id", other.ID.String())
		}
	}
	if len(pending) >= MaxPending {
		return nil, tap.E("subject.request", tap.Limited, "%d requests wait for approvals; decide on them first", MaxPending).WithCode("too_many")
	}
	r.by(c, counts)
	ops := append(r.unknown(c.Tenant), store.Check(policyKey(c.Tenant), version))
	if policy.needed() == 1 {
		return p.finish(c, &r, policy, ops, names(r.Approvers), nil)
	}
	return p.answer(c, &r, policy, append(ops, keep(c.Tenant, &r)...), []store.Evidence{r.evidence(c, statePending, nil)})
}

// approvals is the number that a change of the policy asks for; nil for an erasure.
func (r *Request) approvals() *int {
	if r.Kind != kindPolicy {
		return nil
	}
	return &r.Approvals
}

// by says who asks, and when. counts says whether that is an approval.
func (r *Request) by(c *pods.Call, counts bool) {
	r.By, r.At, r.Expires, r.Approvers = c.Actor(), c.Now.UnixMicro(), c.Now.Add(RequestLife).UnixMicro(), []approver{}
	if r.Reason != "" {
		r.Digest = digestOf(r.Reason)
	}
	if counts {
		r.Approvers = append(r.Approvers, approverOf(c))
	}
}

func approverOf(c *pods.Call) approver {
	return approver{c.Actor(), c.Principal.Roles, c.Principal.KeyID}
}

// unknown are the checks that a request is new.
func (r *Request) unknown(tenant string) []store.Op {
	return []store.Op{store.Check(requestKey(tenant, r.ID.String()), 0), store.Check(doneKey(tenant, r.ID.String()), 0)}
}

// keep stores a request until it expires; one that is done no more with those that wait.
func keep(tenant string, r *Request) []store.Op {
	key := requestKey(tenant, r.ID.String())
	if !r.Done {
		return []store.Op{store.Put(key, encode(r)), store.Expire(key, r.Expires)}
	}
	done := doneKey(tenant, r.ID.String())
	return []store.Op{store.Delete(key), store.Put(done, encode(r)), store.Expire(done, r.Expires)}
}

// asked is the request that the path names, whatever became of it. While it waits,
// unchanged checks that it waits as it does in the view.
func asked(c *pods.Call) (r Request, unchanged store.Op, err error) {
	id, err := uuid.Parse(c.Params["id"])
	if err != nil {
		return r, unchanged, errNoRequest()
	}
	r, version, err := find(c.View, c.Tenant, id.String())
	if err == nil && version == 0 {
		err = errNoRequest()
	}
	return r, store.Check(requestKey(c.Tenant, id.String()), version), err
}

// approve counts the caller, and carries the request out when that is enough.
func (p *Pod) approve(_ context.Context, c *pods.Call) (*pods.Result, error) {
	r, unchanged, err := asked(c)
	switch {
	case err != nil:
		return nil, err
	case r.Withdrawn != "":
		return nil, tap.E("subject.request", tap.Conflict, "%s withdrew this request", r.Withdrawn).WithCode("withdrawn")
	case r.Done || r.approvedBy(c.Actor()):
		return p.standing(c, &r) // nobody counts twice
	}
	policy, policyVersion, err := policyOf(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	r.Approvers = append(r.Approvers, approverOf(c))
	ops := []store.Op{store.Check(policyKey(c.Tenant), policyVersion), unchanged}
	evidence := []store.Evidence{{
		Actor: c.Actor(), Action: "subject.approve", Outcome: "ok",
		Payload: encode(map[string]any{"id": r.ID, "kind": r.Kind, "subject": r.Subject, "approvals": r.Approvals}),
	}}
	counting, standing, err := p.counting(c.View, c.Tenant, r.Approvers)
	if err != nil {
		return nil, err
	}
	if len(counting) >= policy.needed() {
		return p.finish(c, &r, policy, append(ops, standing...), names(counting), evidence)
	}
	return p.answer(c, &r, policy, append(ops, keep(c.Tenant, &r)...), evidence)
}

// withdraw ends a request that waits, for who asked or for an operator.
func (p *Pod) withdraw(_ context.Context, c *pods.Call) (*pods.Result, error) {
	r, unchanged, err := asked(c)
	switch {
	case err != nil:
		return nil, err
	case r.By != c.Actor() && !c.Principal.Has(tap.Operator):
		return nil, tap.E("subject.request", tap.Forbidden, "only who asked and operators withdraw a request").WithCode("not_own")
	case r.Withdrawn != "":
		return p.standing(c, &r)
	case r.Done:
		return nil, tap.E("subject.request", tap.Conflict, "this request was carried out").WithCode("done")
	}
	policy, _, err := policyOf(c.View, c.Tenant)
	if err != nil {
		return nil, err
	}
	r.Done, r.Reason, r.Withdrawn = true, "", c.Actor()
	ops := append([]store.Op{unchanged}, keep(c.Tenant, &r)...)
	return p.answer(c, &r, policy, ops, []store.Evidence{{
		Actor: c.Actor(), Action: "subject.withdraw", Outcome: "ok",
		Payload: encode(map[string]any{"id": r.ID, "kind": r.Kind, "subject": r.Subject, "approvals": r.Approvals, "requestedBy": r.By}),
	}})
}

func errNoRequest() error {
	return tap.E("subject.request", tap.NotFound, "no request with this id waits; GET /v1/subjects/erasures lists them")
}

// counting are the approvers whose identities still stand, one for each key: who has
// two identities is still one. unchanged checks that they stand as they do in the view.
func (p *Pod) counting(v store.View, tenant string, all []approver) (standing []approver, unchanged []store.Op, err error) {
	keys := map[string]bool{}
	for _, a := range all {
		key, check, ok, err := p.config.Standing(v, tenant, a.Identity)
		if err != nil {
			return nil, nil, err
		}
		if ok && !keys[key] {
			keys[key] = true
			standing, unchanged = append(standing, a), append(unchanged, check)
		}
	}
	return standing, unchanged, nil
}

// finish carries a request out, which the approvers want.
func (p *Pod) finish(c *pods.Call, r *Request, policy Policy, ops []store.Op, approvers []string, evidence []store.Evidence) (*pods.Result, error) {
	if r.Kind == kindPolicy {
		policy = Policy{Approvals: r.Approvals, By: r.By, At: c.Now.UnixMicro()}
		ops = append(ops, store.Put(policyKey(c.Tenant), encode(policy)))
	} else {
		generation, version, err := store.Generation(c.View, c.Tenant, r.Subject)
		if err != nil {
			return nil, err
		}
		r.Result = generation + 1
		key := store.ErasureKey(c.Tenant, r.Subject)
		ops = append(ops, store.Check(key, version), store.Put(key, encode(Erasure{
			Generation: r.Result, At: c.Now.UnixMicro(), Requested: r.By, Approvers: append([]string{}, approvers...), ID: r.ID,
		})))
	}
	r.Done, r.Reason = true, ""
	return p.answer(c, r, policy, append(ops, keep(c.Tenant, r)...), append(evidence, r.evidence(c, "ok", approvers)))
}

// evidence is a request's entry in the ledger.
func (r *Request) evidence(c *pods.Call, how string, approvers []string) store.Evidence {
	action := "subject.erase"
	if r.Kind == kindPolicy {
		action = "subject.policy"
	}
	return store.Evidence{Actor: c.Actor(), Action: action, Outcome: how, Payload: encode(struct {
		ID           uuid.UUID `json:"id"`
		Subject      string    `json:"subject,omitempty"`
		Generation   uint64    `json:"generation,omitempty"`
		Approvals    int       `json:"approvals,omitempty"`
		Requested    string    `json:"requestedBy"`
		ReasonDigest string    `json:"reasonDigest,omitempty"`
		Approvers    []string  `json:"approvers,omitempty"`
	}{r.ID, r.Subject, r.Result, r.Approvals, r.By, r.Digest, approvers})}
}

// answer is the reply about a request, and what it changes.
func (p *Pod) answer(c *pods.Call, r *Request, policy Policy, ops []store.Op, evidence []store.Evidence) (*pods.Result, error) {
	counting, _, err := p.counting(c.View, c.Tenant, r.Approvers)
	if err != nil {
		return nil, err
	}
	o := &outcome{
		ID: r.ID, Kind: r.Kind, State: statePending, Subject: r.Subject, Generation: r.Result, Approvals: r.approvals(),
		ApprovedBy: names(counting), Needed: policy.needed(), Expires: pods.TimestampMicros(r.Expires),
	}
	result := &pods.Result{Status: http.StatusAccepted, Body: o, Ops: ops, Evidence: evidence}
	if r.Done {
		o.State, o.Expires, result.Status = stateDone, "", http.StatusOK
		if o.Withdrawn = r.Withdrawn; r.Withdrawn != "" {
			o.State = stateWithdrawn
		} else if r.Kind == kindErasure {
			o.Remains = remains.In(c.Lang)
		}
	}
	result.Receipted = func(receipt store.Receipt) { o.Receipt = &receipt }
	return result, nil
}
