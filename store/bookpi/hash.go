package bookpi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// HashSize is the length of a [Hash] in bytes.
const HashSize = 32

// Hash is a SHA-256 digest: of an entry (a leaf), of two subtrees (a node), or of a
// payload.
type Hash [HashSize]byte

// GenesisHash is the Previous field of entry 0: all zeroes.
var GenesisHash Hash

// Domain separation of RFC 6962, section 2.1: without it an inner node could be
// passed off as an entry.
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

// String returns the hash as 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler with the form of [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it is as strict as [ParseHash].
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// ParseHash reads the output of [Hash.String] and nothing else: upper-case digits,
// prefixes and spaces are refused with [ErrHash].
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != hex.EncodedLen(HashSize) {
		return Hash{}, fmt.Errorf("%w: %d characters, want %d", ErrHash, len(s), hex.EncodedLen(HashSize))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil || h.String() != s {
		return Hash{}, fmt.Errorf("%w: not lower-case hexadecimal", ErrHash)
	}
	return h, nil
}

// PayloadDigest returns SHA-256 of the payload bytes as received, without a prefix,
// so that `sha256sum payload` shows the same digits.
func PayloadDigest(payload []byte) Hash { return sha256.Sum256(payload) }

// LeafHash returns SHA-256(0x00 || encodedEntry): the entry's evidence hash, the
// next entry's Previous, and its leaf in the tree.
func LeafHash(encodedEntry []byte) Hash {
	// The buffer stays on the stack: a real entry always fits.
	var buf [1 + MaxEntrySize]byte
	if len(encodedEntry) <= MaxEntrySize {
		buf[0] = leafPrefix
		n := copy(buf[1:], encodedEntry)
		return sha256.Sum256(buf[:1+n])
	}
	d := sha256.New()
	d.Write([]byte{leafPrefix})
	d.Write(encodedEntry)
	return Hash(d.Sum(nil))
}

// NodeHash returns SHA-256(0x01 || left || right), the hash of an inner node.
func NodeHash(left, right Hash) Hash {
	var buf [1 + 2*HashSize]byte
	buf[0] = nodePrefix
	copy(buf[1:], left[:])
	copy(buf[1+HashSize:], right[:])
	return sha256.Sum256(buf[:])
}

// emptyRoot is the root of a tree without leaves: SHA-256 of nothing.
func emptyRoot() Hash { return sha256.Sum256(nil) }
