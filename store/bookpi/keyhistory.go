package bookpi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// MaxKeyHistory is the longest key history that is read, in bytes.
	MaxKeyHistory = 4 << 20
	// MaxKeyRecords is the most records a key history may have.
	MaxKeyRecords = 256

	keyHistoryMagic = "tamv-log-keys/1"
)

// ErrKeyHistory: a key history that is malformed, or whose records do not vouch for
// each other, or that the keys at hand cannot extend.
var ErrKeyHistory = errors.New("bookpi: invalid key history")

// KeyHistory says which keys a log signed with, and from which size on. Whoever
// trusts one of its keys can trust the others: each record is signed by every key of
// the record before, which hand over, and by every key of its own, which prove that
// their secrets exist. On disk it is text, each line ended by one line feed:
//
//	tamv-log-keys/1
//	origin <the log's name>
//
//	record <number, decimal, from 0>
//	from <size, decimal; 0 in record 0, ascending>
//	previous <SHA-256 of the record before, 64 hex digits; zeroes in record 0>
//	key <verifier key, ed25519>
//	key <verifier key, ml-dsa-44; the line may be missing>
//	sign <signature, base64>     one of each key of the record before, in its order,
//	                             then one of each key that is new here, in this order
//
//	record 1
//	...
//
// Each record ends with an empty line, the last one too. Every signature covers the
// two lines at the top, the empty line, and the record's lines from "record" to the
// last "key". The previous hash is over the record's lines from "record" to the last
// "sign". ML-DSA-44 signs with the context string "tamv-log-keys/1"; what Ed25519 signs
// here cannot be read as a checkpoint, whose second line is a number.
//
// A key that was replaced never comes back. The zero value has no records.
type KeyHistory struct {
	Origin  string
	Records []KeyRecord
}

// KeyRecord is one set of keys in a [KeyHistory].
type KeyRecord struct {
	Number     uint64        // 0, 1, 2, ...
	From       uint64        // checkpoints of this size and larger are signed with Keys
	Previous   Hash          // over the record before
	Keys       []VerifierKey // Ed25519, then ML-DSA-44 if the log has it
	Signatures [][]byte      // bare, in the order of the file
}

// NewKeyHistory starts the history of a log. Errors wrap [ErrKeyHistory].
func NewKeyHistory(keys LogKeys) (KeyHistory, error) {
	h := KeyHistory{Origin: keys.Origin()}
	return h.extend(LogKeys{}, keys, 0)
}

// Extend returns the history with one more record: from the size from on, the log
// signs with next instead of current, which must be the keys of the newest record. At
// least one key must be new; the other may stay. from must be larger than that of the
// newest record, and ought to be larger than every checkpoint signed so far, for a
// checkpoint of that size is expected from the new keys. h itself stays as it is.
// Errors wrap [ErrKeyHistory].
func (h KeyHistory) Extend(current, next LogKeys, from uint64) (KeyHistory, error) {
	if len(h.Records) == 0 {
		return KeyHistory{}, fmt.Errorf("%w: it has no first record", ErrKeyHistory)
	}
	if !slices.Equal(current.VerifierKeys(), h.newest().Keys) {
		return KeyHistory{}, fmt.Errorf("%w: the keys at hand are not those of its newest record", ErrKeyHistory)
	}
	return h.extend(current, next, from)
}

func (h KeyHistory) extend(current, next LogKeys, from uint64) (KeyHistory, error) {
	r := KeyRecord{Number: uint64(len(h.Records)), From: from, Keys: next.VerifierKeys()}
	if len(h.Records) > 0 {
		r.Previous = h.newest().hash()
	}
	message := h.message(&r)
	for _, k := range append(slices.Clone(current.keys), next.keys...) {
		if len(r.Signatures) >= len(current.keys) && current.has(k.verifier) {
			continue
		}
		signature, err := k.signRaw(message, keyHistoryMagic)
		if err != nil {
			return KeyHistory{}, fmt.Errorf("%w: %w", ErrKeyHistory, err)
		}
		r.Signatures = append(r.Signatures, signature)
	}
	if err := h.check(&r); err != nil {
		return KeyHistory{}, err
	}
	return KeyHistory{h.Origin, append(slices.Clip(h.Records), r)}, nil
}

