package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sampleFiles draws files that can form a manifest.
func sampleFiles(t *rapid.T) []File {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,30}`).Filter(validName), 0, 8, rapid.ID).Draw(t, "names")
	files := make([]File, 0, len(names))
	for _, name := range names {
		f := File{Name: name, Size: rapid.Int64Range(0, 1<<40).Draw(t, "size")}
		copy(f.Sum[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "sum"))
		files = append(files, f)
	}
	return files
}

// Feature: tamv-hardened-backend, Property 1: a manifest has one text form, and reads back as it was written
func TestManifestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		files := sampleFiles(t)
		m, err := NewManifest(files)
		if err != nil {
			t.Fatal(err)
		}
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseManifest(data)
		if err != nil || !slices.Equal(got, m) {
			t.Fatalf("%v became %v, error %v", m, got, err)
		}
		i := rapid.IntRange(0, len(data)-1).Draw(t, "byte")
		changed := bytes.Clone(data)
		changed[i] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		if other, err := ParseManifest(changed); err == nil {
			if again, err := other.Encode(); err != nil || !bytes.Equal(again, changed) {
				t.Fatalf("%q was accepted but is written as %q (%v)", changed, again, err)
			}
		}
	})
}

func TestManifestRefusals(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for name, text := range map[string]string{
		"empty":            "",
		"no end":           "tamv-snapshot 1\n",
		"cut off":          "tamv-snapshot 1\nend 0",
		"another version":  "tamv-snapshot 2\nend 0\n",
		"wrong count":      "tamv-snapshot 1\nend 1\n",
		"something behind": "tamv-snapshot 1\nend 0\n\n",
		"carriage return":  "tamv-snapshot 1\r\nend 0\n",
		"short hash":       "tamv-snapshot 1\nabcd 1 a\nend 1\n",
		"uppercase hash":   "tamv-snapshot 1\n" + strings.ToUpper(sum) + " 1 a\nend 1\n",
		"no hash":          "tamv-snapshot 1\n" + strings.Repeat("xy", 32) + " 1 a\nend 1\n",
		"negative size":    "tamv-snapshot 1\n" + sum + " -1 a\nend 1\n",
		"padded size":      "tamv-snapshot 1\n" + sum + " 01 a\nend 1\n",
		"no number":        "tamv-snapshot 1\n" + sum + " NaN a\nend 1\n",
		"sum of sizes":     "tamv-snapshot 1\n" + sum + " 9223372036854775807 a\n" + sum + " 1 b\nend 2\n",
		"twice":            "tamv-snapshot 1\n" + sum + " 1 a\n" + sum + " 1 a\nend 2\n",
		"out of order":     "tamv-snapshot 1\n" + sum + " 1 b\n" + sum + " 1 a\nend 2\n",
		"parent folder":    "tamv-snapshot 1\n" + sum + " 1 ..\nend 1\n",
		"a path":           "tamv-snapshot 1\n" + sum + " 1 a/b\nend 1\n",
		"uppercase name":   "tamv-snapshot 1\n" + sum + " 1 A\nend 1\n",
		"bad UTF-8":        "tamv-snapshot 1\n" + sum + " 1 a\xff\nend 1\n",
		"no name":          "tamv-snapshot 1\n" + sum + " 1 \nend 1\n",
		"own name":         "tamv-snapshot 1\n" + sum + " 1 manifest\nend 1\n",
		"long name":        "tamv-snapshot 1\n" + sum + " 1 " + strings.Repeat("a", 101) + "\nend 1\n",
		"too large":        "tamv-snapshot 1\n" + strings.Repeat("x", MaxManifest),
	} {
		if m, err := ParseManifest([]byte(text)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v, error %v", name, m, err)
		}
	}
	for name, files := range map[string][]File{
		"twice":    {{Name: "a"}, {Name: "a"}},
		"meta":     {{Name: metaName}},
		"negative": {{Name: "a", Size: -1}},
		"overflow": {{Name: "a", Size: math.MaxInt64}, {Name: "b", Size: 1}},
	} {
		if _, err := NewManifest(files); !errors.Is(err, ErrManifest) {
			t.Errorf("files %s: error %v", name, err)
		}
	}
	many := make([]File, 120_000)
	for i := range many {
		many[i] = File{Name: fmt.Sprintf("f%08d", i), Sum: sha256.Sum256(nil)}
	}
	m, err := NewManifest(many)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Encode(); !errors.Is(err, ErrManifest) {
		t.Errorf("%d files: error %v", len(many), err)
	}
}

func FuzzParseManifest(f *testing.F) {
	m, err := NewManifest([]File{{Name: "state-000000", Size: 16 << 20, Sum: sha256.Sum256([]byte("a"))}, {Name: "b"}})
	if err != nil {
		f.Fatal(err)
	}
	data, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("tamv-snapshot 1\nend 0\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%q was accepted but is written as %q (%v)", data, again, err)
		}
	})
}

func FuzzParseMeta(f *testing.F) {
	n := name{3, 7, 1}
	m := meta{Format: metaFormat, Index: 7, Term: 3, Servers: []server{{"n1", "10.0.0.1:7443", true}}, ManifestSum: strings.Repeat("0", 64)}
	data, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"meta":{},"sha256":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseMeta(n, data)
		if err != nil {
			if !errors.Is(err, errMeta) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if got.Index != 7 || got.Term != 3 || got.Format != metaFormat {
			t.Fatalf("accepted %+v", got)
		}
	})
}
