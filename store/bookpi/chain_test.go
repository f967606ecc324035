package bookpi

import (
	"bytes"
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
		altered[at] ^= rapid.ByteRange(1, 255).Draw(t, "mask")

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

		// Within the whole ledger, with the recorded leaf hashes and without.
		entries := append([][]byte{}, l.entries...)
		entries[victim] = altered
		broken = asBroken(t, func() error { return verifyLedger(l, entries, true) })
		if !broken.HasPosition || broken.Position != uint64(victim) || broken.Part != PartEntry {
			t.Fatalf("entry %d altered, the ledger says %v", victim, broken)
		}
		asBroken(t, func() error { return verifyLedger(l, entries, false) })
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

// verifyLedger runs a Chain over entries against l's checkpoint.
func verifyLedger(l *ledger, entries [][]byte, recorded bool) error {
	var c Chain
	for i, e := range entries {
		var err error
		if recorded {
			err = c.AddLeaf(e, l.tiles[0][i])
		} else {
			err = c.Add(e)
		}
		if err != nil {
			return err
		}
	}
	cp, err := OpenCheckpoint(l.checkpoint(), l.key)
	if err != nil {
		return err
	}
	return c.Check(cp)
}

func TestChainOfHonestLedger(t *testing.T) {
	l := newLedger(1, 700)
	for _, recorded := range []bool{true, false} {
		if err := verifyLedger(l, l.entries, recorded); err != nil {
			t.Errorf("recorded %v: %v", recorded, err)
		}
	}
}

func TestChainNamesTheFirstBrokenEntry(t *testing.T) {
	l, other := newLedger(1, 10), newLedger(2, 10)
	without := func(i int) [][]byte { return append(append([][]byte{}, l.entries[:i]...), l.entries[i+1:]...) }
	with := func(i int, e []byte) [][]byte {
		c := append([][]byte{}, l.entries...)
		c[i] = e
		return c
	}
	outcome := bytes.Clone(l.entries[4])
	outcome[len(outcome)-1] = 'D' // "completeD": a valid entry
	for name, tc := range map[string]struct {
		entries  [][]byte
		position int64
		part     string
	}{
		"outcome altered":    {with(4, outcome), 5, PartChain},
		"last altered":       {with(9, append(l.entries[9][:len(l.entries[9])-1:len(l.entries[9])-1], 'D')), -1, PartCheckpoint},
		"removed":            {without(4), 4, PartChain},
		"first removed":      {without(0), 0, PartChain},
		"last removed":       {without(9), -1, PartCheckpoint},
		"doubled":            {with(5, l.entries[4]), 5, PartChain},
		"from other ledger":  {with(5, other.entries[5]), 5, PartChain},
		"other ledger":       {other.entries, -1, PartCheckpoint},
		"truncated bytes":    {with(5, l.entries[5][:50]), 5, PartEntry},
		"swapped neighbours": {append(append(append([][]byte{}, l.entries[:3]...), l.entries[4], l.entries[3]), l.entries[5:]...), 3, PartChain},
	} {
		t.Run(name, func(t *testing.T) {
			wantBroken(t, verifyLedger(l, tc.entries, false), tc.position, tc.part)
		})
	}
	wantBroken(t, verifyLedger(l, with(4, outcome), true), 4, PartEntry)
}

func TestResumeChain(t *testing.T) {
	l := newLedger(1, 10)
	var half Chain
	for _, e := range l.entries[:6] {
		if err := half.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if half.Head() != LeafHash(l.entries[5]) {
		t.Error("the head is not the last entry's hash")
	}
	wantBroken(t, half.Add(l.entries[7]), 6, PartChain)
	wantBroken(t, half.AddLeaf(l.entries[6], GenesisHash), 6, PartEntry)

	rest := ResumeChain(half.tree, half.Head())
	for _, e := range l.entries[6:] {
		if err := rest.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if rest.Size() != 10 || rest.Root() != l.tree.Root() || half.Size() != 6 {
		t.Error("the resumed chain went another way")
	}
}
