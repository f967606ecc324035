package tap

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Requests are signed with RFC 9421 HTTP Message Signatures, of which this
// file is the subset that the appliance speaks: one Ed25519 signature, labelled
// id-nvida, over method, path, query and the RFC 9530 digest of the body.
//
// The three fields have exactly one accepted spelling, the canonical
// serialisation of RFC 8941, so that nobody can smuggle a second label, a
// second parameter or a second base64 form past one of two parsers:
//
//	Content-Digest: sha-256=:<base64 of 32 bytes>:
//	Signature-Input: id-nvida=("@method" "@path" "@query" "content-digest");created=1618884473;nonce="...";keyid="main/ana"
//	Signature: id-nvida=:<base64 of 64 bytes>:
//
// A request that carries idempotency-key or tamv-roles must cover them too.
const (
	// SignatureLabel is the one label that is read and written.
	SignatureLabel = "id-nvida"
	// SignatureWindow is how far a signature's creation time may lie from
	// the verifier's clock, either way.
	SignatureWindow = 5 * time.Minute
	// AcceptSignature is the RFC 9421 section 5.1 field value that tells a
	// client what to sign.
	AcceptSignature = SignatureLabel + `=("@method" "@path" "@query" "content-digest");created;nonce;keyid;alg="ed25519"`

	// HeaderRoles narrows the roles that a request speaks with.
	HeaderRoles = "tamv-roles"
	// HeaderRequestID carries the request id that the client chose.
	HeaderRequestID = "idempotency-key"
	// HeaderDigest carries the digest of the body.
	HeaderDigest = "content-digest"
	// HeaderSignatureInput says what is signed.
	HeaderSignatureInput = "signature-input"
	// HeaderSignature is the signature.
	HeaderSignature = "signature"
)

const (
	maxSignatureInput = 1024
	maxComponents     = 16
	maxTarget         = 8192 // bytes of path or query
	minNonce          = 16
	maxNonce          = 64
	maxKeyID          = 2*64 + 1
)

// The codes of a signature that does not admit, all of kind Unauthenticated.
const (
	CodeUnsigned           = "unsigned"
	CodeMalformedSignature = "malformed_signature"
	CodeBadSignature       = "bad_signature"
	CodeDigestMismatch     = "digest_mismatch"
	CodeExpired            = "expired"
)

// always must be covered by every signature, in whatever order; whenSent must
// be covered by a request that carries the field.
var (
	always   = []string{"@method", "@path", "@query", HeaderDigest}
	whenSent = []string{HeaderRequestID, HeaderRoles}
)

// SignatureParams is what a signature says about itself.
type SignatureParams struct {
	Components []string  // covered components in signing order, lower case, without quotes
	Created    time.Time // whole seconds
	Nonce      string    // 16 to 64 printable characters, never used twice with a key
	KeyID      string    // "TENANT/NAME", see [SplitKeyID]
}

// String is the canonical serialisation: the value of @signature-params, and
// of Signature-Input behind the label. An empty nonce is left out.
func (p SignatureParams) String() string {
	b := make([]byte, 0, 192)
	b = append(b, '(')
	for i, c := range p.Components {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendString(b, c)
	}
	b = append(b, ");created="...)
	b = strconv.AppendInt(b, p.Created.Unix(), 10)
	if p.Nonce != "" {
		b = appendString(append(b, ";nonce="...), p.Nonce)
	}
	return string(appendString(append(b, ";keyid="...), p.KeyID))
}

