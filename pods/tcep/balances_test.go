package tcep

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/pods/podtest"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

func TestWhoSeesABooking(t *testing.T) {
	h, id := host(t), uuid.New()
	if _, err := book(t, h, ana, id, pay("1", "USD")); err != nil {
		t.Fatal(err)
	}
	get := func(who *tap.Principal, id string) (booked, error) {
		var b booked
		_, err := h.Do(t.Context(), podtest.Request{As: who, Method: "GET", Target: "/v1/economy/tcep/" + id}, &b)
		return b, err
	}
	for _, who := range []*tap.Principal{ana, auditor} {
		if b, err := get(who, id.String()); err != nil || b.Purpose == "" || b.Amount != "1.00" {
			t.Errorf("%s sees %+v, %v", who.Identity, b, err)
		}
	}
	_, err := get(bea, id.String())
	podtest.WantKind(t, err, tap.Forbidden, "not_own")
	foreign := podtest.Who("ana", tap.Citizen)
	foreign.Tenant = "other"
	for _, c := range []struct {
		who *tap.Principal
		id  string
	}{{foreign, id.String()}, {ana, uuid.NewString()}, {ana, "x"}} {
		_, err := get(c.who, c.id)
		podtest.WantKind(t, err, tap.NotFound, "")
	}
}

func TestBalancesOfOneCurrency(t *testing.T) {
	h := host(t)
	for _, o := range []order{pay("4", "USD"), pay("8", "USD"), pay("1", "EUR")} {
		if _, err := book(t, h, ana, uuid.New(), o); err != nil {
			t.Fatal(err)
		}
	}
	var reply balancesReply
	if _, err := h.Do(t.Context(), podtest.Request{As: auditor, Method: "GET", Target: balancesPath + "?currency=USD"}, &reply); err != nil {
		t.Fatal(err)
	}
	want := balance{"USD", "9.00", "3.00", "-12.00", 3, "0.00"}
	if len(reply.Balances) != 1 || reply.Balances[0] != want {
		t.Errorf("balances %+v, want %+v", reply.Balances, want)
	}
	_, err := h.Do(t.Context(), podtest.Request{As: auditor, Method: "GET", Target: balancesPath + "?currency=ABC"}, nil)
	podtest.WantKind(t, err, tap.Invalid, "currency")
}

// restless is a view whose clock never stands still.
type restless struct {
	store.View
	ticks int64
}

func (r *restless) Clock() int64 { r.ticks++; return r.ticks }

func TestBalancesNeedAQuietMoment(t *testing.T) {
	_, err := New().balances(t.Context(), call(&restless{View: podtest.NewState()}, auditor, uuid.New(), nil))
	podtest.WantKind(t, err, tap.Unavailable, "busy")
}

// crowd is a view with more sources than one call adds up.
type crowd struct{ store.View }

func (c crowd) Scan(prefix, _ store.Key, fn func(store.Item) bool) error {
	for range maxSources + 2 {
		if !fn(store.Item{Key: prefix + "USD\x00a"}) {
			return nil
		}
	}
	return errors.New("the scan was not stopped")
}

func TestBalancesAreBounded(t *testing.T) {
	_, err := New().balances(t.Context(), call(crowd{podtest.NewState()}, auditor, uuid.New(), nil))
	podtest.WantKind(t, err, tap.Unavailable, "too_many")
}

