package bookpi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// genText draws a field's text: valid, not empty, within limit bytes.
func genText(limit int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		runes := rapid.SliceOfN(rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) }), 1, limit).Draw(t, "runes")
		s := string(runes[:1])
		for _, r := range runes[1:] {
			if len(s)+len(string(r)) > limit {
				break
			}
			s += string(r)
		}
		return s
	})
}

func genHash() *rapid.Generator[Hash] {
	return rapid.Custom(func(t *rapid.T) Hash {
		return Hash(rapid.SliceOfN(rapid.Byte(), HashSize, HashSize).Draw(t, "hash"))
	})
}

func genEntry() *rapid.Generator[Entry] {
	return rapid.Custom(func(t *rapid.T) Entry {
		return Entry{
			Timestamp:     rapid.Int64Range(1, math.MaxInt64).Draw(t, "timestamp"),
			Tenant:        genText(MaxTenant).Draw(t, "tenant"),
			Actor:         genText(MaxActor).Draw(t, "actor"),
			Action:        genText(MaxAction).Draw(t, "action"),
			Outcome:       genText(MaxOutcome).Draw(t, "outcome"),
			RequestID:     [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "request")),
			PayloadDigest: genHash().Draw(t, "digest"),
			Previous:      genHash().Draw(t, "previous"),
		}
	})
}

// Feature: tamv-hardened-backend, Property 7: Evidence Record Completeness
func TestPropertyEvidenceRecordCompleteness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEntry().Draw(t, "entry")
		encoded := e.Append([]byte("kept"))
		got, err := ParseEntry(encoded[4:])
		if err != nil || got != e || string(encoded[:4]) != "kept" {
			t.Fatalf("round trip: %v, %v", got, err)
		}
		if got.Timestamp == 0 || got.Actor == "" || got.Action == "" || got.Outcome == "" || got.Tenant == "" {
			t.Fatalf("incomplete entry %v", got)
		}

		// Without any one of them there is neither an entry nor an encoding of one.
		encoded = encoded[4:]
		field := rapid.IntRange(0, 4).Draw(t, "field removed")
		lacking := bytes.Clone(encoded)
		switch field {
		case 0:
			e.Timestamp = 0
			copy(lacking[offTimestamp:], make([]byte, 8))
		default:
			texts := []*string{&e.Tenant, &e.Actor, &e.Action, &e.Outcome}
			start := entryHeader
			for _, text := range texts[:field-1] {
				start += len(*text)
			}
			removed := texts[field-1]
			lacking = append(lacking[:start], lacking[start+len(*removed):]...)
			lacking[offLengths+field-1] = 0
			*removed = ""
		}
		var byField *FieldError
		if err := e.Validate(); !errors.As(err, &byField) {
			t.Fatalf("Validate: %v", err)
		}
		want := []string{"timestamp", "tenant", "actor", "action", "outcome"}[field]
		if byField.Field != want {
			t.Fatalf("Validate blames %s, want %s", byField.Field, want)
		}
		if _, err := ParseEntry(lacking); !errors.As(err, &byField) || byField.Field != want {
			t.Fatalf("ParseEntry: %v, want a complaint about %s", err, want)
		}
	})
}

func validEntry() Entry {
	return Entry{Timestamp: 1, Tenant: "t", Actor: "añb", Action: "c", Outcome: "d"}
}

func TestEntryLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, tc := range map[string]struct {
		change func(*Entry)
		field  string // "" for accepted
	}{
		"as is":              {func(*Entry) {}, ""},
		"negative timestamp": {func(e *Entry) { e.Timestamp = -1 }, "timestamp"},
		"least timestamp":    {func(e *Entry) { e.Timestamp = math.MinInt64 }, "timestamp"},
		"longest tenant":     {func(e *Entry) { e.Tenant = long(64) }, ""},
		"long tenant":        {func(e *Entry) { e.Tenant = long(65) }, "tenant"},
		"longest actor":      {func(e *Entry) { e.Actor = long(255) }, ""},
		"long actor":         {func(e *Entry) { e.Actor = long(256) }, "actor"},
		"longest action":     {func(e *Entry) { e.Action = long(100) }, ""},
		"long action":        {func(e *Entry) { e.Action = long(101) }, "action"},
		"longest outcome":    {func(e *Entry) { e.Outcome = long(64) }, ""},
		"long outcome":       {func(e *Entry) { e.Outcome = long(65) }, "outcome"},
		"bytes, not runes":   {func(e *Entry) { e.Outcome = strings.Repeat("ñ", 33) }, "outcome"},
		"bad UTF-8":          {func(e *Entry) { e.Actor = "a\xff" }, "actor"},
		"surrogate":          {func(e *Entry) { e.Actor = "\xed\xa0\x80" }, "actor"},
		"line feed":          {func(e *Entry) { e.Action = "a\nb" }, "action"},
		"NUL":                {func(e *Entry) { e.Tenant = "\x00" }, "tenant"},
		"DEL":                {func(e *Entry) { e.Tenant = "\x7f" }, "tenant"},
		"C1 control":         {func(e *Entry) { e.Outcome = "\u0085" }, "outcome"},
		"replacement rune":   {func(e *Entry) { e.Outcome = "\uFFFD" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := validEntry()
			tc.change(&e)
			err := e.Validate()
			if tc.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got, err := ParseEntry(e.Append(nil)); err != nil || got != e {
					t.Fatal(got, err)
				}
				return
			}
			var byField *FieldError
			if !errors.As(err, &byField) || byField.Field != tc.field {
				t.Fatalf("%v, want a complaint about %s", err, tc.field)
			}
			wantIs(t, err, ErrEntry)
			defer func() {
				if recover() == nil {
					t.Error("Append wrote an invalid entry")
				}
			}()
			e.Append(nil)
		})
	}
}

