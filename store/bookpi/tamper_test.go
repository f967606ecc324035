package bookpi

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestPropertyEvidenceTamperDetection(t *testing.T) {
	ledgers := map[int]*ledger{}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 40).Draw(t, "size")
		l := ledgers[size]
		if l == nil {
			l = newLedger(byte(size), size)
			ledgers[size] = l
		}
		victim := rapid.IntRange(0, size-1).Draw(t, "entry")
		altered := bytes.Clone(l.entries[victim])
		at := rapid.IntRange(0, len(altered)-1).Draw(t, "byte")
		mask := rapid.ByteRange(1, 255).Draw(t, "mask")
		altered[at] ^= mask

		// Against the receipt's hash, and against a signed root.
		if LeafHash(altered) == LeafHash(l.entries[victim]) {
			t.Fatal("the altered entry has the hash of the honest one")
		}
		b := l.bundle(uint64(victim))
		if err := VerifyInclusion(LeafHash(altered), uint64(victim), l.tree.Size(), b.Items[0].Proof, l.tree.Root()); err == nil {
			t.Fatal("the altered entry is included")
		}

		// As evidence for a third party, even with its stated hash made to fit.
		if _, err := VerifyBundle(b.Encode(), l.key); err != nil {
			t.Fatal(err)
		}
		b.Items[0].Entry = altered
		broken := asBroken(t, func() error { _, err := VerifyBundle(b.Encode(), l.key); return err })
		if !broken.HasPosition || broken.Position != uint64(victim) {
			t.Fatalf("entry %d altered, the bundle says %v", victim, broken)
		}

		// Within the whole ledger, also with a stored hash made to fit.
		m := l.mirror()
		entries, tile := EntriesPath(0, size), Tile{0, 0, size}.Path()
		offset := entryLength
		for _, e := range l.entries[:victim] {
			offset += len(e) + entryLength
		}
		m = m.with(entries, flip(m[entries], offset+at, mask))
		audit := func() error {
			_, err := Audit(context.Background(), m, AuditOptions{VerifierKey: l.key, Workers: 1})
			return err
		}
		broken = asBroken(t, audit)
		if !broken.HasPosition || broken.Position != uint64(victim) || broken.Part != PartEntry {
			t.Fatalf("entry %d altered, the audit says %v", victim, broken)
		}
		leaf := LeafHash(altered)
		m = m.with(tile, slices.Replace(bytes.Clone(m[tile]), victim*HashSize, (victim+1)*HashSize, leaf[:]...))
		asBroken(t, audit)
	})
}

func asBroken(t *rapid.T, verify func() error) *BrokenError {
	t.Helper()
	b, ok := verify().(*BrokenError)
	if !ok {
		t.Fatal("the alteration was not noticed")
	}
	return b
}

// evidence is one file and a judge, who says what an accepted file means. Two files
// that mean the same are no forgery of each other.
type evidence struct {
	data  []byte
	judge func([]byte) (meaning string, err error)
}

