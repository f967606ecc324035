package bookpi

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"filippo.io/mldsa"
)

// Algorithm is the signature type byte of C2SP signed notes: it says what a key
// signs and how. It is part of every key's text and of its key hash.
type Algorithm uint8

// The signature types this package knows.
const (
	// AlgorithmEd25519 signs the text of a note: a log's plain signature.
	AlgorithmEd25519 Algorithm = 0x01
	// AlgorithmCosignatureEd25519 signs a checkpoint's text with a time before it.
	AlgorithmCosignatureEd25519 Algorithm = 0x04
	// AlgorithmMLDSA44 signs a checkpoint's origin, size and root, the cosigner's name
	// and a time. It withstands quantum computers. Logs and witnesses both use it.
	AlgorithmMLDSA44 Algorithm = 0x06
)

// String names the algorithm as C2SP does: "ed25519", "cosignature/v1" or
// "ml-dsa-44".
func (a Algorithm) String() string {
	switch a {
	case AlgorithmEd25519:
		return "ed25519"
	case AlgorithmCosignatureEd25519:
		return "cosignature/v1"
	case AlgorithmMLDSA44:
		return "ml-dsa-44"
	}
	return fmt.Sprintf("algorithm 0x%02x", uint8(a))
}

// publicSize returns the length of a public key, 0 for an unknown algorithm.
func (a Algorithm) publicSize() int {
	switch a {
	case AlgorithmEd25519, AlgorithmCosignatureEd25519:
		return ed25519.PublicKeySize
	case AlgorithmMLDSA44:
		return mldsa.MLDSA44PublicKeySize
	}
	return 0
}

// seedSize is the length of every secret key: the seed of RFC 8032 and of FIPS 204.
const seedSize = 32

// signsLogs reports whether a log may sign its checkpoints with such a key.
func (a Algorithm) signsLogs() bool { return a == AlgorithmEd25519 || a == AlgorithmMLDSA44 }

// cosigns reports whether a witness may cosign with such a key.
func (a Algorithm) cosigns() bool { return a == AlgorithmCosignatureEd25519 || a == AlgorithmMLDSA44 }

// VerifierKey is the public half of a log's or a witness's key. Its text, a "vkey"
// of C2SP signed notes, is
//
//	<name>+<key hash, 8 hex digits>+<base64 of the algorithm byte and the public key>
//
// where the key hash is the first 4 bytes of SHA-256 over the name, a line feed, the
// algorithm byte and the public key. Public keys are 32 bytes for both kinds of
// Ed25519 and 1,312 bytes for ML-DSA-44. The zero value is no key and verifies
// nothing. Two values are the same key if they are equal with ==.
//
// A VerifierKey is a Verifier of golang.org/x/mod/sumdb/note, for checkpoints.
type VerifierKey struct {
	name   string
	hash   uint32
	public string // the algorithm byte and the public key
}

// ParseVerifierKey reads a key in the only spelling it has. Errors wrap [ErrKey].
func ParseVerifierKey(text string) (VerifierKey, error) {
	name, rest, _ := strings.Cut(text, "+")
	_, key64, _ := strings.Cut(rest, "+")
	key, err := decodeLimited([]byte(key64), 1+mldsa.MLDSA44PublicKeySize)
	if err != nil || len(key) == 0 {
		return VerifierKey{}, fmt.Errorf("%w: not a verifier key", ErrKey)
	}
	k, err := newVerifierKey(name, Algorithm(key[0]), key[1:])
	if err != nil {
		return VerifierKey{}, err
	}
	if k.String() != text {
		return VerifierKey{}, fmt.Errorf("%w: its key hash is not that of its name and key", ErrKey)
	}
	return k, nil
}

func newVerifierKey(name string, a Algorithm, public []byte) (VerifierKey, error) {
	switch {
	case !validOrigin(name):
		return VerifierKey{}, fmt.Errorf("%w: not a valid key name", ErrKey)
	case a.publicSize() == 0:
		return VerifierKey{}, fmt.Errorf("%w: unknown %v", ErrKey, a)
	case len(public) != a.publicSize():
		return VerifierKey{}, fmt.Errorf("%w: %d bytes for %v", ErrKey, len(public), a)
	}
	k := VerifierKey{name: name, public: string(append([]byte{byte(a)}, public...))}
	h := sha256.Sum256([]byte(name + "\n" + k.public))
	k.hash = binary.BigEndian.Uint32(h[:])
	return k, nil
}

// Name returns the name of the log or witness.
func (k VerifierKey) Name() string { return k.name }

// KeyHash returns the key hash, called key ID in C2SP. With the name it identifies
// a key among those one already trusts; it is too short to be a fingerprint.
func (k VerifierKey) KeyHash() uint32 { return k.hash }

// ID returns "<name>+<key hash>", short enough to print.
func (k VerifierKey) ID() string { return fmt.Sprintf("%s+%08x", k.name, k.hash) }

// Algorithm returns what the key signs and how; 0 for the zero value.
func (k VerifierKey) Algorithm() Algorithm {
	if k.public == "" {
		return 0
	}
	return Algorithm(k.public[0])
}

