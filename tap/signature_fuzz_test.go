package tap

import (
	"maps"
	"testing"
)

// FuzzParseSignature looks for a crash, and for a second spelling of what an
// honest request says.
func FuzzParseSignature(f *testing.F) {
	honest := signedRequest(f)
	f.Add(honest.Method, honest.Path, honest.RawQuery, honest.Header[HeaderSignatureInput], honest.Header[HeaderSignature], honest.Header[HeaderDigest])
	f.Add("GET", "/", "", `id-nvida=()`, `id-nvida=::`, `sha-256=::`)
	f.Add("", "", "", `id-nvida=("@method";req "date" a;b=?0);created=1.5;alg=:AA==:`, "", "")
	f.Add("GET", "/", "", `id-nvida=("@method" "@path");created=@1;nonce=%"a"`, "\xff", "\n")
	f.Fuzz(func(t *testing.T, method, path, query, input, signature, digest string) {
		r := &Request{Method: method, Path: path, RawQuery: query, Header: maps.Clone(honest.Header), Body: honest.Body}
		r.Header[HeaderSignatureInput], r.Header[HeaderSignature], r.Header[HeaderDigest] = input, signature, digest
		s, err := ParseSignature(r)
		if err != nil {
			if !IsKind(err, Unauthenticated) || s != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			return
		}
		if len(s.base) > 2*maxTarget+4*maxSignatureInput || len(s.Components) > maxComponents {
			t.Fatalf("a base of %d bytes", len(s.base))
		}
		same := method == honest.Method && path == honest.Path && query == honest.RawQuery &&
			input == honest.Header[HeaderSignatureInput] && signature == honest.Header[HeaderSignature] && digest == honest.Header[HeaderDigest]
		if s.Verify(testPublic) == nil && !same {
			t.Fatal("a second spelling verifies")
		}
	})
}

func BenchmarkSignRequest(b *testing.B) {
	r := signedRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := SignRequest(r, testKey, "main/ana", testCreated, testNonce); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseSignature(b *testing.B) {
	r := signedRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseSignature(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAndVerify(b *testing.B) {
	r := signedRequest(b)
	for b.Loop() {
		if err := admit(r); err != nil {
			b.Fatal(err)
		}
	}
}
