package hub_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

func pack(p tap.Payload) []byte { return tap.AppendPayload(nil, p) }

// Feature: tamv-hardened-backend, Property 9: TAP Message Acknowledgment
//
// For any sequence of frames that a session sends, well-formed or not, known or
// not, each is answered by exactly one ack, error, busy or pong with its id.
func TestPropertyEveryFrameIsAnsweredOnce(t *testing.T) {
	n := newNode(t, hub.Limits{Credit: 8, PublishRate: 50})
	rapid.Check(t, func(rt *rapid.T) {
		r, served := n.rawDial(t, "ana")
		frames := rapid.IntRange(1, 40).Draw(rt, "frames")
		want := map[uuid.UUID]string{}
		var batch []byte
		for range frames {
			e := tap.Envelope{ID: uuid.New()}
			room := rapid.SampledFrom([]string{"plaza", "patio", "nowhere", "not a name"}).Draw(rt, "room")
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				e.Type, e.Payload = tap.TypeSubscribe, pack(&tap.Subscribe{Room: room})
			case 1:
				e.Type, e.Payload = tap.TypeUnsubscribe, pack(&tap.Unsubscribe{Room: room})
			case 2:
				class := rapid.SampledFrom([]string{"", tap.ClassEvent, tap.ClassDurable, "loud"}).Draw(rt, "class")
				e.Type, e.Payload = tap.TypePublish, pack(&tap.Publish{Room: room, Class: class, Data: []byte("[1]")})
			case 3:
				e.Type, e.Payload = tap.TypePublish, pack(&tap.Publish{Room: room, Class: tap.ClassState, Key: "k", Data: []byte("x")})
			case 4:
				body := rapid.SampledFrom([]string{"{}", "refuse", "panic", "fail", ""}).Draw(rt, "body")
				e.Type, e.Payload = tap.TypeEvidenceRecord, []byte(body)
			case 5:
				e.Type, e.Payload = tap.TypeIntentRequest, pack(&tap.VirtualRequest{Method: "GET", Path: "/v1/status"})
			case 6:
				e.Type = tap.TypePing
			case 7:
				e.Type = rapid.SampledFrom([]string{tap.TypeXREvent, tap.TypeDreamSpaceSync}).Draw(rt, "seed type")
				e.Payload = pack(&tap.Publish{Room: room, Data: []byte("[2]")})
			default:
				e.Type = rapid.StringMatching(`[a-z_]{1,12}`).Draw(rt, "type")
				e.Payload = rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(rt, "payload")
			}
			if e.Type == tap.TypeCheckpoint {
				continue // a false one ends the session; tested apart
			}
			want[e.ID] = e.Type
			batch = r.Seal(batch, &e)
		}
		go func() { _ = r.conn.WriteFrames(batch) }()
		for len(want) > 0 {
			e := r.next()
			switch e.Type {
			case tap.TypeAck, tap.TypeError, tap.TypeBusy, tap.TypePong:
				if _, ok := want[e.ID]; !ok {
					rt.Fatalf("%s answers %s, which was answered before or never sent", e.Type, e.ID)
				}
				delete(want, e.ID)
			case tap.TypeSnapshot, tap.TypeXREvent, tap.TypeDreamSpaceSync:
			default:
				rt.Fatalf("unexpected %s", e.Type)
			}
		}
		_ = r.conn.Close(tap.CloseNormal, "")
		if err := <-served; err != nil {
			rt.Fatal(err)
		}
	})
}