func (k LogKeys) has(v VerifierKey) bool { return slices.Contains(k.VerifierKeys(), v) }

// check decides whether a record may follow those that are there.
func (h KeyHistory) check(r *KeyRecord) error {
	var before KeyRecord // zero before the first
	if len(h.Records) > 0 {
		before = *h.newest()
	}
	if err := h.continues(r, &before); err != nil {
		return err
	}
	signers, err := h.signers(r, before.Keys)
	if err != nil {
		return err
	}
	if len(r.Signatures) != len(signers) {
		return r.refuse("%d signatures, want %d", len(r.Signatures), len(signers))
	}
	message := h.message(r)
	for i, k := range signers {
		if !k.verifyRaw(message, r.Signatures[i], keyHistoryMagic) {
			return r.refuse("the signature of %s does not verify", k.ID())
		}
	}
	return nil
}

func (r *KeyRecord) refuse(format string, args ...any) error {
	return fmt.Errorf("%w: record %d: %s", ErrKeyHistory, r.Number, fmt.Sprintf(format, args...))
}

// continues holds what a record says of its place to the record before.
func (h KeyHistory) continues(r, before *KeyRecord) error {
	first := r.Number == 0
	switch {
	case !validOrigin(h.Origin):
		return r.refuse("the origin is not a valid key name")
	case r.Number != uint64(len(h.Records)) || r.Number >= MaxKeyRecords:
		return r.refuse("numbers do not count up within 0..%d", MaxKeyRecords-1)
	case first && r.From != 0, !first && r.From <= before.From, r.From > MaxSize:
		return r.refuse("it does not begin after the one before")
	case first && r.Previous != Hash{}, !first && r.Previous != before.hash():
		return r.refuse("it does not name the one before")
	}
	return nil
}

// signers are whose signatures a record needs: of the keys that signed before, and of
// each that it brings.
func (h KeyHistory) signers(r *KeyRecord, before []VerifierKey) ([]VerifierKey, error) {
	if len(r.Keys) < 1 || len(r.Keys) > 2 {
		return nil, r.refuse("%d keys", len(r.Keys))
	}
	signers := slices.Clone(before)
	for i, k := range r.Keys {
		if want := [...]Algorithm{AlgorithmEd25519, AlgorithmMLDSA44}[i]; k.Name() != h.Origin || k.Algorithm() != want {
			return nil, r.refuse("key %d is not a key of the log for %v", i+1, want)
		}
		if slices.Contains(before, k) {
			continue
		}
		if h.Has(k) {
			return nil, r.refuse("%s was replaced before", k.ID())
		}
		signers = append(signers, k)
	}
	if len(signers) == len(before) {
		return nil, r.refuse("no key is new")
	}
	return signers, nil
}

func (h KeyHistory) newest() *KeyRecord { return &h.Records[len(h.Records)-1] }

// Has reports whether the key is in the history.
func (h KeyHistory) Has(k VerifierKey) bool {
	return slices.ContainsFunc(h.Records, func(r KeyRecord) bool { return slices.Contains(r.Keys, k) })
}

// At returns the keys that sign checkpoints of that size, Ed25519 first; nil for the
// zero history.
func (h KeyHistory) At(size uint64) []VerifierKey {
	for _, r := range slices.Backward(h.Records) {
		if r.From <= size {
			return r.Keys
		}
	}
	return nil
}

// OpenCheckpoint reads a signed checkpoint and returns it if every key that the
// history has for its size signed it. Errors wrap [ErrCheckpoint].
func (h KeyHistory) OpenCheckpoint(text []byte) (Checkpoint, error) {
	cp, err := ParseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, err
	}
	keys := h.At(cp.Size)
	if len(keys) == 0 {
		return Checkpoint{}, fmt.Errorf("%w: no key is known for size %d", ErrCheckpoint, cp.Size)
	}
	return openCheckpoint(text, keys...)
}

