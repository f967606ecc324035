package cluster

import (
	"bytes"
	"encoding/pem"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

func material(t testing.TB) Recovery {
	certificate, key := newAuthority(t).Keys()
	return Recovery{certificate, key, []byte("PRIVATE+KEY+tamv/n1+...\ntamv/n1+...\n")}
}

func TestRecovery(t *testing.T) {
	want := material(t)
	file, code, err := want.Seal()
	if err != nil {
		t.Fatal(err)
	}
	typed, err := ParseCode(strings.ToLower(strings.ReplaceAll(code.Reveal(), "-", " ")))
	if err != nil || typed != code {
		t.Fatalf("the code as a person types it: %v", err)
	}
	for _, copied := range [][]byte{file, append([]byte("\n"), file...), bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n"))} {
		if got, err := OpenRecovery(copied, typed); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("not what was sealed: %v", err)
		}
	}
	for _, secret := range [][]byte{want.AuthorityKey[30:60], want.LedgerKey[:10], []byte(code.Reveal()[:9])} {
		if bytes.Contains(file, secret) {
			t.Error("a secret is readable in the file")
		}
	}
	other, otherCode, err := want.Seal()
	if err != nil || bytes.Equal(other, file) || otherCode == code {
		t.Errorf("two seals alike: %v", err)
	}
	if _, err := OpenRecovery(file, otherCode); !tap.IsKind(err, tap.Unauthenticated) {
		t.Errorf("another code: %v", err)
	}
	if _, _, err := (Recovery{}).Seal(); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("nothing to seal: %v", err)
	}
	large := want
	large.LedgerKey = make([]byte, maxRecovery)
	if _, _, err := large.Seal(); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("too large: %v", err)
	}
}

// Every changed byte of the sealed block, and every cut, is noticed.
func TestRecoveryDamage(t *testing.T) {
	file, code, err := material(t).Seal()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(file)
	for i := range block.Bytes {
		damaged := bytes.Clone(block.Bytes)
		damaged[i] ^= 0x20
		changed := pem.EncodeToMemory(&pem.Block{Type: recoveryType, Bytes: damaged})
		if _, err := OpenRecovery(changed, code); err == nil {
			t.Fatalf("byte %d changed, and nobody noticed", i)
		}
	}
	for i := range file {
		if _, err := OpenRecovery(file[:i], code); err == nil && i < len(file)-1 {
			t.Fatalf("cut at %d, and nobody noticed", i)
		}
	}
	for name, bad := range map[string][]byte{
		"another type":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes}),
		"two blocks":     append(bytes.Clone(file), file...),
		"headers":        pem.EncodeToMemory(&pem.Block{Type: recoveryType, Headers: map[string]string{"a": "b"}, Bytes: block.Bytes[:20]}),
		"something more": append([]byte("x\n"), file...),
		"too long":       bytes.Repeat([]byte("a"), maxRecovery+1),
	} {
		if _, err := OpenRecovery(bad, code); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What opens must also be whole inside.
	for _, plain := range [][]byte{nil, {0, 0, 0, 9}, {0, 0, 0, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 12)} {
		aead, err := code.cipher(make([]byte, saltBytes))
		if err != nil {
			t.Fatal(err)
		}
		sealed := aead.Seal(append([]byte(recoveryMagic), make([]byte, saltBytes)...), nil, plain, []byte(recoveryMagic))
		if _, err := OpenRecovery(pem.EncodeToMemory(&pem.Block{Type: recoveryType, Bytes: sealed}), code); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%x inside: %v", plain, err)
		}
	}
}

// A code reads back with letters that look alike exchanged and in any grouping;
// one wrong character is noticed.
func TestRecoveryCodeSurvivesPaper(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code := Code(rapid.SliceOfN(rapid.Byte(), codeBytes, codeBytes).Draw(t, "code"))
		text := code.Reveal()
		paper := strings.NewReplacer("0", "o", "1", rapid.SampledFrom([]string{"l", "I"}).Draw(t, "one"), "-", rapid.SampledFrom([]string{"", " ", "-"}).Draw(t, "gap")).Replace(text)
		if got, err := ParseCode(paper); err != nil || got != code {
			t.Fatalf("%s: %v", paper, err)
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		letter := rapid.SampledFrom([]byte("0123456789ABCDEFGHJKMNPQRSTVWXYZU*")).Draw(t, "letter")
		if text[at] == '-' || text[at] == letter {
			return
		}
		if _, err := ParseCode(text[:at] + string(letter) + text[at+1:]); !tap.IsKind(err, tap.Invalid) {
			t.Fatalf("%s with %c at %d: %v", text, letter, at, err)
		}
	})
}

func FuzzRecovery(f *testing.F) {
	file, code, err := material(f).Seal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file, code.Reveal())
	f.Add(file[:100], "")
	f.Add([]byte("-----BEGIN TAMV RECOVERY-----\n\n-----END TAMV RECOVERY-----\n"), strings.Repeat("0", 56))
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		code, err := ParseCode(text)
		if err == nil {
			if again, err := ParseCode(code.Reveal()); err != nil || again != code {
				t.Error("a code reads as another")
			}
		}
		if r, err := OpenRecovery(file, code); err == nil && len(r.Authority) == 0 {
			t.Error("opened, and empty")
		}
	})
}
