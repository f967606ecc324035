package quality

import (
	"testing"

	"tamv.internal/tamv/model/dataset"
)

// A passage that training saw would prove nothing.
func TestManualIsHeldOut(t *testing.T) {
	passages, err := heldManual()
	if err != nil {
		t.Fatal(err)
	}
	if len(passages) < 20 {
		t.Errorf("%d held-out passages", len(passages))
	}
	for _, p := range passages {
		if !dataset.ManualHeldOut(p.id) {
			t.Errorf("training may have seen %s", p.id)
		}
		for k := range 2 {
			if p.title[k] == "" || p.content[k] == "" {
				t.Errorf("%s is incomplete", p.id)
			}
		}
	}
}

func TestParseManualRefusesAShortLine(t *testing.T) {
	if _, err := parseManual("# comment\na\tb\n"); err == nil {
		t.Error("no error for two columns")
	}
}

func FuzzParseManual(f *testing.F) {
	f.Add("a\tb\tc\td\te\n")
	f.Add("#\n\n\t")
	f.Fuzz(func(t *testing.T, table string) {
		if passages, err := parseManual(table); err != nil && passages != nil {
			t.Fatal("passages beside an error")
		}
	})
}
