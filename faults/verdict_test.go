package faults

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func span(start, end int) Span {
	return Span{time.Duration(start) * time.Millisecond, time.Duration(end) * time.Millisecond}
}

// history is a sound run: four appends, one of them unanswered, on two nodes.
func history() ([]Append, map[string][]LedgerEntry) {
	appends := []Append{
		{ID: uuid.New(), Span: span(0, 10), Position: 7, Hash: "a"},
		{ID: uuid.New(), Span: span(5, 20), Position: 6, Hash: "b"},
		{ID: uuid.New(), Span: span(25, 30), Position: 9, Hash: "c"},
		{ID: uuid.New(), Span: span(12, 40), Outcome: Unknown},
		{ID: uuid.New(), Span: span(12, 13), Outcome: Refused},
	}
	entries := []LedgerEntry{{8, "d", appends[3].ID.String()}}
	for _, a := range appends[:3] {
		entries = append(entries, LedgerEntry{a.Position, a.Hash, a.ID.String()})
	}
	return appends, map[string][]LedgerEntry{"n1": entries, "n2": slices.Clone(entries)}
}

func TestCheckAppends(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(appends []Append, ledgers map[string][]LedgerEntry)
		want  Verdict
	}{
		"sound":                         {func([]Append, map[string][]LedgerEntry) {}, Verdict{}},
		"an unknown one never happened": {func(_ []Append, l map[string][]LedgerEntry) { l["n1"], l["n2"] = l["n1"][1:], l["n2"][1:] }, Verdict{}},
		"lost on one node":              {func(_ []Append, l map[string][]LedgerEntry) { l["n2"] = l["n2"][:3] }, Verdict{Lost: 1}},
		"another hash":                  {func(_ []Append, l map[string][]LedgerEntry) { l["n1"][2].Hash = "x" }, Verdict{Lost: 1}},
		"moved":                         {func(_ []Append, l map[string][]LedgerEntry) { l["n1"][2].Position = 11 }, Verdict{Lost: 1}},
		"an unknown one twice": {func(_ []Append, l map[string][]LedgerEntry) {
			l["n1"] = append(l["n1"], LedgerEntry{11, "d", l["n1"][0].ID})
		}, Verdict{Doubled: 1}},
		"an acknowledged one twice": {func(_ []Append, l map[string][]LedgerEntry) {
			l["n1"] = append(l["n1"], LedgerEntry{11, "a", l["n1"][1].ID})
		}, Verdict{Doubled: 1}},
		"a refused one happened": {func(a []Append, l map[string][]LedgerEntry) {
			l["n1"] = append(l["n1"], LedgerEntry{11, "e", a[4].ID.String()})
		}, Verdict{Doubled: 1}},
		"from nowhere": {func(_ []Append, l map[string][]LedgerEntry) {
			l["n2"] = append(l["n2"], LedgerEntry{11, "e", uuid.NewString()})
		}, Verdict{Doubled: 1}},
		"behind one that began later":   {func(a []Append, _ map[string][]LedgerEntry) { a[1].Span = span(11, 20) }, Verdict{Reordered: 1}},
		"the last one should be first":  {func(a []Append, _ map[string][]LedgerEntry) { a[2].Span = span(0, 2) }, Verdict{Reordered: 1}},
		"promised twice the same place": {func(a []Append, _ map[string][]LedgerEntry) { a[1].Position = 7 }, Verdict{Lost: 2}},
	} {
		appends, ledgers := history()
		c.spoil(appends, ledgers)
		wantVerdict(t, name, CheckAppends(appends, ledgers), c.want)
	}
}

func wantVerdict(t *testing.T, name string, got, want Verdict) {
	t.Helper()
	if found := len(got.Findings); found != min(maxFindings, got.Lost+got.Stale+got.Doubled+got.Reordered+got.Diverged) {
		t.Errorf("%s: %d sentences for %+v", name, found, got)
	}
	got.Findings = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %+v, want %+v", name, got, want)
	}
	if got.Good() != (fmt.Sprint(want) == fmt.Sprint(Verdict{})) {
		t.Errorf("%s: good is %v", name, got.Good())
	}
}

// The order check agrees with the definition it abbreviates, on any history.
func TestOrderCheckIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		appends := make([]Append, rapid.IntRange(0, 12).Draw(t, "appends"))
		for i := range appends {
			start := rapid.IntRange(0, 30).Draw(t, "start")
			appends[i] = Append{Position: uint64(i), Span: span(start, start+rapid.IntRange(0, 10).Draw(t, "took"))}
		}
		want := 0
		for i, a := range appends {
			if slices.ContainsFunc(appends[i+1:], func(later Append) bool { return a.Span.Start > later.Span.End }) {
				want++
			}
		}
		if got := checkOrder(appends); got.Reordered != want {
			t.Fatalf("%d of %d are out of order, want %d", got.Reordered, len(appends), want)
		}
	})
}

func wrote(value string, number uint64, start, end int) RegisterOp {
	return RegisterOp{Write: true, Value: value, Number: number, Known: true, Span: span(start, end)}
}

func readOp(value string, start, end int) RegisterOp {
	return RegisterOp{Value: value, Known: true, Span: span(start, end)}
}

func unanswered(value string, start int) RegisterOp {
	return RegisterOp{Write: true, Value: value, Span: span(start, start+1)}
}