// appendString writes an RFC 8941 string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// SignatureBase builds the bytes under a signature, RFC 9421 section 2.5: a
// line for each component with the value that lookup gives, then the
// parameters, which must be in canonical serialisation. It fails with Invalid
// when a component is absent, named twice, or has a value that could forge a
// line.
func SignatureBase(components []string, params string, lookup func(component string) (string, bool)) ([]byte, error) {
	b := make([]byte, 0, 512)
	for i, name := range components {
		value, ok := lookup(name)
		switch {
		case !ok:
			return nil, E("tap.signature", Invalid, "the request has no component %q", name)
		case slices.Contains(components[:i], name):
			return nil, E("tap.signature", Invalid, "component %q is covered twice", name)
		case !printable(value):
			return nil, E("tap.signature", Invalid, "component %q holds bytes outside printable ASCII", name)
		}
		b = append(appendString(b, name), ": "...)
		b = append(append(b, value...), '\n')
	}
	b = append(b, `"@signature-params": `...)
	return append(b, params...), nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// component is the value of a covered component of the request.
func (r *Request) component(name string) (string, bool) {
	switch name {
	case "@method":
		return r.Method, true
	case "@path":
		return r.Path, true
	case "@query":
		return "?" + r.RawQuery, true
	}
	value, ok := r.Header[name]
	return strings.Trim(value, " "), ok
}

// ContentDigest is the RFC 9530 field value for a body.
func ContentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return digestPrefix + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// NewNonce makes a nonce: the time in seconds as eight hex digits, then 130
// random bits. The appliance remembers nonces in their order; those of one time
// lie together there, and few pages of its state change.
func NewNonce() string { return fmt.Sprintf("%08x%s", uint32(time.Now().Unix()), rand.Text()) }

// JoinKeyID names the key of an identity.
func JoinKeyID(tenant, identity string) string { return tenant + "/" + identity }

// SplitKeyID reads "TENANT/NAME"; ok is false unless both are a [ValidName].
func SplitKeyID(keyID string) (tenant, identity string, ok bool) {
	tenant, identity, _ = strings.Cut(keyID, "/")
	return tenant, identity, ValidName(tenant) && ValidName(identity)
}

// SignRequest signs the request with an identity's key: it sets content-digest,
// signature-input and signature, and covers idempotency-key and tamv-roles when
// the request carries them. Everything else must be final before.
func SignRequest(r *Request, key ed25519.PrivateKey, keyID string, created time.Time, nonce string) error {
	if _, _, ok := SplitKeyID(keyID); !ok || len(key) != ed25519.PrivateKeySize {
		return E("tap.sign", Invalid, "signing needs an Ed25519 key and a key id of the form TENANT/NAME")
	}
	if len(nonce) < minNonce || len(nonce) > maxNonce || !printable(nonce) {
		return E("tap.sign", Invalid, "a nonce has %d to %d printable characters", minNonce, maxNonce)
	}
	if r.Header == nil {
		r.Header = make(map[string]string, 4)
	}
	r.Header[HeaderDigest] = ContentDigest(r.Body)
	p := SignatureParams{Components: required(r), Created: created, Nonce: nonce, KeyID: keyID}
	params := p.String()
	base, err := SignatureBase(p.Components, params, r.component)
	if err != nil {
		return err
	}
	r.Header[HeaderSignatureInput] = SignatureLabel + "=" + params
	r.Header[HeaderSignature] = signaturePrefix + base64.StdEncoding.EncodeToString(ed25519.Sign(key, base)) + ":"
	return nil
}

// required lists what a signature of this request must cover.
func required(r *Request) []string {
	names := slices.Clip(always)
	for _, name := range whenSent {
		if _, sent := r.Header[name]; sent {
			names = append(names, name)
		}
	}
	return names
}

// Signature is a well-formed signature that nothing has verified yet. Verify
// says whether the key made it, CheckTime whether it is fresh, VerifyDigest
// whether the body is the one that was signed; a request is authentic when all
// three agree and the nonce is new.
type Signature struct {
	SignatureParams
	base   []byte
	value  [ed25519.SignatureSize]byte
	digest [sha256.Size]byte
}

const (
	digestPrefix    = "sha-256=:"
	signaturePrefix = SignatureLabel + "=:"
)

// ParseSignature reads the request's signature. The error is Unauthenticated
// with code unsigned when there is none and malformed_signature when it is not
// exactly what this file describes.
func ParseSignature(r *Request) (*Signature, error) {
	input, value := r.Header[HeaderSignatureInput], r.Header[HeaderSignature]
	if input == "" && value == "" {
		return nil, unauthenticated(CodeUnsigned, "this request needs a signature")
	}
	if len(r.Path) > maxTarget || len(r.RawQuery) > maxTarget || !strings.HasPrefix(r.Path, "/") {
		return nil, malformedSignature("the path or the query cannot be signed")
	}
	s := &Signature{}
	params, err := s.parseInput(input)
	if err != nil {
		return nil, err
	}
	if !decodeExactly(s.value[:], value, signaturePrefix) {
		return nil, malformedSignature("Signature must be %s followed by 64 bytes in base64 and a colon", signaturePrefix)
	}
	if !decodeExactly(s.digest[:], r.Header[HeaderDigest], digestPrefix) {
		return nil, malformedSignature("Content-Digest must be %s followed by 32 bytes in base64 and a colon", digestPrefix)
	}
	for _, name := range required(r) {
		if !slices.Contains(s.Components, name) {
			return nil, malformedSignature("the signature does not cover %q", name)
		}
	}
	if s.base, err = SignatureBase(s.Components, params, r.component); err != nil {
		return nil, malformedSignature("%s", AsError(err).Message)
	}
	return s, nil
}

// parseInput reads Signature-Input and returns its parameters as signed.
func (s *Signature) parseInput(field string) (params string, err error) {
	params, ok := strings.CutPrefix(field, SignatureLabel+"=")
	if !ok || len(field) > maxSignatureInput {
		return "", malformedSignature("Signature-Input must hold the label %s alone, in at most %d bytes", SignatureLabel, maxSignatureInput)
	}
	list, err := httpsfv.UnmarshalList([]string{params})
	if err != nil || len(list) != 1 {
		return "", malformedSignature("Signature-Input is no structured field with one member")
	}
	covered, ok := list[0].(httpsfv.InnerList)
	if !ok || len(covered.Items) == 0 || len(covered.Items) > maxComponents {
		return "", malformedSignature("Signature-Input must list 1 to %d components", maxComponents)
	}
	// The parser keeps the last of two equal parameters and forgives spaces;
	// what was sent must be what it understood.
	if canonical, err := httpsfv.Marshal(list); err != nil || canonical != params {
		return "", malformedSignature("Signature-Input is not in canonical form, or names something twice")
	}
	s.Components = make([]string, len(covered.Items))
	for i, item := range covered.Items {
		name, isString := item.Value.(string)
		if !isString || len(item.Params.Names()) > 0 {
			return "", malformedSignature("a covered component is no plain name")
		}
		s.Components[i] = name
	}
	return params, s.parseParameters(covered.Params)
}

func (s *Signature) parseParameters(p *httpsfv.Params) error {
	for _, name := range p.Names() {
		value, _ := p.Get(name)
		ok := false
		switch name {
		case "created":
			var seconds int64
			seconds, ok = value.(int64)
			s.Created, ok = time.Unix(seconds, 0), ok && seconds > 0
		case "nonce":
			s.Nonce, ok = value.(string)
			ok = ok && len(s.Nonce) >= minNonce && len(s.Nonce) <= maxNonce
		case "keyid":
			s.KeyID, ok = value.(string)
			_, _, split := SplitKeyID(s.KeyID)
			ok = ok && len(s.KeyID) <= maxKeyID && split
		case "alg":
			ok = value == "ed25519"
		}
		if !ok {
			return malformedSignature("signature parameter %q is unknown or out of range", name)
		}
	}
	if s.Created.IsZero() || s.Nonce == "" || s.KeyID == "" {
		return malformedSignature("a signature needs created, nonce and keyid")
	}
	return nil
}

// decodeExactly reads prefix, the base64 of len(dst) bytes and a colon.
func decodeExactly(dst []byte, field, prefix string) bool {
	encoded, ok := strings.CutPrefix(field, prefix)
	encoded, colon := strings.CutSuffix(encoded, ":")
	if !ok || !colon || len(encoded) != base64.StdEncoding.EncodedLen(len(dst)) {
		return false
	}
	// Room for the decoder's last quantum, which may exceed dst.
	var room [ed25519.SignatureSize + 4]byte
	n, err := base64.StdEncoding.Strict().Decode(room[:], []byte(encoded))
	return err == nil && n == len(dst) && copy(dst, room[:n]) == n
}

// Verify says whether the key made this signature; otherwise the error is
// Unauthenticated with code bad_signature.
func (s *Signature) Verify(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, s.base, s.value[:]) {
		return unauthenticated(CodeBadSignature, "the signature does not match the request and the key")
	}
	return nil
}

// VerifyDigest compares the body with the digest that was signed, in constant
// time; the error has code digest_mismatch.
func (s *Signature) VerifyDigest(r *Request) error {
	sum := sha256.Sum256(r.Body)
	if subtle.ConstantTimeCompare(sum[:], s.digest[:]) != 1 {
		return unauthenticated(CodeDigestMismatch, "the body is not the one that was signed")
	}
	return nil
}

// CheckTime refuses, with code expired, a signature made more than
// SignatureWindow before or after now.
func (s *Signature) CheckTime(now time.Time) error {
	if now.Sub(s.Created).Abs() > SignatureWindow {
		return unauthenticated(CodeExpired, "the signature was made more than %s from this appliance's time", SignatureWindow).
			WithDetail("now", now.Unix())
	}
	return nil
}

func unauthenticated(code, format string, args ...any) *Error {
	return E("tap.signature", Unauthenticated, format, args...).WithCode(code)
}

func malformedSignature(format string, args ...any) *Error {
	return unauthenticated(CodeMalformedSignature, format, args...)
}
