package lexical

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tamv.internal/tamv/model"
)

func cut(text string) []string {
	var w Words
	w.Cut(text)
	out := make([]string, w.Len())
	for i := range out {
		out[i] = string(w.At(i))
	}
	return out
}

func TestCut(t *testing.T) {
	for text, want := range map[string][]string{
		"How do I verify it?":       {"how", "do", "i", "verify", "it"},
		"¿Cuándo pasó? AÑO":         {"cuando", "paso", "ano"},
		"cuando\u0301":              {"cuando"}, // combining accent
		"don't don’t":               {"dont", "dont"},
		"75/25 x2":                  {"75", "25", "x2"},
		"Straße Œuvre":              {"strasse", "oeuvre"},
		"ÁÉÍÓÚÜÑ":                   {"aeiouun"},
		"мир 世界":                    {"мир", "世界"},
		"???":                       {"?", "?", "?"},
		"🙂 !":                       {"🙂", "!"},
		"   ":                       {},
		"":                          {},
		strings.Repeat("a", 130):    {strings.Repeat("a", 64), strings.Repeat("a", 64), "aa"},
		"tabs\tand\nlines\u00a0too": {"tabs", "and", "lines", "too"},
	} {
		if got := cut(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCutReusesMemory(t *testing.T) {
	var w Words
	w.Cut("one two three")
	w.Cut("four")
	if w.Len() != 1 || string(w.At(0)) != "four" {
		t.Errorf("%d words, first %q", w.Len(), w.At(0))
	}
	if n := testing.AllocsPerRun(100, func() { w.Cut("five six") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		text string
		want error
	}{
		{"hello", nil},
		{"", model.ErrNoText},
		{" \n\t\u00a0", model.ErrNoText},
		{"a\xffb", model.ErrInvalidText},
		{strings.Repeat("a", model.MaxText), nil},
		{strings.Repeat("a", model.MaxText+1), model.ErrTooLong},
	} {
		if err := Check(c.text); !errors.Is(err, c.want) {
			t.Errorf("%.20q of %d bytes: got %v, want %v", c.text, len(c.text), err, c.want)
		}
	}
}

func TestGrams(t *testing.T) {
	// "<ab>" has two n-grams of 3 and, of 4, only itself, which is left out.
	if got := Grams(nil, []byte("ab"), 3, 5); len(got) != 2 {
		t.Errorf("ab: %d n-grams, want 2", len(got))
	}
	if got := Grams(nil, []byte("a"), 3, 5); len(got) != 0 {
		t.Errorf("a: %d n-grams, want 0", len(got))
	}
	shared := 0
	second := Grams(nil, []byte("verifico"), 3, 5)
	for _, h := range Grams(nil, []byte("verify"), 3, 5) {
		if slices.Contains(second, h) {
			shared++
		}
	}
	// <ve ver eri rif, <ver veri erif, <veri verif
	if shared != 9 {
		t.Errorf("verify and verifico share %d n-grams, want 9", shared)
	}
}

func TestHashesDiffer(t *testing.T) {
	a, b := Hash([]byte("kill")), Hash([]byte("process"))
	if a == b || Pair(a, b) == Pair(b, a) || Pair(a, b) == a {
		t.Error("words, pairs and reversed pairs must be told apart")
	}
}

func FuzzCut(f *testing.F) {
	for _, seed := range []string{"", "How?", "¿Qué?", "\xff\xfe", "e\u0301", strings.Repeat("ñ", 70), "'’'", "a'b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := cut(text)
		for _, word := range words {
			if word == "" || len(word) > maxWord+utf8.UTFMax {
				t.Fatalf("%q: word %q", text, word)
			}
			if utf8.ValidString(text) && !utf8.ValidString(word) {
				t.Fatalf("%q: word %q is not valid UTF-8", text, word)
			}
		}
		if Check(text) == nil && len(words) == 0 {
			t.Fatalf("%q has no words", text)
		}
		// Folding is idempotent as long as no word was cut for its length.
		if joined := strings.Join(words, " "); len(joined) < maxWord && !slices.Equal(cut(joined), words) {
			t.Fatalf("%q: %q becomes %q", text, words, cut(joined))
		}
	})
}