// tamperCases returns each kind of evidence, genuine, and a second genuine file of
// the same kind and keys to splice with.
func tamperCases() map[string][2]evidence {
	later, earlier := newSite(1, 23), newSite(1, 14)
	cases := map[string][2]evidence{}
	for i, s := range []*site{later, earlier} {
		last := s.tree.Size() - 1
		everybody := s.policy
		everybody.Groups = []PolicyGroup{{Name: "all", Threshold: 3, Members: s.policy.Groups[0].Members}}
		everybody.Quorum = "all"
		cosigned := s.note(ed25519Only(s.keys), s.witnesses...)
		light := s.policy
		light.Witnesses, light.Groups, light.Quorum = light.Witnesses[:1], nil, "w1"
		lightNote := s.note(ed25519Only(s.keys), s.witnesses[0])

		cases["entry"] = put(cases["entry"], i, s.entries[last], func(data []byte) (string, error) {
			proof, _ := InclusionProof(s.tree.Size(), last, s.tiles)
			return string(data), VerifyInclusion(LeafHash(data), last, s.tree.Size(), proof, s.tree.Root())
		})
		cases["inclusion proof"] = put(cases["inclusion proof"], i, appendHashLines(nil, s.tlogProof(3, nil).Proof), func(data []byte) (string, error) {
			proof, rest, ok := cutHashLines(append(bytes.Clone(data), '\n'), maxProofLength)
			if !ok || len(rest) != 0 {
				return "", ErrProof
			}
			return string(data), VerifyInclusion(LeafHash(s.entries[3]), 3, s.tree.Size(), proof, s.tree.Root())
		})
		cases["checkpoint"] = put(cases["checkpoint"], i, cosigned, func(data []byte) (string, error) {
			cp, by, err := VerifyCheckpoint(data, everybody)
			slices.SortFunc(by, func(a, b Cosignature) int { return int(a.KeyHash>>1) - int(b.KeyHash>>1) })
			return fmt.Sprint(cp, by), err
		})
		cases["tlog-proof"] = put(cases["tlog-proof"], i, s.tlogProof(last, lightNote).Encode(), func(data []byte) (string, error) {
			proven, err := VerifyTLogProof(data, nil, light)
			return fmt.Sprint(proven), err
		})
		b := s.bundle(0, last-1, last)
		b.Checkpoint = lightNote
		b.Items[1].Payload, b.Items[1].HasPayload = nil, false
		cases["bundle"] = put(cases["bundle"], i, b.Encode(), func(data []byte) (string, error) {
			report, err := VerifyBundleWithPolicy(data, light)
			report.Payloads = 0 // whoever passes a bundle on may withhold one
			return fmt.Sprint(report), err
		})
		have := WitnessRecord{testOrigin, 9, newSite(1, 9).tree.Root(), nil}
		r := s.request(ed25519Only(s.keys), have.Size)
		known := s.keys.VerifierKeys()[:1]
		cases["courier request"] = put(cases["courier request"], i, r.Encode(), func(data []byte) (string, error) {
			next, err := CheckAddCheckpoint(known, have, data)
			return fmt.Sprint(next), err
		})
	}
	return cases
}

func put(pair [2]evidence, i int, data []byte, judge func([]byte) (string, error)) [2]evidence {
	pair[i] = evidence{data, judge}
	return pair
}

// No byte of any kind of evidence can change, no piece of it go missing and no line
// move, be doubled or come from another genuine file, and still be accepted as
// something that was not signed.
func TestTamperedEvidence(t *testing.T) {
	cases := tamperCases()
	for name, pair := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, other := pair[0], pair[1]
			flips, cuts := e.flipped(t, flipStride), e.cut(t)
			moves := e.rearranged(t, other.data)
			t.Logf("%d bytes: %d flipped, %d cut, %d rearranged, 0 accepted", len(e.data), flips, cuts, moves)
		})
	}
}

// flipped changes every stride-th byte, with two masks.
func (e evidence) flipped(t *testing.T, stride int) (mutants int) {
	t.Helper()
	if _, err := e.judge(e.data); err != nil {
		t.Fatalf("the genuine file: %v", err)
	}
	bad := bytes.Clone(e.data)
	for i := 0; i < len(bad); i += stride {
		for _, mask := range []byte{0x01, 0x80} {
			bad[i] ^= mask
			if _, err := e.judge(bad); err == nil {
				t.Errorf("byte %d of %d ^ %#x was accepted", i, len(bad), mask)
			}
			bad[i] ^= mask
			mutants++
		}
	}
	return mutants
}

func (e evidence) cut(t *testing.T) (mutants int) {
	t.Helper()
	for n := range e.data {
		if _, err := e.judge(e.data[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(e.data))
		}
	}
	return len(e.data)
}

// rearranged leaves out, doubles, swaps and replaces lines. A result may be accepted
// only with the meaning of one of the genuine files.
func (e evidence) rearranged(t *testing.T, other []byte) (mutants int) {
	t.Helper()
	genuine := map[string]bool{}
	for _, data := range [][]byte{e.data, other} {
		if meaning, err := e.judge(data); err == nil {
			genuine[meaning] = true
		}
	}
	try := func(what string, lines ...[]byte) {
		mutants++
		if meaning, err := e.judge(bytes.Join(lines, nil)); err == nil && !genuine[meaning] {
			t.Errorf("%s was accepted as %s", what, meaning)
		}
	}
	lines, others := bytes.SplitAfter(e.data, []byte("\n")), bytes.SplitAfter(other, []byte("\n"))
	for i := range lines {
		if _, err := e.judge(bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil)); err == nil && len(lines[i]) > 0 {
			t.Errorf("line %d doubled was accepted", i+1)
		}
		try(fmt.Sprintf("line %d left out", i+1), slices.Delete(slices.Clone(lines), i, i+1)...)
		for j := range i {
			swapped := slices.Clone(lines)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			try(fmt.Sprintf("lines %d and %d swapped", j+1, i+1), swapped...)
		}
		for j := range others {
			replaced := slices.Clone(lines)
			replaced[i] = others[j]
			try(fmt.Sprintf("line %d replaced", i+1), replaced...)
			try(fmt.Sprintf("spliced at %d and %d", i, j), append(slices.Clone(lines[:i]), others[j:]...)...)
		}
	}
	return mutants
}