func TestCheckRegister(t *testing.T) {
	for name, c := range map[string]struct {
		history []RegisterOp
		want    porcupine.CheckResult
	}{
		"empty":                       {[]RegisterOp{readOp("", 0, 1)}, porcupine.Ok},
		"read your write":             {[]RegisterOp{wrote("a", 1, 0, 1), readOp("a", 2, 3)}, porcupine.Ok},
		"either of two at once":       {[]RegisterOp{wrote("a", 2, 0, 5), wrote("b", 1, 0, 5), readOp("a", 6, 7)}, porcupine.Ok},
		"unanswered, seen late":       {[]RegisterOp{unanswered("a", 0), readOp("", 5, 6), readOp("a", 7, 8)}, porcupine.Ok},
		"unanswered, never seen":      {[]RegisterOp{unanswered("a", 0), wrote("b", 1, 5, 6), readOp("b", 7, 8)}, porcupine.Ok},
		"unanswered, seen by number":  {[]RegisterOp{unanswered("a", 0), wrote("b", 2, 5, 6)}, porcupine.Ok},
		"stale":                       {[]RegisterOp{wrote("a", 1, 0, 1), wrote("b", 2, 2, 3), readOp("a", 4, 5)}, porcupine.Illegal},
		"back and forth":              {[]RegisterOp{wrote("a", 1, 0, 9), readOp("a", 1, 2), readOp("", 3, 4)}, porcupine.Illegal},
		"lost":                        {[]RegisterOp{wrote("a", 1, 0, 1), readOp("", 2, 3)}, porcupine.Illegal},
		"one number for two":          {[]RegisterOp{wrote("a", 1, 0, 5), wrote("b", 1, 0, 5)}, porcupine.Illegal},
		"a number for nobody's write": {[]RegisterOp{wrote("a", 2, 0, 1)}, porcupine.Illegal},
		"doubled":                     {[]RegisterOp{unanswered("a", 0), wrote("b", 2, 5, 6), readOp("b", 7, 8), readOp("a", 9, 10)}, porcupine.Illegal},
		"from nowhere":                {[]RegisterOp{wrote("a", 1, 0, 1), readOp("x", 2, 3)}, porcupine.Illegal},
	} {
		if got := CheckRegister(c.history); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRegistersFindTheRoom(t *testing.T) {
	r := Registers{history: map[string][]RegisterOp{
		"good": {wrote("a", 1, 0, 1), readOp("a", 2, 3)},
		"bad":  {wrote("a", 1, 0, 1), readOp("", 2, 3)},
	}}
	v, err := r.Check(t.Context())
	if err != nil || v.Stale != 1 || !strings.Contains(v.Findings[0], "room bad") {
		t.Errorf("%+v, %v", v, err)
	}
}

// books is a sound account: 5 and 7 were acknowledged, 2 was not answered and
// stands, 3 was not answered and does not.
func books() ([]Booking, []Books) {
	bookings := []Booking{
		{uuid.New(), Acknowledged, "USD", 5},
		{uuid.New(), Acknowledged, "USD", 7},
		{uuid.New(), Unknown, "USD", 2},
		{uuid.New(), Unknown, "USD", 3},
		{uuid.New(), Refused, "USD", 9},
		{uuid.New(), Acknowledged, "EUR", 1},
	}
	standing := map[uuid.UUID]bool{bookings[2].ID: true, bookings[3].ID: false}
	return bookings, []Books{{"n1", "USD", big.NewRat(-4, 1), big.NewRat(-18, 1), new(big.Rat), standing}}
}

func TestCheckBooks(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(bookings []Booking, b *Books)
		want  Verdict
	}{
		"sound":                 {func([]Booking, *Books) {}, Verdict{}},
		"lost":                  {func(_ []Booking, b *Books) { b.After = big.NewRat(-13, 1) }, Verdict{Lost: 1}},
		"lost a cent":           {func(_ []Booking, b *Books) { b.After = big.NewRat(-1799, 100) }, Verdict{Lost: 1}},
		"doubled":               {func(_ []Booking, b *Books) { b.After = big.NewRat(-20, 1) }, Verdict{Doubled: 1}},
		"a refused one":         {func(k []Booking, b *Books) { b.Standing[k[4].ID], b.After = true, big.NewRat(-27, 1) }, Verdict{Doubled: 1}},
		"money out of thin air": {func(_ []Booking, b *Books) { b.Sum = big.NewRat(1, 100) }, Verdict{Lost: 1}},
	} {
		bookings, all := books()
		c.spoil(bookings, &all[0])
		wantVerdict(t, name, CheckBooks(bookings, all), c.want)
	}
}

func TestCheckHeads(t *testing.T) {
	same := []Head{{"n1", 5, "aa"}, {"n2", 5, "aa"}, {"n3", 6, "bb"}}
	wantVerdict(t, "same", CheckHeads(same), Verdict{})
	wantVerdict(t, "forked", CheckHeads(append(same, Head{"n3", 5, "ab"}, Head{"n1", 6, "bb"})), Verdict{Diverged: 1})
}

func TestVerdictsJoin(t *testing.T) {
	var all Verdict
	for range 20 {
		all.Join(Verdict{1, 2, 3, 4, 5, []string{"x"}})
	}
	if all.Lost != 20 || all.Stale != 40 || all.Doubled != 60 || all.Reordered != 80 || all.Diverged != 100 || len(all.Findings) != maxFindings {
		t.Errorf("%+v", all)
	}
}
