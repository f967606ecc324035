package bookpi

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// auditedSite is a log with keys of both kinds that it changed at 200 entries, with a history
// of them and two witnesses.
type auditedSite struct {
	*ledger
	m         mirror
	old       LogKeys // until 199
	current   LogKeys
	witnesses []*SigningKey
	policy    Policy // both witnesses
}

func newAuditedSite(t *testing.T) *auditedSite {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	generate := func() LogKeys {
		keys, err := GenerateKeys(random, testOrigin)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	s := &auditedSite{ledger: newLedger(1, 300), old: generate(), current: generate()}
	history, err := NewKeyHistory(s.old)
	if err == nil {
		history, err = history.Extend(s.old, s.current, 200)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.policy = Policy{
		Logs:   []PolicyLog{{Key: s.current.VerifierKeys()[0]}},
		Groups: []PolicyGroup{{Name: "both", Threshold: 2}},
		Quorum: "both",
	}
	for i, name := range []string{"auditor.test/laptop", "sibling.test/plaza"} {
		key, err := GenerateSigningKey(random, name, []Algorithm{AlgorithmCosignatureEd25519, AlgorithmMLDSA44}[i])
		if err != nil {
			t.Fatal(err)
		}
		s.witnesses = append(s.witnesses, key)
		s.policy.Witnesses = append(s.policy.Witnesses, PolicyWitness{Name: name, Key: key.Verifier()})
		s.policy.Groups[0].Members = append(s.policy.Groups[0].Members, name)
	}
	s.m = s.ledger.mirror()
	s.m[CheckpointPath] = s.signed(t, 300, s.current, s.witnesses...)
	s.m[KeysPath] = history.Encode()
	s.m[RecordedPath(100)] = s.signed(t, 100, s.old)
	s.m[RecordedPath(256)] = s.signed(t, 256, s.current)
	return s
}

func (s *auditedSite) signed(t *testing.T, size uint64, keys LogKeys, witnesses ...*SigningKey) []byte {
	t.Helper()
	cp := Checkpoint{testOrigin, size, mustRoot(t, s.ledger, size)}
	at := time.Unix(1_763_781_234, 0)
	note, err := keys.Sign(cp, at)
	for _, w := range witnesses {
		var line []byte
		if err == nil {
			line, err = Cosign(cp, w, at)
		}
		if err == nil {
			note, err = AddCosignatures(note, line)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func TestAuditFollowsThePolicyAndTheKeys(t *testing.T) {
	s := newAuditedSite(t)
	policy := AuditOptions{Policy: &s.policy}
	report, err := Audit(t.Context(), s.m, policy)
	if err != nil || report.Recorded != 2 || len(report.CosignedBy) != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	// Any one key of the log leads to the others.
	for _, keys := range []LogKeys{s.old, s.current} {
		for _, key := range keys.Verifiers() {
			report, err := Audit(t.Context(), s.m, AuditOptions{VerifierKey: key})
			if err != nil || report.Recorded != 2 {
				t.Fatalf("%s: %+v, %v", key, report, err)
			}
		}
	}

	cosigned := s.signed(t, 256, s.current, s.witnesses[0])
	if _, err := Audit(t.Context(), s.m.with(RecordedPath(256), cosigned), policy); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		m    mirror
		part string
		is   error
	}{
		{"one cosignature", s.m.with(CheckpointPath, s.signed(t, 300, s.current, s.witnesses[1])), PartCheckpoint, ErrQuorum},
		{"recorded with a wrong cosignature", s.m.with(RecordedPath(256), flip(cosigned, len(cosigned)-20, 1)), PartCheckpoint, ErrCheckpoint},
		{"newest signed with replaced keys", s.m.with(CheckpointPath, s.signed(t, 300, s.old, s.witnesses...)), PartCheckpoint, ErrCheckpoint},
		{"recorded signed with replaced keys", s.m.with(RecordedPath(256), s.signed(t, 256, s.old)), PartCheckpoint, ErrCheckpoint},
		{"recorded signed before the keys were there", s.m.with(RecordedPath(100), s.signed(t, 100, s.current)), PartCheckpoint, ErrCheckpoint},
		{"a history of other keys", s.m.with(KeysPath, newAuditedHistory(t)), PartKeys, nil},
		{"without the history, old keys are unknown", s.m.with(KeysPath, nil), PartCheckpoint, ErrCheckpoint},
	} {
		_, err := Audit(t.Context(), c.m, policy)
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", c.name, err, c.is)
		}
		wantBroken(t, err, -1, c.part)
	}
	_, err = Audit(t.Context(), s.m, AuditOptions{Policy: &Policy{}})
	wantIs(t, err, ErrPolicy)
}

func newAuditedHistory(t *testing.T) []byte {
	t.Helper()
	keys, err := GenerateKeys(rand.NewChaCha8([32]byte{2}), testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	history, err := NewKeyHistory(keys)
	if err != nil {
		t.Fatal(err)
	}
	return history.Encode()
}

// Feature: tamv-hardened-backend, Property 8: Evidence Tamper Detection
func TestAuditRefusesFlippedSignatures(t *testing.T) {
	s := newAuditedSite(t)
	flips := 0
	for _, path := range []string{CheckpointPath, KeysPath, RecordedPath(100), RecordedPath(256)} {
		step := 1
		if !*everyByte {
			step = 149
		}
		for i := rand.IntN(step); i < len(s.m[path]); i += step {
			mask := byte(1 + rand.UintN(255))
			_, err := Audit(t.Context(), s.m.with(path, flip(s.m[path], i, mask)), AuditOptions{Policy: &s.policy})
			var b *BrokenError
			if !errors.As(err, &b) {
				t.Fatalf("%s, byte %d ^ %#x: %v", path, i, mask, err)
			}
			flips++
		}
	}
	t.Logf("%d flips, 0 accepted", flips)
}

// Whoever holds a copy can rewrite all of it but what is signed. That must not look as if
// the log had signed two histories.
func TestAuditBlamesTheLogOnlyForWhatItSigned(t *testing.T) {
	l, other := newLedger(1, 300), newLedger(1, 20)
	for i := range 280 {
		other.add([]byte{byte(i)})
	}
	last := Visit{testOrigin, 100, mustRoot(t, l, 100)}
	copied := other.mirror()
	copied[CheckpointPath] = l.checkpoint()
	copied[RecordedPath(50)] = l.checkpointAt(50)
	opts := AuditOptions{VerifierKey: l.key, Last: &last, Damages: 10}
	report, err := Audit(t.Context(), copied, opts)
	if len(report.Damages) != 3 || errors.Is(err, ErrSplitView) {
		t.Fatalf("%v: %v", err, report.Damages)
	}
	// Here the log itself stands behind the other history.
	copied[CheckpointPath] = other.checkpoint()
	report, err = Audit(t.Context(), copied, opts)
	if len(report.Damages) != 2 || !errors.Is(err, ErrSplitView) || !errors.Is(report.Damages[1], ErrSplitView) {
		t.Fatalf("%v: %v", err, report.Damages)
	}
	if !bytes.Equal(l.checkpointAt(20), other.checkpointAt(20)) {
		t.Fatal("the two histories should begin alike")
	}
}
