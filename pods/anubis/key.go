package anubis

import (
	"crypto/ed25519"
	"math/big"
	"slices"

	"tamv.internal/tamv/tap"
)

// The field and the constant of edwards25519, RFC 8032 section 5.1:
// -x^2 + y^2 = 1 + d x^2 y^2 over GF(2^255 - 19).
var (
	one        = big.NewInt(1)
	fieldPrime = new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	curveD     = bigHex("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3")
	// orderEight is the y coordinate of four of the eight points whose order
	// divides the cofactor; the others have y = -orderEight, 0, 1 and -1.
	orderEight = bigHex("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7")
)

func bigHex(s string) *big.Int {
	n, _ := new(big.Int).SetString(s, 16)
	return n
}

// CheckPublicKey says whether the bytes are an Ed25519 public key that only its
// owner can sign with: the canonical encoding of a point of the curve that is
// not of small order. crypto/ed25519 accepts keys of small order, under which
// one signature fits many messages. The error is Invalid.
func CheckPublicKey(key []byte) error {
	bad := func(why string) error {
		return tap.E("anubis.key", tap.Invalid, "not a usable Ed25519 public key: %s", why).WithCode("public_key")
	}
	if len(key) != ed25519.PublicKeySize {
		return bad("it does not have 32 bytes")
	}
	bigEndian := slices.Clone(key)
	slices.Reverse(bigEndian)
	bigEndian[0] &= 0x7f // the sign of x
	y := new(big.Int).SetBytes(bigEndian)
	if y.Cmp(fieldPrime) >= 0 {
		return bad("its encoding is not canonical")
	}
	minus := new(big.Int).Sub(fieldPrime, y)
	if y.Cmp(one) <= 0 || minus.Cmp(one) == 0 || y.Cmp(orderEight) == 0 || minus.Cmp(orderEight) == 0 {
		return bad("the point is of small order")
	}
	// x^2 = u/v is a square exactly when u*v is one.
	square := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(square, one)
	v := new(big.Int).Mul(curveD, square)
	v.Add(v, one)
	if big.Jacobi(u.Mod(u.Mul(u, v), fieldPrime), fieldPrime) != 1 {
		return bad("it is no point of the curve")
	}
	return nil
}
