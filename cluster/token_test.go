package cluster

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

var addresses = rapid.OneOf(
	rapid.StringMatching(`[a-z][a-z0-9-]{0,8}[a-z0-9](\.[a-z0-9]{1,8}){0,3}:[1-9][0-9]{0,3}`),
	rapid.StringMatching(`192\.0\.2\.[1-9]:[1-9][0-9]{0,3}`),
	rapid.StringMatching(`\[2001:db8::[1-9]\]:[1-9][0-9]{0,3}`),
)

func tokens(t *rapid.T) Token {
	return Token{
		Addresses:   rapid.SliceOfN(addresses, 1, maxAddresses).Draw(t, "addresses"),
		Fingerprint: [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "fingerprint")),
		Secret:      rapid.SliceOfN(rapid.Byte(), minSecret, maxSecret).Draw(t, "secret"),
		Expires:     time.Unix(rapid.Int64Range(1, 1<<40).Draw(t, "expires"), 0).UTC(),
	}
}

// A token reads back as it was written, whatever it says; one changed character
// or a missing one is refused, and never read as another token.
func TestTokenReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := tokens(t)
		text, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseToken(" " + text + "\n")
		if err != nil || !slices.Equal(got.Addresses, want.Addresses) || got.Fingerprint != want.Fingerprint ||
			!bytes.Equal(got.Secret, want.Secret) || !got.Expires.Equal(want.Expires) {
			t.Fatalf("%#v %v", got.Addresses, err)
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		letter := rapid.SampledFrom([]byte("ABCXYZabcxyz0189-_.=+ ")).Draw(t, "letter")
		damaged := text[:at] + string(letter) + text[at+1:]
		if damaged != text && strings.TrimSpace(damaged) != text {
			if _, err := ParseToken(damaged); !tap.IsKind(err, tap.Invalid) {
				t.Fatalf("a changed character: %v", err)
			}
		}
		if _, err := ParseToken(text[:at]); !tap.IsKind(err, tap.Invalid) {
			t.Fatalf("cut short: %v", err)
		}
	})
}

func TestTokenLimits(t *testing.T) {
	good := Token{[]string{"a.example:1"}, [32]byte{1}, make([]byte, 16), epoch}
	for name, change := range map[string]func(*Token){
		"short secret":       func(t *Token) { t.Secret = t.Secret[:15] },
		"long secret":        func(t *Token) { t.Secret = make([]byte, 33) },
		"no address":         func(t *Token) { t.Addresses = nil },
		"too many addresses": func(t *Token) { t.Addresses = slices.Repeat(t.Addresses, 17) },
		"no port":            func(t *Token) { t.Addresses = []string{"a.example"} },
		"port 0":             func(t *Token) { t.Addresses = []string{"a.example:0"} },
		"port with zeros":    func(t *Token) { t.Addresses = []string{"a.example:01"} },
		"port name":          func(t *Token) { t.Addresses = []string{"a.example:http"} },
		"large port":         func(t *Token) { t.Addresses = []string{"a.example:65536"} },
		"everywhere":         func(t *Token) { t.Addresses = []string{"0.0.0.0:1"} },
		"no host":            func(t *Token) { t.Addresses = []string{":1"} },
		"odd host":           func(t *Token) { t.Addresses = []string{"a_b:1"} },
		"path":               func(t *Token) { t.Addresses = []string{"a/b:1"} },
		"user":               func(t *Token) { t.Addresses = []string{"u@b:1"} },
		"empty label":        func(t *Token) { t.Addresses = []string{"a..b:1"} },
		"long host":          func(t *Token) { t.Addresses = []string{strings.Repeat("a.", 130) + "b:1"} },
		"brackets":           func(t *Token) { t.Addresses = []string{"[a.example]:1"} },
		"no end":             func(t *Token) { t.Expires = time.Time{} },
	} {
		bad := good
		change(&bad)
		if _, err := bad.Encode(); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if Host("a.example:1") != "a.example" || Host("rubbish") != "" {
		t.Error("hosts are cut wrongly")
	}
}

// Nothing that is printed by accident shows the secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	token := Token{[]string{"a.example:1"}, [32]byte{}, []byte("0123456789abcdef"), epoch}
	code := Code{'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, format+format, token, code)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", token)
	for _, secret := range []string{"0123456789abcdef", "30313233", base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))[:16], "48 49 50"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is in %s", secret, &out)
		}
	}
}

func FuzzToken(f *testing.F) {
	good, err := Token{[]string{"a.example:1", "192.0.2.1:7443"}, [32]byte{1}, make([]byte, 32), epoch}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good[:40], tokenPrefix, "", good + "A", strings.ToUpper(good), good[:len(good)-1] + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			if !tap.IsKind(err, tap.Invalid) {
				t.Error(err)
			}
			return
		}
		if again, err := token.Encode(); err != nil || again != strings.TrimSpace(s) {
			t.Errorf("%q reads as another token: %v", s, err)
		}
	})
}
