package tap

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// The key test-key-ed25519 of RFC 9421 appendix B.1.4.
const (
	rfcPrivateKey = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n"
	rfcPublicKey  = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----\n"
)

var (
	testKey     = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	testPublic  = testKey.Public().(ed25519.PublicKey)
	testCreated = time.Unix(1_618_884_473, 0)
)

const testNonce = "0123456789abcdef"

func rfcKeys(t *testing.T) (ed25519.PrivateKey, ed25519.PublicKey) {
	t.Helper()
	block, _ := pem.Decode([]byte(rfcPrivateKey))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode([]byte(rfcPublicKey))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return private.(ed25519.PrivateKey), public.(ed25519.PublicKey)
}

// TestPublishedVector is RFC 9421 appendix B.2.6, byte for byte.
func TestPublishedVector(t *testing.T) {
	message := map[string]string{
		"date": "Tue, 20 Apr 2021 02:07:55 GMT", "@method": "POST", "@path": "/foo", "@authority": "example.com",
		"content-type": "application/json", "content-length": "18",
	}
	const (
		params = `("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`
		base   = `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ` + params
		signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
	)
	p := SignatureParams{
		Components: []string{"date", "@method", "@path", "@authority", "content-type", "content-length"},
		Created:    time.Unix(1_618_884_473, 0), KeyID: "test-key-ed25519",
	}
	if got := p.String(); got != params {
		t.Errorf("parameters\n got %s\nwant %s", got, params)
	}
	got, err := SignatureBase(p.Components, p.String(), func(name string) (string, bool) { v, ok := message[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != base {
		t.Errorf("base\n got %s\nwant %s", got, base)
	}
	private, public := rfcKeys(t)
	published, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(public, got, published) {
		t.Error("the published signature does not verify")
	}
	if again := ed25519.Sign(private, got); !bytes.Equal(again, published) {
		t.Errorf("signing again gives %x, published is %x", again, published)
	}
	if (&Signature{base: got, value: [64]byte(published)}).Verify(public) != nil {
		t.Error("Signature.Verify refuses the published signature")
	}
}

func signedRequest(t testing.TB) *Request {
	t.Helper()
	r := &Request{
		Method: "POST", Path: "/v1/evidence", RawQuery: "a=1&b=%20", Body: []byte(`{"x":1}`),
		Header: map[string]string{HeaderRequestID: uuid.NewString(), HeaderRoles: "citizen"},
	}
	if err := SignRequest(r, testKey, "main/ana", testCreated, testNonce); err != nil {
		t.Fatal(err)
	}
	return r
}

// admit is everything but the nonce memory.
func admit(r *Request) error {
	s, err := ParseSignature(r)
	if err != nil {
		return err
	}
	return errors.Join(s.Verify(testPublic), s.VerifyDigest(r), s.CheckTime(testCreated))
}

func TestSignatureFieldsAreExact(t *testing.T) {
	r := &Request{Method: "GET", Path: "/health"}
	if err := SignRequest(r, testKey, "main/ana", testCreated, testNonce); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		HeaderDigest:         "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
		HeaderSignatureInput: `id-nvida=("@method" "@path" "@query" "content-digest");created=1618884473;nonce="0123456789abcdef";keyid="main/ana"`,
		HeaderSignature: SignatureLabel + "=:" + base64.StdEncoding.EncodeToString(ed25519.Sign(testKey, []byte(`"@method": GET
"@path": /health
"@query": ?
"content-digest": sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:
"@signature-params": ("@method" "@path" "@query" "content-digest");created=1618884473;nonce="0123456789abcdef";keyid="main/ana"`))) + ":",
	}
	if !maps.Equal(r.Header, want) {
		t.Errorf("got %q\nwant %q", r.Header, want)
	}
}

func TestSignedRequestIsAdmitted(t *testing.T) {
	r := signedRequest(t)
	s, err := ParseSignature(r)
	if err != nil {
		t.Fatal(err)
	}
	if s.KeyID != "main/ana" || s.Nonce != testNonce || !s.Created.Equal(testCreated) || len(s.Components) != 6 {
		t.Errorf("parsed %+v", s.SignatureParams)
	}
	if err := admit(r); err != nil {
		t.Error(err)
	}
}

// Feature: tamv-hardened-backend, Property 1: Signature Validation Enforcement
func TestChangingAnySignedPartIsRefused(t *testing.T) {
	text := func(t *rapid.T, label string) string {
		return rapid.StringMatching(`[a-zA-Z0-9._~=&%-]{0,40}`).Draw(t, label)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := &Request{
			Method:   rapid.SampledFrom([]string{"GET", "POST", "DELETE", "PUT"}).Draw(t, "method"),
			Path:     "/" + text(t, "path"),
			RawQuery: text(t, "query"),
			Body:     rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "body"),
			Header:   map[string]string{},
		}
		if rapid.Bool().Draw(t, "with id") {
			r.Header[HeaderRequestID] = "0198c1a0-0000-7000-8000-00000000000" + rapid.StringMatching(`[0-9a-f]`).Draw(t, "id")
		}
		if rapid.Bool().Draw(t, "with roles") {
			r.Header[HeaderRoles] = "citizen"
		}
		nonce := rapid.StringMatching(`[ -~]{16,64}`).Draw(t, "nonce")
		if err := SignRequest(r, testKey, "main/ana", testCreated, nonce); err != nil {
			t.Fatal(err)
		}
		if err := admit(r); err != nil {
			t.Fatalf("an honest request is refused: %v", err)
		}

		part := rapid.SampledFrom([]string{
			"method", "path", "query", "body", HeaderRequestID, HeaderRoles, HeaderDigest, HeaderSignatureInput, HeaderSignature,
		}).Draw(t, "part")
		switch part {
		case "method":
			r.Method = "PATCH"
		case "path":
			r.Path += "x"
		case "query":
			r.RawQuery += "x"
		case "body":
			r.Body = append(bytes.Clone(r.Body), 'x')
		default:
			value, sent := r.Header[part]
			if !sent { // a field that was not covered is added
				r.Header[part] = "operator"
				break
			}
			i := rapid.IntRange(0, len(value)-1).Draw(t, "byte")
			r.Header[part] = value[:i] + string(value[i]^byte(rapid.IntRange(1, 127).Draw(t, "flip"))) + value[i+1:]
		}
		if err := admit(r); !IsKind(err, Unauthenticated) {
			t.Fatalf("changing %s gives %v", part, err)
		}
	})
}

