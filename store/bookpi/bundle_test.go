package bookpi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestBundleRoundTrip(t *testing.T) {
	l := newLedger(1, 300)
	b := l.bundle(0, 1, 2, 255, 256, 299)
	b.Items[1].Payload, b.Items[1].HasPayload = nil, false
	data := b.Encode()

	parsed, err := ParseBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(parsed, b) {
		t.Errorf("parsed as %v, want %v", parsed, b)
	}
	report, err := VerifyBundle(data, l.key)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := ParseEntry(l.entries[0])
	last, _ := ParseEntry(l.entries[299])
	want := Report{
		Origin: testOrigin, Size: 300, Root: l.tree.Root(), Entries: 6, Payloads: 5,
		FirstTimestamp: first.Timestamp, LastTimestamp: last.Timestamp,
	}
	if !reflect.DeepEqual(report, want) {
		t.Errorf("report %v, want %v", report, want)
	}
}

func TestBundleOfOneEntryLedger(t *testing.T) {
	l := newLedger(1, 0)
	l.add(nil)
	data := l.bundle(0).Encode()
	if !bytes.Contains(data, []byte("\npayload\n")) || bytes.Contains(data, []byte("proof ")) {
		t.Errorf("an empty payload and an empty proof read %q", data)
	}
	report, err := VerifyBundle(data, l.key)
	if err != nil || report.Payloads != 1 {
		t.Fatal(report, err)
	}
}

// damage describes which line a byte of a bundle's file belongs to.
type damage struct {
	position int64 // -1 above the first entry
	part     string
	isHeader bool // the line that states a position
}

// mapBundle says for each byte of an intact file what its damage must be called.
func mapBundle(data []byte) []damage {
	var where []damage
	now := damage{position: -1, part: PartStructure}
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		now.isHeader = false
		switch {
		case i < 2:
		case word == "entry":
			fmt.Sscan(rest, &now.position)
			now.part, now.isHeader = PartStructure, true
		case now.position < 0:
			now.part = PartCheckpoint
		case word == "hash":
			now.part = PartStructure
		case word == "record":
			now.part = PartEntry
		case word == "payload":
			now.part = PartPayload
		default: // proof lines and the empty line that ends them
			now.part = PartProof
		}
		for range line {
			where = append(where, now)
		}
	}
	return where
}

// Flip every byte of a bundle: none is accepted, and the damage is called by name.
func TestFlippedBundleBytes(t *testing.T) {
	l := newLedger(1, 21)
	l.add(nil)
	b := l.bundle(0, 4, 5, 20, 21)
	b.Items[2].Payload, b.Items[2].HasPayload = nil, false
	good := b.Encode()
	where := mapBundle(good)
	mutants := 0
	for _, mask := range []byte{0x01, 0x80} {
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= mask
			mutants++
			_, err := VerifyBundle(bad, l.key)
			if err == nil {
				t.Fatalf("byte %d ^ %#x was accepted", i, mask)
			}
			if where[i].isHeader {
				continue // the position itself is damaged; that it is refused must do
			}
			wantBroken(t, err, where[i].position, where[i].part)
		}
	}
	t.Logf("%d mutants of %d bytes, 0 accepted", mutants, len(good))
}

// Any change of any byte to any other value, and any cut or doubled stretch.
func TestDamagedBundle(t *testing.T) {
	l := newLedger(1, 40)
	good := l.bundle(7, 8, 31).Encode()
	where := mapBundle(good)
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, len(good)-1).Draw(t, "from")
		j := rapid.IntRange(i+1, len(good)).Draw(t, "to")
		set := bytes.Clone(good)
		set[i] ^= rapid.ByteRange(1, 255).Draw(t, "mask")
		for name, bad := range map[string][]byte{
			"changed":  set,
			"cut":      append(bytes.Clone(good[:i]), good[j:]...),
			"doubled":  append(bytes.Clone(good[:j]), good[i:]...),
			"inserted": append(append(bytes.Clone(good[:i]), '\n'), good[i:]...),
		} {
			_, err := VerifyBundle(bad, l.key)
			if err == nil {
				t.Fatalf("%s [%d:%d] was accepted", name, i, j)
			}
			broken, ok := err.(*BrokenError)
			if !ok {
				t.Fatalf("%s [%d:%d]: %v", name, i, j, err)
			}
			inLine := where[i].position >= 0 && !where[i].isHeader
			if name == "changed" && inLine && (!broken.HasPosition || broken.Position != uint64(where[i].position)) {
				t.Fatalf("byte %d of entry %d changed: %v", i, where[i].position, err)
			}
		}
	})
}

