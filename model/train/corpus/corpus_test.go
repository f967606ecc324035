package corpus

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextsAreUsable(t *testing.T) {
	texts, err := Texts()
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	seen := make(map[string]bool)
	for _, text := range texts {
		if text.Text == "" || !utf8.ValidString(text.Text) || strings.ContainsAny(text.Text, "{}|") {
			t.Errorf("bad text %q", text.Text)
		}
		if seen[text.Text] {
			t.Errorf("text %q occurs twice", text.Text)
		}
		seen[text.Text] = true
		kind := "fine"
		if len(text.Labels) > 0 {
			kind = "labelled"
		}
		count[text.Lang+" "+kind]++
	}
	for _, key := range []string{"en fine", "es fine", "en labelled", "es labelled"} {
		if count[key] < 500 {
			t.Errorf("%s: %d texts, want at least 500", key, count[key])
		}
	}
	t.Log(count)
}

func TestExpand(t *testing.T) {
	got, err := expand("{a|b} c {d|e}")
	if err != nil || strings.Join(got, ",") != "a c d,a c e,b c d,b c e" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"{a|b", "a}", "a|b"} {
		if _, err := expand(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseRefusesTextOutsideSections(t *testing.T) {
	group := 0
	if _, err := parse("hello\n", "en", &group); err == nil {
		t.Error("no error for a text without a section")
	}
}

func TestTables(t *testing.T) {
	pairs, err := Pairs()
	if err != nil || len(pairs) < 100 {
		t.Errorf("%d pairs, %v", len(pairs), err)
	}
	english, spanish, err := Calibration()
	if err != nil || len(english) < 20 || len(english) != len(spanish) {
		t.Errorf("%d and %d calibration rows, %v", len(english), len(spanish), err)
	}
}
