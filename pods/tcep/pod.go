package tcep

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Pod is the TCEP pod. It has no state of its own.
type Pod struct{}

// New makes the pod.
func New() *Pod { return &Pod{} }

// Manifest describes the pod.
func (p *Pod) Manifest() pods.Manifest {
	return pods.Manifest{
		Name: "tcep",
		Summary: tap.Text{
			EN: "TCEP: money booked exactly, 75 % to impact and 25 % to operations.",
			ES: "TCEP: dinero contabilizado con exactitud, 75 % a impacto y 25 % a operaciones.",
		},
		Intent: p.pay,
		Routes: []pods.Route{
			{
				Method: "POST", Pattern: "/v1/economy/tcep", Summary: "Book an amount by the 75/25 rule",
				Roles: []tap.Role{tap.Citizen}, Body: orderSchema, Reply: bookedSchema, BodyLimit: 16 << 10, Run: p.book,
			},
			{
				Method: "GET", Pattern: "/v1/economy/tcep/{id}", Summary: "Show a booking: one's own, or any for an auditor",
				Roles: []tap.Role{tap.Citizen, tap.Auditor}, Reply: bookedSchema, Run: p.get,
			},
			{
				Method: "GET", Pattern: "/v1/economy/balances", Summary: "Show the accounts; the sum per currency is zero",
				Roles: []tap.Role{tap.Auditor, tap.Operator}, Reply: balancesSchema, Run: p.balances,
				Query: []pods.Parameter{{Name: "currency", Summary: "only this currency"}},
			},
			{
				Method: "GET", Pattern: "/v1/economy/currencies", Summary: "List the supported currencies with their decimals",
				Roles: []tap.Role{tap.Citizen}, Reply: currenciesSchema, Run: p.currencies,
			},
		},
	}
}

// booked is the reply to an order.
type booked struct {
	booking
	EvidenceHash string         `json:"evidenceHash,omitempty"` // leaf hash of the booking's evidence
	Receipt      *store.Receipt `json:"receipt,omitempty"`
	Repeated     bool           `json:"repeated,omitempty"` // an earlier request booked it
}

// book serves an order.
func (p *Pod) book(_ context.Context, c *pods.Call) (*pods.Result, error) {
	var o order
	if err := json.Unmarshal(c.Body, &o); err != nil {
		return nil, tap.Wrap("tcep.book", tap.Invalid, err, "the body is no order")
	}
	plan, err := decide(c, o)
	if err != nil {
		return nil, err
	}
	reply := &booked{booking: plan.booking, Repeated: plan.repeated}
	result := &pods.Result{
		Body: reply, Ops: plan.ops,
		Evidence: plan.evidence(c),
	}
	result.Receipted = func(r store.Receipt) {
		reply.EvidenceHash, reply.Receipt = r.Leaf.String(), &r
		if r.Duplicate && !plan.repeated {
			result.Error = reply.settle(c)
		}
	}
	return result, nil
}

// evidence is the ledger's entry about a booking, made now or standing already.
func (p *plan) evidence(c *pods.Call) []store.Evidence {
	outcome := "ok"
	if p.repeated {
		outcome = "repeated"
	}
	return []store.Evidence{{Actor: c.Actor(), Action: "tcep.book", Outcome: outcome, Payload: encode(p.booking.evidence())}}
}

// settle corrects the reply of a request that another one with the same id
// overtook between decision and commit: what stands is the other's booking.
func (b *booked) settle(c *pods.Call) *tap.Error {
	standing, found, err := find(c.View, c.Tenant, b.ID)
	switch {
	case err != nil:
		return tap.AsError(err)
	case !found || !b.same(&standing):
		return reused()
	}
	b.booking, b.Repeated = standing, true
	return nil
}

// get shows a booking to its actor or to an auditor.
func (p *Pod) get(_ context.Context, c *pods.Call) (*pods.Result, error) {
	id, err := uuid.Parse(c.Params["id"])
	if err != nil {
		return nil, tap.E("tcep.get", tap.NotFound, "no such booking")
	}
	b, found, err := find(c.View, c.Tenant, id.String())
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, tap.E("tcep.get", tap.NotFound, "no such booking")
	case b.Actor != c.Actor() && !c.Principal.Has(tap.Auditor):
		return nil, tap.E("tcep.get", tap.Forbidden, "this booking is somebody else's").WithCode("not_own")
	}
	return &pods.Result{Body: booked{booking: b}}, nil
}

func (p *Pod) currencies(context.Context, *pods.Call) (*pods.Result, error) {
	return &pods.Result{Body: map[string][]Currency{"currencies": Currencies()}}, nil
}

// economy is what a payment adds to an intent's answer.
type economy struct {
	Transaction string `json:"transactionId"`
	Currency    string `json:"currency"`
	Generated   string `json:"tcepGenerated"`
	Impact      string `json:"impactFundAllocation"`
	Operations  string `json:"operationsAllocation"`
	Fund        string `json:"impactFundAddress"`
}

// pay is the pod's part of an intent: one of type "payment" whose text is an
// order in JSON is booked. Anything else is answered with what is missing.
func (p *Pod) pay(_ context.Context, c *pods.Call, in *pods.Intent) (*pods.Part, error) {
	if in.Type != "payment" {
		return &pods.Part{}, nil
	}
	var o order
	if err := o.decode([]byte(in.Parsed.Text)); err != nil {
		return &pods.Part{Degraded: needOrder.In(c.Lang)}, nil // an intent that is no order is answered, not failed
	}
	plan, err := decide(c, o)
	if tap.IsKind(err, tap.Invalid) {
		return &pods.Part{Degraded: tap.AsError(err).Message}, nil
	}
	if err != nil {
		return nil, err
	}
	b := plan.booking
	return &pods.Part{Ops: plan.ops, Evidence: plan.evidence(c), Economy: economy{b.ID, b.Currency, b.Amount, b.Impact, b.Operations, b.Fund}}, nil
}

var needOrder = tap.Text{
	EN: `a payment needs the JSON object {"amount","currency","source","purpose"} as its text`,
	ES: `un pago necesita como texto el objeto JSON {"amount","currency","source","purpose"}`,
}

// decode reads an order and nothing else.
func (o *order) decode(b []byte) error {
	if err := orderSchema.Validate(b); err != nil {
		return err
	}
	return json.Unmarshal(b, o)
}