// A checkpoint of a log with both keys, for somebody who asks for both.
func TestTamperedHybridCheckpoint(t *testing.T) {
	t.Parallel()
	s := newSite(1, 23)
	h, err := NewKeyHistory(s.keys)
	if err != nil {
		t.Fatal(err)
	}
	e := evidence{s.note(s.keys), func(data []byte) (string, error) {
		cp, err := h.OpenCheckpoint(data)
		return fmt.Sprint(cp), err
	}}
	// Each byte costs two verifications, and TestTamperedEvidence flips all of their kind.
	t.Logf("%d flipped, %d cut, 0 accepted", e.flipped(t, 16), e.cut(t))
	head, lines, _ := bytes.Cut(e.data, []byte("\n\n"))
	for _, line := range bytes.SplitAfter(lines, []byte("\n"))[:2] {
		if _, err := e.judge(slices.Concat(head, []byte("\n\n"), line)); err == nil {
			t.Errorf("%.40s... alone was accepted", line)
		}
	}
}

// Cutting a key history at a record leaves an older history, which is why auditors ask
// for one that has the key they know.
func TestTamperedKeyHistory(t *testing.T) {
	t.Parallel()
	h, keys := testHistory(t)
	h.Records = h.Records[:2] // each byte of the third would cost as many verifications
	newest := keys[1].VerifierKeys()[1]
	judge := func(data []byte) (string, error) {
		h, err := OpenKeyHistory(data, newest)
		return string(h.Encode()), err
	}
	e := evidence{h.Encode(), judge}
	t.Logf("%d flipped, %d cut, 0 accepted", e.flipped(t, flipStride), e.cut(t))

	// Another history that begins with the same key but hands over to other keys.
	fork, err := NewKeyHistory(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if fork, err = fork.Extend(keys[0], testLogKeys(testOrigin, 77), 200); err != nil {
		t.Fatal(err)
	}
	e.rearranged(t, fork.Encode())
}

// A changed policy may be another policy; it must not be the same one spelt in a
// different way.
func TestTamperedPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(1, 0)
	s.policy.Logs[0].URL = "https://log.test/"
	text := s.policy.Encode()
	unchanged, err := ParsePolicy(text)
	if err != nil || !bytes.Equal(unchanged.Encode(), text) {
		t.Fatal(err)
	}
	refused, others := 0, 0
	check := func(bad []byte) {
		switch p, err := ParsePolicy(bad); {
		case err != nil:
			refused++
		case bytes.Equal(p.Encode(), text):
			t.Fatalf("%q means the same", bad)
		default:
			others++
		}
	}
	for i := range text {
		for _, mask := range []byte{0x01, 0x80} {
			bad := bytes.Clone(text)
			bad[i] ^= mask
			check(bad)
		}
		if _, err := ParsePolicy(text[:i]); err == nil {
			t.Fatalf("the first %d of %d bytes were accepted", i, len(text))
		}
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i := range len(lines) - 1 {
		check(bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil))
		check(bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil))
	}
	t.Logf("%d bytes: %d refused, %d other policies", len(text), refused, others)
}

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestPropertyTamperedFiles(t *testing.T) {
	kinds := []string{"tlog-proof", "bundle", "request", "checkpoint"}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(2, 40).Draw(t, "size")
		s := newSite(rapid.ByteRange(1, 4).Draw(t, "site"), size)
		at := uint64(rapid.IntRange(0, size-1).Draw(t, "position"))
		signed := s.note(ed25519Only(s.keys), s.witnesses[0], s.witnesses[2])
		var e evidence
		switch rapid.SampledFrom(kinds).Draw(t, "kind") {
		case "tlog-proof":
			e = evidence{s.tlogProof(at, signed).Encode(), func(data []byte) (string, error) {
				proven, err := VerifyTLogProof(data, nil, s.policy)
				return fmt.Sprint(proven), err
			}}
		case "bundle":
			b := s.bundle(at)
			b.Checkpoint = signed
			e = evidence{b.Encode(), func(data []byte) (string, error) {
				report, err := VerifyBundleWithPolicy(data, s.policy)
				return fmt.Sprint(report), err
			}}
		case "request":
			have := WitnessRecord{Origin: testOrigin, Size: at}
			have.Root, _ = RootAt(at, s.tiles)
			e = evidence{s.request(ed25519Only(s.keys), at).Encode(), func(data []byte) (string, error) {
				next, err := CheckAddCheckpoint(s.keys.VerifierKeys(), have, data)
				return fmt.Sprint(next), err
			}}
		case "checkpoint":
			e = evidence{signed, func(data []byte) (string, error) {
				cp, by, err := VerifyCheckpoint(data, s.policy)
				return fmt.Sprint(cp, by), err
			}}
		}
		genuine, err := e.judge(e.data)
		if err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, len(e.data)-1).Draw(t, "from")
		j := rapid.IntRange(i+1, len(e.data)).Draw(t, "to")
		set := bytes.Clone(e.data)
		set[i] ^= rapid.ByteRange(1, 255).Draw(t, "mask")
		junk := rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "junk")
		for what, bad := range map[string][]byte{
			"changed":  set,
			"cut":      append(bytes.Clone(e.data[:i]), e.data[j:]...),
			"doubled":  append(bytes.Clone(e.data[:j]), e.data[i:]...),
			"inserted": slices.Insert(bytes.Clone(e.data), i, junk...),
		} {
			meaning, err := e.judge(bad)
			// What is doubled may be a signature line of a key that nobody knows.
			if err == nil && !(what == "doubled" && meaning == genuine) {
				t.Fatalf("%s [%d:%d] was accepted as %s", what, i, j, meaning)
			}
		}
	})
}

