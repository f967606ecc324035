package bookpi

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

var algorithms = []Algorithm{AlgorithmEd25519, AlgorithmCosignatureEd25519, AlgorithmMLDSA44}

func TestVerifierKeyHasOneSpelling(t *testing.T) {
	for _, a := range algorithms {
		k := testSigningKey("witness.test/a", a, 1)
		text := k.Verifier().String()
		parsed, err := ParseVerifierKey(text)
		if err != nil || parsed != k.Verifier() || parsed.Algorithm() != a || parsed.Name() != "witness.test/a" {
			t.Fatalf("%v: %v, %v", a, parsed, err)
		}
		if parsed.ID() != text[:len("witness.test/a+12345678")] {
			t.Errorf("id %s", parsed.ID())
		}
		for i := range text {
			for _, mask := range []byte{0x01, 0x20, 0x80} {
				bad := []byte(text)
				bad[i] ^= mask
				if _, err := ParseVerifierKey(string(bad)); !errors.Is(err, ErrKey) {
					t.Fatalf("%v: byte %d ^ %#x: %v", a, i, mask, err)
				}
			}
			if _, err := ParseVerifierKey(text[:i]); !errors.Is(err, ErrKey) {
				t.Fatalf("%v: cut to %d: %v", a, i, err)
			}
		}
		for _, bad := range []string{text + "=", text + "\n", " " + text, text + text, k.Text()} {
			if _, err := ParseVerifierKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%v: %.40q: %v", a, bad, err)
			}
		}
	}
	if _, err := newVerifierKey("x", 0x02, make([]byte, 32)); !errors.Is(err, ErrKey) {
		t.Errorf("ECDSA: %v", err)
	}
}

func TestVerifierKeyAsJSON(t *testing.T) {
	k := testSigningKey("witness.test/a", AlgorithmMLDSA44, 1).Verifier()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var read VerifierKey
	if err := json.Unmarshal(text, &read); err != nil || read != k {
		t.Fatal(read, err)
	}
	if err := json.Unmarshal([]byte(`"x"`), &read); !errors.Is(err, ErrKey) || read != k {
		t.Error(err)
	}
}

func TestZeroVerifierKey(t *testing.T) {
	var k VerifierKey
	if k.String() != "" || k.Algorithm() != 0 || k.SharesKey(k) || k.Verify([]byte(Checkpoint{"x", 0, Hash{}}.text()), make([]byte, 64)) {
		t.Error("the zero key does something")
	}
	if s := k.Algorithm().String(); s != "algorithm 0x00" {
		t.Error(s)
	}
}

func TestSharedKeys(t *testing.T) {
	a := testSigningKey("a", AlgorithmEd25519, 1).Verifier()
	b := testSigningKey("b", AlgorithmCosignatureEd25519, 1).Verifier()
	if !a.SharesKey(b) || a == b || a.SharesKey(testSigningKey("a", AlgorithmEd25519, 2).Verifier()) {
		t.Error("the same public key under two names is not recognised")
	}
}

