package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Kind says what a secret is for. The numbers are on disk and on the wire.
type Kind uint8

// The kinds of secrets.
const (
	SubjectKey Kind = 1 // seals what concerns a person
	LogKeys    Kind = 2 // sign the ledger
)

const (
	keyBytes = 32
	// MaxLogKeys is the longest text of the ledger's keys, in bytes.
	MaxLogKeys = 3800
)

// ID names a secret without saying anything about it.
type ID = bookpi.KeyID

// Secret is one secret with what it is for. Printing it shows nothing.
type Secret struct {
	Kind       Kind
	Tenant     string // of a subject's key
	Subject    string // of a subject's key
	Generation uint64 // of a subject's key: how often the subject was erased before; number of keys of the ledger
	Value      []byte // 32 bytes, or the text of the ledger's keys
}

// LogSecret is the ledger's keys with a number, as a text of 1 to MaxLogKeys bytes.
func LogSecret(number uint64, text string) Secret {
	return Secret{Kind: LogKeys, Generation: number, Value: []byte(text)}
}

// String does not show the secret.
func (Secret) String() string { return "(secret)" }

// GoString does not show the secret.
func (s Secret) GoString() string { return s.String() }

// idLabel separates the hash that makes ids from every other use of SHA-256.
const idLabel = "tamv secret 1\n"

// ID is the first 16 bytes of SHA-256 over a label and the secret as it is encoded: it
// depends on everything that the secret is, and a secret of full entropy cannot be
// guessed from it.
func (s Secret) ID() ID {
	sum := sha256.Sum256(s.append([]byte(idLabel)))
	return ID(sum[:16])
}

func (s Secret) valid() bool {
	switch s.Kind {
	case SubjectKey:
		return tap.ValidName(s.Tenant) && tap.ValidName(s.Subject) && len(s.Value) == keyBytes
	case LogKeys:
		return s.Tenant == "" && s.Subject == "" && len(s.Value) > 0 && len(s.Value) <= MaxLogKeys
	}
	return false
}

// append appends the encoding of a valid secret.
func (s Secret) append(b []byte) []byte {
	b = append(b, byte(s.Kind))
	b = binary.BigEndian.AppendUint64(b, s.Generation)
	b = append(append(b, byte(len(s.Tenant))), s.Tenant...)
	b = append(append(b, byte(len(s.Subject))), s.Subject...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s.Value))), s.Value...)
}

// parseSecret reads one secret off the front of b and returns what follows it. The
// secret shares no memory with b.
func parseSecret(b []byte) (s Secret, rest []byte, ok bool) {
	if len(b) < 1+8 {
		return Secret{}, nil, false
	}
	s.Kind, s.Generation, rest = Kind(b[0]), binary.BigEndian.Uint64(b[1:]), b[9:]
	tenant, rest, ok := take(rest, 1)
	if !ok {
		return Secret{}, nil, false
	}
	subject, rest, ok := take(rest, 1)
	if !ok {
		return Secret{}, nil, false
	}
	value, rest, ok := take(rest, 2)
	if !ok {
		return Secret{}, nil, false
	}
	s.Tenant, s.Subject, s.Value = string(tenant), string(subject), bytes.Clone(value)
	return s, rest, s.valid()
}

// take reads a field behind its length of width bytes, 1 or 2.
func take(b []byte, width int) (field, rest []byte, ok bool) {
	if len(b) < width {
		return nil, nil, false
	}
	n := int(b[0])
	if width == 2 {
		n = int(binary.BigEndian.Uint16(b))
	}
	if b = b[width:]; len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
