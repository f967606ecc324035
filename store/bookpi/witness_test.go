package bookpi

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// fork is the site's log, signed with the same keys, that differs from entry at on.
func (s *site) fork(at, size int) *site {
	other := &site{ledger: &ledger{tiles: memTiles{}, signer: s.signer, key: s.key}, keys: s.keys, witnesses: s.witnesses, policy: s.policy}
	for i := range size {
		if i < at {
			other.add(s.payloads[i])
		} else {
			other.add(fmt.Appendf(nil, "another history, entry %d", i))
		}
	}
	return other
}

// at is the site's log as it was at a smaller size.
func (s *site) at(size int) *site { return s.fork(size, size) }

func wantRefused(t *testing.T, err, want error, status int) *RefusedError {
	t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) || !errors.Is(err, want) || r.Status() != status {
		t.Fatalf("error %v, want %v with status %d", err, want, status)
	}
	return r
}

func TestWitness(t *testing.T) {
	s := newSite(1, 30)
	known := s.keys.VerifierKeys()
	var have WitnessRecord
	for _, size := range []int{0, 0, 1, 7, 7, 8, 30} {
		request := s.at(size).request(s.keys, have.Size).Encode()
		next, err := CheckAddCheckpoint(known, have, request)
		if err != nil {
			t.Fatalf("from %d to %d: %v", have.Size, size, err)
		}
		cp, err := OpenCheckpoint(next.Checkpoint, s.keys.Verifiers()[1])
		if err != nil || cp != (Checkpoint{next.Origin, next.Size, next.Root}) || cp.Size != uint64(size) {
			t.Fatal(next, err)
		}
		have = next
	}
	parsed, err := ParseAddCheckpointRequest(s.request(s.keys, 8).Encode())
	if err != nil || parsed.OldSize != 8 || parsed.Claimed != s.current() || !bytes.Equal(parsed.Encode(), AddCheckpointRequest{
		OldSize: 8, Proof: parsed.Proof, Checkpoint: parsed.Checkpoint,
	}.Encode()) {
		t.Fatal(parsed, err)
	}
}

func TestWitnessRefuses(t *testing.T) {
	s := newSite(1, 30)
	known := s.keys.VerifierKeys()
	have, err := CheckAddCheckpoint(known, WitnessRecord{}, s.at(20).request(s.keys, 0).Encode())
	if err != nil {
		t.Fatal(err)
	}
	good := s.request(s.keys, 20)
	if _, err := CheckAddCheckpoint(known, have, good.Encode()); err != nil {
		t.Fatal(err)
	}
	change := func(change func(r *AddCheckpointRequest)) []byte {
		r := good
		r.Proof = append([]Hash(nil), good.Proof...)
		change(&r)
		return r.Encode()
	}
	stranger := testLogKeys(testOrigin, 9)
	for name, tc := range map[string]struct {
		request []byte
		want    error
		status  int
	}{
		"nothing":               {nil, ErrRequest, 400},
		"too long":              {make([]byte, MaxCourierRequest+1), ErrRequest, 400},
		"no proof":              {change(func(r *AddCheckpointRequest) { r.Proof = nil }), ErrProof, 422},
		"proof cut":             {change(func(r *AddCheckpointRequest) { r.Proof = r.Proof[1:] }), ErrProof, 422},
		"proof extended":        {change(func(r *AddCheckpointRequest) { r.Proof = append(r.Proof, Hash{}) }), ErrProof, 422},
		"proof of other hashes": {change(func(r *AddCheckpointRequest) { r.Proof[0][0] ^= 1 }), ErrProof, 422},
		"too many hashes":       {change(func(r *AddCheckpointRequest) { r.Proof = make([]Hash, maxConsistencyProof+1) }), ErrRequest, 400},
		"from nothing":          {s.request(s.keys, 0).Encode(), ErrStale, 409},
		"from further back":     {s.request(s.keys, 19).Encode(), ErrStale, 409},
		"from further on":       {s.request(s.keys, 21).Encode(), ErrStale, 409},
		"from beyond":           {change(func(r *AddCheckpointRequest) { r.OldSize = 31 }), ErrRequest, 400},
		"rolled back":           {s.at(19).request(s.keys, 19).Encode(), ErrSmaller, 409},
		"rolled back to 0":      {s.at(0).request(s.keys, 0).Encode(), ErrSmaller, 409},
		"by another key":        {s.request(stranger, 20).Encode(), ErrUnsigned, 403},
		"of another size":       {change(func(r *AddCheckpointRequest) { r.Checkpoint = s.at(29).note(s.keys) }), ErrProof, 422},
		"another's signature": {change(func(r *AddCheckpointRequest) {
			body, _, _ := bytes.Cut(r.Checkpoint, []byte("\n\n"))
			_, lines, _ := bytes.Cut(s.at(29).note(s.keys), []byte("\n\n"))
			r.Checkpoint = bytes.Join([][]byte{body, lines}, []byte("\n\n"))
		}), ErrUnsigned, 403},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CheckAddCheckpoint(known, have, tc.request)
			r := wantRefused(t, err, tc.want, tc.status)
			if tc.status == 409 && (r.Size != 20 || !strings.Contains(r.Error(), "20")) {
				t.Errorf("%v does not tell where to start from", r)
			}
		})
	}
	_, err = CheckAddCheckpoint(s.witnesses[0].known(), have, good.Encode())
	wantRefused(t, err, ErrUnknownLog, 404)
	_, err = CheckAddCheckpoint(testLogKeys("tamv.test/other", 3).VerifierKeys(), have, good.Encode())
	wantRefused(t, err, ErrUnknownLog, 404)
	_, err = CheckAddCheckpoint(known, WitnessRecord{Origin: "tamv.test/other", Size: 1}, good.Encode())
	wantRefused(t, err, ErrUnknownLog, 404)
	// A log that claims entries in an empty tree has no second history yet.
	empty := AddCheckpointRequest{Checkpoint: mustSign(t, s.keys, Checkpoint{testOrigin, 0, Hash{1}})}
	_, err = CheckAddCheckpoint(known, WitnessRecord{}, empty.Encode())
	wantRefused(t, err, ErrProof, 422)
}

