package tcep

import (
	"strings"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	impactPercent = 75
	wholePercent  = 100
	maxWhole      = 12 // digits before the point
)

// Allocation is an amount with its two shares.
type Allocation struct {
	Amount, Impact, Operations store.Amount
}

// Allocate splits a positive amount by the 75/25 rule. It refuses an amount whose
// share is not exact in ten decimals.
func Allocate(amount store.Amount) (Allocation, error) {
	impact, exact := amount.Share(impactPercent, wholePercent)
	a := Allocation{amount, impact, amount.Minus(impact)}
	if !exact {
		return Allocation{}, tap.E("tcep.allocate", tap.Invalid, "the amount cannot be split exactly").WithCode("amount")
	}
	return a, a.Verify()
}

// Verify holds the rule: a positive amount, impact is exactly 75 % of it,
// operations exactly 25 %, and together they are the amount. The error is
// Internal: whoever made the allocation is defective.
func (a Allocation) Verify() error {
	impact, exact := a.Amount.Share(impactPercent, wholePercent)
	operations, whole := a.Amount.Share(wholePercent-impactPercent, wholePercent)
	held := a.Amount.Sign() > 0 && exact && whole &&
		impact.Equal(a.Impact) && operations.Equal(a.Operations) && a.Impact.Plus(a.Operations).Equal(a.Amount)
	if !held {
		return tap.E("tcep.verify", tap.Internal, "the allocation violates the 75/25 rule").WithCode("rule_75_25")
	}
	return nil
}

// parseAmount reads an amount of a currency.
func parseAmount(s string, c Currency) (store.Amount, error) {
	amount, err := store.ParseAmount(s, maxWhole, c.Decimals)
	switch {
	case err != nil:
		return store.Amount{}, tap.Wrap("tcep.amount", tap.Invalid, err,
			"the amount must be a plain decimal with 1 to %d digits and, for %s, at most %d decimals", maxWhole, c.Code, c.Decimals).
			WithCode("amount")
	case amount.Sign() <= 0:
		return store.Amount{}, tap.E("tcep.amount", tap.Invalid, "the amount must be positive").WithCode("amount")
	}
	return amount, nil
}

// format writes an amount with at least the currency's decimals, as people
// write money: "75.00". More decimals are kept.
func format(a store.Amount, c Currency) string {
	whole, fraction, _ := strings.Cut(a.String(), ".")
	if missing := c.Decimals - len(fraction); missing > 0 {
		fraction += strings.Repeat("0", missing)
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
