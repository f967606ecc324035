package main

import (
	"context"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

func (a *app) tcepCommand() *cobra.Command {
	return a.group("tcep", textTCEP, a.tcepBook(), a.tcepShow(), a.tcepBalances(), a.tcepCurrencies())
}

// booking is a booked order.
type booking struct {
	ID         string   `json:"id"`
	Amount     string   `json:"amount"`
	Currency   string   `json:"currency"`
	Source     string   `json:"source"`
	Purpose    string   `json:"purpose"`
	Impact     string   `json:"impactAllocation"`
	Operations string   `json:"operationsAllocation"`
	Fund       string   `json:"impactFundAddress"`
	Actor      string   `json:"actor"`
	Time       string   `json:"time"`
	Receipt    *receipt `json:"receipt"`
	Repeated   bool     `json:"repeated"`
}

func (b booking) draw(t *table) {
	t.field(textTransaction, b.ID)
	t.field(textAmount, b.Amount+" "+b.Currency)
	t.field(textImpact, b.Impact+" "+b.Currency)
	t.field(textOperations, b.Operations+" "+b.Currency)
	t.field(textFund, b.Fund)
	t.field(textSource, b.Source)
	t.field(textPurpose, b.Purpose)
	t.field(textActor, b.Actor)
	t.field(textBooked, b.Time)
	if b.Repeated {
		t.field(textRepeated, textYes.In(t.lang))
	}
	b.Receipt.draw(t)
}

type order struct {
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
	Source   string `json:"source"`
	Purpose  string `json:"purpose"`
}

func (a *app) tcepBook() *cobra.Command {
	var o order
	var requestID string
	c := a.verb("book AMOUNT CURRENCY --source NAME --purpose TEXT [flags]", textTCEPBook, cobra.ExactArgs(2),
		func(ctx context.Context, args []string) error {
			o.Amount, o.Currency = args[0], args[1]
			r, err := bookingRequest(o, requestID)
			if err != nil {
				return err
			}
			reply, err := a.send(ctx, r)
			if err != nil {
				return err
			}
			return printReply(a, reply, func(t *table, b booking) { b.draw(t) })
		})
	c.Flags().StringVar(&o.Source, "source", "", textFlagSource.In(a.lang))
	c.Flags().StringVar(&o.Purpose, "purpose", "", textFlagPurpose.In(a.lang))
	c.Flags().StringVar(&requestID, "request-id", "", textFlagRequestID.In(a.lang))
	return require(c, "source", "purpose")
}

// bookingRequest is an order under a request id of the caller's, or a new one.
func bookingRequest(o order, requestID string) (*tap.Request, error) {
	id, err := parseRequestID(requestID)
	if err != nil {
		return nil, err
	}
	body, err := marshal(o)
	return &tap.Request{ID: id, Method: "POST", Path: "/v1/economy/tcep", Body: body}, err
}

func (a *app) tcepShow() *cobra.Command {
	return a.verb("show ID", textTCEPShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return show(ctx, a, ask{path: "/v1/economy/tcep/" + url.PathEscape(args[0])}, func(t *table, b booking) { b.draw(t) })
	})
}

// balances is the accounts, by currency.
type balances struct {
	Balances []struct {
		Currency   string `json:"currency"`
		Impact     string `json:"impact"`
		Operations string `json:"operations"`
		Sources    string `json:"sources"`
		Accounts   int    `json:"accounts"`
		Sum        string `json:"sum"`
	} `json:"balances"`
	AsOf string `json:"asOf"`
}

func (a *app) tcepBalances() *cobra.Command {
	var currency string
	c := a.verb("balances [flags]", textTCEPBalances, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/economy/balances", query: filled("currency", currency)}, func(t *table, v balances) {
			t.head(textCurrency, textImpact, textOperations, textSources, textAccounts, textSum)
			for _, b := range v.Balances {
				t.row(b.Currency, b.Impact, b.Operations, b.Sources, strconv.Itoa(b.Accounts), b.Sum)
			}
		})
	})
	c.Flags().StringVar(&currency, "currency", "", textFlagCurrency.In(a.lang))
	return c
}

func (a *app) tcepCurrencies() *cobra.Command {
	return a.verb("currencies", textTCEPCurrencies, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/economy/currencies"}, func(t *table, v struct {
			Currencies []struct {
				Code     string `json:"code"`
				Decimals int    `json:"decimals"`
			} `json:"currencies"`
		},
		) {
			t.head(textCurrency, textDecimals)
			for _, c := range v.Currencies {
				t.row(c.Code, strconv.Itoa(c.Decimals))
			}
		})
	})
}
