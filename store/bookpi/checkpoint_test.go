package bookpi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"
)

// noteSigner is an Ed25519 key as the note package of Go's checksum database reads it.
func noteSigner(t *testing.T, k *SigningKey) note.Signer {
	t.Helper()
	s, err := note.NewSigner(k.Text())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cosign adds a signature by another key below the log's.
func cosign(t *testing.T, signed []byte, logKey string, names ...string) []byte {
	t.Helper()
	for i, name := range names {
		v, err := note.NewVerifier(logKey)
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(signed, note.VerifierList(v))
		if err != nil {
			t.Fatal(err)
		}
		if signed, err = note.Sign(n, noteSigner(t, testSigningKey(name, AlgorithmEd25519, byte(200+i)))); err != nil {
			t.Fatal(err)
		}
	}
	return signed
}

func TestCheckpointRoundTrip(t *testing.T) {
	l := newLedger(1, 0)
	v, err := note.NewVerifier(l.key)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		cp := Checkpoint{testOrigin, rapid.Uint64Range(0, MaxSize).Draw(t, "size"), genHash().Draw(t, "root")}
		signed, err := l.signer.Sign(cp, testTime)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenCheckpoint(signed, l.key)
		if err != nil || got != cp {
			t.Fatal(got, err)
		}
		// An independent reader of signed notes agrees.
		n, err := note.Open(signed, note.VerifierList(v))
		if err != nil || len(n.Sigs) != 1 || n.Text != cp.text() {
			t.Fatal(n, err)
		}
	})
}

func TestCheckpointText(t *testing.T) {
	l := newLedger(1, 3)
	text, _, _ := strings.Cut(string(l.checkpoint()), "\n\n")
	root := l.tree.Root()
	want := "tamv.test/bookpi\n3\n" + base64.StdEncoding.EncodeToString(root[:])
	if text != want {
		t.Errorf("%q, want %q", text, want)
	}
}

func TestFlippedCheckpointBytes(t *testing.T) {
	l := newLedger(1, 5)
	good := l.checkpoint()
	for _, mask := range []byte{0x01, 0x80, 0x20, 0x04} {
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= mask
			if _, err := OpenCheckpoint(bad, l.key); !errors.Is(err, ErrCheckpoint) {
				t.Errorf("byte %d ^ %#x: %v", i, mask, err)
			}
		}
	}
	for n := range good {
		if _, err := OpenCheckpoint(good[:n], l.key); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestCheckpointCosignatures(t *testing.T) {
	l := newLedger(1, 5)
	signed := cosign(t, l.checkpoint(), l.key, "witness.test/a", "witness.test/b")
	cp, err := OpenCheckpoint(signed, l.key)
	if err != nil || cp.Size != 5 {
		t.Fatal(cp, err)
	}
	text, sigs, _ := strings.Cut(string(signed), "\n\n")
	lines := strings.SplitAfter(strings.TrimSuffix(sigs, "\n"), "\n")
	lines[len(lines)-1] += "\n"
	if len(lines) != 3 {
		t.Fatalf("%d signature lines", len(lines))
	}
	if _, err := OpenCheckpoint([]byte(text+"\n\n"+lines[2]+lines[0]+lines[1]), l.key); err != nil {
		t.Errorf("another order: %v", err)
	}
	if _, err := OpenCheckpoint([]byte(text+"\n\n"+lines[0]), l.key); err != nil {
		t.Errorf("without witnesses: %v", err)
	}
	if _, err := OpenCheckpoint([]byte(text+"\n\n"+lines[1]+lines[2]), l.key); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("without the log's signature: %v", err)
	}
	if _, err := OpenCheckpoint([]byte(text+"\n\n"+strings.Join(lines, "")+lines[1]), l.key); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("a witness twice: %v", err)
	}
	if _, err := OpenCheckpoint([]byte(text+"\n\n"+strings.Join(lines, "")+lines[0]), l.key); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("the log twice: %v", err)
	}
}

