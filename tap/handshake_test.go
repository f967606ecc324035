package tap

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func testHandshake(t testing.TB) (Handshake, *ecdh.PrivateKey, *ecdh.PrivateKey) {
	t.Helper()
	keys := make([]*ecdh.PrivateKey, 2)
	for i := range keys {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
	}
	return Handshake{
		Hello: Hello{Version: 1, KeyID: "main/ana", Ephemeral: keys[0].PublicKey().Bytes(), Features: []string{"a", "bc"}},
		Challenge: Challenge{
			Nonce: bytes.Repeat([]byte{7}, 32), Node: "n1", Epoch: 3, Ephemeral: keys[1].PublicKey().Bytes(),
		},
		Binding: bytes.Repeat([]byte{9}, ExporterLen),
	}, keys[0], keys[1]
}

func TestHandshakeBothEndsAgree(t *testing.T) {
	h, clientKey, serverKey := testHandshake(t)
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	proof := h.Sign(key)
	if !h.Verify(pub, &proof) || !proof.Bound {
		t.Fatal("the proof does not verify")
	}
	a, err := h.SessionKey(clientKey, h.Challenge.Ephemeral)
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.SessionKey(serverKey, h.Hello.Ephemeral)
	if err != nil || !bytes.Equal(a, b) || len(a) != 32 {
		t.Fatalf("session keys %x and %x, %v", a, b, err)
	}
	// The zero point is of low order: everybody would know the secret.
	for _, peer := range [][]byte{make([]byte, 32), make([]byte, 31), nil} {
		if _, err := h.SessionKey(clientKey, peer); !IsKind(err, Unauthenticated) {
			t.Errorf("peer key %x: %v", peer, err)
		}
	}
}

// Every field under the transcript changes it, and so voids the proof.
func TestHandshakeTranscriptCoversEveryField(t *testing.T) {
	h, _, _ := testHandshake(t)
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	proof := h.Sign(key)
	for name, change := range map[string]func(*Handshake){
		"version":          func(h *Handshake) { h.Hello.Version++ },
		"keyid":            func(h *Handshake) { h.Hello.KeyID = "main/an" },
		"client ephemeral": func(h *Handshake) { h.Hello.Ephemeral = bytes.Repeat([]byte{1}, 32) },
		"features":         func(h *Handshake) { h.Hello.Features = []string{"ab", "c"} },
		"feature count":    func(h *Handshake) { h.Hello.Features = []string{"a"} },
		"nonce":            func(h *Handshake) { h.Challenge.Nonce = bytes.Repeat([]byte{8}, 32) },
		"node":             func(h *Handshake) { h.Challenge.Node = "n2" },
		"epoch":            func(h *Handshake) { h.Challenge.Epoch++ },
		"node ephemeral":   func(h *Handshake) { h.Challenge.Ephemeral = bytes.Repeat([]byte{1}, 32) },
		"binding":          func(h *Handshake) { h.Binding = bytes.Repeat([]byte{8}, 32) },
		"no binding":       func(h *Handshake) { h.Binding = nil },
	} {
		other := h
		change(&other)
		if other.Verify(pub, &proof) {
			t.Errorf("the proof survives a change of %s", name)
		}
	}
	unbound := proof
	unbound.Bound = false
	if h.Verify(pub, &unbound) || h.Verify(nil, &proof) {
		t.Error("a proof that denies its binding, or without a key, verifies")
	}
}

func newPair(t testing.TB) (*Sealer, *Opener) {
	t.Helper()
	h, clientKey, _ := testHandshake(t)
	key, err := h.SessionKey(clientKey, h.Challenge.Ephemeral)
	if err != nil {
		t.Fatal(err)
	}
	return NewSealer(key, h.Transcript()), NewOpener(key, h.Transcript())
}

