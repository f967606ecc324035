package bookpi

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"
)

// What is signed, byte by byte as the specification writes it.
func TestCosignedMessages(t *testing.T) {
	cp := Checkpoint{"example.com/behind-the-sofa", 20852163, Hash{0x0a, 0xc5}}
	root64 := base64.StdEncoding.EncodeToString(cp.Root[:])
	ed := testSigningKey("witness.example.com/w1", AlgorithmCosignatureEd25519, 1).Verifier()
	want := "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n" + root64 + "\n"
	if got := cp.message(ed, 1679315147); string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	pq := testSigningKey("witness.example.com/w1", AlgorithmMLDSA44, 1)
	want = "subtree/v1\n\x00" +
		"\x16witness.example.com/w1" + "\x00\x00\x00\x00\x64\x18\x50\xcb" +
		"\x1bexample.com/behind-the-sofa" +
		"\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x01\x3e\x2d\xc3" + string(cp.Root[:])
	if got := cp.message(pq.Verifier(), 1679315147); string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}

	// The line holds the key hash, the time and a plain FIPS 204 signature of it.
	line, err := Cosign(cp, pq, time.Unix(1679315147, 0))
	if err != nil {
		t.Fatal(err)
	}
	sig64, _ := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), "— witness.example.com/w1 ")
	sig, err := base64.StdEncoding.DecodeString(sig64)
	if err != nil || len(sig) != 4+8+2420 {
		t.Fatal(len(sig), err)
	}
	if binary.BigEndian.Uint32(sig) != pq.Verifier().KeyHash() || binary.BigEndian.Uint64(sig[4:]) != 1679315147 {
		t.Errorf("%x", sig[:12])
	}
	if err := mldsa.Verify(pq.mldsa.PublicKey(), []byte(want), sig[12:], nil); err != nil {
		t.Error(err)
	}
}

// note.Open with our keys must agree with VerifyCheckpoint about every combination of
// genuine, wrong and missing lines.
func TestVerifyCheckpointAgreesWithNotes(t *testing.T) {
	s, other := newSite(1, 9), newSite(1, 10)
	_, genuine, _ := strings.Cut(string(s.note(s.keys, s.witnesses...)), "\n\n")
	_, wrong, _ := strings.Cut(string(other.note(s.keys, s.witnesses...)), "\n\n")
	good, bad := strings.SplitAfter(genuine, "\n")[:5], strings.SplitAfter(wrong, "\n")[:5]
	var verifiers []note.Verifier
	for _, k := range s.keys.VerifierKeys() {
		verifiers = append(verifiers, k)
	}
	for _, w := range s.witnesses {
		verifiers = append(verifiers, w.Verifier())
	}
	rapid.Check(t, func(t *rapid.T) {
		text := s.current().text() + "\n"
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(t, "order") {
			switch rapid.IntRange(0, 7).Draw(t, "line") {
			case 0:
				text += bad[i]
			case 1:
			case 2:
				text += "— stranger.test/w " + base64.StdEncoding.EncodeToString([]byte{1, 2, 3, byte(i), 5}) + "\n"
			default:
				text += good[i]
			}
		}
		cp, by, err := VerifyCheckpoint([]byte(text), s.policy)

		n, noteErr := note.Open([]byte(text), note.VerifierList(verifiers...))
		want := noteErr == nil
		if want {
			signed := map[string]int{}
			for _, sig := range n.Sigs {
				signed[sig.Name]++
			}
			cosigners := signed["witness.test/w1"] + signed["witness.test/w2"] + signed["witness.test/w3"]
			want = signed[testOrigin] > 0 && cosigners >= 2
			if want && len(by) != cosigners {
				t.Fatalf("%d cosigners, want %d", len(by), cosigners)
			}
		}
		if want != (err == nil) || want && cp != s.current() || !want && !errors.Is(err, ErrCheckpoint) {
			t.Fatalf("%v, notes say %v", err, noteErr)
		}
	})
}

