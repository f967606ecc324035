package anubis

import (
	"bytes"
	"crypto/ed25519"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// encodePoint is the little-endian y with the sign of x in the top bit.
func encodePoint(y *big.Int, sign byte) []byte {
	b := y.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	b[31] |= sign << 7
	return b
}

func TestCheckPublicKey(t *testing.T) {
	minus := func(n *big.Int) *big.Int { return new(big.Int).Sub(fieldPrime, n) }
	zero, eight := new(big.Int), orderEight
	bad := map[string][]byte{
		"nil": nil, "short": make([]byte, 31), "long": make([]byte, 33), "zero": make([]byte, 32),
		"all ones": bytes.Repeat([]byte{0xff}, 32),
		"y = p":    encodePoint(fieldPrime, 0), "y = p+1": encodePoint(new(big.Int).Add(fieldPrime, one), 0),
		"off the curve": encodePoint(big.NewInt(2), 0), "text": []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
	}
	for name, y := range map[string]*big.Int{"0": zero, "1": one, "-1": minus(one), "8": eight, "-8": minus(eight)} {
		bad["small order "+name], bad["small order, signed "+name] = encodePoint(y, 0), encodePoint(y, 1)
	}
	for name, key := range bad {
		if err := CheckPublicKey(key); tap.KindOf(err) != tap.Invalid || tap.AsError(err).Code != "public_key" {
			t.Errorf("%s: %v", name, err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "seed")
		if err := CheckPublicKey(public(ed25519.NewKeyFromSeed(seed))); err != nil {
			rt.Fatal(err)
		}
	})
}

// The constant of order eight really is: doubling its point three times gives
// the identity, twice does not.
func TestOrderEight(t *testing.T) {
	mod := func(n *big.Int) *big.Int { return n.Mod(n, fieldPrime) }
	mul := func(a, b *big.Int) *big.Int { return mod(new(big.Int).Mul(a, b)) }
	y := orderEight
	y2 := mul(y, y)
	u := mod(new(big.Int).Sub(y2, one))
	v := mod(new(big.Int).Add(mul(curveD, y2), one))
	x := new(big.Int).ModSqrt(mul(u, new(big.Int).ModInverse(v, fieldPrime)), fieldPrime)
	if x == nil {
		t.Fatal("no point has this y")
	}
	for n := range 3 {
		if x.Sign() == 0 && y.Cmp(one) == 0 {
			t.Fatalf("the order is at most %d", 1<<n)
		}
		// RFC 8032 section 5.1.4 in affine form, both points the same.
		e := mul(curveD, mul(mul(x, x), mul(y, y)))
		x3 := mul(mul(big.NewInt(2), mul(x, y)), new(big.Int).ModInverse(mod(new(big.Int).Add(one, e)), fieldPrime))
		y3 := mul(mod(new(big.Int).Add(mul(y, y), mul(x, x))), new(big.Int).ModInverse(mod(new(big.Int).Sub(one, e)), fieldPrime))
		x, y = x3, y3
	}
	if x.Sign() != 0 || y.Cmp(one) != 0 {
		t.Fatal("three doublings do not give the identity")
	}
}

func TestEnrolmentRefuses(t *testing.T) {
	good := public(keyOf("x"))
	citizen := []tap.Role{tap.Citizen}
	for name, c := range map[string]struct {
		tenant, name string
		key          ed25519.PublicKey
		roles        []tap.Role
		code         string
	}{
		"empty tenant":     {"", "ana", good, citizen, "tenant"},
		"tenant with NUL":  {"ma\x00in", "ana", good, citizen, "tenant"},
		"empty name":       {"main", "", good, citizen, "name"},
		"capitals":         {"main", "Ana", good, citizen, "name"},
		"slash":            {"main", "a/b", good, citizen, "name"},
		"long name":        {"main", strings.Repeat("a", 65), good, citizen, "name"},
		"bad UTF-8":        {"main", "an\xff", good, citizen, "name"},
		"ledger's own":     {"main", "system", good, citizen, "name"},
		"nobody":           {"main", "anonymous", good, citizen, "name"},
		"the path's own":   {"main", "me", good, citizen, "name"},
		"no roles":         {"main", "ana", good, nil, "roles"},
		"unknown role":     {"main", "ana", good, []tap.Role{"root"}, "roles"},
		"anyone":           {"main", "ana", good, []tap.Role{tap.Anyone}, "roles"},
		"role twice":       {"main", "ana", good, []tap.Role{tap.Citizen, tap.Citizen}, "roles"},
		"too many roles":   {"main", "ana", good, append(tap.Roles(), tap.Citizen), "roles"},
		"small order key":  {"main", "ana", make([]byte, 32), citizen, "public_key"},
		"key of 31 bytes":  {"main", "ana", good[:31], citizen, "public_key"},
		"nothing is wrong": {"main", "ana", good, tap.Roles(), codeOK},
	} {
		b, err := Enrolment{Tenant: c.tenant, Name: c.name, Key: c.key, Roles: c.roles, By: system, At: time.UnixMicro(1), RequestID: uuid.New()}.Batch()
		got := codeOK
		if err != nil {
			got = tap.AsError(err).StableCode()
		}
		if got != c.code || err != nil && (tap.KindOf(err) != tap.Invalid || len(b.Ops) != 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No bytes in the store crash the gate or admit by accident.
func FuzzParseIdentity(f *testing.F) {
	record := Identity{Name: "ana", PublicKey: public(keyOf("x")), Roles: tap.Roles(), State: StateActive, EnrolledAt: 1}
	f.Add(record.encode())
	f.Add([]byte(`{"name":"ana","state":"active"}`))
	f.Add([]byte(`{"name":"ana","extra":1}`))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parseIdentity(b)
		if err != nil {
			return
		}
		again, err := parseIdentity(i.encode())
		if err != nil || again.Name != i.Name || !bytes.Equal(again.PublicKey, i.PublicKey) || again.State != i.State {
			t.Fatalf("%+v does not survive its own encoding: %v", i, err)
		}
	})
}

func TestMustJSON(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a record that cannot be encoded went unnoticed")
		}
	}()
	mustJSON(func() {})
}
