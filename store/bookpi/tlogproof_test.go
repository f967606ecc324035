package bookpi

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func TestTLogProof(t *testing.T) {
	s := newSite(1, 40)
	signed := s.note(s.keys, s.witnesses...)
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Uint64Range(0, 39).Draw(t, "at")
		p := s.tlogProof(at, signed)
		parsed, err := ParseTLogProof(p.Encode())
		if err != nil || !reflect.DeepEqual(parsed, p) {
			t.Fatal(parsed, err)
		}
		proven, err := VerifyTLogProof(p.Encode(), nil, s.policy)
		if err != nil || proven.Position != at || !bytes.Equal(proven.Encoded, s.entries[at]) ||
			proven.Checkpoint != s.current() || len(proven.CosignedBy) != 3 || proven.Entry.Actor == "" {
			t.Fatal(proven, err)
		}
		// x/mod reads the same hashes the same way.
		var record tlog.RecordProof
		for _, h := range p.Proof {
			record = append(record, tlog.Hash(h))
		}
		if err := tlog.CheckRecord(record, 40, tlog.Hash(proven.Checkpoint.Root), int64(at), tlog.RecordHash(s.entries[at])); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTLogProofOfAGivenEntry(t *testing.T) {
	s := newSite(1, 9)
	p := s.tlogProof(4, s.note(s.keys, s.witnesses...))
	for _, given := range [][]byte{nil, s.entries[4]} {
		if _, err := VerifyTLogProof(p.Encode(), given, s.policy); err != nil {
			t.Error(err)
		}
	}
	if _, err := VerifyTLogProof(p.Encode(), s.entries[5], s.policy); !errors.Is(err, ErrTLogProof) {
		t.Errorf("another entry: %v", err)
	}
	p.Extra = nil
	if _, err := VerifyTLogProof(p.Encode(), s.entries[4], s.policy); err != nil {
		t.Errorf("without the entry inside: %v", err)
	}
	if _, err := VerifyTLogProof(p.Encode(), nil, s.policy); !errors.Is(err, ErrTLogProof) {
		t.Errorf("no entry: %v", err)
	}
	for name, tc := range map[string]struct {
		change func(*TLogProof)
		want   error
	}{
		"another position": {func(p *TLogProof) { p.Index = 5 }, ErrProof},
		"beyond the tree":  {func(p *TLogProof) { p.Index = 9 }, ErrRange},
		"of another size":  {func(p *TLogProof) { p.Checkpoint = s.at(8).note(s.keys, s.witnesses...) }, ErrProof},
		"of another log":   {func(p *TLogProof) { p.Checkpoint = newSite(2, 9).note(testLogKeys(testOrigin, 2)) }, ErrCheckpoint},
		"not cosigned":     {func(p *TLogProof) { p.Checkpoint = s.note(s.keys) }, ErrQuorum},
		"no checkpoint":    {func(p *TLogProof) { p.Checkpoint = nil }, ErrTLogProof},
		"long proof":       {func(p *TLogProof) { p.Proof = make([]Hash, maxProofLength+1) }, ErrTLogProof},
		"long extra":       {func(p *TLogProof) { p.Extra = make([]byte, maxExtra+1) }, ErrTLogProof},
		"no entry inside":  {func(p *TLogProof) { p.Extra = []byte("{}") }, ErrEntry},
		"other inside":     {func(p *TLogProof) { p.Extra = s.entries[3] }, ErrProof},
		"proof cut":        {func(p *TLogProof) { p.Proof = p.Proof[1:] }, ErrProof},
	} {
		p := s.tlogProof(4, s.note(s.keys, s.witnesses...))
		tc.change(&p)
		if _, err := VerifyTLogProof(p.Encode(), nil, s.policy); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLogProofSpellings(t *testing.T) {
	s := newSite(1, 9)
	good := string(s.tlogProof(4, s.note(s.keys)).Encode())
	for name, change := range map[string][2]string{
		"another version":   {"@v1", "@v2"},
		"empty extra":       {good[strings.Index(good, "extra "):strings.Index(good, "\nindex")], "extra "},
		"two extras":        {"extra ", "extra AAAA\nextra "},
		"index with zero":   {"index 4", "index 04"},
		"index with sign":   {"index 4", "index -4"},
		"no index":          {"index 4\n", ""},
		"no empty line":     {"\n\n", "\n"},
		"carriage return":   {"index 4\n", "index 4\r\n"},
		"text at the end":   {good, good + "x"},
		"too long":          {good, good + strings.Repeat("x", MaxTLogProof)},
		"extra not base64":  {"extra ", "extra *"},
		"no final line end": {good, strings.TrimSuffix(good, "\n")},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := ParseTLogProof([]byte(bad)); !errors.Is(err, ErrTLogProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseTLogProof(f *testing.F) {
	s := newSite(1, 9)
	p := s.tlogProof(4, s.note(s.keys, s.witnesses...))
	f.Add(p.Encode())
	p.Extra = nil
	f.Add(p.Encode())
	f.Add([]byte(tlogProofMagic + "\nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseTLogProof(data)
		if err != nil {
			wantIs(t, err, ErrTLogProof)
			return
		}
		if !bytes.Equal(p.Encode(), data) {
			t.Fatalf("%q encodes as %q", data, p.Encode())
		}
	})
}