func TestReadFailuresSurface(t *testing.T) {
	state, id := podtest.NewState(), uuid.New()
	c := call(state, ana, id, pay("1", "USD"))
	result, err := New().book(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, state, c, result)
	for name, run := range map[string]func(view store.View) error{
		"book": func(v store.View) error {
			_, err := New().book(t.Context(), call(v, ana, uuid.New(), pay("1", "EUR")))
			return err
		},
		"balances": func(v store.View) error {
			_, err := New().balances(t.Context(), call(v, auditor, uuid.New(), nil))
			return err
		},
		"get": func(v store.View) error {
			c := call(v, ana, uuid.New(), nil)
			c.Params = map[string]string{"id": id.String()}
			_, err := New().get(t.Context(), c)
			return err
		},
		"pay": func(v store.View) error {
			_, err := New().pay(t.Context(), call(v, ana, uuid.New(), nil), intent(pay("1", "EUR")))
			return err
		},
	} {
		podtest.FailEveryRead(t, name, state, run)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New().balances(cancelled, call(state, auditor, uuid.New(), nil)); err == nil {
		t.Error("a cancelled sum went on")
	}
}

func TestDamagedBooking(t *testing.T) {
	state, id := podtest.NewState(), uuid.New()
	_, err := state.Commit(t.Context(), store.Batch{
		RequestID: uuid.New(), Tenant: "main", Ops: []store.Op{store.Put(store.K("main", spaceBooking, id.String()), []byte("{"))},
		Evidence: []store.Evidence{{Actor: "ana", Action: "x", Outcome: "ok"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = New().book(t.Context(), call(state, ana, id, pay("1", "USD")))
	podtest.WantKind(t, err, tap.Internal, "")
}

func TestAllocationIsVerified(t *testing.T) {
	smallest, err := store.ParseAmount("0.0000000001", 1, store.AmountScale)
	if err != nil {
		t.Fatal(err)
	}
	units := func(n int64) store.Amount { a, _ := smallest.Share(n, 1); return a }
	for name, a := range map[string]Allocation{
		"half and half":  {units(100), units(50), units(50)},
		"a unit too low": {units(100), units(75), units(24)},
		"swapped":        {units(100), units(25), units(75)},
		"not exact":      {units(1), units(0), units(1)},
		"zero":           {units(0), units(0), units(0)},
		"negative":       {units(-4), units(-3), units(-1)},
	} {
		if err := a.Verify(); tap.AsError(err) == nil || tap.AsError(err).Code != "rule_75_25" {
			t.Errorf("%s passes: %v", name, err)
		}
	}
	if err := (Allocation{units(4), units(3), units(1)}).Verify(); err != nil {
		t.Error(err)
	}
	_, err = Allocate(units(1))
	podtest.WantKind(t, err, tap.Invalid, "amount")
}

func TestCurrencyTable(t *testing.T) {
	list := Currencies()
	if len(list) < 160 {
		t.Errorf("only %d currencies", len(list))
	}
	for _, want := range []Currency{{"BTC", 8}, {"USD", 2}, {"MXN", 2}, {"EUR", 2}, {"JPY", 0}, {"KWD", 3}, {"CLF", 4}, {"ETH", 8}} {
		if got, err := currency(want.Code); err != nil || got != want {
			t.Errorf("%s: %+v, %v", want.Code, got, err)
		}
	}
	fields := 0
	for n, codes := range minorUnits {
		fields += len(strings.Fields(codes))
		if n > 8 {
			t.Errorf("%d decimals do not fit DECIMAL(20,8)", n)
		}
	}
	if fields != len(list) {
		t.Errorf("%d codes for %d currencies: one is listed twice", fields, len(list))
	}
}

func intent(o order) *pods.Intent {
	raw, _ := json.Marshal(o)
	return &pods.Intent{Type: "payment", Parsed: pods.ParsedInput{Text: string(raw)}}
}

func TestIntentPays(t *testing.T) {
	state, id := podtest.NewState(), uuid.New()
	c := call(state, ana, id, nil)
	part, err := New().pay(t.Context(), c, intent(pay("0.10", "USD")))
	if err != nil || part.Degraded != "" {
		t.Fatal(part, err)
	}
	want := economy{id.String(), "USD", "0.10", "0.075", "0.025", "tamv:impact:main:USD"}
	if part.Economy != want {
		t.Errorf("economy %+v, want %+v", part.Economy, want)
	}
	receipt, err := state.Commit(t.Context(), store.Batch{
		RequestID: id, Tenant: "main", Ops: part.Ops, Evidence: []store.Evidence{{Actor: "ana", Action: "intent.process", Outcome: "ok"}},
	})
	if err != nil || receipt.Duplicate {
		t.Fatal(err)
	}
	again, err := New().pay(t.Context(), c, intent(pay("0.10", "USD")))
	if err != nil || len(again.Ops) != 0 || again.Economy != want {
		t.Errorf("sent again: %+v, %v", again, err)
	}
	_, err = New().pay(t.Context(), c, intent(pay("0.20", "USD")))
	podtest.WantKind(t, err, tap.Conflict, "request_id_reused")
}

func TestIntentThatIsNoOrder(t *testing.T) {
	c := call(podtest.NewState(), ana, uuid.New(), nil)
	for lang, text := range map[tap.Lang]string{tap.English: "pay Bob ten dollars", tap.Spanish: `{"amount":"1"}`} {
		c.Lang = lang
		part, err := New().pay(t.Context(), c, &pods.Intent{Type: "payment", Parsed: pods.ParsedInput{Text: text}})
		if err != nil || part.Degraded != needOrder.In(lang) || len(part.Ops) != 0 {
			t.Errorf("%q: %+v, %v", text, part, err)
		}
	}
	part, err := New().pay(t.Context(), c, intent(pay("-1", "USD")))
	if err != nil || part.Degraded == "" || len(part.Ops) != 0 {
		t.Errorf("a negative payment: %+v, %v", part, err)
	}
	part, err = New().pay(t.Context(), c, &pods.Intent{Type: "question"})
	if err != nil || part.Degraded != "" || part.Economy != nil {
		t.Errorf("a question: %+v, %v", part, err)
	}
}

// FuzzOrder: whatever the text, an order is refused or splits exactly.
func FuzzOrder(f *testing.F) {
	for _, seed := range []string{`{"amount":"1.5","currency":"USD","source":"a","purpose":"b"}`, `{"amount":"1e9"}`, `[]`, `{"amount":"0.00000001","currency":"BTC","source":"ñ","purpose":"p"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var o order
		if o.decode(body) != nil {
			return
		}
		_, shares, err := o.shares()
		if err != nil {
			return
		}
		if err := shares.Verify(); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	})
}