// Encode returns the history's file. It checks nothing.
func (h KeyHistory) Encode() []byte {
	out := h.head()
	for i := range h.Records {
		out = append(h.Records[i].append(out), '\n')
	}
	return out
}

func (h KeyHistory) head() []byte {
	return []byte(keyHistoryMagic + "\norigin " + h.Origin + "\n\n")
}

// message is what the signatures of a record cover.
func (h KeyHistory) message(r *KeyRecord) []byte { return r.appendStatement(h.head()) }

// hash is what the next record calls previous.
func (r *KeyRecord) hash() Hash { return sha256.Sum256(r.append(nil)) }

func (r *KeyRecord) append(out []byte) []byte {
	out = r.appendStatement(out)
	for _, s := range r.Signatures {
		out = append(base64.StdEncoding.AppendEncode(append(out, "sign "...), s), '\n')
	}
	return out
}

func (r *KeyRecord) appendStatement(out []byte) []byte {
	out = strconv.AppendUint(append(out, "record "...), r.Number, 10)
	out = strconv.AppendUint(append(out, "\nfrom "...), r.From, 10)
	out = append(append(out, "\nprevious "...), r.Previous.String()...)
	for _, k := range r.Keys {
		out = append(append(out, "\nkey "...), k.String()...)
	}
	return append(out, '\n')
}

// ParseKeyHistory reads a history in its only spelling and checks that its records
// vouch for each other. That says nothing about whose they are: see
// [OpenKeyHistory]. Errors wrap [ErrKeyHistory].
func ParseKeyHistory(text []byte) (KeyHistory, error) {
	if len(text) > MaxKeyHistory {
		return KeyHistory{}, fmt.Errorf("%w: %d bytes, limit %d", ErrKeyHistory, len(text), MaxKeyHistory)
	}
	blocks := strings.Split(string(text), "\n\n")
	last := len(blocks) - 1
	head, ok := strings.CutPrefix(blocks[0], keyHistoryMagic+"\norigin ")
	if !ok || last < 2 || blocks[last] != "" {
		return KeyHistory{}, fmt.Errorf("%w: not a key history of version 1, or cut off", ErrKeyHistory)
	}
	h := KeyHistory{Origin: head}
	for _, block := range blocks[1:last] {
		r, err := parseKeyRecord(block)
		if err != nil {
			return KeyHistory{}, fmt.Errorf("%w: record %d: %w", ErrKeyHistory, len(h.Records), err)
		}
		if err := h.check(&r); err != nil {
			return KeyHistory{}, err
		}
		h.Records = append(h.Records, r)
	}
	if !bytes.Equal(h.Encode(), text) {
		return KeyHistory{}, fmt.Errorf("%w: not in canonical form", ErrKeyHistory)
	}
	return h, nil
}

// OpenKeyHistory is [ParseKeyHistory] for somebody who knows one key of the log, old
// or new, and thereby learns the others. Errors wrap [ErrKeyHistory].
func OpenKeyHistory(text []byte, known VerifierKey) (KeyHistory, error) {
	h, err := ParseKeyHistory(text)
	if err != nil {
		return KeyHistory{}, err
	}
	if !h.Has(known) {
		return KeyHistory{}, fmt.Errorf("%w: %s is not in it", ErrKeyHistory, known.ID())
	}
	return h, nil
}

// parseKeyRecord reads the lines of a record. The caller compares the whole with its
// canonical form.
func parseKeyRecord(block string) (r KeyRecord, err error) {
	for _, line := range strings.Split(block, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "record":
			r.Number, err = parseDecimal(rest)
		case "from":
			r.From, err = parseDecimal(rest)
		case "previous":
			r.Previous, err = ParseHash(rest)
		case "key":
			var k VerifierKey
			k, err = ParseVerifierKey(rest)
			r.Keys = append(r.Keys, k)
		case "sign":
			var s []byte
			s, err = decodeBase64(rest)
			r.Signatures = append(r.Signatures, s)
		default:
			err = errors.New("an unknown line")
		}
		if err != nil {
			return KeyRecord{}, err
		}
	}
	return r, nil
}