// Spellings that a lenient reader takes for the same checkpoint.
func TestCheckpointMalleability(t *testing.T) {
	l := newLedger(1, 5)
	good := string(l.checkpoint())
	sign := func(text string) string {
		t.Helper()
		signed, err := note.Sign(&note.Note{Text: text}, noteSigner(t, l.signer.keys[0]))
		if err != nil {
			t.Fatal(err)
		}
		return string(signed)
	}
	root := l.tree.Root()
	root64 := base64.StdEncoding.EncodeToString(root[:])
	loose := root64[:42] + string(root64[42]+1) + "=" // the same 32 bytes to a lenient decoder
	if b, err := base64.StdEncoding.DecodeString(loose); err != nil || !bytes.Equal(b, root[:]) {
		t.Fatal("the loose root does not decode to the root")
	}
	head := testOrigin + "\n"
	for name, text := range map[string]string{
		"empty":                   "",
		"only a line feed":        "\n",
		"text before":             "x" + good,
		"text after":              good + "x",
		"empty line after":        good + "\n",
		"CR LF":                   strings.ReplaceAll(good, "\n", "\r\n"),
		"no final line feed":      strings.TrimSuffix(good, "\n"),
		"CR in the signature":     strings.TrimSuffix(good, "\n") + "\r\n",
		"hyphen for the dash":     strings.Replace(good, "—", "-", 1),
		"two spaces":              strings.Replace(good, "— ", "—  ", 1),
		"size with zero":          sign(head + "05\n" + root64 + "\n"),
		"size with sign":          sign(head + "+5\n" + root64 + "\n"),
		"size negative":           sign(head + "-5\n" + root64 + "\n"),
		"size in hex":             sign(head + "0x5\n" + root64 + "\n"),
		"size empty":              sign(head + "\n" + root64 + "\n"),
		"size beyond limit":       sign(head + fmt.Sprint(uint64(MaxSize)+1) + "\n" + root64 + "\n"),
		"size beyond 64 bits":     sign(head + "18446744073709551621\n" + root64 + "\n"),
		"root loose":              sign(head + "5\n" + loose + "\n"),
		"root unpadded":           sign(head + "5\n" + strings.TrimSuffix(root64, "=") + "\n"),
		"root short":              sign(head + "5\n" + base64.StdEncoding.EncodeToString(root[:31]) + "\n"),
		"root URL-safe":           sign(head + "5\n" + strings.Repeat("-", 43) + "=\n"),
		"no root":                 sign(head + "5\n"),
		"extension line":          sign(head + "5\n" + root64 + "\nmore\n"),
		"empty line in the text":  sign(head + "5\n\n" + root64 + "\n"),
		"another origin":          sign("tamv.test/other\n5\n" + root64 + "\n"),
		"too long":                good + strings.Repeat("— w AAAAAAA=\n", MaxCheckpointSize/15),
		"signature line unspaced": good + "— witness\n",
		"signature too short":     good + "— witness AAAAAA==\n",
		"signature loose":         good + "— witness AAAAAAB=\n",
		"signature name":          good + "— wit+ness AAAAAAA=\n",
	} {
		if cp, err := OpenCheckpoint([]byte(text), l.key); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: accepted as %v, error %v", name, cp, err)
		}
	}
	if _, err := OpenCheckpoint([]byte(good+"— witness AAAAAAA=\n"), l.key); err != nil {
		t.Errorf("a canonical unknown line: %v", err)
	}
}

func TestCheckpointByAnotherKey(t *testing.T) {
	a, b := newLedger(1, 5), newLedger(2, 5)
	if _, err := OpenCheckpoint(a.checkpoint(), b.key); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}
}

func TestLogKeysRefuseToSign(t *testing.T) {
	l := newLedger(1, 0)
	for _, cp := range []Checkpoint{
		{"", 0, Hash{}},
		{"tamv.test/other", 0, Hash{}},
		{"two words", 0, Hash{}},
		{testOrigin, MaxSize + 1, Hash{}},
	} {
		if _, err := l.signer.Sign(cp, testTime); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%v: %v", cp, err)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, origin := range []string{"", "a b", "a+b", "a\nb", "a\x01b", "a\u00a0b", "\xff", strings.Repeat("x", MaxOrigin+1)} {
		if _, err := GenerateSigningKey(bytes.NewReader(make([]byte, 64)), origin, AlgorithmEd25519); !errors.Is(err, ErrKey) {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
	if _, err := GenerateSigningKey(bytes.NewReader(nil), testOrigin, AlgorithmEd25519); !errors.Is(err, ErrKey) {
		t.Errorf("no randomness: %v", err)
	}

	k := testSigningKey(testOrigin, AlgorithmEd25519, 5)
	signerKey, verifierKey := k.Text(), k.Verifier().String()
	name, rest, _ := strings.Cut(verifierKey, "+")
	hash, key64, _ := strings.Cut(rest, "+")
	raised := name + "+" + strings.ToUpper(hash) + "+" + key64
	for _, bad := range []string{"", "x", verifierKey + "\n", verifierKey + "=", raised, verifierKey[:len(verifierKey)-1], signerKey, "x" + verifierKey} {
		if _, err := OpenCheckpoint(nil, bad); !errors.Is(err, ErrKey) {
			t.Errorf("verifier key %q: %v", bad, err)
		}
	}
	_, secret, _ := strings.Cut(signerKey, testOrigin)
	for _, bad := range []string{"", signerKey[1:], signerKey + "+", verifierKey, strings.Replace(signerKey, testOrigin, "x", 1)} {
		if _, err := ParseSigningKey(bad); !errors.Is(err, ErrKey) || strings.Contains(err.Error(), secret) {
			t.Errorf("bad signer key: %v", err)
		}
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	l := newLedger(1, 5)
	good := l.checkpoint()
	f.Add(good)
	f.Add(append(bytes.Clone(good), "— witness AAAAAAA=\n"...))
	f.Add([]byte("\n\n"))
	body, _, _ := bytes.Cut(good, []byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cp, err := OpenCheckpoint(b, l.key)
		if err != nil {
			wantIs(t, err, ErrCheckpoint)
			return
		}
		// The key has signed one text only, so nothing else can have been accepted.
		got, _, _ := bytes.Cut(b, []byte("\n\n"))
		if !bytes.Equal(got, body) || cp.text() != string(body)+"\n" {
			t.Fatalf("accepted %q", b)
		}
	})
}
