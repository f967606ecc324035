package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tamv.internal/tamv/tap"
)

// marker seals by writing down what it was asked.
type marker struct {
	asked  []string
	before func(attempt int) error // called before each answer
}

func (s *marker) Seal(_ context.Context, tenant, subject string, generation uint64, payload []byte) ([]byte, error) {
	s.asked = append(s.asked, fmt.Sprintf("%s/%s/%d", tenant, subject, generation))
	if s.before != nil {
		if err := s.before(len(s.asked)); err != nil {
			return nil, err
		}
	}
	return fmt.Appendf(nil, "sealed %d for %s at %d", len(payload), subject, generation), nil
}

func about(subject string, ops ...Op) Batch {
	b := batch(ops...)
	b.Evidence[0].Payload, b.Evidence[0].Subject = []byte("ana has a cold"), subject
	return b
}

func erasure(generation int) Op {
	return Put(ErasureKey("main", "ana"), fmt.Appendf(nil, `{"generation":%d}`, generation))
}

func TestAPayloadAboutAPersonIsSealed(t *testing.T) {
	m := open(t, t.TempDir())
	seal := &marker{}
	w := NewWriter(&proposer{m: m}, m).Sealing(seal)
	b := about("ana", Put(key("a"), nil))
	b.Fingerprint = Fingerprint([]byte("ana has a cold"))
	b.Evidence = append(b.Evidence, b.Evidence[0], Evidence{Actor: "ana", Action: "x", Outcome: "ok", Payload: []byte("plain"), Subject: "eva"}, batch().Evidence[0])
	receipt, err := w.Commit(t.Context(), b)
	if err != nil || receipt.Entries != 4 {
		t.Fatal(receipt, err)
	}
	if want := []string{"main/ana/0", "main/ana/0", "main/eva/0"}; !slices.Equal(seal.asked, want) {
		t.Errorf("asked for %v", seal.asked)
	}
	for i, want := range []string{"sealed 14 for ana at 0", "sealed 14 for ana at 0", "sealed 5 for eva at 0", "{}"} {
		if r, err := m.Record(uint64(i)); err != nil || string(r.Payload) != want {
			t.Errorf("entry %d has %q, %v", i, r.Payload, err)
		}
	}
	sealed, _, err := Seal(t.Context(), m, seal, b)
	if err != nil || sealed.Fingerprint != [32]byte{} {
		t.Errorf("the batch still has a hash of what was said: %v", err)
	}
	if b.Evidence[0].Subject != "ana" || !bytes.Equal(b.Evidence[0].Payload, []byte("ana has a cold")) || len(b.Ops) != 1 {
		t.Error("the caller's batch was changed")
	}
}

func TestWithoutASealerNothingAboutAPersonIsWritten(t *testing.T) {
	m := open(t, t.TempDir())
	w := NewWriter(&proposer{m: m}, m)
	if _, err := w.Commit(t.Context(), about("ana")); !tap.IsKind(err, tap.Unavailable) || tap.AsError(err).StableCode() != "unsealed" {
		t.Error(err)
	}
	if _, err := EncodeBatch(about("ana")); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("encoded what was not sealed: %v", err)
	}
	if _, err := w.Sealing(&marker{}).Commit(t.Context(), about("Ana Maria")); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("a subject of any form: %v", err)
	}
	if size, _ := m.Size(); size != 0 {
		t.Error("something was written")
	}
}

// An erasure between sealing and applying refuses the batch, and the writer
// seals again for the generation that is now.
func TestAnErasureInBetweenIsSealedAgain(t *testing.T) {
	m := open(t, t.TempDir())
	seal := &marker{}
	seal.before = func(attempt int) error {
		if attempt <= 2 {
			m.ok(batch(erasure(attempt)))
		}
		return nil
	}
	w := NewWriter(&proposer{m: m}, m).Sealing(seal)
	receipt, err := w.Commit(t.Context(), about("ana"))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Record(receipt.Position); err != nil || string(r.Payload) != "sealed 14 for ana at 2" || len(seal.asked) != 3 {
		t.Errorf("%q %v after %v", r.Payload, err, seal.asked)
	}
}

func TestSealingAgainEnds(t *testing.T) {
	m := open(t, t.TempDir())
	seal := &marker{before: func(attempt int) error { m.ok(batch(erasure(attempt))); return nil }}
	w := NewWriter(&proposer{m: m}, m).Sealing(seal)
	var conflict *ConflictError
	if _, err := w.Commit(t.Context(), about("ana")); !errors.As(err, &conflict) || len(seal.asked) != MaxAttempts {
		t.Errorf("%v after %d attempts", err, len(seal.asked))
	}
	// A batch that decided on the erasure record itself hears of the conflict at once.
	item, _, err := m.Get(ErasureKey("main", "ana"))
	if err != nil {
		t.Fatal(err)
	}
	seal.asked = nil
	if _, err := w.Commit(t.Context(), about("ana", Check(ErasureKey("main", "ana"), item.Version))); !errors.As(err, &conflict) || len(seal.asked) != 1 {
		t.Errorf("%v after %d attempts", err, len(seal.asked))
	}
	// So does one whose own check fails.
	seal.asked, seal.before = nil, nil
	if _, err := w.Commit(t.Context(), about("ana", Check(key("absent"), 7))); !errors.As(err, &conflict) || len(seal.asked) != 1 {
		t.Errorf("%v after %d attempts", err, len(seal.asked))
	}
	ctx, cancel := context.WithCancel(t.Context())
	seal.before = func(int) error { cancel(); return tap.E("test", tap.Conflict, "over") }
	if _, err := w.Commit(ctx, about("ana")); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("went on after the caller had left: %v", err)
	}
}

// A sealer may know of an erasure before the view shows it.
func TestASealerThatIsAheadIsAskedAgain(t *testing.T) {
	m := open(t, t.TempDir())
	seal := &marker{before: func(attempt int) error {
		if attempt < 3 {
			return tap.E("test", tap.Conflict, "this generation is over")
		}
		return nil
	}}
	w := NewWriter(&proposer{m: m}, m).Sealing(seal)
	if _, err := w.Commit(t.Context(), about("ana")); err != nil || len(seal.asked) != 3 {
		t.Errorf("%v after %v", err, seal.asked)
	}
	down := tap.E("test", tap.Unavailable, "no majority")
	seal.before = func(int) error { return down }
	if _, err := w.Commit(t.Context(), about("ana")); !errors.Is(err, down) {
		t.Error(err)
	}
}

func TestADamagedErasureRecordSealsNothing(t *testing.T) {
	m := open(t, t.TempDir())
	seal := &marker{}
	w := NewWriter(&proposer{m: m}, m).Sealing(seal)
	for _, value := range []string{"", "{}", "[]", `{"generation":-1}`, `{"generation":0}`, "\xff"} {
		m.ok(batch(Put(ErasureKey("main", "ana"), []byte(value))))
		if _, err := w.Commit(t.Context(), about("ana")); !tap.IsKind(err, tap.Internal) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if len(seal.asked) != 0 {
		t.Error("sealed for an unknown generation")
	}
}
