package tcep

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

var (
	ana     = podtest.Who("ana", tap.Citizen)
	bea     = podtest.Who("bea", tap.Citizen)
	auditor = podtest.Who("eve", tap.Auditor)
)

const balancesPath = "/v1/economy/balances"

func host(t testing.TB) *podtest.Host { return podtest.NewHost(t, podtest.NewState(), New()) }

func pay(amount, code string) order {
	return order{Amount: amount, Currency: code, Source: "till-7", Purpose: "Entrance, día 1"}
}

// book sends an order and returns what the caller sees.
func book(t testing.TB, h *podtest.Host, who *tap.Principal, id uuid.UUID, o order) (booked, error) {
	t.Helper()
	var reply booked
	_, err := h.Do(t.Context(), podtest.Request{As: who, ID: id, Method: "POST", Target: "/v1/economy/tcep", Body: o}, &reply)
	return reply, err
}

func TestConformance(t *testing.T) {
	id := uuid.UUID{1}
	podtest.Conform(t, podtest.NewState(), New(), []podtest.Request{
		{As: ana, ID: id, Method: "POST", Target: "/v1/economy/tcep", Body: pay("100.00", "USD")},
		{As: ana, Method: "GET", Target: "/v1/economy/tcep/" + id.String()},
		{As: auditor, Method: "GET", Target: balancesPath},
		{As: auditor, Method: "GET", Target: balancesPath + "?currency=MXN"},
		{As: ana, Method: "GET", Target: "/v1/economy/currencies"},
	})
}

func TestBookingShowsTheExactSplit(t *testing.T) {
	for _, c := range []struct{ amount, code, impact, operations string }{
		{"100.00", "USD", "75.00", "25.00"},
		{"0.01", "USD", "0.0075", "0.0025"},
		{"1", "JPY", "0.75", "0.25"},
		{"0.00000001", "BTC", "0.0000000075", "0.0000000025"},
		{"999999999999.99999999", "ETH", "749999999999.9999999925", "249999999999.9999999975"},
		{"10.001", "KWD", "7.50075", "2.50025"},
	} {
		h := host(t)
		got, err := book(t, h, ana, uuid.New(), pay(c.amount, c.code))
		if err != nil {
			t.Fatal(err)
		}
		if got.Impact != c.impact || got.Operations != c.operations {
			t.Errorf("%s %s: %s and %s, want %s and %s", c.amount, c.code, got.Impact, got.Operations, c.impact, c.operations)
		}
		if got.Fund != "tamv:impact:main:"+c.code || got.EvidenceHash == "" || got.Receipt == nil {
			t.Errorf("incomplete reply: %+v", got)
		}
	}
}

// draw makes a supported currency and an amount that it can hold, as big.Rat sees it.
func draw(t *rapid.T) (o order, exact *big.Rat) {
	c := rapid.SampledFrom(Currencies()).Draw(t, "currency")
	whole := rapid.StringMatching(`0|[1-9][0-9]{0,11}`).Draw(t, "whole")
	amount := whole
	if n := rapid.IntRange(0, c.Decimals).Draw(t, "decimals"); n > 0 {
		amount += "." + rapid.StringMatching(fmt.Sprintf(`[0-9]{%d}`, n)).Draw(t, "fraction")
	}
	exact, _ = new(big.Rat).SetString(amount)
	if exact.Sign() == 0 {
		amount, exact = "1", big.NewRat(1, 1)
	}
	o = pay(amount, c.Code)
	o.Source = rapid.StringMatching(`[a-zñ0-9 ]{0,20}[a-z]`).Draw(t, "source")
	return o, exact
}

func rat(t *rapid.T, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no number", s)
	}
	return r
}

// Feature: tamv-hardened-backend, Property 5: TCEP 75/25 Rule Enforcement
// Feature: tamv-hardened-backend, Property 6: BookPI Evidence Creation
// Feature: tamv-hardened-backend, Property 21: Critical State Persistence
// Feature: tamv-hardened-backend, Property 39: TCEP Currency Support
func TestEveryBookingIsExactBalancedAndEvident(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := podtest.NewState()
		total := map[string]*big.Rat{}
		for range rapid.IntRange(1, 5).Draw(t, "bookings") {
			o, exact := draw(t)
			c := call(state, ana, uuid.New(), o)
			result, err := New().book(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			reply := result.Body.(*booked)
			impact, operations := rat(t, reply.Impact), rat(t, reply.Operations)
			if impact.Cmp(new(big.Rat).Mul(exact, big.NewRat(3, 4))) != 0 || operations.Cmp(new(big.Rat).Mul(exact, big.NewRat(1, 4))) != 0 {
				t.Fatalf("%s: %s and %s are not 75 and 25 percent", o.Amount, reply.Impact, reply.Operations)
			}
			if rat(t, reply.Amount).Cmp(exact) != 0 {
				t.Fatalf("booked %s instead of %s", reply.Amount, o.Amount)
			}
			receipt := commit(t, state, c, result)
			checkEvidence(t, state, receipt, reply)
			if total[o.Currency] == nil {
				total[o.Currency] = new(big.Rat)
			}
			total[o.Currency].Add(total[o.Currency], exact)
		}
		checkBalances(t, state, total)
	})
}