func TestParseEntryRefuses(t *testing.T) {
	good := validEntry().Append(nil)
	change := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	negative := bytes.Clone(good)
	binary.BigEndian.PutUint64(negative[offTimestamp:], 1<<63|5)
	longTenant := append(change(offLengths, 65), make([]byte, 64)...)
	for name, b := range map[string][]byte{
		"nothing":            nil,
		"header only":        good[:entryHeader],
		"one byte short":     good[:len(good)-1],
		"one byte more":      append(bytes.Clone(good), 0),
		"twice":              append(bytes.Clone(good), good...),
		"magic":              change(0, 'b'),
		"version 2":          change(3, 2),
		"negative timestamp": negative,
		"tenant too long":    longTenant,
		"control character":  change(entryHeader, '\t'),
		"split rune":         change(offLengths+1, good[offLengths+1]-1),
	} {
		if _, err := ParseEntry(b); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One length up, the next down: the same bytes, read as other fields, so another
	// entry with another hash. It must round-trip like any other.
	shifted := change(offLengths, 2)
	shifted[offLengths+1]--
	e, err := ParseEntry(shifted)
	if err != nil || e.Tenant != "ta" || !bytes.Equal(e.Append(nil), shifted) || LeafHash(shifted) == LeafHash(good) {
		t.Error(e, err)
	}
}

func TestParsedEntrySharesNoMemory(t *testing.T) {
	b := validEntry().Append(nil)
	e, err := ParseEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if e != validEntry() {
		t.Error("the entry changed with its input")
	}
}

func TestLongestEntry(t *testing.T) {
	e := Entry{
		Timestamp: math.MaxInt64,
		Tenant:    strings.Repeat("t", MaxTenant),
		Actor:     strings.Repeat("a", MaxActor),
		Action:    strings.Repeat("c", MaxAction),
		Outcome:   strings.Repeat("o", MaxOutcome),
	}
	if n := len(e.Append(nil)); n != MaxEntrySize {
		t.Errorf("%d bytes, MaxEntrySize is %d", n, MaxEntrySize)
	}
}

// The encoding is frozen: ledgers outlive releases. The hash was computed by another
// program, from the table in entry.go.
func TestEntryGolden(t *testing.T) {
	e := Entry{
		Timestamp:     1_763_781_234_567_890,
		Tenant:        "plaza",
		Actor:         "did:tamv:user:9f3c",
		Action:        "intent.execute",
		Outcome:       "completed",
		RequestID:     [16]byte{1, 2, 3, 15: 16},
		PayloadDigest: PayloadDigest([]byte("payload")),
		Previous:      GenesisHash,
	}
	const want = "73d6ac7091e66d3e0f9ef8426478d98de706598120e0f03e6caccb49923c794e"
	if got := LeafHash(e.Append(nil)).String(); got != want {
		t.Errorf("leaf hash %s, want %s", got, want)
	}
}

func TestHashText(t *testing.T) {
	h := PayloadDigest(nil)
	const text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if h.String() != text {
		t.Error(h)
	}
	if got, err := ParseHash(text); err != nil || got != h {
		t.Error(got, err)
	}
	encoded, err := json.Marshal(map[string]Hash{"hash": h})
	if err != nil || string(encoded) != `{"hash":"`+text+`"}` {
		t.Error(string(encoded), err)
	}
	var back map[string]Hash
	if err := json.Unmarshal(encoded, &back); err != nil || !reflect.DeepEqual(back, map[string]Hash{"hash": h}) {
		t.Error(back, err)
	}
	for _, bad := range []string{"", text[:63], text + "0", strings.ToUpper(text), "0x" + text[:62], text[:63] + "g", text[:63] + " "} {
		if _, err := ParseHash(bad); !errors.Is(err, ErrHash) {
			t.Errorf("ParseHash(%q): %v", bad, err)
		}
		if err := h.UnmarshalText([]byte(bad)); !errors.Is(err, ErrHash) || h.String() != text {
			t.Errorf("UnmarshalText(%q): %v, %v", bad, err, h)
		}
	}
}

// LeafHash keeps short inputs on the stack; both ways must agree.
func TestLeafHashLengths(t *testing.T) {
	for _, n := range []int{0, 1, MaxEntrySize - 1, MaxEntrySize, MaxEntrySize + 1, 5000} {
		b := bytes.Repeat([]byte{7}, n)
		if got, want := LeafHash(b), PayloadDigest(append([]byte{leafPrefix}, b...)); got != want {
			t.Errorf("%d bytes: %v, want %v", n, got, want)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(validEntry().Append(nil))
	f.Add(newLedger(1, 2).entries[1])
	f.Add([]byte(entryMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEntry(b)
		if err != nil {
			wantIs(t, err, ErrEntry)
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("accepted an invalid entry: %v", err)
		}
		if !bytes.Equal(e.Append(nil), b) {
			t.Fatalf("%x encodes as %x", b, e.Append(nil))
		}
	})
}
