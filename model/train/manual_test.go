package main

import (
	"slices"
	"strings"
	"testing"

	"tamv.internal/tamv/model/dataset"
)

func TestReadManual(t *testing.T) {
	var prov provenance
	seen, held, err := readManual(manualSample(t), &prov)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen)+len(held) != 60 || len(held) == 0 || len(held) > 20 || len(prov.sources) != 2 {
		t.Errorf("%d passages train, %d are held out, %d files", len(seen), len(held), len(prov.sources))
	}
	for _, p := range seen {
		if dataset.ManualHeldOut(p.id) {
			t.Errorf("%s is held out and trains", p.id)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(heldTable(held))), "\n")
	if len(lines) != len(held)+1 || strings.Count(lines[1], "\t") != 4 || !strings.HasPrefix(lines[1], held[0].id+"\t") {
		t.Errorf("table %q", lines)
	}
	if _, _, err := readManual(t.TempDir(), &prov); err == nil {
		t.Error("no error for a folder without a manual")
	}
}

func TestParseSections(t *testing.T) {
	got := parseSections("# Topic\nlost\n\n## a-b: First: one?\n\nline one\nline two\n\n## no title\nlost\n## c: Second\n")
	want := []section{{"a-b", "First: one?", "line one line two"}, {"c", "Second", ""}}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTranslations(t *testing.T) {
	p := passage{title: [2]string{"Why?", "¿Por qué?"}, content: [2]string{"It is 0.3 now. Is it? Yes! Good", "Es 0,3 ahora. ¿Lo es? ¡Sí! Bien"}}
	got := p.translations()
	want := [][2]string{
		{"Why?", "¿Por qué?"},
		{"It is 0.3 now.", "Es 0,3 ahora."},
		{"Is it?", "¿Lo es?"},
		{"Yes!", "¡Sí!"},
		{"Good", "Bien"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	p.content[1] = "Una sola frase."
	if got := p.translations(); len(got) != 2 || got[1] != p.content {
		t.Errorf("passages of different lengths: %q", got)
	}
}

func FuzzParseSections(f *testing.F) {
	f.Add("# T\n\n## a: b\n\nc. d\n")
	f.Add("## : \n## a: \n\r\n##")
	f.Add("## 0: 0\n! \v0") // other spaces than " " around a cut
	bare := func(s string) string { return strings.Join(strings.Fields(s), "") }
	f.Fuzz(func(t *testing.T, raw string) {
		for _, s := range parseSections(raw) {
			if s.id == "" || s.title == "" {
				t.Fatalf("a section without identifier or title: %q", s)
			}
			if got := strings.Join(sentences(s.content), ""); bare(got) != bare(s.content) {
				t.Fatalf("sentences lost text: %q from %q", got, s.content)
			}
		}
	})
}