// Feature: tamv-hardened-backend, Property 11: Unauthenticated TAP Rejection
//
// For any frame on a connection that is not authenticated, whether it comes
// instead of the hello or of the proof, the answer is an error, the connection
// ends, and nothing was served.
func TestPropertyUnauthenticatedFramesAreRefused(t *testing.T) {
	n := newNode(t, hub.Limits{})
	rapid.Check(t, func(rt *rapid.T) {
		before := len(n.directory.failures())
		conn, served := n.pipe(t)
		r := &raw{t: t, conn: conn}
		due := tap.TypeHello
		if rapid.Bool().Draw(rt, "after hello") {
			due = tap.TypeAuth
			r.plain(tap.TypeHello, &tap.Hello{Version: 1, KeyID: "main/ana", Ephemeral: newEphemeral(t).PublicKey().Bytes()})
			r.expect(tap.TypeChallenge, nil)
		}
		e := tap.Envelope{
			ID:      uuid.New(),
			Type:    rapid.OneOf(rapid.SampledFrom([]string{tap.TypePublish, tap.TypeEvidenceRecord, tap.TypeIntentRequest, tap.TypeSubscribe, tap.TypeHello, tap.TypeAuth}), rapid.StringMatching(`[a-z_]{1,32}`)).Draw(rt, "type"),
			Payload: rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 100), rapid.Just(pack(&tap.Publish{Room: "plaza"})), rapid.Just(pack(&tap.Auth{Signature: make([]byte, 64)}))).Draw(rt, "payload"),
			Tag:     rapid.SliceOfN(rapid.Byte(), 0, tap.MaxTagLen).Draw(rt, "tag"),
		}
		r.write(e.AppendFrame(nil))
		got := r.next()
		refusal, err := tap.ParseErrorFrame(got.Payload)
		if err != nil || got.ID != e.ID || got.Type != tap.TypeError {
			rt.Fatalf("got %s %v", got.Type, err)
		}
		if e.Type != due && (refusal.Kind != tap.Unauthenticated || refusal.Code != "unauthenticated") {
			rt.Fatalf("%s was refused with %s, %s", e.Type, refusal.Kind, refusal.Code)
		}
		if err := <-served; err == nil {
			rt.Fatal("the connection ended without an error")
		}
		if _, err := conn.ReadFrame(); err == nil {
			rt.Fatal("the connection goes on")
		}
		if n.handler.served.Load() != 0 || n.ledger.snapshots != 0 || len(n.ledger.batches) != 0 || n.Sessions() != 0 {
			rt.Fatal("something was served")
		}
		if len(n.directory.failures()) != before+1 {
			rt.Fatal("the attempt was not recorded once")
		}
	})
}

// A frame that does not authenticate ends the session: there is no telling what
// came before it.
func TestSessionsEndOnFalseFrames(t *testing.T) {
	sealed := func(r *raw) tap.Envelope {
		e := tap.Envelope{ID: uuid.New(), Type: tap.TypePing}
		frame, _, err := tap.CutFrame(r.Seal(nil, &e), 1000)
		if err != nil {
			r.t.Fatal(err)
		}
		if e, err = tap.DecodeEnvelope(frame); err != nil {
			r.t.Fatal(err)
		}
		return e
	}
	for name, c := range map[string]struct {
		send func(r *raw) (uuid.UUID, []byte)
		kind tap.Kind
		code string
	}{
		"replayed": {func(r *raw) (uuid.UUID, []byte) {
			e := sealed(r)
			r.write(e.AppendFrame(nil))
			r.expect(tap.TypePong, nil)
			return e.ID, e.AppendFrame(nil)
		}, tap.Unauthenticated, "sequence"},
		"reordered": {func(r *raw) (uuid.UUID, []byte) {
			sealed(r)
			e := sealed(r)
			return e.ID, e.AppendFrame(nil)
		}, tap.Unauthenticated, "sequence"},
		"altered": {func(r *raw) (uuid.UUID, []byte) {
			e := sealed(r)
			e.Type = tap.TypeEvidenceRecord
			return e.ID, e.AppendFrame(nil)
		}, tap.Unauthenticated, "bad_tag"},
		"without a tag": {func(*raw) (uuid.UUID, []byte) {
			e := tap.Envelope{ID: uuid.New(), Type: tap.TypePing}
			return e.ID, e.AppendFrame(nil)
		}, tap.Unauthenticated, "bad_tag"},
		"oversize": {func(*raw) (uuid.UUID, []byte) {
			return uuid.Nil, binary.AppendUvarint(nil, tap.DefaultFrameLimit+1)
		}, tap.Invalid, "too_large"},
		"not a frame": {func(*raw) (uuid.UUID, []byte) { return uuid.Nil, []byte{3, 1, 2, 3} }, tap.Invalid, "malformed_frame"},
		"type not UTF-8": {func(*raw) (uuid.UUID, []byte) {
			e := tap.Envelope{Type: "a\xff"}
			return uuid.Nil, e.AppendFrame(nil)
		}, tap.Invalid, "malformed_frame"},
		"a false checkpoint": {func(r *raw) (uuid.UUID, []byte) {
			e := tap.Envelope{ID: uuid.New(), Type: tap.TypeCheckpoint, Payload: pack(&tap.Checkpoint{Count: 0, Head: make([]byte, 32), Signature: make([]byte, 64)})}
			return e.ID, r.Seal(nil, &e)
		}, tap.Unauthenticated, "bad_checkpoint"},
		"a malformed checkpoint": {func(r *raw) (uuid.UUID, []byte) {
			e := tap.Envelope{ID: uuid.New(), Type: tap.TypeCheckpoint}
			return e.ID, r.Seal(nil, &e)
		}, tap.Invalid, "malformed_payload"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, hub.Limits{})
			r, served := n.rawDial(t, "ana")
			id, frame := c.send(r)
			go func() { _ = r.conn.WriteFrames(frame) }()
			r.refused(id, c.kind, c.code)
			if err := <-served; !tap.IsKind(err, c.kind) {
				t.Errorf("the session ended with %v", err)
			}
			if n.handler.served.Load() > 0 {
				t.Error("something was served")
			}
		})
	}
}

