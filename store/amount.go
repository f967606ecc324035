package store

import (
	"math/big"
	"strings"

	"tamv.internal/tamv/tap"
)

// AmountScale is the number of decimals that an Amount holds exactly.
const AmountScale = 10

// Amount is an exact decimal with ten decimals, kept as an integer number of
// 10^-10 units. The zero value is zero. Amounts are immutable.
type Amount struct{ units *big.Int }

var unitsPerOne = new(big.Int).Exp(big.NewInt(10), big.NewInt(AmountScale), nil)

// ParseAmount reads a plain decimal ("-12.50"): an optional minus, at most
// maxWhole digits before the point and at most maxDecimals (0 to 10) after it.
// Exponents, plus signs, leading zeroes, spaces and bare points are refused,
// so that an amount has one spelling per precision.
func ParseAmount(s string, maxWhole, maxDecimals int) (Amount, error) {
	bad := func(why string) (Amount, error) {
		return Amount{}, tap.E("store.amount", tap.Invalid, "not an exact decimal amount: %s", why)
	}
	digits, negative := strings.CutPrefix(s, "-")
	whole, decimals, point := strings.Cut(digits, ".")
	switch {
	case whole == "" || point && decimals == "":
		return bad("a digit is needed on each side of the point")
	case len(whole) > 1 && whole[0] == '0':
		return bad("leading zero")
	case len(whole) > maxWhole:
		return bad("too many digits before the point")
	case len(decimals) > min(maxDecimals, AmountScale):
		return bad("too many decimals")
	}
	for i := range len(whole) + len(decimals) {
		if c := (whole + decimals)[i]; c < '0' || c > '9' {
			return bad("only digits, one point and a leading minus are allowed")
		}
	}
	units, _ := new(big.Int).SetString(whole+decimals+strings.Repeat("0", AmountScale-len(decimals)), 10)
	if negative {
		if units.Sign() == 0 {
			return bad("negative zero")
		}
		units.Neg(units)
	}
	return Amount{units}, nil
}

// Units is the amount in units of 10^-10.
func (a Amount) Units() *big.Int {
	if a.units == nil {
		return new(big.Int)
	}
	return new(big.Int).Set(a.units)
}

// Sign is -1, 0 or 1.
func (a Amount) Sign() int {
	if a.units == nil {
		return 0
	}
	return a.units.Sign()
}

// Plus is a + b.
func (a Amount) Plus(b Amount) Amount { return Amount{new(big.Int).Add(a.Units(), b.Units())} }

// Minus is a - b.
func (a Amount) Minus(b Amount) Amount { return Amount{new(big.Int).Sub(a.Units(), b.Units())} }

// Negated is -a.
func (a Amount) Negated() Amount { return Amount{new(big.Int).Neg(a.Units())} }

// Equal says whether both are the same number.
func (a Amount) Equal(b Amount) bool { return a.Units().Cmp(b.Units()) == 0 }

// Share is a * numerator / denominator and whether that is exact in ten
// decimals; an inexact share is cut towards zero.
func (a Amount) Share(numerator, denominator int64) (Amount, bool) {
	q, r := new(big.Int).QuoRem(
		new(big.Int).Mul(a.Units(), big.NewInt(numerator)), big.NewInt(denominator), new(big.Int))
	return Amount{q}, r.Sign() == 0
}

// String is the plain decimal without trailing zeroes: "75", "0.0000000075".
func (a Amount) String() string {
	u := a.Units()
	sign := ""
	if u.Sign() < 0 {
		sign = "-"
		u.Neg(u)
	}
	whole, rest := new(big.Int).QuoRem(u, unitsPerOne, new(big.Int))
	s := sign + whole.String()
	if rest.Sign() == 0 {
		return s
	}
	decimals := rest.String()
	decimals = strings.Repeat("0", AmountScale-len(decimals)) + decimals
	return s + "." + strings.TrimRight(decimals, "0")
}

// MarshalText writes the plain decimal.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (a *Amount) UnmarshalText(b []byte) error {
	parsed, err := ParseAmount(string(b), MaxMoneyDigits, AmountScale)
	if err == nil {
		*a = parsed
	}
	return err
}

// encode is the sign byte and the magnitude, big-endian without leading
// zeroes; zero is empty.
func (a Amount) encode() []byte {
	if a.Sign() == 0 {
		return nil
	}
	sign := byte(0)
	if a.Sign() < 0 {
		sign = 1
	}
	return append([]byte{sign}, a.units.Bytes()...)
}

// decodeAmount reads what encode writes and nothing else.
func decodeAmount(b []byte) (Amount, bool) {
	if len(b) == 0 {
		return Amount{}, true
	}
	if len(b) < 2 || b[0] > 1 || b[1] == 0 {
		return Amount{}, false
	}
	units := new(big.Int).SetBytes(b[1:])
	if b[0] == 1 {
		units.Neg(units)
	}
	return Amount{units}, true
}