func unframe(t interface{ Fatal(...any) }, b []byte) Envelope {
	frame, rest, err := CutFrame(b, DefaultFrameLimit)
	if err != nil || len(rest) > 0 {
		t.Fatal(err, len(rest))
	}
	e, err := DecodeEnvelope(frame)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSealedFramesOpenOnceInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sealer, opener := newPair(t)
		for range rapid.IntRange(1, 8).Draw(rt, "frames") {
			e := genEnvelope(rt)
			sealed := unframe(rt, sealer.Seal(nil, &e))
			tampered := sealed
			field := rapid.IntRange(0, 4).Draw(rt, "field")
			switch field {
			case 0:
				tampered.ID[rapid.IntRange(0, 15).Draw(rt, "byte")] ^= 1
			case 1:
				tampered.Type += "x"
			case 2:
				tampered.Timestamp ^= 1
			case 3:
				tampered.Payload = append(bytes.Clone(sealed.Payload), 0)
			case 4:
				tampered.Tag = bytes.Clone(sealed.Tag)
				tampered.Tag[rapid.IntRange(8, TagLen-1).Draw(rt, "byte")] ^= 1
			}
			if err := opener.Open(&tampered); AsError(err) == nil || AsError(err).Code != "bad_tag" {
				rt.Fatalf("tampered field %d: %v", field, err)
			}
			if err := opener.Open(&sealed); err != nil {
				rt.Fatal(err)
			}
			if err := opener.Open(&sealed); AsError(err) == nil || AsError(err).Code != "sequence" {
				rt.Fatalf("replayed: %v", err)
			}
		}
		first, second := genEnvelope(rt), genEnvelope(rt)
		sealer.Seal(nil, &first)
		late := unframe(rt, sealer.Seal(nil, &second))
		if err := opener.Open(&late); AsError(err) == nil || AsError(err).Code != "sequence" {
			rt.Fatalf("after a lost frame: %v", err)
		}
	})
}

func TestOpenRefusesTagsOfTheWrongLength(t *testing.T) {
	_, opener := newPair(t)
	for _, n := range []int{0, 8, TagLen - 1, TagLen + 1} {
		tag := make([]byte, n)
		if n >= 8 {
			binary.BigEndian.PutUint64(tag, 1)
		}
		if err := opener.Open(&Envelope{Type: TypePing, Tag: tag}); !IsKind(err, Unauthenticated) {
			t.Errorf("tag of %d bytes: %v", n, err)
		}
	}
}

func TestCheckpointCoversTheChain(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	session := uuid.New()
	sealer, opener := newPair(t)
	for range 5 {
		e := Envelope{ID: uuid.New(), Type: TypePublish, Payload: []byte("x")}
		sealed := unframe(t, sealer.Seal(nil, &e))
		if err := opener.Open(&sealed); err != nil {
			t.Fatal(err)
		}
	}
	c := sealer.Checkpoint(session, key)
	if c.Count != 5 || sealer.Count() != 5 || opener.Count() != 5 {
		t.Fatalf("counts %d, %d, %d", c.Count, sealer.Count(), opener.Count())
	}
	e := Envelope{ID: uuid.New(), Type: TypeCheckpoint, Payload: AppendPayload(nil, &c)}
	sealed := unframe(t, sealer.Seal(nil, &e))
	if err := opener.Open(&sealed); err != nil {
		t.Fatal(err)
	}
	if err := opener.VerifyCheckpoint(session, pub, &c); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]Checkpoint{
		"another count":     {c.Count - 1, c.Head, c.Signature},
		"another head":      {c.Count, make(Data, 32), ed25519.Sign(key, CheckpointMessage(session, c.Count, make([]byte, 32)))},
		"another signature": {c.Count, c.Head, make(Data, 64)},
	} {
		if err := opener.VerifyCheckpoint(session, pub, &bad); !IsKind(err, Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := opener.VerifyCheckpoint(uuid.New(), pub, &c); !IsKind(err, Unauthenticated) {
		t.Errorf("another session: %v", err)
	}
}

func BenchmarkSeal(b *testing.B) {
	sealer, _ := newPair(b)
	e := Envelope{ID: uuid.New(), Type: TypeEvidenceRecord, Payload: make([]byte, 128)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = sealer.Seal(buf[:0], &e)
	}
}

func BenchmarkOpen(b *testing.B) {
	sealer, opener := newPair(b)
	frames := make([]Envelope, b.N)
	for i := range frames {
		e := Envelope{ID: uuid.New(), Type: TypeEvidenceRecord, Payload: make([]byte, 128)}
		frames[i] = unframe(b, sealer.Seal(nil, &e))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := opener.Open(&frames[i]); err != nil {
			b.Fatal(err)
		}
	}
}
