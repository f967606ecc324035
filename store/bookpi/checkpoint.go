package bookpi

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxOrigin is the longest log name, in bytes.
	MaxOrigin = 255
	// MaxCheckpointSize is the longest signed checkpoint that is read, in bytes: room
	// for a dozen post-quantum witness signatures.
	MaxCheckpointSize = 64 << 10

	signaturePrefix   = "— " // U+2014 and a space (C2SP signed-note)
	keyHashSize       = 4
	maxSignatureLines = 100 // what x/mod's note package reads
)

// Checkpoint states what the whole ledger was at one size.
type Checkpoint struct {
	Origin string // the log's name, which is also the name of its key
	Size   uint64 // number of entries, 0..MaxSize
	Root   Hash   // root of the tree of that size
}

// check holds a checkpoint to what can be written down.
func (cp Checkpoint) check() error {
	switch {
	case !validOrigin(cp.Origin):
		return fmt.Errorf("%w: the origin is not a valid key name", ErrCheckpoint)
	case cp.Size > MaxSize:
		return fmt.Errorf("%w: size %d is beyond the limit", ErrCheckpoint, cp.Size)
	}
	return nil
}

// text is the signed part of the note.
func (cp Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", cp.Origin, cp.Size, base64.StdEncoding.EncodeToString(cp.Root[:]))
}

// OpenCheckpoint reads a signed checkpoint and returns it if verifierKey's owner
// signed it and its origin is that key's name. The key is either of a log's keys.
// Errors wrap [ErrCheckpoint], or [ErrKey] if verifierKey itself is unusable.
//
// Every byte of the text and of that key's signature counts. Signature lines of other
// keys are allowed in canonical base64, in any order, one of each key; their
// signatures are not checked here: [VerifyCheckpoint] does.
func OpenCheckpoint(text []byte, verifierKey string) (Checkpoint, error) {
	k, err := newVerifier(verifierKey)
	if err != nil {
		return Checkpoint{}, err
	}
	return openCheckpoint(text, k)
}

// newVerifier reads the verifier key of a log.
func newVerifier(verifierKey string) (VerifierKey, error) {
	k, err := ParseVerifierKey(verifierKey)
	if err != nil {
		return VerifierKey{}, err
	}
	if !k.Algorithm().signsLogs() {
		return VerifierKey{}, fmt.Errorf("%w: a log does not sign with %v", ErrKey, k.Algorithm())
	}
	return k, nil
}

