package tcep

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// The pod's part of the key space.
const (
	spaceBooking = "tcep.tx"     // one record per booking, by request id
	spaceAccount = "account"     // balances: impact, operations, source/NAME
	spaceSource  = "tcep.source" // which sources a currency knows: CURRENCY/NAME
)

const (
	maxSource  = 255  // bytes
	maxPurpose = 1024 // bytes
)

// order is what a caller wants booked.
type order struct {
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
	Source   string `json:"source"`
	Purpose  string `json:"purpose"`
}

// booking is a booked order, as stored and as the ledger has it. Amounts are the
// exact decimals.
type booking struct {
	ID         string `json:"id"`
	Amount     string `json:"amount"`
	Currency   string `json:"currency"`
	Source     string `json:"source"`
	Purpose    string `json:"purpose,omitempty"` // empty only in evidence
	Impact     string `json:"impactAllocation"`
	Operations string `json:"operationsAllocation"`
	Fund       string `json:"impactFundAddress"`
	Actor      string `json:"actor"`
	Time       string `json:"time"`
}

// evidence is what the ledger shows: every figure, and the digest of the purpose,
// which is a person's own words.
func (b booking) evidence() any {
	sum := sha256.Sum256([]byte(b.Purpose))
	b.Purpose = ""
	return struct {
		booking
		Digest string `json:"purposeSha256"`
	}{b, hex.EncodeToString(sum[:])}
}

// same says whether both were made from the same order. Two spellings of one
// amount are the same order.
func (b *booking) same(other *booking) bool {
	return b.Amount == other.Amount && b.Currency == other.Currency && b.Source == other.Source &&
		b.Purpose == other.Purpose && b.Actor == other.Actor
}

// plan is a booking with what it does to the state.
type plan struct {
	booking  booking
	repeated bool // the booking stands already; there are no ops
	ops      []store.Op
}

// decide turns an order into a plan. It finds a booking of the same request.
func decide(c *pods.Call, o order) (*plan, error) {
	cur, shares, err := o.shares()
	if err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := &plan{booking: booking{
		ID: c.RequestID.String(), Amount: format(shares.Amount, cur), Currency: cur.Code, Source: o.Source, Purpose: o.Purpose,
		Impact: format(shares.Impact, cur), Operations: format(shares.Operations, cur),
		Fund: fundAddress(c.Tenant, cur), Actor: c.Actor(), Time: pods.Timestamp(c.Now),
	}}
	earlier, found, err := find(c.View, c.Tenant, p.booking.ID)
	switch {
	case err != nil:
		return nil, err
	case found && !p.booking.same(&earlier):
		return nil, reused()
	case found:
		p.booking, p.repeated = earlier, true
		return p, nil
	}
	return p, p.effects(c, shares)
}

// shares reads the order's amount and splits it.
func (o *order) shares() (Currency, Allocation, error) {
	cur, err := currency(o.Currency)
	if err != nil {
		return Currency{}, Allocation{}, err
	}
	amount, err := parseAmount(o.Amount, cur)
	if err != nil {
		return Currency{}, Allocation{}, err
	}
	shares, err := Allocate(amount)
	return cur, shares, err
}

// effects are the record, the postings and, once per source, its place in the
// list of accounts.
func (p *plan) effects(c *pods.Call, shares Allocation) error {
	code, source := p.booking.Currency, p.booking.Source
	p.ops = []store.Op{
		store.Create(c.Key(spaceBooking, p.booking.ID), encode(p.booking)),
		store.Post(sourceAccount(c.Tenant, source), code, shares.Amount.Negated()),
		store.Post(impactAccount(c.Tenant), code, shares.Impact),
		store.Post(operationsAccount(c.Tenant), code, shares.Operations),
	}
	known := c.Key(spaceSource, code, source)
	_, exists, err := c.View.Get(known)
	if err == nil && !exists {
		p.ops = append(p.ops, store.Put(known, nil))
	}
	return err
}

func impactAccount(tenant string) store.Key     { return store.K(tenant, spaceAccount, "impact") }
func operationsAccount(tenant string) store.Key { return store.K(tenant, spaceAccount, "operations") }

func sourceAccount(tenant, source string) store.Key {
	return store.K(tenant, spaceAccount, "source", source)
}

// fundAddress names the impact fund of a tenant in a currency.
func fundAddress(tenant string, c Currency) string { return "tamv:impact:" + tenant + ":" + c.Code }

func reused() *tap.Error {
	return tap.E("tcep.book", tap.Conflict, "this request id was used for another booking").WithCode("request_id_reused")
}

// validate checks the two texts of an order.
func (o *order) validate() error {
	for _, text := range []struct {
		name, value string
		limit       int
	}{{"source", o.Source, maxSource}, {"purpose", o.Purpose, maxPurpose}} {
		if strings.TrimSpace(text.value) == "" || len(text.value) > text.limit ||
			!utf8.ValidString(text.value) || strings.ContainsFunc(text.value, unicode.IsControl) {
			return tap.E("tcep.book", tap.Invalid, "%q must be 1 to %d bytes of text without control characters", text.name, text.limit).
				WithCode("text")
		}
	}
	return nil
}

// find reads a booking.
func find(view store.View, tenant, id string) (booking, bool, error) {
	item, ok, err := view.Get(store.K(tenant, spaceBooking, id))
	if err != nil || !ok {
		return booking{}, false, err
	}
	var b booking
	if err := json.Unmarshal(item.Value, &b); err != nil {
		return booking{}, false, tap.Wrap("tcep.find", tap.Internal, err, "a stored booking does not parse")
	}
	return b, true, nil
}

// encode writes a struct of strings, which always has a JSON form.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