func TestParseSignatureRefuses(t *testing.T) {
	const input = `id-nvida=("@method" "@path" "@query" "content-digest" "idempotency-key" "tamv-roles");created=1618884473;nonce="0123456789abcdef";keyid="main/ana"`
	setInput := func(from, to string) func(*Request) {
		return func(r *Request) {
			if !strings.Contains(input, from) {
				panic("the test replaces nothing: " + from)
			}
			r.Header[HeaderSignatureInput] = strings.Replace(input, from, to, 1)
		}
	}
	set := func(name, value string) func(*Request) { return func(r *Request) { r.Header[name] = value } }
	drop := func(name string) func(*Request) { return func(r *Request) { delete(r.Header, name) } }
	zeros := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

	for _, c := range []struct {
		name, code string
		spoil      func(*Request)
	}{
		{"nothing", CodeUnsigned, func(r *Request) { r.Header = nil }},
		{"no signature", CodeMalformedSignature, drop(HeaderSignature)},
		{"no input", CodeMalformedSignature, drop(HeaderSignatureInput)},
		{"no digest", CodeMalformedSignature, drop(HeaderDigest)},
		{"relative path", CodeMalformedSignature, func(r *Request) { r.Path = "v1" }},
		{"huge path", CodeMalformedSignature, func(r *Request) { r.Path = "/" + strings.Repeat("a", maxTarget) }},
		{"huge query", CodeMalformedSignature, func(r *Request) { r.RawQuery = strings.Repeat("a", maxTarget+1) }},
		{"line break in the path", CodeMalformedSignature, func(r *Request) { r.Path += "\n\"@query\": ?" }},
		{"control byte in the query", CodeMalformedSignature, func(r *Request) { r.RawQuery += "\x00" }},
		{"line break in the method", CodeMalformedSignature, func(r *Request) { r.Method += "\n" }},
		{"bytes beyond ASCII in a field", CodeMalformedSignature, set(HeaderRoles, "ciudadañía")},

		{"other label", CodeMalformedSignature, setInput("id-nvida", "sig1")},
		{"second label", CodeMalformedSignature, setInput(`"main/ana"`, `"main/ana", sig1=("date");created=1`)},
		{"label twice", CodeMalformedSignature, setInput(`"main/ana"`, `"main/ana", `+input)},
		{"not parseable", CodeMalformedSignature, setInput(`("@method"`, `(("@method"`)},
		{"item instead of list", CodeMalformedSignature, set(HeaderSignatureInput, `id-nvida="x";created=1`)},
		{"empty list", CodeMalformedSignature, set(HeaderSignatureInput, `id-nvida=();created=1;nonce="0123456789abcdef";keyid="main/ana"`)},
		{"too many components", CodeMalformedSignature, setInput(`"tamv-roles"`, `"tamv-roles"`+strings.Repeat(` "a"`, maxComponents))},
		{"oversize", CodeMalformedSignature, setInput(`"tamv-roles"`, `"tamv-roles" "`+strings.Repeat("a", maxSignatureInput)+`"`)},
		{"two spaces", CodeMalformedSignature, setInput(`" "@path`, `"  "@path`)},
		{"space after a semicolon", CodeMalformedSignature, setInput(";nonce", "; nonce")},
		{"parameter twice", CodeMalformedSignature, setInput(";nonce", ";created=1618884473;nonce")},
		{"unknown parameter", CodeMalformedSignature, setInput(";nonce", `;expires=1618884999;nonce`)},
		{"unknown tag", CodeMalformedSignature, setInput(";nonce", `;tag="x";nonce`)},
		{"other algorithm", CodeMalformedSignature, setInput(";nonce", `;alg="hmac-sha256";nonce`)},
		{"algorithm as a token", CodeMalformedSignature, setInput(";nonce", `;alg=ed25519;nonce`)},
		{"created as a decimal", CodeMalformedSignature, setInput("created=1618884473", "created=1618884473.0")},
		{"created as a string", CodeMalformedSignature, setInput("created=1618884473", `created="1618884473"`)},
		{"created before the epoch", CodeMalformedSignature, setInput("created=1618884473", "created=-1")},
		{"created beyond sixteen digits", CodeMalformedSignature, setInput("created=1618884473", "created=1618884473000000")},
		{"no created", CodeMalformedSignature, setInput(";created=1618884473", "")},
		{"no nonce", CodeMalformedSignature, setInput(`;nonce="0123456789abcdef"`, "")},
		{"short nonce", CodeMalformedSignature, setInput("0123456789abcdef", "0123456789abcde")},
		{"long nonce", CodeMalformedSignature, setInput("0123456789abcdef", strings.Repeat("0", maxNonce+1))},
		{"nonce as a token", CodeMalformedSignature, setInput(`"0123456789abcdef"`, `a123456789abcdef`)},
		{"no keyid", CodeMalformedSignature, setInput(`;keyid="main/ana"`, "")},
		{"keyid without tenant", CodeMalformedSignature, setInput("main/ana", "ana")},
		{"keyid with a separator", CodeMalformedSignature, setInput("main/ana", "main/ana/x")},
		{"parameter on a component", CodeMalformedSignature, setInput(`"@query"`, `"@query";req`)},
		{"component as a token", CodeMalformedSignature, setInput(`"@query"`, `query`)},
		{"component twice", CodeMalformedSignature, setInput(`"@query"`, `"@query" "@query"`)},
		{"component absent", CodeMalformedSignature, setInput(`"@query"`, `"@query" "date"`)},
		{"component of a response", CodeMalformedSignature, setInput(`"@query"`, `"@query" "@status"`)},
		{"method not covered", CodeMalformedSignature, setInput(`"@method" `, "")},
		{"path not covered", CodeMalformedSignature, setInput(`"@path" `, "")},
		{"query not covered", CodeMalformedSignature, setInput(`"@query" `, "")},
		{"digest not covered", CodeMalformedSignature, setInput(` "content-digest"`, "")},
		{"request id not covered", CodeMalformedSignature, setInput(` "idempotency-key"`, "")},
		{"roles not covered", CodeMalformedSignature, setInput(` "tamv-roles"`, "")},
		{"parameters reordered", CodeBadSignature, setInput(`;created=1618884473;nonce="0123456789abcdef"`, `;nonce="0123456789abcdef";created=1618884473`)},
		{"algorithm added", CodeBadSignature, setInput(";nonce", `;alg="ed25519";nonce`)},

		{"digest of another algorithm", CodeMalformedSignature, set(HeaderDigest, "sha-512=:"+zeros(64)+":")},
		{"short digest", CodeMalformedSignature, set(HeaderDigest, "sha-256=:"+zeros(31)+":")},
		{"digest twice", CodeMalformedSignature, func(r *Request) { r.Header[HeaderDigest] += ", " + r.Header[HeaderDigest] }},
		{"digest of another body", CodeBadSignature, set(HeaderDigest, ContentDigest([]byte("other")))},
		{"short signature", CodeMalformedSignature, set(HeaderSignature, signaturePrefix+zeros(63)+":")},
		{"long signature", CodeMalformedSignature, set(HeaderSignature, signaturePrefix+zeros(65)+":")},
		{"signature without its colon", CodeMalformedSignature, set(HeaderSignature, signaturePrefix+zeros(64))},
		{"signature of another label", CodeMalformedSignature, set(HeaderSignature, "sig1=:"+zeros(64)+":")},
		{"signature twice", CodeMalformedSignature, func(r *Request) { r.Header[HeaderSignature] += ", " + r.Header[HeaderSignature] }},
		{"line break in the base64", CodeMalformedSignature, set(HeaderSignature, signaturePrefix+"\n"+zeros(64)[1:]+":")},
		{"loose bits in the base64", CodeMalformedSignature, set(HeaderSignature, signaturePrefix+zeros(64)[:85]+"B==:")},
		{"zero signature", CodeBadSignature, set(HeaderSignature, signaturePrefix+zeros(64)+":")},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := signedRequest(t)
			if r.Header[HeaderSignatureInput] != input {
				t.Fatalf("the test starts from another field: %s", r.Header[HeaderSignatureInput])
			}
			c.spoil(r)
			err := admit(r)
			if !IsKind(err, Unauthenticated) || AsError(err).StableCode() != c.code {
				t.Errorf("got %v (%s), want code %s", err, AsError(err).StableCode(), c.code)
			}
		})
	}
}

