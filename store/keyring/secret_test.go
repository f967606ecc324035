package keyring

import (
	"bytes"
	"testing"
)

func TestTheIDDependsOnEverything(t *testing.T) {
	ids := map[ID]bool{}
	for _, s := range []Secret{
		subjectKey("ana", 0, 1), subjectKey("ana", 0, 2), subjectKey("ana", 1, 1), subjectKey("eva", 0, 1),
		{Kind: SubjectKey, Tenant: "mainana", Subject: "", Value: subjectKey("ana", 0, 1).Value},
		{Kind: SubjectKey, Tenant: "other", Subject: "ana", Value: subjectKey("ana", 0, 1).Value},
		LogSecret(0, "k"), LogSecret(1, "k"),
	} {
		ids[s.ID()] = true
	}
	if len(ids) != 8 {
		t.Errorf("%d ids for eight secrets", len(ids))
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(subjectKey("ana", 3, 1).append(nil))
	f.Add(append(LogSecret(9, "text").append(nil), 0, 0))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, rest, ok := parseSecret(b)
		if !ok {
			return
		}
		if !s.valid() || !bytes.Equal(append(s.append(nil), rest...), b) {
			t.Fatalf("%x was read as %x and a rest of %d", b, s.append(nil), len(rest))
		}
	})
}

// No content of a slot is taken for a secret but what was written there.
func FuzzSlot(f *testing.F) {
	file := &slotFile{slotBytes: subjectSlot, aead: newAEAD(sealing), id: [16]byte{7}}
	sound := file.seal(3, subjectKey("ana", 0, 1))
	f.Add(sound, uint64(3))
	f.Add(sound, uint64(4))
	f.Add(make([]byte, subjectSlot), uint64(1))
	f.Fuzz(func(t *testing.T, slot []byte, n uint64) {
		if len(slot) != subjectSlot {
			return
		}
		s, state := file.open(n, slot)
		switch {
		case state == slotTaken && (n != 3 || s.ID() != subjectKey("ana", 0, 1).ID()):
			t.Fatal("another slot was opened")
		case state == slotFree && !allZero(slot):
			t.Fatal("a slot with something in it counts as free")
		}
	})
}