func TestVerifyCheckpointReport(t *testing.T) {
	s := newSite(1, 9)
	signed := s.note(s.keys, s.witnesses[1], s.witnesses[0])
	_, by, err := VerifyCheckpoint(signed, s.policy)
	w1, w2 := s.witnesses[0].Verifier(), s.witnesses[1].Verifier()
	want := []Cosignature{
		{"w2", "witness.test/w2", w2.KeyHash(), AlgorithmMLDSA44, testTime},
		{"w1", "witness.test/w1", w1.KeyHash(), AlgorithmCosignatureEd25519, testTime.Add(time.Second)},
	}
	if err != nil || !slices.Equal(by, want) {
		t.Errorf("%v, want %v; %v", by, want, err)
	}
	if _, _, err := VerifyCheckpoint(s.note(s.keys, s.witnesses[1]), s.policy); !errors.Is(err, ErrQuorum) || !errors.Is(err, ErrCheckpoint) {
		t.Errorf("one witness of two: %v", err)
	}
	if _, _, err := VerifyCheckpoint(signed, Policy{}); !errors.Is(err, ErrPolicy) {
		t.Errorf("no policy: %v", err)
	}
	stranger := s.policy
	stranger.Logs = []PolicyLog{{Key: testLogKeys("tamv.test/other", 1).VerifierKeys()[0]}}
	if _, _, err := VerifyCheckpoint(signed, stranger); !errors.Is(err, ErrCheckpoint) || errors.Is(err, ErrQuorum) {
		t.Errorf("another log: %v", err)
	}
	// A log of the policy signs for another origin than its own.
	n := []byte(Checkpoint{"tamv.test/other", 3, Hash{}}.text() + "\n")
	for _, k := range s.keys.keys {
		line, err := k.line(Checkpoint{"tamv.test/other", 3, Hash{}}, testTime)
		if err != nil {
			t.Fatal(err)
		}
		n = append(n, line...)
	}
	if _, _, err := VerifyCheckpoint(n, Policy{Logs: s.policy.Logs, Quorum: QuorumNone}); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("a log that signs for another: %v", err)
	}
	report, err := VerifyBundleWithPolicy(Bundle{Checkpoint: signed, Items: s.bundle(3).Items}.Encode(), s.policy)
	if err != nil || report.Quorum != "outside" || !slices.Equal(report.CosignedBy, want) {
		t.Error(report, err)
	}
	if _, err := VerifyBundleWithPolicy(s.bundle(3).Encode(), Policy{}); !errors.Is(err, ErrPolicy) {
		t.Errorf("a bundle without a policy: %v", err)
	}
}

func TestTimesOfCosignatures(t *testing.T) {
	cp := Checkpoint{testOrigin, 3, Hash{1}}
	for _, a := range []Algorithm{AlgorithmCosignatureEd25519, AlgorithmMLDSA44} {
		k := testSigningKey("witness.test/a", a, 1)
		for _, bad := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 0), time.Unix(maxTimestamp+1, 0)} {
			if _, err := Cosign(cp, k, bad); !errors.Is(err, ErrCheckpoint) {
				t.Errorf("%v at %v: %v", a, bad, err)
			}
		}
		// Other cosigners may leave the time out, or claim one that nobody can show.
		for timestamp, ok := range map[uint64]bool{0: true, maxTimestamp: true, maxTimestamp + 1: false, 1 << 63: false} {
			raw, err := k.signRaw(cp.message(k.Verifier(), timestamp), "")
			if err != nil {
				t.Fatal(err)
			}
			sig := binary.BigEndian.AppendUint32(nil, k.Verifier().KeyHash())
			sig = append(binary.BigEndian.AppendUint64(sig, timestamp), raw...)
			line := []byte("— witness.test/a " + base64.StdEncoding.EncodeToString(sig) + "\n")
			by, _, err := VerifyCosignatures(cp, line, []VerifierKey{k.Verifier()})
			if ok != (err == nil) || ok && by[0].Time.IsZero() != (timestamp == 0) {
				t.Errorf("%v at %d: %v, %v", a, timestamp, by, err)
			}
		}
	}
	if _, err := Cosign(cp, testSigningKey(testOrigin, AlgorithmEd25519, 1), testTime); !errors.Is(err, ErrKey) {
		t.Errorf("a log's key: %v", err)
	}
	if _, err := Cosign(Checkpoint{"", 0, Hash{}}, testSigningKey("x", AlgorithmMLDSA44, 1), testTime); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("no origin: %v", err)
	}
}

