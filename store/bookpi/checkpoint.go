package bookpi

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

const (
	// MaxOrigin is the longest log name, in bytes.
	MaxOrigin = 255
	// MaxCheckpointSize is the longest signed checkpoint that is read, in bytes: room
	// for a dozen post-quantum witness signatures.
	MaxCheckpointSize = 64 << 10

	signaturePrefix  = "— " // U+2014 and a space (C2SP signed-note)
	ed25519Signature = 64
	keyHashSize      = 4
)

// Checkpoint states what the whole ledger was at one size.
type Checkpoint struct {
	Origin string // the log's name, which is also the name of its key
	Size   uint64 // number of entries, 0..MaxSize
	Root   Hash   // root of the tree of that size
}

// Signer signs checkpoints. It is the Signer of golang.org/x/mod/sumdb/note, so that
// a key can live in hardware; see [NewSigner] for one that lives in memory.
type Signer interface {
	Name() string
	KeyHash() uint32
	Sign(msg []byte) ([]byte, error)
}

// GenerateKey makes an Ed25519 key for the log called origin, reading randomness from
// rand, and returns both halves in the text form of signed notes:
//
//	PRIVATE+KEY+<origin>+<key hash, 8 hex digits>+<base64 of 0x01 and the seed>
//	<origin>+<key hash, 8 hex digits>+<base64 of 0x01 and the public key>
//
// The first is a secret. The origin is 1..255 bytes of UTF-8 without spaces, plus
// signs or control characters, by custom a host and path without a scheme. Errors
// wrap [ErrKey].
func GenerateKey(rand io.Reader, origin string) (signerKey, verifierKey string, err error) {
	if !validOrigin(origin) {
		return "", "", fmt.Errorf("%w: the origin is not a valid key name", ErrKey)
	}
	signerKey, verifierKey, err = note.GenerateKey(rand, origin)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	return signerKey, verifierKey, nil
}

// NewSigner returns a signer for a key that [GenerateKey] made. Errors wrap [ErrKey]
// and never contain the key.
func NewSigner(signerKey string) (Signer, error) {
	s, err := note.NewSigner(signerKey)
	if err != nil || !validOrigin(s.Name()) {
		return nil, fmt.Errorf("%w: not a signer key", ErrKey)
	}
	return s, nil
}

// newVerifier accepts one spelling of each key, where note.NewVerifier is lenient
// about the case of the key hash and the last bits of base64.
func newVerifier(verifierKey string) (note.Verifier, error) {
	v, err := note.NewVerifier(verifierKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	_, key64, _ := strings.Cut(strings.TrimPrefix(verifierKey, v.Name()+"+"), "+")
	key, err := decodeBase64(key64)
	if err != nil || !validOrigin(v.Name()) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrKey)
	}
	canonical, err := note.NewEd25519VerifierKey(v.Name(), key[1:])
	if err != nil || canonical != verifierKey {
		return nil, fmt.Errorf("%w: not in canonical form", ErrKey)
	}
	return v, nil
}

// SignCheckpoint returns the checkpoint as a signed note with one signature. The
// signer's name must be the origin. The text is
//
//	<origin>
//	<size, decimal>
//	<root, base64>
//
//	— <origin> <base64 of key hash and signature>
//
// Errors wrap [ErrCheckpoint].
func SignCheckpoint(cp Checkpoint, s Signer) ([]byte, error) {
	switch {
	case !validOrigin(cp.Origin):
		return nil, fmt.Errorf("%w: the origin is not a valid key name", ErrCheckpoint)
	case cp.Origin != s.Name():
		return nil, fmt.Errorf("%w: origin %q, but the key is for %q", ErrCheckpoint, cp.Origin, s.Name())
	case cp.Size > MaxSize:
		return nil, fmt.Errorf("%w: size %d is beyond the limit", ErrCheckpoint, cp.Size)
	}
	signed, err := note.Sign(&note.Note{Text: cp.text()}, s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return signed, nil
}

// text is the signed part of the note.
func (cp Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", cp.Origin, cp.Size, base64.StdEncoding.EncodeToString(cp.Root[:]))
}

// OpenCheckpoint reads a signed checkpoint and returns it if verifierKey's owner
// signed it and its origin is that key's name. Errors wrap [ErrCheckpoint], or
// [ErrKey] if verifierKey itself is unusable.
//
// Every byte of the text and of the log's signature counts. Signature lines of other
// keys are allowed in canonical base64, in any order, none twice; their signatures are
// not checked here.
func OpenCheckpoint(text []byte, verifierKey string) (Checkpoint, error) {
	v, err := newVerifier(verifierKey)
	if err != nil {
		return Checkpoint{}, err
	}
	return openCheckpoint(text, v)
}

func openCheckpoint(text []byte, v note.Verifier) (Checkpoint, error) {
	if len(text) > MaxCheckpointSize {
		return Checkpoint{}, fmt.Errorf("%w: %d bytes, limit %d", ErrCheckpoint, len(text), MaxCheckpointSize)
	}
	body, signatures, found := bytes.Cut(text, []byte("\n\n"))
	if !found {
		return Checkpoint{}, fmt.Errorf("%w: no signatures", ErrCheckpoint)
	}
	cp, err := parseCheckpointBody(string(body) + "\n")
	if err != nil {
		return Checkpoint{}, err
	}
	if cp.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("%w: origin %q, want %q", ErrCheckpoint, cp.Origin, v.Name())
	}
	lines, err := checkSignatureLines(string(signatures), v)
	if err != nil {
		return Checkpoint{}, err
	}
	opened, err := note.Open(text, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	// The note package drops repeated lines silently; a repeated line is slack.
	if len(opened.Sigs) != 1 || len(opened.Sigs)+len(opened.UnverifiedSigs) != lines {
		return Checkpoint{}, fmt.Errorf("%w: a signature line is repeated", ErrCheckpoint)
	}
	return cp, nil
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
	if cp.Size, err = parseDecimal(lines[1]); err != nil || cp.Size > MaxSize {
		return Checkpoint{}, fmt.Errorf("%w: malformed size", ErrCheckpoint)
	}
	root, err := decodeBase64(lines[2])
	if err != nil || len(root) != HashSize {
		return Checkpoint{}, fmt.Errorf("%w: malformed root", ErrCheckpoint)
	}
	cp.Root = Hash(root)
	return cp, nil
}

// checkSignatureLines demands the canonical form of each line and counts them.
func checkSignatureLines(block string, v note.Verifier) (lines int, err error) {
	for block != "" {
		line, rest, found := strings.Cut(block, "\n")
		entry, prefixed := strings.CutPrefix(line, signaturePrefix)
		name, sig64, spaced := strings.Cut(entry, " ")
		sig, err := decodeBase64(sig64)
		if !found || !prefixed || !spaced || !validOrigin(name) || err != nil || len(sig) <= keyHashSize {
			return 0, fmt.Errorf("%w: malformed signature line", ErrCheckpoint)
		}
		ours := name == v.Name() && binary.BigEndian.Uint32(sig) == v.KeyHash()
		if ours && len(sig) != keyHashSize+ed25519Signature {
			return 0, fmt.Errorf("%w: malformed signature", ErrCheckpoint)
		}
		lines++
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
