package tcep

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	maxSources = 100_000 // accounts that one call adds up
	maxLooks   = 8       // how often a sum is begun again because money moved
)

// balance is one currency's accounts.
type balance struct {
	Currency   string `json:"currency"`
	Impact     string `json:"impact"`
	Operations string `json:"operations"`
	Sources    string `json:"sources"` // sum over the sources; negative: what they gave
	Accounts   int    `json:"accounts"`
	Sum        string `json:"sum"` // over all accounts: zero
}

type balancesReply struct {
	Balances []balance `json:"balances"`
	AsOf     string    `json:"asOf"` // the machine's clock that all figures belong to
}

// balances adds the accounts up. The figures belong to one moment: when the
// machine's clock moved meanwhile, they are read again.
func (p *Pod) balances(ctx context.Context, c *pods.Call) (*pods.Result, error) {
	if code, ok := c.Query["currency"]; ok {
		if _, err := currency(code); err != nil {
			return nil, err
		}
	}
	for range maxLooks {
		clock := c.View.Clock()
		list, err := look(ctx, c)
		if err != nil {
			return nil, err
		}
		if c.View.Clock() == clock {
			return &pods.Result{Body: balancesReply{list, pods.Timestamp(time.UnixMicro(clock))}}, nil
		}
	}
	return nil, tap.E("tcep.balances", tap.Unavailable, "money moves faster than it can be added up; try again").
		WithCode("busy").WithRetryAfter(tap.DefaultRetryAfter)
}

// sources is what the source accounts of a currency add up to.
type sources struct {
	sum      store.Amount
	accounts int
}

// look reads every account once.
func look(ctx context.Context, c *pods.Call) ([]balance, error) {
	found := map[string]*sources{}
	prefix := c.Key(spaceSource).Prefix()
	if code, ok := c.Query["currency"]; ok {
		prefix = c.Key(spaceSource, code).Prefix()
		found[code] = &sources{}
	}
	type account struct{ code, name string }
	var accounts []account
	err := c.View.Scan(prefix, "", func(item store.Item) bool {
		code, name, _ := strings.Cut(strings.TrimPrefix(string(item.Key), string(c.Key(spaceSource).Prefix())), "\x00")
		accounts = append(accounts, account{code, name})
		return len(accounts) <= maxSources
	})
	if err != nil {
		return nil, err
	}
	if len(accounts) > maxSources {
		return nil, tap.E("tcep.balances", tap.Unavailable, "there are more than %d accounts; ask for one currency", maxSources).WithCode("too_many")
	}
	for _, a := range accounts {
		gave, err := c.View.Balance(sourceAccount(c.Tenant, a.name), a.code)
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		s := found[a.code]
		if s == nil {
			s = &sources{}
			found[a.code] = s
		}
		s.sum, s.accounts = s.sum.Plus(gave), s.accounts+1
	}
	list := []balance{}
	for _, code := range slices.Sorted(maps.Keys(found)) {
		b, err := found[code].balance(c, code)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// balance joins a currency's sources with its two funds.
func (s *sources) balance(c *pods.Call, code string) (balance, error) {
	impact, err := c.View.Balance(impactAccount(c.Tenant), code)
	if err != nil {
		return balance{}, err
	}
	operations, err := c.View.Balance(operationsAccount(c.Tenant), code)
	if err != nil {
		return balance{}, err
	}
	cur := Currency{code, decimals[code]}
	return balance{
		Currency: code, Impact: format(impact, cur), Operations: format(operations, cur), Sources: format(s.sum, cur),
		Accounts: s.accounts + 2, Sum: format(impact.Plus(operations).Plus(s.sum), cur),
	}, nil
}