// Every payload that is opened in a bundle is opened by its own key.
func TestBundleOpenings(t *testing.T) {
	s := newSite(1, 3)
	var subject, salt [32]byte
	subject[0], salt[0] = 1, 2
	id := KeyID{3}
	sealed := Seal(subject, id, salt, []byte("about Ana"))
	other := Seal(subject, id, [32]byte{9}, []byte("about Ana"))
	s.add(sealed)
	s.add(other)
	key, err := RecordKey(subject, sealed)
	if err != nil {
		t.Fatal(err)
	}
	b := s.bundle(2, 3, 4)
	b.Items[1].Opening = &key
	data := b.Encode()
	report, err := VerifyBundle(data, s.key)
	if err != nil || report.Openings != 1 || report.Payloads != 3 {
		t.Fatal(report, err)
	}
	parsed, err := ParseBundle(data)
	if err != nil || parsed.Items[1].Opening == nil || *parsed.Items[1].Opening != key || !bytes.Equal(parsed.Encode(), data) {
		t.Fatal(parsed.Items[1], err)
	}
	line := []byte("opening " + base64.StdEncoding.EncodeToString(key[:]) + "\n")
	at := bytes.Index(data, line)
	for i := range line {
		for _, mask := range []byte{0x01, 0x80} {
			bad := bytes.Clone(data)
			bad[at+i] ^= mask
			if _, err := VerifyBundle(bad, s.key); err == nil {
				t.Errorf("byte %d of the opening ^ %#x was accepted", i, mask)
			}
		}
	}
	withheld := s.bundle(3)
	withheld.Items[0] = Item{Position: 3, Entry: s.entries[3], Opening: &key, Proof: withheld.Items[0].Proof}
	if _, err := ParseBundle(withheld.Encode()); err == nil {
		t.Error("an opening of a withheld payload was parsed")
	}
	doubled := slices.Insert(bytes.Clone(data), at, line...)
	if _, err := VerifyBundle(doubled, s.key); err == nil {
		t.Error("two openings were accepted")
	}
	for what, change := range map[string]func(*Bundle){
		"of another payload": func(b *Bundle) { b.Items[1].Opening, b.Items[2].Opening = nil, &key },
		"of a plain payload": func(b *Bundle) { b.Items[1].Opening, b.Items[0].Opening = nil, &key },
		"of nothing":         func(b *Bundle) { b.Items[1].Payload, b.Items[1].HasPayload = nil, false },
	} {
		b := s.bundle(2, 3, 4)
		b.Items[1].Opening = &key
		change(&b)
		if _, err := VerifyBundle(b.Encode(), s.key); err == nil {
			t.Errorf("an opening %s was accepted", what)
		}
	}
}
