package bookpi

import (
	"encoding/binary"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Limits of an entry's text fields, in bytes of UTF-8. None may be empty.
const (
	MaxTenant  = 64
	MaxActor   = 255
	MaxAction  = 100
	MaxOutcome = 64
)

// The encoding of an entry: a fixed header, then the four texts back to back, whose
// lengths the header states. Integers are big-endian.
//
//	offset size
//	     0    4  "BPE" and the version, 1
//	     4    8  timestamp, microseconds since the Unix epoch, 1..2^63-1
//	    12   16  request id
//	    28   32  payload digest
//	    60   32  previous
//	    92    1  length of tenant   1..64
//	    93    1  length of actor    1..255
//	    94    1  length of action   1..100
//	    95    1  length of outcome  1..64
//	    96    -  tenant, actor, action, outcome
const (
	entryMagic = "BPE\x01"

	offTimestamp = 4
	offRequestID = 12
	offDigest    = 28
	offPrevious  = 60
	offLengths   = 92
	entryHeader  = 96

	// MaxEntrySize is the longest encoding an entry can have, in bytes.
	MaxEntrySize = entryHeader + MaxTenant + MaxActor + MaxAction + MaxOutcome
)

// entryFields names the text fields with their limits, in the order of the encoding.
var entryFields = [4]struct {
	name  string
	limit int
}{
	{"tenant", MaxTenant},
	{"actor", MaxActor},
	{"action", MaxAction},
	{"outcome", MaxOutcome},
}

// Entry is one piece of evidence: who did what, when, with what outcome.
type Entry struct {
	Timestamp     int64    // microseconds since the Unix epoch, the leader's stamp; > 0
	Tenant        string   // whose data it concerns, 1..64 bytes
	Actor         string   // the identity that acted, 1..255 bytes
	Action        string   // the action type, 1..100 bytes
	Outcome       string   // what came of it, 1..64 bytes
	RequestID     [16]byte // the request that caused it; zeroes if none did
	PayloadDigest Hash     // SHA-256 of the payload bytes as received
	Previous      Hash     // LeafHash of the entry before, GenesisHash for entry 0
}

// Validate returns nil if the entry may enter a ledger, else a [*FieldError]. Texts
// must be valid UTF-8 without control characters, within their limits and not empty.
func (e Entry) Validate() error {
	if e.Timestamp <= 0 {
		return &FieldError{"timestamp", "must be after the Unix epoch"}
	}
	for i, text := range [...]string{e.Tenant, e.Actor, e.Action, e.Outcome} {
		if err := validateText(i, text); err != nil {
			return err
		}
	}
	return nil
}

// validateText checks field i of entryFields.
func validateText[T string | []byte](i int, text T) error {
	field := &entryFields[i]
	switch {
	case len(text) == 0:
		return &FieldError{field.name, "is missing"}
	case len(text) > field.limit:
		return &FieldError{field.name, fmt.Sprintf("is %d bytes, limit %d", len(text), field.limit)}
	case isPlainASCII(text):
		return nil
	}
	s := string(text)
	if !utf8.ValidString(s) {
		return &FieldError{field.name, "is not valid UTF-8"}
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return &FieldError{field.name, "has a control character"}
		}
	}
	return nil
}

// isPlainASCII spares the usual identifier the walk over its runes.
func isPlainASCII[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] < 0x20 || text[i] > 0x7e {
			return false
		}
	}
	return true
}

// Append appends the entry's one encoding to dst. It panics if the entry is not
// valid: a ledger must never hold bytes that [ParseEntry] refuses, so callers
// Validate what others sent before it comes here.
func (e Entry) Append(dst []byte) []byte {
	if err := e.Validate(); err != nil {
		panic(err)
	}
	dst = append(dst, entryMagic...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Timestamp))
	dst = append(dst, e.RequestID[:]...)
	dst = append(dst, e.PayloadDigest[:]...)
	dst = append(dst, e.Previous[:]...)
	dst = append(dst, byte(len(e.Tenant)), byte(len(e.Actor)), byte(len(e.Action)), byte(len(e.Outcome)))
	dst = append(dst, e.Tenant...)
	dst = append(dst, e.Actor...)
	dst = append(dst, e.Action...)
	return append(dst, e.Outcome...)
}

// ParseEntry reads exactly what [Entry.Append] writes: whatever it accepts encodes
// again to the same bytes, and nothing may follow. Errors wrap [ErrEntry]. The entry
// shares no memory with b.
func ParseEntry(b []byte) (Entry, error) {
	if err := checkEntry(b); err != nil {
		return Entry{}, err
	}
	e := Entry{
		Timestamp:     int64(binary.BigEndian.Uint64(b[offTimestamp:])),
		RequestID:     [16]byte(b[offRequestID:]),
		PayloadDigest: Hash(b[offDigest:]),
		Previous:      Hash(b[offPrevious:]),
	}
	rest := string(b[entryHeader:]) // one allocation for the four texts
	for i, text := range [...]*string{&e.Tenant, &e.Actor, &e.Action, &e.Outcome} {
		n := int(b[offLengths+i])
		*text, rest = rest[:n], rest[n:]
	}
	return e, nil
}

// checkEntry returns nil if b is the encoding of a valid entry. It allocates only to
// report an error, or for text beyond ASCII.
func checkEntry(b []byte) error {
	if len(b) < entryHeader {
		return fmt.Errorf("%w: %d bytes, shorter than its header", ErrEntry, len(b))
	}
	if string(b[:len(entryMagic)]) != entryMagic {
		return fmt.Errorf("%w: not an entry of version 1", ErrEntry)
	}
	if int64(binary.BigEndian.Uint64(b[offTimestamp:])) <= 0 {
		return &FieldError{"timestamp", "must be after the Unix epoch"}
	}
	want := entryHeader
	for _, n := range b[offLengths:entryHeader] {
		want += int(n)
	}
	if len(b) != want {
		return fmt.Errorf("%w: %d bytes, its header says %d", ErrEntry, len(b), want)
	}
	rest := b[entryHeader:]
	for i := range entryFields {
		n := int(b[offLengths+i])
		if err := validateText(i, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
