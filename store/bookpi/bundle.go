package bookpi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
)

// Limits of a bundle. Reading stops with an error beyond them.
const (
	MaxBundleSize    = 64 << 20 // bytes of the whole file
	MaxBundleItems   = 100_000  // entries
	MaxBundleEntry   = 4 << 10  // bytes of one encoded entry, decoded from base64
	MaxBundlePayload = 1 << 20  // bytes of one payload, decoded from base64
	maxProofLength   = 62       // hashes: the depth of a tree of MaxSize
)

const bundleMagic = "tamv-evidence-bundle/1"

// Bundle is a self-contained proof for some entries of a ledger. On disk (.tamv) it
// is text, line by line, each line ended by one line feed:
//
//	tamv-evidence-bundle/1
//	entries <number of entries, decimal, at least 1>
//	<the signed checkpoint, verbatim>
//
//	entry <position, decimal>
//	hash <leaf hash, 64 hex digits>
//	record <the encoded entry, base64>
//	payload <the payload, base64>
//	opening <the record key, base64>    if the payload is sealed and is to be readable
//	proof <one hash, base64>            as many lines as the proof has hashes
//
//	entry ...
//
// The payload line is "payload" alone for a payload of no bytes and "payload -" for
// one that is withheld. The opening line discloses the key of one sealed payload, which
// opens that payload and no other (see [OpenSealed]). Each entry ends with an empty line, the last one too.
// Positions ascend. Base64 is standard, padded, canonical.
//
// Text, because damage must be pinned on one entry: a changed length field makes
// everything after it unreadable in a binary file, while here an entry's lines stay
// its own. It also survives mail and can be read, compared and cut with everyday
// tools. It costs a third more bytes. The hash line is derivable; it is there because
// it is what receipts print, and because it tells a damaged entry from a damaged
// proof. No byte is slack: every file [ParseBundle] accepts is what [Bundle.Encode]
// returns for it.
type Bundle struct {
	Checkpoint []byte // the signed checkpoint, as [LogKeys.Sign] returns it
	Items      []Item // at least one, positions strictly ascending
}

// Item is one entry in a bundle.
type Item struct {
	Position   uint64 // in the ledger
	Entry      []byte // the entry's encoding
	Payload    []byte // what the entry's PayloadDigest is of, if HasPayload
	HasPayload bool   // false if the payload is withheld
	Proof      []Hash // inclusion proof for Position in the checkpoint's tree

	Opening *[32]byte // record key of a sealed payload; nil to leave it sealed
}

// Encode returns the bundle's file. It checks nothing: a bundle with no items, over a
// limit or out of order yields a file that [ParseBundle] refuses.
func (b Bundle) Encode() []byte {
	size := len(bundleMagic) + 32 + len(b.Checkpoint)
	for i := range b.Items {
		it := &b.Items[i]
		size += 160 + base64.StdEncoding.EncodedLen(len(it.Entry)) +
			base64.StdEncoding.EncodedLen(len(it.Payload)) + 52*len(it.Proof)
	}
	out := make([]byte, 0, size)
	out = append(out, bundleMagic+"\nentries "...)
	out = strconv.AppendInt(out, int64(len(b.Items)), 10)
	out = append(out, '\n')
	out = append(out, b.Checkpoint...)
	out = append(out, '\n')
	for i := range b.Items {
		out = b.Items[i].append(out)
	}
	return out
}

func (it *Item) append(out []byte) []byte {
	out = append(out, "entry "...)
	out = strconv.AppendUint(out, it.Position, 10)
	out = append(out, "\nhash "...)
	out = append(out, LeafHash(it.Entry).String()...)
	out = append(out, "\nrecord "...)
	out = base64.StdEncoding.AppendEncode(out, it.Entry)
	out = append(out, "\npayload"...)
	switch {
	case !it.HasPayload:
		out = append(out, " -"...)
	case len(it.Payload) > 0:
		out = append(out, ' ')
		out = base64.StdEncoding.AppendEncode(out, it.Payload)
	}
	if it.Opening != nil {
		out = append(out, "\nopening "...)
		out = base64.StdEncoding.AppendEncode(out, it.Opening[:])
	}
	for i := range it.Proof {
		out = append(out, "\nproof "...)
		out = base64.StdEncoding.AppendEncode(out, it.Proof[i][:])
	}
	return append(out, "\n\n"...)
}

// ParseBundle reads a bundle's file without checking what it claims; that is
// [VerifyBundle]. It guarantees that encoding the result gives the same bytes. Every
// error is a [*BrokenError].
func ParseBundle(data []byte) (Bundle, error) {
	s, err := newBundleScanner(data)
	if err != nil {
		return Bundle{}, err
	}
	b := Bundle{Checkpoint: bytes.Clone(s.checkpoint)}
	for s.more() {
		it, stated, err := s.next()
		if err != nil {
			return Bundle{}, err
		}
		if stated != LeafHash(it.Entry) {
			return Bundle{}, brokenAt(it.Position, PartEntry, "the record does not have the stated hash", nil)
		}
		if n := len(b.Items); n > 0 && b.Items[n-1].Position >= it.Position {
			return Bundle{}, brokenAt(it.Position, PartStructure, "positions do not ascend", nil)
		}
		b.Items = append(b.Items, it)
	}
	if err := s.end(); err != nil {
		return Bundle{}, err
	}
	return b, nil
}