func TestAddCosignatures(t *testing.T) {
	s := newSite(1, 9)
	bare := s.note(s.keys)
	full := s.cosign(bare, s.witnesses...)
	lines := full[len(bare):]
	merged, err := AddCosignatures(bare, lines)
	if err != nil || !bytes.Equal(merged, full) {
		t.Fatal(err)
	}
	if again, err := AddCosignatures(merged, lines); err != nil || !bytes.Equal(again, full) {
		t.Errorf("a second time: %v", err)
	}
	// A witness that signs again later does not replace its line.
	later, err := Cosign(s.current(), s.witnesses[0], testTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := AddCosignatures(full, later); err != nil || !bytes.Equal(again, full) {
		t.Errorf("later: %v", err)
	}
	if same, err := AddCosignatures(bare, nil); err != nil || !bytes.Equal(same, bare) {
		t.Errorf("nothing: %v", err)
	}
	first := lines[:bytes.IndexByte(lines, '\n')+1]
	for name, bad := range map[string][2][]byte{
		"no checkpoint":    {nil, lines},
		"no line feed":     {bare, lines[:len(lines)-1]},
		"an empty line":    {bare, append([]byte("\n"), lines...)},
		"a line twice":     {bare, slices.Concat(first, first)},
		"a whole note":     {bare, full},
		"beyond the limit": {bare, bytes.Repeat([]byte("x"), MaxCheckpointSize)},
	} {
		if _, err := AddCosignatures(bad[0], bad[1]); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many []byte
	for i := range maxSignatureLines {
		sig := base64.StdEncoding.EncodeToString([]byte{0, 0, 0, byte(i), 1})
		many = append(many, "— stranger.test/w "+sig+"\n"...)
	}
	if _, err := AddCosignatures(bare, many); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("%d lines: %v", maxSignatureLines+2, err)
	}
}

func TestVerifyCosignatures(t *testing.T) {
	s, other := newSite(1, 9), newSite(1, 10)
	bare := s.note(s.keys)
	lines := s.cosign(bare, s.witnesses...)[len(bare):]
	known := []VerifierKey{s.witnesses[1].Verifier(), s.witnesses[2].Verifier()}
	by, verified, err := VerifyCosignatures(s.current(), lines, known)
	if err != nil || len(by) != 2 || by[0].Name != "witness.test/w2" || !bytes.HasSuffix(lines, verified) {
		t.Fatal(by, err)
	}
	if _, _, err := VerifyCosignatures(s.current(), lines, nil); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("nobody known: %v", err)
	}
	if _, _, err := VerifyCosignatures(other.current(), lines, known); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("of another checkpoint: %v", err)
	}
	if _, _, err := VerifyCosignatures(s.current(), []byte("x"), known); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("no lines: %v", err)
	}
}

func FuzzVerifyCheckpoint(f *testing.F) {
	s := newSite(1, 9)
	s.policy.Witnesses = s.policy.Witnesses[:1]
	s.policy.Groups, s.policy.Quorum = nil, "w1"
	good := s.note(ed25519Only(s.keys), s.witnesses[0])
	f.Add(good)
	f.Add(append(bytes.Clone(good), "— witness AAAAAAA=\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		cp, by, err := VerifyCheckpoint(data, s.policy)
		if err != nil {
			wantIs(t, err, ErrCheckpoint)
			return
		}
		if cp != s.current() || len(by) != 1 {
			t.Fatalf("accepted %q", data)
		}
	})
}
