package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// drawBatch makes a batch over a few keys, so that operations meet.
func drawBatch(t *rapid.T) Batch {
	k := rapid.Custom(func(t *rapid.T) Key { return key(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")) })
	n := rapid.IntRange(0, 5).Draw(t, "ops")
	var ops []Op
	for range n {
		switch rapid.IntRange(0, 7).Draw(t, "op") {
		case 0, 1:
			ops = append(ops, Put(k.Draw(t, "k"), rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "value")))
		case 2:
			ops = append(ops, Create(k.Draw(t, "k"), []byte("new")))
		case 3:
			ops = append(ops, Delete(k.Draw(t, "k")))
		case 4:
			ops = append(ops, Add(k.Draw(t, "k"), rapid.Int64Range(-9, 9).Draw(t, "n")))
		case 5:
			ops = append(ops, Append(k.Draw(t, "k"), []byte("item")))
		case 6:
			to, from := k.Draw(t, "to"), k.Draw(t, "from")
			a := Amount{}.Plus(amount(fmt.Sprintf("%d.%010d", rapid.IntRange(0, 99).Draw(t, "whole"), rapid.IntRange(0, 9_999_999_999).Draw(t, "units"))))
			ops = append(ops, Post(to, "USD", a), Post(from, "USD", a.Negated()))
		case 7:
			ops = append(ops, Put(k.Draw(t, "k"), []byte("short")), Expire(k.Draw(t, "k"), rapid.Int64Range(1, 2_000_200).Draw(t, "at")))
		}
	}
	b := batch(ops...)
	b.RequestID = uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	return b
}

// The same log applied from empty gives the same state, wherever the flushes,
// the restarts and the replays fall.
func TestTheSameLogGivesTheSameState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		packs := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) []Batch {
			return rapid.SliceOfN(rapid.Custom(drawBatch), 0, 4).Draw(rt, "batches")
		}), 1, 12).Draw(rt, "log")
		stamps := make([]int64, len(packs))
		for i := range stamps {
			stamps[i] = 1_000_000 + int64(i)*rapid.Int64Range(1, 200_000).Draw(rt, "gap")
		}
		run := func(name string, disturb bool) [32]byte {
			dir := t.TempDir()
			m := open(t, dir)
			defer func() { _ = m.Close() }() // not only with the test: each maps much memory
			for i := 0; i < len(packs); i++ {
				commands := make([][]byte, len(packs[i]))
				for j, b := range packs[i] {
					commands[j], _ = EncodeBatch(b)
				}
				if _, err := m.Apply(uint64(i+1), stamps[i], commands); err != nil {
					rt.Fatal(err)
				}
				if disturb && rapid.Bool().Draw(rt, name+" flush") {
					if err := m.Flush(); err != nil {
						rt.Fatal(err)
					}
				}
				if disturb && rapid.IntRange(0, 4).Draw(rt, name+" restart") == 0 {
					if err := m.Close(); err != nil {
						rt.Fatal(err)
					}
					m = open(t, dir)
					i = max(-1, i-2) // the log is replayed from before where it ended
				}
			}
			h, err := m.StateHash()
			if err != nil {
				rt.Fatal(err)
			}
			if size, _ := m.Size(); size > 0 {
				checkLedger(t, m)
			}
			return h
		}
		if run("first", false) != run("second", true) {
			rt.Fatal("the same log gave two states")
		}
	})
}

// A batch applies whole or not at all, and one command has one encoding.
func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := drawBatch(rt)
		c, err := EncodeBatch(b)
		if err != nil {
			rt.Fatal(err)
		}
		parsed, err := parseBatch(c[commandHeader:])
		if err != nil {
			rt.Fatal(err)
		}
		copy(parsed.RequestID[:], c[3:19])
		again, err := EncodeBatch(parsed)
		if err != nil || string(again) != string(c) {
			rt.Fatalf("encoded differently: %v", err)
		}
		cut := rapid.IntRange(0, len(c)-commandHeader-1).Draw(rt, "cut")
		if _, err := parseBatch(c[commandHeader : commandHeader+cut]); err == nil {
			rt.Fatal("a batch that is cut short was accepted")
		}
	})
}

func TestAmountArithmetic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		units := rapid.Int64().Draw(rt, "units")
		a := Amount{}.Plus(amount("0.0000000001")).times(units)
		back, err := ParseAmount(a.String(), 30, AmountScale)
		if err != nil || !back.Equal(a) {
			rt.Fatalf("%s reads back as %s: %v", a, back, err)
		}
		decoded, ok := decodeAmount(a.encode())
		if !ok || !decoded.Equal(a) {
			rt.Fatal("the stored form differs")
		}
		if q, exact := a.Share(3, 4); exact && !q.Plus(q).Plus(q).Plus(q).Equal(a.Plus(a).Plus(a)) {
			rt.Fatalf("four times three quarters of %s is not three times it", a)
		}
		if !a.Minus(a).Equal(Amount{}) || a.Negated().Negated().String() != a.String() {
			rt.Fatal("arithmetic does not hold")
		}
	})
	for _, s := range []string{"", "-", ".", "1.", ".5", "01", "1e3", "+1", " 1", "1 ", "-0", "-0.0", "NaN", "Inf", "0x1", "1.12345678901", "１", "1,5", "123456789012345678901"} {
		if _, err := ParseAmount(s, 20, AmountScale); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%q was read as an amount", s)
		}
	}
	for in, want := range map[string]string{"1.50": "1.5", "-0.10": "-0.1", "100": "100", "0.0000000001": "0.0000000001"} {
		if a := amount(in); a.String() != want {
			t.Errorf("%s prints as %s", in, a)
		}
	}
}

func (a Amount) times(n int64) Amount { b, _ := a.Share(n, 1); return b }

func FuzzParseBatch(f *testing.F) {
	c, _ := EncodeBatch(batch(Put(key("a"), []byte("v")), Post(key("x"), "USD", Amount{}), Add(key("n"), -3)))
	f.Add(c[commandHeader:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := parseBatch(body)
		if err != nil {
			var e *tap.Error
			if !errors.As(err, &e) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if _, err := EncodeBatch(b); err != nil {
			t.Fatalf("accepted what cannot be proposed: %v", err)
		}
	})
}