// bundleScanner reads a bundle front to back, one entry at a time, so that the first
// broken entry is found before a later one can be misread because of it.
type bundleScanner struct {
	rest       []byte
	count      uint64 // entries the file says it has
	read       uint64 // entries begun
	checkpoint []byte // aliases the input
}

// newBundleScanner reads everything up to the first entry.
func newBundleScanner(data []byte) (*bundleScanner, error) {
	if len(data) > MaxBundleSize {
		return nil, broken(PartStructure, fmt.Sprintf("%d bytes, limit %d", len(data), MaxBundleSize), nil)
	}
	s := &bundleScanner{rest: data}
	if line, ok := s.line(); !ok || string(line) != bundleMagic {
		return nil, broken(PartStructure, "not an evidence bundle of version 1", nil)
	}
	line, _ := s.line()
	number, ok := bytes.CutPrefix(line, []byte("entries "))
	count, err := parseDecimal(string(number))
	if !ok || err != nil || count == 0 || count > MaxBundleItems {
		return nil, broken(PartStructure, fmt.Sprintf("the number of entries is not within 1..%d", MaxBundleItems), nil)
	}
	s.count = count
	// A checkpoint has one empty line inside, and the one that ends it here.
	whole := s.rest
	for empty := 0; empty < 2; {
		line, ok := s.line()
		if !ok {
			return nil, broken(PartCheckpoint, "it does not end", nil)
		}
		if len(line) == 0 {
			empty++
		}
	}
	s.checkpoint = whole[:len(whole)-len(s.rest)-1]
	return s, nil
}

// line returns the next line without its line feed, and whether there was one.
func (s *bundleScanner) line() ([]byte, bool) {
	i := bytes.IndexByte(s.rest, '\n')
	if i < 0 {
		return nil, false
	}
	line := s.rest[:i]
	s.rest = s.rest[i+1:]
	return line, true
}

// more reports whether the file says that another entry follows.
func (s *bundleScanner) more() bool { return s.read < s.count }

// end checks that nothing follows the last entry.
func (s *bundleScanner) end() error {
	if len(s.rest) != 0 {
		return broken(PartStructure, fmt.Sprintf("%d bytes follow the last of %d entries", len(s.rest), s.count), nil)
	}
	return nil
}

// next reads one entry and the hash stated for it. The item shares no memory with
// the input.
func (s *bundleScanner) next() (it Item, stated Hash, err error) {
	s.read++
	line, _ := s.line()
	number, ok := bytes.CutPrefix(line, []byte("entry "))
	it.Position, err = parseDecimal(string(number))
	if !ok || err != nil {
		return it, stated, broken(PartStructure,
			fmt.Sprintf("the position of entry number %d of %d in the file is unreadable", s.read, s.count), nil)
	}
	fail := func(part, reason string) (Item, Hash, error) {
		return Item{}, Hash{}, brokenAt(it.Position, part, reason, nil)
	}

	line, _ = s.line()
	digits, ok := bytes.CutPrefix(line, []byte("hash "))
	if stated, err = ParseHash(string(digits)); !ok || err != nil {
		return fail(PartStructure, "the hash line is malformed")
	}

	line, _ = s.line()
	record, ok := bytes.CutPrefix(line, []byte("record "))
	if it.Entry, err = decodeLimited(record, MaxBundleEntry); !ok || err != nil {
		return fail(PartEntry, "the record line is malformed or too long")
	}

	line, _ = s.line()
	if it.Payload, it.HasPayload, ok = parsePayloadLine(line); !ok {
		return fail(PartPayload, "the payload line is malformed or too long")
	}

	line, ok = s.line()
	if key64, has := bytes.CutPrefix(line, []byte("opening ")); has {
		key, err := decodeLimited(key64, len(it.Opening))
		if err != nil || len(key) != len(it.Opening) || !it.HasPayload {
			return fail(PartOpening, "the opening is malformed, or of a payload that is withheld")
		}
		it.Opening = (*[32]byte)(key)
		line, ok = s.line()
	}

	for ; ; line, ok = s.line() {
		if ok && len(line) == 0 {
			return it, stated, nil
		}
		hash64, isProof := bytes.CutPrefix(line, []byte("proof "))
		hash, err := decodeLimited(hash64, HashSize)
		if !isProof || err != nil || len(hash) != HashSize || len(it.Proof) == maxProofLength {
			return fail(PartProof, "the proof is malformed, too long or does not end")
		}
		it.Proof = append(it.Proof, Hash(hash))
	}
}

// parsePayloadLine reads the three forms of the payload line.
func parsePayloadLine(line []byte) (payload []byte, present, ok bool) {
	switch string(line) {
	case "payload -":
		return nil, false, true
	case "payload":
		return nil, true, true
	}
	text, ok := bytes.CutPrefix(line, []byte("payload "))
	if !ok || len(text) == 0 {
		return nil, false, false
	}
	payload, err := decodeLimited(text, MaxBundlePayload)
	return payload, true, err == nil
}

// decodeLimited decodes canonical base64 of at most limit bytes.
func decodeLimited(text []byte, limit int) ([]byte, error) {
	if len(text) > base64.StdEncoding.EncodedLen(limit) {
		return nil, base64.CorruptInputError(len(text))
	}
	b, err := decodeBase64(string(text))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, base64.CorruptInputError(len(text))
	}
	return b, nil
}