func TestTruncatedBundle(t *testing.T) {
	l := newLedger(1, 9)
	good := l.bundle(2, 3, 8).Encode()
	for n := range good {
		if _, err := VerifyBundle(good[:n], l.key); err == nil {
			t.Fatalf("accepted the first %d of %d bytes", n, len(good))
		}
		if _, err := ParseBundle(good[:n]); err == nil {
			t.Fatalf("parsed the first %d of %d bytes", n, len(good))
		}
	}
	if _, err := VerifyBundle(append(bytes.Clone(good), '\n'), l.key); err == nil {
		t.Error("accepted a line feed at the end")
	}
}

// Bundles put together from genuine parts in the wrong way.
func TestSplicedBundles(t *testing.T) {
	l, other := newLedger(1, 30), newLedger(2, 30)
	older := newLedger(1, 20) // the same ledger, earlier
	for name, tc := range map[string]struct {
		change   func(b *Bundle)
		position int64
		part     string
	}{
		"items swapped":       {func(b *Bundle) { b.Items[1], b.Items[2] = b.Items[2], b.Items[1] }, 6, PartStructure},
		"item doubled":        {func(b *Bundle) { b.Items = append(b.Items[:2], b.Items[1:]...) }, 6, PartStructure},
		"entries swapped":     {func(b *Bundle) { b.Items[0].Entry, b.Items[1].Entry = b.Items[1].Entry, b.Items[0].Entry }, 5, PartProof},
		"proofs swapped":      {func(b *Bundle) { b.Items[1].Proof, b.Items[2].Proof = b.Items[2].Proof, b.Items[1].Proof }, 6, PartProof},
		"payloads swapped":    {func(b *Bundle) { b.Items[1].Payload, b.Items[2].Payload = b.Items[2].Payload, b.Items[1].Payload }, 6, PartPayload},
		"payload emptied":     {func(b *Bundle) { b.Items[2].Payload = nil }, 29, PartPayload},
		"proof without last":  {func(b *Bundle) { b.Items[2].Proof = b.Items[2].Proof[:1] }, 29, PartProof},
		"another ledger":      {func(b *Bundle) { b.Items[1] = other.bundle(6).Items[0] }, 6, PartProof},
		"another's root":      {func(b *Bundle) { b.Checkpoint = other.checkpoint() }, -1, PartCheckpoint},
		"rolled back":         {func(b *Bundle) { b.Checkpoint = older.checkpoint() }, 5, PartProof},
		"position beyond":     {func(b *Bundle) { b.Items[2].Position = 30 }, 30, PartProof},
		"position off by one": {func(b *Bundle) { b.Items[0].Position = 4 }, 4, PartProof},
		"no checkpoint":       {func(b *Bundle) { b.Checkpoint = nil }, -1, PartCheckpoint},
		"no entries":          {func(b *Bundle) { b.Items = nil }, -1, PartStructure},
		"not an entry":        {func(b *Bundle) { b.Items[0].Entry = []byte("{}") }, 5, PartEntry},
		"no entry":            {func(b *Bundle) { b.Items[0].Entry = nil }, 5, PartEntry},
		"entry too long":      {func(b *Bundle) { b.Items[0].Entry = make([]byte, MaxBundleEntry+1) }, 5, PartEntry},
		"payload too long":    {func(b *Bundle) { b.Items[0].Payload = make([]byte, MaxBundlePayload+1) }, 5, PartPayload},
		"proof too long":      {func(b *Bundle) { b.Items[0].Proof = make([]Hash, maxProofLength+1) }, 5, PartProof},
	} {
		t.Run(name, func(t *testing.T) {
			b := l.bundle(5, 6, 29)
			tc.change(&b)
			_, err := VerifyBundle(b.Encode(), l.key)
			wantBroken(t, err, tc.position, tc.part)
		})
	}
}