// openCheckpoint demands the signature of every one of the keys.
func openCheckpoint(text []byte, keys ...VerifierKey) (Checkpoint, error) {
	n, err := parseNote(text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, k := range keys {
		if n.checkpoint.Origin != k.Name() {
			return Checkpoint{}, fmt.Errorf("%w: origin %q, want %q", ErrCheckpoint, n.checkpoint.Origin, k.Name())
		}
		if _, signed, err := n.verify(k); err != nil {
			return Checkpoint{}, err
		} else if !signed {
			return Checkpoint{}, fmt.Errorf("%w: not signed by %s", ErrCheckpoint, k.ID())
		}
	}
	return n.checkpoint, nil
}

// VerifyCheckpoint reads a signed checkpoint and returns it, with its cosignatures by
// the policy's witnesses in the order of the lines, if one of the policy's log keys of
// that origin signed it and the cosignatures satisfy the quorum. Lines of unknown keys
// are held to canonical form and otherwise ignored; a line of a known key that does not
// verify is an error, also where it is not needed.
//
// A policy that lists a log's Ed25519 and ML-DSA-44 keys is content with either; list
// the second alone to withstand quantum computers. No clock is consulted: whoever wants
// fresh cosignatures looks at their times.
//
// Errors wrap [ErrCheckpoint]; a genuine checkpoint without the quorum also wraps
// [ErrQuorum], and a policy that [Policy.Check] refuses gives its error.
func VerifyCheckpoint(text []byte, p Policy) (Checkpoint, []Cosignature, error) {
	if err := p.Check(); err != nil {
		return Checkpoint{}, nil, err
	}
	n, err := parseNote(text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	byLog := false
	for i := range p.Logs {
		k := p.Logs[i].Key
		_, signed, err := n.verify(k)
		if err != nil {
			return Checkpoint{}, nil, err
		}
		byLog = byLog || signed && k.Name() == n.checkpoint.Origin
	}
	if !byLog {
		return Checkpoint{}, nil, fmt.Errorf("%w: of %q, not signed by a log of the policy", ErrCheckpoint, n.checkpoint.Origin)
	}
	var by []Cosignature
	for _, line := range n.lines {
		w, known := p.witness(line)
		if !known {
			continue
		}
		timestamp, ok := w.Key.verifyLine(n.checkpoint, line.signature)
		if !ok {
			return Checkpoint{}, nil, badSignature(w.Key)
		}
		by = append(by, w.Key.cosignature(w.Name, timestamp))
	}
	if !p.Satisfied(witnessNames(by)...) {
		return Checkpoint{}, nil, fmt.Errorf("%w: %w %s: cosigned by %q", ErrCheckpoint, ErrQuorum, p.Quorum, witnessNames(by))
	}
	return n.checkpoint, by, nil
}

// ParseCheckpoint reads what a note states without checking who signed it: for those
// who compare it with a tree of their own, or pick the keys by its origin. The note
// must have the form that [OpenCheckpoint] demands, at least one signature line
// included. Errors wrap [ErrCheckpoint].
func ParseCheckpoint(text []byte) (Checkpoint, error) {
	n, err := parseNote(text)
	return n.checkpoint, err
}

// signedNote is a checkpoint that has been read, not believed.
type signedNote struct {
	checkpoint Checkpoint
	lines      []signatureLine // at least one, no two of the same key
}

type signatureLine struct {
	name      string
	hash      uint32
	signature []byte // what follows the key hash
	text      string // the whole line with its line feed
}

// by reports whether the line claims to be the key's.
func (l *signatureLine) by(k VerifierKey) bool {
	return l.name == k.Name() && l.hash == k.KeyHash()
}

// signedBy reports whether there is a line that claims to be of that key.
func (n *signedNote) signedBy(name string, hash uint32) bool {
	return slices.ContainsFunc(n.lines, func(l signatureLine) bool { return l.name == name && l.hash == hash })
}

// verify returns the line of the key and whether there is one. It is an error if
// there is one that does not verify.
func (n *signedNote) verify(k VerifierKey) (line signatureLine, signed bool, err error) {
	for _, line := range n.lines {
		if !line.by(k) {
			continue
		}
		if _, ok := k.verifyLine(n.checkpoint, line.signature); !ok {
			return signatureLine{}, false, badSignature(k)
		}
		return line, true, nil
	}
	return signatureLine{}, false, nil
}

func badSignature(k VerifierKey) error {
	return fmt.Errorf("%w: the signature of %s does not verify", ErrCheckpoint, k.ID())
}

// parseNote reads a note in its only spelling.
func parseNote(text []byte) (signedNote, error) {
	if len(text) > MaxCheckpointSize {
		return signedNote{}, fmt.Errorf("%w: %d bytes, limit %d", ErrCheckpoint, len(text), MaxCheckpointSize)
	}
	body, signatures, found := bytes.Cut(text, []byte("\n\n"))
	if !found || len(signatures) == 0 {
		return signedNote{}, fmt.Errorf("%w: no signatures", ErrCheckpoint)
	}
	cp, err := parseCheckpointBody(string(body) + "\n")
	if err != nil {
		return signedNote{}, err
	}
	lines, err := parseSignatureLines(string(signatures))
	if err != nil {
		return signedNote{}, err
	}
	return signedNote{cp, lines}, nil
}

// parseCheckpointBody reads the three lines and compares them with the one way to
// write them.
func parseCheckpointBody(body string) (Checkpoint, error) {
	lines := strings.Split(body, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("%w: the signed text is not three lines", ErrCheckpoint)
	}
	cp := Checkpoint{Origin: lines[0]}
	var err error
	if cp.Size, err = parseDecimal(lines[1]); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: malformed size", ErrCheckpoint)
	}
	root, err := decodeBase64(lines[2])
	if err != nil || len(root) != HashSize {
		return Checkpoint{}, fmt.Errorf("%w: malformed root", ErrCheckpoint)
	}
	cp.Root = Hash(root)
	return cp, cp.check()
}

// parseSignatureLines reads a block of lines, each in canonical form and of another
// key. A repeated line would be slack: readers drop it silently.
func parseSignatureLines(block string) ([]signatureLine, error) {
	var lines []signatureLine
	for block != "" {
		text, rest, found := strings.Cut(block, "\n")
		entry, prefixed := strings.CutPrefix(text, signaturePrefix)
		name, sig64, spaced := strings.Cut(entry, " ")
		sig, err := decodeBase64(sig64)
		if !found || !prefixed || !spaced || !validOrigin(name) || err != nil || len(sig) <= keyHashSize {
			return nil, fmt.Errorf("%w: malformed signature line", ErrCheckpoint)
		}
		line := signatureLine{name, binary.BigEndian.Uint32(sig), sig[keyHashSize:], text + "\n"}
		for i := range lines {
			if lines[i].name == line.name && lines[i].hash == line.hash {
				return nil, fmt.Errorf("%w: a key has signed twice", ErrCheckpoint)
			}
		}
		if len(lines) == maxSignatureLines {
			return nil, fmt.Errorf("%w: more than %d signatures", ErrCheckpoint, maxSignatureLines)
		}
		lines = append(lines, line)
		block = rest
	}
	return lines, nil
}

// validOrigin holds names to what both a note's text and its key lines can carry.
func validOrigin(name string) bool {
	return name != "" && len(name) <= MaxOrigin && utf8.ValidString(name) &&
		strings.IndexFunc(name, func(r rune) bool {
			return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r)
		}) < 0
}

// parseDecimal reads a number in its only spelling: no sign, no leading zero.
func parseDecimal(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if strconv.FormatUint(n, 10) != s {
		return 0, strconv.ErrSyntax
	}
	return n, nil
}

// decodeBase64 reads standard base64 in its only spelling. The Strict encoding checks
// the padding bits but still skips line breaks, which the length gives away.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, err
	}
	if base64.StdEncoding.EncodedLen(len(b)) != len(s) {
		return nil, base64.CorruptInputError(len(s))
	}
	return b, nil
}
