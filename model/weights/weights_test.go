package weights

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestProvenanceNamesTheseBytes(t *testing.T) {
	raw, err := os.ReadFile("PROVENANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	provenance := string(raw)
	for name, content := range map[string][]byte{"static.bin": Static, "audit.bin": Audit} {
		row := fmt.Sprintf("| %s | %d | %x |", name, len(content), sha256.Sum256(content))
		if !strings.Contains(provenance, row) {
			t.Errorf("PROVENANCE.md lacks the row %q", row)
		}
	}
	for _, word := range []string{"NOTICE", "AdvBench", "CLINC150", "BANKING77", "Unicode"} {
		if !strings.Contains(provenance, word) {
			t.Errorf("PROVENANCE.md does not mention %s", word)
		}
	}
	for _, barred := range []string{"stsb", "xquad"} {
		if strings.Contains(provenance, "| "+barred) {
			t.Errorf("%s must not train", barred)
		}
	}
}

func TestWeightsStaySmall(t *testing.T) {
	if size := len(Static) + len(Audit); size > 4_000_000 {
		t.Errorf("%d bytes of weights, at most 4 MB", size)
	}
}
