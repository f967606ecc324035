package hub_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

func TestHandshakeRefusals(t *testing.T) {
	n := newNode(t, hub.Limits{})
	n.directory.revoke("caro")
	for name, c := range map[string]struct {
		keyID   string
		version uint64
		alter   func(*tap.Handshake, *tap.Auth)
		kind    tap.Kind
		code    string
	}{
		"another version":    {"main/ana", 2, nil, tap.Invalid, "version"},
		"unknown identity":   {"main/zoe", 1, nil, tap.Unauthenticated, "unknown_identity"},
		"revoked identity":   {"main/caro", 1, nil, tap.Unauthenticated, "revoked"},
		"another's key":      {"main/ana", 1, func(h *tap.Handshake, a *tap.Auth) { *a = h.Sign(n.directory.keys["main/beto"]) }, tap.Unauthenticated, "bad_signature"},
		"another transcript": {"main/ana", 1, func(_ *tap.Handshake, a *tap.Auth) { a.Signature[0] ^= 1 }, tap.Unauthenticated, "bad_signature"},
		"a false binding": {"main/ana", 1, func(h *tap.Handshake, a *tap.Auth) {
			h.Binding = make([]byte, 32)
			*a = h.Sign(n.directory.keys["main/ana"])
		}, tap.Unauthenticated, "binding"},
	} {
		before := len(n.directory.failures())
		conn, served := n.pipe(t)
		r := &raw{t: t, conn: conn}
		key := newEphemeral(t)
		hs := tap.Handshake{Hello: tap.Hello{Version: c.version, KeyID: c.keyID, Ephemeral: key.PublicKey().Bytes()}}
		id := r.plain(tap.TypeHello, &hs.Hello)
		if c.code != "version" && c.code != "unknown_identity" {
			r.expect(tap.TypeChallenge, &hs.Challenge)
			proof := hs.Sign(n.directory.keys[c.keyID])
			if c.alter != nil {
				c.alter(&hs, &proof)
			}
			id = r.plain(tap.TypeAuth, &proof)
		}
		r.refused(id, c.kind, c.code)
		if err := <-served; err == nil {
			t.Errorf("%s: no error", name)
		}
		if all := n.directory.failures(); len(all) != before+1 || all[before] != c.code {
			t.Errorf("%s: recorded %v", name, all[before:])
		}
	}
}

func TestHandshakeRefusesALowOrderKey(t *testing.T) {
	n := newNode(t, hub.Limits{})
	conn, _ := n.pipe(t)
	r := &raw{t: t, conn: conn}
	hs := tap.Handshake{Hello: tap.Hello{Version: 1, KeyID: "main/ana", Ephemeral: make([]byte, 32)}}
	r.plain(tap.TypeHello, &hs.Hello)
	r.expect(tap.TypeChallenge, &hs.Challenge)
	proof := hs.Sign(n.directory.keys["main/ana"])
	r.refused(r.plain(tap.TypeAuth, &proof), tap.Unauthenticated, "bad_ephemeral")
}

func TestHandshakeRefusesBadFrames(t *testing.T) {
	for name, c := range map[string]struct {
		sent []byte
		code string
	}{
		"oversize":     {binary.AppendUvarint(nil, tap.HandshakeLimit+1), "too_large"},
		"not an array": {[]byte{1, 0x80}, "malformed_frame"},
		"bad payload":  {(&tap.Envelope{Type: tap.TypeHello, Payload: []byte("nonsense")}).AppendFrame(nil), "malformed_payload"},
	} {
		n := newNode(t, hub.Limits{})
		conn, _ := n.pipe(t)
		r := &raw{t: t, conn: conn}
		go func() { _ = conn.WriteFrames(c.sent) }()
		r.refused(uuid.Nil, tap.Invalid, c.code)
		if !slices.Equal(n.directory.failures(), []string{c.code}) {
			t.Errorf("%s: recorded %v", name, n.directory.failures())
		}
	}
}

func TestHandshakeIsBoundedInTime(t *testing.T) {
	for name, sent := range map[string][]byte{"silence": nil, "half a frame": {100, 1, 2}} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, hub.Limits{})
			conn, served := n.pipe(t)
			r := &raw{t: t, conn: conn}
			began := time.Now()
			if sent != nil {
				r.write(sent)
			}
			r.refused(uuid.Nil, tap.Timeout, "handshake_timeout")
			<-served
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("%s: took %s", name, took)
			}
			_ = conn.Close(tap.CloseNormal, "")
		})
	}
}

func TestPendingHandshakesAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{PendingPerAddress: 2})
		for range 2 {
			n.pipe(t)
		}
		synctest.Wait()
		conn, served := n.pipe(t)
		r := &raw{t: t, conn: conn}
		r.refused(uuid.Nil, tap.Limited, "handshakes")
		if err := <-served; !tap.IsKind(err, tap.Limited) {
			t.Errorf("got %v", err)
		}
		<-time.After(7 * time.Second) // virtual: the two time out, and nobody reads their refusal
		synctest.Wait()
		s := n.dial(t, "ana")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