// A client may name the algorithm and cover more than it must.
func TestParseSignatureAcceptsOtherClients(t *testing.T) {
	r := &Request{Method: "GET", Path: "/v1/status", Header: map[string]string{
		"date": " Tue, 20 Apr 2021 02:07:55 GMT ", HeaderDigest: ContentDigest(nil),
	}}
	const params = `("content-digest" "@query" "@path" "@method" "date");keyid="main/ana";alg="ed25519";created=1618884473;nonce="0123456789abcdef"`
	base, err := SignatureBase([]string{HeaderDigest, "@query", "@path", "@method", "date"}, params, r.component)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(base, []byte("\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n")) {
		t.Errorf("the spaces around a value are no part of it: %s", base)
	}
	r.Header[HeaderSignatureInput] = "id-nvida=" + params
	r.Header[HeaderSignature] = signaturePrefix + base64.StdEncoding.EncodeToString(ed25519.Sign(testKey, base)) + ":"
	if err := admit(r); err != nil {
		t.Error(err)
	}
}

func TestCheckTime(t *testing.T) {
	s := &Signature{SignatureParams: SignatureParams{Created: testCreated}}
	for _, c := range []struct {
		after time.Duration
		code  string
	}{
		{0, ""},
		{SignatureWindow, ""},
		{-SignatureWindow, ""},
		{SignatureWindow + time.Second, CodeExpired},
		{-SignatureWindow - time.Second, CodeExpired},
	} {
		err := s.CheckTime(testCreated.Add(c.after))
		if (err == nil) != (c.code == "") || err != nil && AsError(err).Code != c.code {
			t.Errorf("%s after: %v", c.after, err)
		}
	}
	far := &Signature{SignatureParams: SignatureParams{Created: time.Unix(999_999_999_999_999, 0)}}
	if err := far.CheckTime(testCreated); AsError(err).Code != CodeExpired {
		t.Errorf("thirty million years ahead: %v", err)
	}
}