// String returns the key's text, empty for the zero value.
func (k VerifierKey) String() string {
	if k.public == "" {
		return ""
	}
	return k.ID() + "+" + base64.StdEncoding.EncodeToString([]byte(k.public))
}

// MarshalText implements encoding.TextMarshaler with the form of [VerifierKey.String].
func (k VerifierKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it is as strict as
// [ParseVerifierKey].
func (k *VerifierKey) UnmarshalText(text []byte) error {
	parsed, err := ParseVerifierKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// SharesKey reports whether both wrap the same public key, whatever the names and,
// for Ed25519, whatever the signature type.
func (k VerifierKey) SharesKey(other VerifierKey) bool {
	return k.public != "" && other.public != "" && k.public[1:] == other.public[1:]
}

// verifyRaw checks a bare signature of a bare message. context separates ML-DSA
// signatures by purpose (FIPS 204, section 3.4); Ed25519 messages separate themselves.
func (k VerifierKey) verifyRaw(message, signature []byte, context string) bool {
	if k.Algorithm() != AlgorithmMLDSA44 {
		return k.public != "" && len(signature) == ed25519.SignatureSize &&
			ed25519.Verify([]byte(k.public[1:]), message, signature)
	}
	public, err := mldsa.NewPublicKey(mldsa.MLDSA44(), []byte(k.public[1:]))
	return err == nil && mldsa.Verify(public, message, signature, &mldsa.Options{Context: context}) == nil
}

// SigningKey is the secret half of a log's or a witness's key. Printing one shows
// its verifier key. Safe for concurrent use.
type SigningKey struct {
	verifier VerifierKey
	seed     []byte
	ed25519  ed25519.PrivateKey // nil for ML-DSA-44
	mldsa    *mldsa.PrivateKey  // nil for Ed25519
}

// GenerateSigningKey makes a key, reading 32 bytes from rand. The name is 1..255 bytes
// of UTF-8 without spaces, plus signs or control characters, by custom a host and path
// without a scheme. Errors wrap [ErrKey].
func GenerateSigningKey(rand io.Reader, name string, a Algorithm) (*SigningKey, error) {
	seed := make([]byte, seedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return newSigningKey(name, a, seed)
}

// ParseSigningKey reads what [SigningKey.Text] returns, in its only spelling. Errors wrap [ErrKey] and never contain the key.
func ParseSigningKey(text string) (*SigningKey, error) {
	malformed := fmt.Errorf("%w: not a signer key", ErrKey)
	rest, ok := strings.CutPrefix(text, signingKeyPrefix)
	name, rest, _ := strings.Cut(rest, "+")
	_, key64, _ := strings.Cut(rest, "+")
	key, err := decodeLimited([]byte(key64), 1+seedSize)
	if !ok || err != nil || len(key) != 1+seedSize {
		return nil, malformed
	}
	k, err := newSigningKey(name, Algorithm(key[0]), key[1:])
	if err != nil {
		return nil, err
	}
	if k.Text() != text {
		return nil, malformed
	}
	return k, nil
}

const signingKeyPrefix = "PRIVATE+KEY+"

func newSigningKey(name string, a Algorithm, seed []byte) (*SigningKey, error) {
	k := &SigningKey{seed: seed}
	var public []byte
	switch a {
	case AlgorithmEd25519, AlgorithmCosignatureEd25519:
		k.ed25519 = ed25519.NewKeyFromSeed(seed)
		public = k.ed25519.Public().(ed25519.PublicKey)
	case AlgorithmMLDSA44:
		var err error
		if k.mldsa, err = mldsa.NewPrivateKey(mldsa.MLDSA44(), seed); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		public = k.mldsa.PublicKey().Bytes()
	}
	var err error
	k.verifier, err = newVerifierKey(name, a, public)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Text returns the secret key:
//
//	PRIVATE+KEY+<name>+<key hash, 8 hex digits>+<base64 of the algorithm byte and the seed>
//
// with a seed of 32 bytes and the key hash of the verifier key. For Ed25519 it is the
// format of golang.org/x/mod/sumdb/note.
func (k *SigningKey) Text() string {
	secret := append([]byte{byte(k.verifier.Algorithm())}, k.seed...)
	return signingKeyPrefix + k.verifier.ID() + "+" + base64.StdEncoding.EncodeToString(secret)
}

// Verifier returns the public half.
func (k *SigningKey) Verifier() VerifierKey { return k.verifier }

// String returns the verifier key, so that logs and error texts cannot leak the
// secret.
func (k *SigningKey) String() string { return k.verifier.String() }

// GoString does for %#v what String does for the other verbs.
func (k *SigningKey) GoString() string { return k.verifier.String() }

// signRaw signs a bare message; context as in verifyRaw.
func (k *SigningKey) signRaw(message []byte, context string) ([]byte, error) {
	if k.mldsa == nil {
		return ed25519.Sign(k.ed25519, message), nil
	}
	signature, err := k.mldsa.Sign(nil, message, &mldsa.Options{Context: context})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return signature, nil
}