func (k *SigningKey) known() []VerifierKey { return []VerifierKey{k.Verifier()} }

func mustSign(t *testing.T, k LogKeys, cp Checkpoint) []byte {
	t.Helper()
	signed, err := k.Sign(cp, testTime)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// A record does not carry what strangers wrote below the checkpoint.
func TestWitnessRemembersOnlyTheLog(t *testing.T) {
	s := newSite(1, 5)
	r := s.request(s.keys, 0)
	bare := r.Checkpoint
	r.Checkpoint = s.cosign(append(bytes.Clone(bare), "— stranger.test/w AAAAAAA=\n"...), s.witnesses...)
	next, err := CheckAddCheckpoint(s.keys.VerifierKeys(), WitnessRecord{}, r.Encode())
	if err != nil || !bytes.Equal(next.Checkpoint, bare) {
		t.Fatalf("%s, %v", next.Checkpoint, err)
	}
}

// A log that shows two histories to two people can have each cosigned by whom it
// showed it first, never both by the same witness: no quorum of a majority believes
// both, and the witness who sees the second holds the proof.
func TestTwoRootAttack(t *testing.T) {
	mine, yours := newSite(1, 20), newSite(1, 20).fork(12, 20)
	known := mine.keys.VerifierKeys()
	histories := []*site{mine, yours}
	records := make([]WitnessRecord, 3)
	notes := [][]byte{mine.note(mine.keys), yours.note(mine.keys)}
	for i, w := range mine.witnesses {
		first := i % 2 // witnesses 0 and 2 see mine first, witness 1 sees yours
		for _, which := range []int{first, 1 - first} {
			s := histories[which]
			next, err := CheckAddCheckpoint(known, records[i], s.request(s.keys, records[i].Size).Encode())
			if which != first {
				r := wantRefused(t, err, ErrSplitView, 409)
				// Anybody who knows the log's key can see it.
				a, errA := OpenCheckpoint(r.Known, mine.keys.Verifiers()[0])
				b, errB := OpenCheckpoint(r.Offered, mine.keys.Verifiers()[0])
				if errA != nil || errB != nil || a.Size != b.Size || a.Root == b.Root {
					t.Fatal("the evidence does not convince", errA, errB)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			records[i] = next
			line, err := Cosign(Checkpoint{next.Origin, next.Size, next.Root}, w, testTime)
			if err != nil {
				t.Fatal(err)
			}
			if notes[which], err = AddCosignatures(notes[which], line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := VerifyCheckpoint(notes[0], mine.policy); err != nil {
		t.Errorf("two of three: %v", err)
	}
	if _, _, err := VerifyCheckpoint(notes[1], mine.policy); !errors.Is(err, ErrQuorum) {
		t.Errorf("one of three: %v", err)
	}
	// The cosignatures of one history are worth nothing under the other.
	_, lines, _ := bytes.Cut(notes[0], []byte("\n\n"))
	body, _, _ := bytes.Cut(notes[1], []byte("\n\n"))
	if _, _, err := VerifyCheckpoint(bytes.Join([][]byte{body, lines}, []byte("\n\n")), mine.policy); !errors.Is(err, ErrCheckpoint) {
		t.Error(err)
	}

	// Growing the second history does not help: no proof leads there from the first.
	longer := newSite(1, 20).fork(12, 27)
	for _, old := range []uint64{12, 20} {
		r := longer.request(longer.keys, old)
		r.OldSize = 20
		_, err := CheckAddCheckpoint(known, records[0], r.Encode())
		wantRefused(t, err, ErrProof, 422)
	}
}

// Whatever is offered in whatever order, what a witness accepts is one history, as
// golang.org/x/mod/sumdb/tlog understands it.
func TestWitnessModel(t *testing.T) {
	histories := make([][]*site, 2) // by size
	base := newSite(1, 24)
	for size := range 25 {
		histories[0] = append(histories[0], base.at(size))
		histories[1] = append(histories[1], base.fork(9, size))
	}
	keys := ed25519Only(base.keys)
	rapid.Check(t, func(t *rapid.T) {
		var have WitnessRecord
		accepted := []WitnessRecord{}
		for range rapid.IntRange(1, 12).Draw(t, "offers") {
			which := rapid.IntRange(0, 1).Draw(t, "history")
			size := rapid.IntRange(0, 24).Draw(t, "size")
			old := uint64(rapid.IntRange(0, size).Draw(t, "old"))
			s := histories[which][size]
			r := s.request(keys, old)
			next, err := CheckAddCheckpoint(keys.VerifierKeys(), have, r.Encode())

			// The model: the same start, and a proof that x/mod accepts.
			var proof tlog.TreeProof
			for _, h := range r.Proof {
				proof = append(proof, tlog.Hash(h))
			}
			want := old == have.Size && uint64(size) >= have.Size
			switch {
			case want && have.Size == 0:
				want = len(proof) == 0
			case want:
				want = tlog.CheckTree(proof, int64(size), tlog.Hash(s.tree.Root()), int64(have.Size), tlog.Hash(have.Root)) == nil
			}
			if want != (err == nil) {
				t.Fatalf("history %d, %d to %d, witness at %d: %v", which, old, size, have.Size, err)
			}
			var refused *RefusedError
			if errors.As(err, &refused) && errors.Is(err, ErrSplitView) != (have.Size > 0 && uint64(size) == have.Size && s.tree.Root() != have.Root) {
				t.Fatalf("two roots at %d: %v", size, err)
			}
			if err == nil {
				have = next
				accepted = append(accepted, next)
			}
		}
		for _, a := range accepted {
			fits := [2]bool{a.Root == histories[0][a.Size].tree.Root(), a.Root == histories[1][a.Size].tree.Root()}
			last := [2]bool{have.Root == histories[0][have.Size].tree.Root(), have.Root == histories[1][have.Size].tree.Root()}
			if !(fits[0] && last[0] || fits[1] && last[1]) {
				t.Fatalf("accepted size %d of one history and %d of the other", a.Size, have.Size)
			}
		}
	})
}

func TestAddCheckpointRequestSpellings(t *testing.T) {
	good := string(newSite(1, 9).request(testLogKeys(testOrigin, 1), 3).Encode())
	for name, change := range map[string][2]string{
		"no space":          {"old 3", "old3"},
		"capital":           {"old", "Old"},
		"zero before":       {"old 3", "old 03"},
		"sign":              {"old 3", "old +3"},
		"beyond the limit":  {"old 3", "old 4611686018427387905"},
		"carriage return":   {"old 3\n", "old 3\r\n"},
		"no empty line":     {"\n\n", "\n"},
		"unpadded hash":     {"=\n", "\n"},
		"two empty lines":   {"\n\n", "\n\n\n"},
		"no checkpoint":     {good[strings.Index(good, "\n\n")+2:], ""},
		"text at the end":   {good, good + "x"},
		"line feed at end":  {good, good + "\n"},
		"no last line feed": {good, strings.TrimSuffix(good, "\n")},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := ParseAddCheckpointRequest([]byte(bad)); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseAddCheckpointRequest(f *testing.F) {
	s := newSite(1, 9)
	f.Add(s.request(s.keys, 3).Encode())
	f.Add(s.request(ed25519Only(s.keys), 0).Encode())
	f.Add([]byte("old 0\n\n\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseAddCheckpointRequest(data)
		if err != nil {
			wantIs(t, err, ErrRequest)
			return
		}
		if !bytes.Equal(r.Encode(), data) {
			t.Fatalf("%q encodes as %q", data, r.Encode())
		}
	})
}