func TestSigningKeyHasOneSpelling(t *testing.T) {
	for _, a := range algorithms {
		k := testSigningKey("witness.test/a", a, 1)
		parsed, err := ParseSigningKey(k.Text())
		if err != nil || parsed.Text() != k.Text() || parsed.Verifier() != k.Verifier() {
			t.Fatal(a, err)
		}
		text := k.Text()
		_, secret, _ := strings.Cut(text, k.Verifier().ID())
		for i := range text {
			bad := []byte(text)
			bad[i] ^= 0x01
			if _, err := ParseSigningKey(string(bad)); !errors.Is(err, ErrKey) || strings.Contains(err.Error(), secret) {
				t.Fatalf("%v: byte %d: %v", a, i, err)
			}
			if _, err := ParseSigningKey(text[:i]); !errors.Is(err, ErrKey) {
				t.Fatalf("%v: cut to %d: %v", a, i, err)
			}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if s := fmt.Sprintf(verb, k); strings.Contains(s, secret[1:]) || strings.Contains(s, fmt.Sprint(k.seed)) {
				t.Errorf("%s shows the secret", verb)
			}
		}
	}
	if _, err := GenerateSigningKey(bytes.NewReader(make([]byte, 31)), "x", AlgorithmMLDSA44); !errors.Is(err, ErrKey) {
		t.Errorf("too little randomness: %v", err)
	}
	if _, err := GenerateSigningKey(rand.Reader, "two words", AlgorithmMLDSA44); !errors.Is(err, ErrKey) {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := GenerateSigningKey(rand.Reader, "x", 0x05); !errors.Is(err, ErrKey) {
		t.Errorf("an unknown algorithm: %v", err)
	}
}

func TestLogKeys(t *testing.T) {
	k := testLogKeys(testOrigin, 1)
	text := k.Text()
	if strings.Count(text, "\n") != 4 || k.Origin() != testOrigin || len(k.Verifiers()) != 2 {
		t.Fatal(k)
	}
	for _, keys := range []LogKeys{k, ed25519Only(k)} {
		parsed, err := ParseLogKeys(keys.Text())
		if err != nil || parsed.Text() != keys.Text() || parsed.String() != keys.String() {
			t.Fatal(err)
		}
	}
	// The file of an older version is the first half.
	signer, verifier, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	if old, err := ParseLogKeys(signer + "\n" + verifier + "\n"); err != nil || old.Verifiers()[0] != verifier {
		t.Fatal(old, err)
	}

	lines := strings.SplitAfter(text, "\n")
	other := strings.SplitAfter(testLogKeys("tamv.test/other", 2).Text(), "\n")
	for name, bad := range map[string]string{
		"empty":               "",
		"one line":            lines[0],
		"three lines":         lines[0] + lines[1] + lines[2],
		"no final line feed":  strings.TrimSuffix(text, "\n"),
		"text after":          text + "\n",
		"carriage returns":    strings.ReplaceAll(text, "\n", "\r\n"),
		"swapped halves":      lines[2] + lines[3] + lines[0] + lines[1],
		"ML-DSA alone":        lines[2] + lines[3],
		"Ed25519 twice":       lines[0] + lines[1] + lines[0] + lines[1],
		"another verifier":    lines[0] + other[1],
		"another log's half":  lines[0] + lines[1] + other[2] + other[3],
		"verifier for signer": lines[1] + lines[0],
	} {
		if _, err := ParseLogKeys(bad); !errors.Is(err, ErrKey) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, k); strings.Contains(s, "PRIVATE") || strings.Contains(s, fmt.Sprint(k.keys[0].seed)) {
			t.Errorf("%s shows the secrets", verb)
		}
	}
	for n := range 64 {
		if _, err := GenerateKeys(bytes.NewReader(make([]byte, n)), testOrigin); !errors.Is(err, ErrKey) {
			t.Errorf("%d bytes of randomness: %v", n, err)
		}
	}
}

func TestLogKeysSign(t *testing.T) {
	s := newSite(1, 5)
	signed := s.note(s.keys)
	for _, key := range s.keys.Verifiers() {
		if cp, err := OpenCheckpoint(signed, key); err != nil || cp != s.current() {
			t.Error(cp, err)
		}
	}
	// An independent reader of notes opens it with the key it knows how to use.
	v, err := note.NewVerifier(s.keys.Verifiers()[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 1 || n.Text != s.current().text() {
		t.Fatal(n, err)
	}
	if _, err := (LogKeys{}).Sign(s.current(), testTime); !errors.Is(err, ErrKey) {
		t.Errorf("no keys: %v", err)
	}
	for _, cp := range []Checkpoint{{"tamv.test/other", 1, Hash{}}, {testOrigin, MaxSize + 1, Hash{}}} {
		if _, err := s.keys.Sign(cp, testTime); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%v: %v", cp, err)
		}
	}
	if _, err := OpenCheckpoint(signed, s.witnesses[0].Verifier().String()); !errors.Is(err, ErrKey) {
		t.Errorf("a witness's key for the log's: %v", err)
	}
}

func FuzzParseVerifierKey(f *testing.F) {
	for _, a := range algorithms {
		f.Add(testSigningKey("witness.test/a", a, 1).Verifier().String())
	}
	f.Add("a++")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseVerifierKey(text)
		if err != nil {
			wantIs(t, err, ErrKey)
			return
		}
		if k.String() != text {
			t.Fatalf("%q is written %q", text, k)
		}
	})
}

func FuzzParseLogKeys(f *testing.F) {
	k := testLogKeys(testOrigin, 1)
	f.Add(k.Text())
	f.Add(ed25519Only(k).Text())
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseLogKeys(text)
		if err != nil {
			wantIs(t, err, ErrKey)
			return
		}
		if k.Text() != text {
			t.Fatal("another spelling was accepted")
		}
	})
}