// A log that breaks its own chain is caught although every proof holds.
func TestBundleOfBrokenChain(t *testing.T) {
	l := newLedger(1, 4)
	l.head = PayloadDigest(nil)
	l.add([]byte("x"))
	_, err := VerifyBundle(l.bundle(3, 4).Encode(), l.key)
	wantBroken(t, err, 4, PartChain)
	if _, err := VerifyBundle(l.bundle(2, 4).Encode(), l.key); err != nil {
		t.Errorf("without its neighbour the link cannot be judged: %v", err)
	}

	l = newLedger(1, 0)
	l.head = PayloadDigest(nil)
	l.add([]byte("x"))
	_, err = VerifyBundle(l.bundle(0).Encode(), l.key)
	wantBroken(t, err, 0, PartChain)
}

func TestBundleLimits(t *testing.T) {
	l := newLedger(1, 2)
	l.add(bytes.Repeat([]byte{7}, MaxBundlePayload))
	if _, err := VerifyBundle(l.bundle(2).Encode(), l.key); err != nil {
		t.Errorf("a payload of the greatest length: %v", err)
	}
	_, err := VerifyBundle(make([]byte, MaxBundleSize+1), l.key)
	wantBroken(t, err, -1, PartStructure)
	_, err = VerifyBundle(nil, "no key")
	wantIs(t, err, ErrKey)

	good := string(l.bundle(0, 1).Encode())
	for _, count := range []string{"0", "1", "3", "02", "-2", "100001", "18446744073709551618", "two", ""} {
		bad := strings.Replace(good, "entries 2\n", "entries "+count+"\n", 1)
		if _, err := VerifyBundle([]byte(bad), l.key); err == nil {
			t.Errorf("accepted entries %q", count)
		}
		if _, err := ParseBundle([]byte(bad)); err == nil {
			t.Errorf("parsed entries %q", count)
		}
	}
}

func TestBundleSpellings(t *testing.T) {
	l := newLedger(1, 5)
	b := l.bundle(0, 1)
	good := string(b.Encode())
	start := strings.Index(good, "entry 0\n")
	leaf := LeafHash(b.Items[1].Entry).String()
	record := base64.StdEncoding.EncodeToString(b.Items[1].Entry)
	for name, change := range map[string][2]string{
		"position with zero":  {"entry 1\n", "entry 01\n"},
		"position with sign":  {"entry 1\n", "entry +1\n"},
		"position with space": {"entry 1\n", "entry  1\n"},
		"upper-case hash":     {leaf, strings.ToUpper(leaf)},
		"carriage return":     {record, record[:4] + "\r" + record[4:]},
		"padding left out":    {"=\n", "\n"},
		"spare equals sign":   {"=\n", "==\n"},
		"payload of nothing":  {"payload ", "payload \n"},
		"capital word":        {"record ", "Record "},
		"trailing space":      {"entry 1\n", "entry 1 \n"},
	} {
		bad := good[:start] + strings.Replace(good[start:], change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := VerifyBundle([]byte(bad), l.key); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := ParseBundle([]byte(bad)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestParseBundleRefuses(t *testing.T) {
	l := newLedger(1, 5)
	b := l.bundle(1, 3)
	good := string(b.Encode())
	leaf := LeafHash(b.Items[1].Entry).String()
	_, err := ParseBundle([]byte(strings.Replace(good, leaf, GenesisHash.String(), 1)))
	wantBroken(t, err, 3, PartEntry)
	b.Items[0], b.Items[1] = b.Items[1], b.Items[0]
	_, err = ParseBundle(b.Encode())
	wantBroken(t, err, 1, PartStructure)
	_, err = ParseBundle([]byte(good + "x"))
	wantBroken(t, err, -1, PartStructure)
	_, err = VerifyBundle([]byte(good+"x"), l.key)
	wantBroken(t, err, -1, PartStructure)
}

func FuzzParseBundle(f *testing.F) {
	l := newLedger(1, 9)
	f.Add(l.bundle(0, 8).Encode())
	withheld := l.bundle(3, 4)
	withheld.Items[0].Payload, withheld.Items[0].HasPayload = nil, false
	withheld.Items[1].Payload = nil
	f.Add(withheld.Encode())
	f.Add([]byte(bundleMagic + "\nentries 1\n\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBundle(data)
		if err != nil {
			if _, ok := err.(*BrokenError); !ok {
				t.Fatalf("untyped error %v", err)
			}
			if _, err := VerifyBundle(data, l.key); err == nil {
				t.Fatal("verified what does not parse")
			}
			return
		}
		if !bytes.Equal(b.Encode(), data) {
			t.Fatalf("%q encodes as %q", data, b.Encode())
		}
	})
}