func TestTruncatedFrameEndsTheSessionQuietly(t *testing.T) {
	n := newNode(t, hub.Limits{})
	r, served := n.rawDial(t, "ana")
	r.write([]byte{50, 1, 2})
	_ = r.conn.Close(tap.CloseNormal, "")
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRevokedSessionEndsWithinOneFrame(t *testing.T) {
	n := newNode(t, hub.Limits{})
	r, served := n.rawDial(t, "ana")
	r.send(tap.TypePing, nil)
	r.expect(tap.TypePong, nil)
	n.directory.revoke("ana")
	r.refused(r.send(tap.TypeEvidenceRecord, []byte("{}")), tap.Unauthenticated, "revoked")
	if err := <-served; !tap.IsKind(err, tap.Unauthenticated) {
		t.Error(err)
	}
	if n.handler.served.Load() > 0 {
		t.Error("a revoked identity was served")
	}
}

func TestRevokedListenerHearsNothingMore(t *testing.T) {
	n := newNode(t, hub.Limits{})
	listener, served := n.rawDial(t, "ana")
	listener.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "plaza"}))
	listener.expect(tap.TypeAck, nil)
	listener.expect(tap.TypeSnapshot, nil)
	n.directory.revoke("ana")
	n.Committed("main", "plaza", "beto", uuid.New(), hub.Outcome{Sequence: 1, Data: []byte("[]")})
	if _, err := listener.conn.ReadFrame(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	<-served
}

func TestCheckpointsBecomeEvidenceAndAreDemanded(t *testing.T) {
	n := newNode(t, hub.Limits{Checkpoint: 4})
	r, served := n.rawDial(t, "ana")
	session := uuid.MustParse(r.ready.Session)
	for range 4 {
		r.send(tap.TypeEvidenceRecord, []byte("{}"))
		r.expect(tap.TypeAck, nil)
	}
	c := r.Checkpoint(session, n.directory.keys["main/ana"])
	r.send(tap.TypeCheckpoint, pack(&c))
	r.expect(tap.TypeAck, nil)
	n.ledger.mu.Lock()
	got := n.ledger.checkpoints
	n.ledger.mu.Unlock()
	if len(got) != 1 || got[0].Count != 4 || got[0].Session != session || !bytes.Equal(got[0].Head, c.Head) || got[0].KeyID != "main/ana" {
		t.Errorf("recorded %+v", got)
	}
	for range 16 {
		r.send(tap.TypeEvidenceRecord, []byte("{}"))
		r.expect(tap.TypeAck, nil)
	}
	r.send(tap.TypePing, nil) // costs nothing
	r.expect(tap.TypePong, nil)
	r.refused(r.send(tap.TypeEvidenceRecord, []byte("{}")), tap.Unauthenticated, "checkpoint_overdue")
	if err := <-served; !tap.IsKind(err, tap.Unauthenticated) {
		t.Error(err)
	}
}

// A client that reads nothing is not read from either, and its answers do not
// pile up.
func TestAnswersToADeafClientAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{Backlog: 1000})
		r, served := n.rawDial(t, "ana")
		if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		var frames []byte
		for range 10_000 {
			e := tap.Envelope{ID: uuid.New(), Type: tap.TypePing}
			frames = r.Seal(frames, &e)
		}
		written := make(chan error, 1)
		go func() { written <- r.conn.WriteFrames(frames) }()
		synctest.Wait()
		select {
		case err := <-written:
			t.Fatalf("the hub took everything: %v", err)
		default:
		}
		_ = r.conn.Close(tap.CloseNormal, "")
		<-written
		<-served
	})
}

func TestShutdownEndsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{})
		_, served := n.rawDial(t, "ana")
		synctest.Wait()
		if n.Sessions() != 1 {
			t.Fatalf("%d sessions", n.Sessions())
		}
		if err := n.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil || n.Sessions() != 0 {
			t.Errorf("%v, %d sessions", err, n.Sessions())
		}
		conn, late := n.pipe(t)
		if err := <-late; err != nil {
			t.Error(err)
		}
		if _, err := conn.ReadFrame(); err == nil {
			t.Error("a stopped hub answers")
		}
		if err := n.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