func TestVerifyRefusesKeysOfAnotherSize(t *testing.T) {
	s, err := ParseSignature(signedRequest(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []ed25519.PublicKey{nil, testPublic[:31], append(bytes.Clone(testPublic), 0)} {
		if err := s.Verify(key); AsError(err).Code != CodeBadSignature {
			t.Errorf("a key of %d bytes: %v", len(key), err)
		}
	}
}

func TestVerifyDigest(t *testing.T) {
	r := signedRequest(t)
	s, err := ParseSignature(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = []byte(`{"x":2}`)
	if err := s.Verify(testPublic); err != nil {
		t.Errorf("the signature covers the digest, not the body: %v", err)
	}
	if err := s.VerifyDigest(r); AsError(err).Code != CodeDigestMismatch {
		t.Errorf("another body: %v", err)
	}
}

func TestSignRequestRefuses(t *testing.T) {
	for name, sign := range map[string]func(*Request) error{
		"key id":      func(r *Request) error { return SignRequest(r, testKey, "ana", testCreated, testNonce) },
		"key":         func(r *Request) error { return SignRequest(r, testKey[:10], "main/ana", testCreated, testNonce) },
		"short nonce": func(r *Request) error { return SignRequest(r, testKey, "main/ana", testCreated, "short") },
		"nonce bytes": func(r *Request) error { return SignRequest(r, testKey, "main/ana", testCreated, "0123456789abcde\n") },
		"path": func(r *Request) error {
			r.Path += "\n"
			return SignRequest(r, testKey, "main/ana", testCreated, testNonce)
		},
	} {
		if err := sign(&Request{Method: "GET", Path: "/"}); !IsKind(err, Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyID(t *testing.T) {
	if tenant, name, ok := SplitKeyID(JoinKeyID("main", "ana.b-1")); !ok || tenant != "main" || name != "ana.b-1" {
		t.Errorf("%q %q %v", tenant, name, ok)
	}
	for _, bad := range []string{"", "/", "main", "main/", "/ana", "main/Ana", "main/ana/", "ma in/ana"} {
		if _, _, ok := SplitKeyID(bad); ok {
			t.Errorf("%q is taken for a key id", bad)
		}
	}
}

func TestNonces(t *testing.T) {
	a, b := NewNonce(), NewNonce()
	if a == b || len(a) < minNonce || len(a) > maxNonce || !printable(a) {
		t.Errorf("nonces %q and %q", a, b)
	}
}
