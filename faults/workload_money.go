package faults

import (
	"context"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// moneyCurrencies are one for each client: the API shows sums by currency, so that
// a currency of its own makes each client's account visible.
var moneyCurrencies = []string{"USD", "EUR", "MXN", "JPY", "GBP", "BRL"}

// Booking is one order of money, as its client saw it.
type Booking struct {
	ID       uuid.UUID
	Outcome  Outcome
	Currency string
	Amount   int64 // whole units
}

// Books are what one node says about one currency.
type Books struct {
	Node, Currency string
	Before, After  *big.Rat           // the sources' sum; negative: what they gave
	Sum            *big.Rat           // over all accounts
	Standing       map[uuid.UUID]bool // bookings that were not acknowledged and are there
}

// Money is the workload that books money.
type Money struct {
	Caller  *Caller
	Auditor func() map[string]*client.Client // who reads the books, by node
	Purpose string

	mu       sync.Mutex // guards all below
	before   map[string]*big.Rat
	bookings []Booking
	crooked  []string // sums over all accounts that were not zero while clients worked
}

// Prepare notes what was booked earlier.
func (m *Money) Prepare(ctx context.Context) error {
	m.before = map[string]*big.Rat{}
	for i, code := range moneyCurrencies {
		a := m.Caller.Do(ctx, balancesOf(code), i)
		if a.Outcome != Acknowledged {
			return fmt.Errorf("balances in %s: %w", code, a.Err)
		}
		sources, _, err := readBalance(a.Reply)
		if err != nil {
			return err
		}
		m.before[code] = sources
	}
	return nil
}

func balancesOf(code string) Operation {
	return Operation{Method: "GET", Path: "/v1/economy/balances", Query: url.Values{"currency": {code}, "consistency": {"linearizable"}}, Repeat: true}
}

// readBalance is the sources' sum and the sum over all accounts.
func readBalance(reply *client.Reply) (sources, sum *big.Rat, err error) {
	var shown struct {
		Balances []struct {
			Sources string `json:"sources"`
			Sum     string `json:"sum"`
		} `json:"balances"`
	}
	if err := reply.Decode(&shown); err != nil {
		return nil, nil, err
	}
	if len(shown.Balances) != 1 {
		return nil, nil, fmt.Errorf("faults: %d balances of one currency", len(shown.Balances))
	}
	sources, ok := new(big.Rat).SetString(shown.Balances[0].Sources)
	sum, whole := new(big.Rat).SetString(shown.Balances[0].Sum)
	if !ok || !whole {
		return nil, nil, fmt.Errorf("faults: %q and %q are no amounts", shown.Balances[0].Sources, shown.Balances[0].Sum)
	}
	return sources, sum, nil
}

// Run books until load ends, and adds the accounts up now and then.
func (m *Money) Run(load, life context.Context) {
	clients(load, len(moneyCurrencies), func(client, n int) {
		if n%32 == 31 {
			m.audit(life, client, n)
			return
		}
		b := Booking{Currency: moneyCurrencies[client], Amount: int64(n%9 + 1)}
		a := m.Caller.Do(life, Operation{
			Method: "POST", Path: "/v1/economy/tcep", Repeat: repeats(client), Body: map[string]string{
				"amount": strconv.FormatInt(b.Amount, 10), "currency": b.Currency, "source": "faults", "purpose": m.Purpose,
			},
		}, home(client, n))
		b.ID, b.Outcome = a.ID, a.Outcome
		m.mu.Lock()
		defer m.mu.Unlock()
		m.bookings = append(m.bookings, b)
	})
}

// audit adds a currency's accounts up while money moves.
func (m *Money) audit(life context.Context, client, n int) {
	a := m.Caller.Do(life, balancesOf(moneyCurrencies[client]), home(client, n))
	if a.Outcome != Acknowledged {
		return
	}
	if _, sum, err := readBalance(a.Reply); err != nil || sum.Sign() != 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.crooked = append(m.crooked, fmt.Sprintf("the accounts in %s added up to %v while money moved (%v)", moneyCurrencies[client], sum, err))
	}
}

// Check reads the books of every node.
func (m *Money) Check(ctx context.Context) (Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Books
	for node, auditor := range m.Auditor() {
		for _, code := range moneyCurrencies {
			books, err := m.read(ctx, auditor, code)
			if err != nil {
				return Verdict{}, fmt.Errorf("the books of %s in %s: %w", node, code, err)
			}
			books.Node = node
			all = append(all, books)
		}
	}
	v := CheckBooks(m.bookings, all)
	for _, sentence := range m.crooked {
		v.find(&v.Lost, "%s", sentence)
	}
	return v, nil
}

func (m *Money) read(ctx context.Context, auditor *client.Client, code string) (Books, error) {
	books := Books{Currency: code, Before: m.before[code], Standing: map[uuid.UUID]bool{}}
	reply, err := auditor.Do(ctx, "GET", "/v1/economy/balances", url.Values{"currency": {code}, "consistency": {"local"}}, nil)
	if err != nil {
		return books, err
	}
	if books.After, books.Sum, err = readBalance(reply); err != nil {
		return books, err
	}
	for _, b := range m.bookings {
		if b.Currency != code || b.Outcome == Acknowledged {
			continue
		}
		_, err := auditor.Do(ctx, "GET", "/v1/economy/tcep/"+b.ID.String(), url.Values{"consistency": {"local"}}, nil)
		if err != nil && !tap.IsKind(err, tap.NotFound) {
			return books, err
		}
		books.Standing[b.ID] = err == nil
	}
	return books, nil
}

// CheckBooks demands that each client's account moved by what was acknowledged and
// by those unanswered bookings that stand, to the unit, that no refused one
// stands, and that all accounts add up to nothing.
func CheckBooks(bookings []Booking, books []Books) Verdict {
	var v Verdict
	for _, b := range books {
		expected := new(big.Rat)
		for _, one := range bookings {
			if one.Currency != b.Currency {
				continue
			}
			standing := b.Standing[one.ID]
			if standing && one.Outcome == Refused {
				v.find(&v.Doubled, "%s booked %s, which was refused", b.Node, one.ID)
			}
			if standing || one.Outcome == Acknowledged {
				expected.Add(expected, new(big.Rat).SetInt64(one.Amount))
			}
		}
		spent := new(big.Rat).Sub(b.Before, b.After)
		switch spent.Cmp(expected) {
		case -1:
			v.find(&v.Lost, "%s: %s %s were booked, %s should be", b.Node, spent.FloatString(2), b.Currency, expected.FloatString(2))
		case 1:
			v.find(&v.Doubled, "%s: %s %s were booked, %s should be", b.Node, spent.FloatString(2), b.Currency, expected.FloatString(2))
		}
		if b.Sum.Sign() != 0 {
			v.find(&v.Lost, "%s: the accounts in %s add up to %s", b.Node, b.Currency, b.Sum.FloatString(2))
		}
	}
	return v
}