// checkEvidence reads the ledger entry of a booking back.
func checkEvidence(t *rapid.T, state *podtest.State, receipt store.Receipt, want *booked) {
	record, err := state.Record(receipt.Position)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bookpi.ParseEntry(record.Entry)
	if err != nil || entry.Action != "tcep.book" || entry.Actor != "ana" || entry.Outcome != "ok" {
		t.Fatalf("evidence %+v, %v", entry, err)
	}
	if bookpi.LeafHash(record.Entry).String() != want.EvidenceHash {
		t.Fatal("the evidence hash is not the entry's")
	}
	var payload map[string]string
	if err := json.Unmarshal(record.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	if payload["amount"] != want.Amount || payload["impactAllocation"] != want.Impact || payload["operationsAllocation"] != want.Operations {
		t.Fatalf("the evidence says %v", payload)
	}
	if _, shown := payload["purpose"]; shown || payload["purposeSha256"] == "" {
		t.Fatal("the evidence shows the purpose instead of its digest")
	}
	if _, ok, _ := state.Get(store.K("main", spaceBooking, want.ID)); !ok {
		t.Fatal("the booking is not in the state that the evidence is committed with")
	}
}

func checkBalances(t *rapid.T, state *podtest.State, total map[string]*big.Rat) {
	c := call(state, auditor, uuid.New(), nil)
	result, err := New().balances(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	list := result.Body.(balancesReply).Balances
	if len(list) != len(total) {
		t.Fatalf("%d currencies, want %d", len(list), len(total))
	}
	for _, b := range list {
		given := total[b.Currency]
		if rat(t, b.Sum).Sign() != 0 || rat(t, b.Sources).Cmp(new(big.Rat).Neg(given)) != 0 {
			t.Fatalf("balances %+v after %s was given", b, given)
		}
		if rat(t, b.Impact).Cmp(new(big.Rat).Mul(given, big.NewRat(3, 4))) != 0 {
			t.Fatalf("impact holds %s of %s", b.Impact, given)
		}
	}
}

func call(state store.View, who *tap.Principal, id uuid.UUID, body any) *pods.Call {
	raw, _ := json.Marshal(body)
	return &pods.Call{RequestID: id, Principal: who, Tenant: who.Tenant, Body: raw, Now: podtest.Epoch, View: state}
}

type fataler interface{ Fatal(args ...any) }

func commit(t fataler, state *podtest.State, c *pods.Call, r *pods.Result) store.Receipt {
	receipt, err := state.Commit(context.Background(), store.Batch{RequestID: c.RequestID, Tenant: c.Tenant, Ops: r.Ops, Evidence: r.Evidence})
	if err != nil {
		t.Fatal(err)
	}
	r.Receipted(receipt)
	return receipt
}

func TestRefusedOrders(t *testing.T) {
	for name, c := range map[string]struct {
		order order
		code  string
	}{
		"zero":               {pay("0", "USD"), "amount"},
		"zero with decimals": {pay("0.00", "USD"), "amount"},
		"negative":           {pay("-1", "USD"), "amount"},
		"negative zero":      {pay("-0", "USD"), "amount"},
		"plus":               {pay("+1", "USD"), "amount"},
		"exponent":           {pay("1e3", "USD"), "amount"},
		"NaN":                {pay("NaN", "USD"), "amount"},
		"Inf":                {pay("Inf", "USD"), "amount"},
		"infinity sign":      {pay("∞", "USD"), "amount"},
		"hexadecimal":        {pay("0x10", "USD"), "amount"},
		"full-width digits":  {pay("１００", "USD"), "amount"},
		"arabic digits":      {pay("١٠", "USD"), "amount"},
		"comma":              {pay("1,50", "USD"), "amount"},
		"space":              {pay(" 1", "USD"), "amount"},
		"leading zero":       {pay("01", "USD"), "amount"},
		"bare point":         {pay(".5", "USD"), "amount"},
		"trailing point":     {pay("5.", "USD"), "amount"},
		"two points":         {pay("1.2.3", "USD"), "amount"},
		"huge":               {pay("1000000000000", "USD"), "amount"},
		"too fine for USD":   {pay("0.001", "USD"), "amount"},
		"too fine for JPY":   {pay("1.0", "JPY"), "amount"},
		"too fine for BTC":   {pay("0.000000001", "BTC"), "amount"},
		"unknown currency":   {pay("1", "ABC"), "currency"},
		"lower case":         {pay("1", "usd"), "currency"},
		"gold":               {pay("1", "XAU"), "currency"},
		"no amount":          {pay("", "USD"), "schema"},
		"long amount":        {pay(strings.Repeat("1", 65), "USD"), "schema"},
		"no source":          {order{"1", "USD", "", "x"}, "schema"},
		"blank source":       {order{"1", "USD", " ", "x"}, "text"},
		"source with zero":   {order{"1", "USD", "a\x00b", "x"}, "text"},
		"source too long":    {order{"1", "USD", strings.Repeat("ñ", 128), "x"}, "text"},
		"blank purpose":      {order{"1", "USD", "a", "\u2003"}, "text"},
		"purpose too long":   {order{"1", "USD", "a", strings.Repeat("ñ", 513)}, "text"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			_, err := book(t, h, ana, uuid.New(), c.order)
			podtest.WantKind(t, err, tap.Invalid, c.code)
			if size, _ := h.State.Size(); size != 0 {
				t.Error("a refused order left evidence of a booking")
			}
		})
	}
	h := host(t)
	for _, body := range []string{
		`{"amount":100,"currency":"USD","source":"a","purpose":"b"}`,
		`{"amount":"1","currency":"USD","source":"a","purpose":"b","fee":"1"}`,
		`{"amount":"1","currency":"USD","source":"a"}`,
	} {
		_, err := h.Do(t.Context(), podtest.Request{As: ana, Method: "POST", Target: "/v1/economy/tcep", Body: body}, nil)
		podtest.WantKind(t, err, tap.Invalid, "schema")
	}
	_, err := New().book(t.Context(), &pods.Call{Body: []byte(`[`)})
	podtest.WantKind(t, err, tap.Invalid, "")
	_, err = book(t, h, podtest.Who("cam", tap.Device), uuid.New(), pay("1", "USD"))
	podtest.WantKind(t, err, tap.Forbidden, "role")
}

func TestRepeatedRequest(t *testing.T) {
	h, id := host(t), uuid.New()
	first, err := book(t, h, ana, id, pay("100.00", "USD"))
	if err != nil {
		t.Fatal(err)
	}
	h.Now = h.Now.Add(time.Second)
	again, err := book(t, h, ana, id, pay("100.00", "USD"))
	if err != nil || !again.Repeated || again.Time != first.Time || again.EvidenceHash != first.EvidenceHash || !again.Receipt.Duplicate {
		t.Errorf("within the window: %+v, %v; want the first booking %+v", again, err, first)
	}
	h.State.Forget()
	later, err := book(t, h, ana, id, pay("100", "USD"))
	if err != nil || !later.Repeated || later.Time != first.Time || later.Receipt.Duplicate {
		t.Errorf("after the window: %+v, %v", later, err)
	}
	for name, o := range map[string]order{
		"amount": pay("100.01", "USD"), "currency": pay("100.00", "EUR"),
		"source": {"100.00", "USD", "other", "Entrance, día 1"}, "purpose": {"100.00", "USD", "till-7", "other"},
	} {
		if _, err := book(t, h, ana, id, o); !tap.IsKind(err, tap.Conflict) || tap.AsError(err).Code != "request_id_reused" {
			t.Errorf("another %s under the same id: %v", name, err)
		}
	}
	_, err = book(t, h, bea, id, pay("100.00", "USD"))
	podtest.WantKind(t, err, tap.Conflict, "request_id_reused")
	if balance, _ := h.State.Balance(impactAccount("main"), "USD"); balance.String() != "75" {
		t.Errorf("the impact fund holds %s, want 75", balance)
	}
}

// Two requests with one id decide before either commits.
func TestOvertakenRequest(t *testing.T) {
	for name, c := range map[string]struct {
		second order
		want   tap.Kind
	}{
		"same content":  {pay("8", "USD"), tap.Internal}, // no error
		"other content": {pay("9", "USD"), tap.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			state, id := podtest.NewState(), uuid.New()
			one, two := call(state, ana, id, pay("8", "USD")), call(state, ana, id, c.second)
			two.Now = two.Now.Add(time.Minute)
			first, err := New().book(t.Context(), one)
			if err != nil {
				t.Fatal(err)
			}
			second, err := New().book(t.Context(), two)
			if err != nil {
				t.Fatal(err)
			}
			commit(t, state, one, first)
			commit(t, state, two, second)
			if c.want == tap.Conflict {
				podtest.WantKind(t, second.Error, tap.Conflict, "request_id_reused")
				return
			}
			if reply := second.Body.(*booked); second.Error != nil || !reply.Repeated || reply.Time != pods.Timestamp(one.Now) {
				t.Errorf("%+v, %v", reply, second.Error)
			}
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		state, id := podtest.NewState(), uuid.New()
		c := call(state, ana, id, pay("8", "USD"))
		result, err := New().book(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		c.View = &podtest.Flaky{View: state}
		result.Receipted(store.Receipt{Duplicate: true})
		podtest.WantKind(t, result.Error, tap.Internal, "")
	})
}
