package main

import (
	"context"
	"math/big"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// moneyStep: amounts are split exactly, once, and the books add up to nothing.
type moneyStep struct {
	outcome
	Bookings []bookingFigures `json:"bookings"`
	Repeated bool             `json:"repeated"` // the same request id again is the same booking
	Sums     []sumFigures     `json:"sums"`     // over all accounts of a currency
}

type bookingFigures struct {
	ID           string `json:"id"`
	Amount       string `json:"amount"`
	Currency     string `json:"currency"`
	Impact       string `json:"impactAllocation"`
	Operations   string `json:"operationsAllocation"`
	EvidenceHash string `json:"evidenceHash"`
	Position     uint64 `json:"position"`
}

type sumFigures struct {
	Currency string `json:"currency"`
	Sum      string `json:"sum"`
	Accounts int    `json:"accounts"`
}

// orders are an everyday amount and one whose shares need more decimals than the
// currency has.
var orders = []order{
	{"1234.56", "MXN", "demo-shop", "a demonstration"},
	{"0.00000001", "BTC", "demo-shop", "the smallest unit, split"},
}

func (d *demo) money(ctx context.Context) error {
	r := &d.report.Money
	ana, err := d.person(ctx, "ana", tap.Citizen)
	if err != nil {
		return err
	}
	var first booking
	var id string
	for i, o := range orders {
		requestID := uuid.Must(uuid.NewV7()).String()
		b, err := ana.book(ctx, o, requestID)
		if err != nil {
			return err
		}
		if i == 0 {
			first, id = b, requestID
		}
		if err := r.add(b); err != nil {
			return err
		}
	}
	again, err := ana.book(ctx, orders[0], id)
	if err != nil {
		return err
	}
	r.Repeated = again.ID == first.ID && again.Time == first.Time && again.Amount == first.Amount
	if !r.Repeated {
		return wrong("the same request id made another booking: %s and %s", first.ID, again.ID)
	}
	r.say(textBookedOnce, first.ID)
	return d.balance(ctx)
}

// book sends an order under a request id.
func (p *person) book(ctx context.Context, o order, requestID string) (booking, error) {
	request, err := bookingRequest(o, requestID)
	if err != nil {
		return booking{}, err
	}
	c, err := p.client(p.demo.app.lang)
	if err != nil {
		return booking{}, err
	}
	reply, err := c.Send(ctx, request)
	if err != nil {
		return booking{}, named(reply, err)
	}
	var b booking
	return b, reply.Decode(&b)
}

// add checks a booking in exact arithmetic and reports it.
func (r *moneyStep) add(b booking) error {
	f := bookingFigures{ID: b.ID, Amount: b.Amount, Currency: b.Currency, Impact: b.Impact, Operations: b.Operations}
	if b.Receipt != nil {
		f.EvidenceHash, f.Position = b.Receipt.Leaf, b.Receipt.Position
	}
	r.Bookings = append(r.Bookings, f)
	amount, impact, operations := rational(b.Amount), rational(b.Impact), rational(b.Operations)
	quarter := new(big.Rat).Mul(amount, big.NewRat(1, 4))
	if amount.Sign() <= 0 || operations.Cmp(quarter) != 0 || impact.Cmp(quarter.Sub(amount, quarter)) != 0 {
		return wrong("%s %s is split into %s and %s", b.Amount, b.Currency, b.Impact, b.Operations)
	}
	r.say(textSplit, b.Amount, b.Currency, b.Impact, b.Operations, f.Position, shortHash(f.EvidenceHash))
	return nil
}

// rational reads a decimal exactly; what is none counts as zero.
func rational(s string) *big.Rat {
	if r, ok := new(big.Rat).SetString(s); ok {
		return r
	}
	return new(big.Rat)
}

// balance looks at the books as an auditor.
func (d *demo) balance(ctx context.Context) error {
	r := &d.report.Money
	auditor, err := d.person(ctx, "auditor", tap.Auditor)
	if err != nil {
		return err
	}
	for _, o := range orders {
		var v balances
		if err := auditor.get(ctx, "/v1/economy/balances", filled("currency", o.Currency), &v); err != nil {
			return err
		}
		if len(v.Balances) != 1 {
			return wrong("%d balances in %s", len(v.Balances), o.Currency)
		}
		b := v.Balances[0]
		r.Sums = append(r.Sums, sumFigures{b.Currency, b.Sum, b.Accounts})
		if rational(b.Sum).Sign() != 0 || rational(b.Impact).Sign() <= 0 {
			return wrong("the accounts in %s add up to %s", o.Currency, b.Sum)
		}
		r.say(textBooks, b.Currency, b.Impact, b.Operations, b.Sources, b.Sum)
	}
	return nil
}
