package hub_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

func TestRequestsThroughTheHandler(t *testing.T) {
	n := newNode(t, hub.Limits{})
	r, _ := n.rawDial(t, "ana")

	var ack tap.Ack
	id := r.send(tap.TypeEvidenceRecord, []byte(`{"action":"x"}`))
	if got := r.expect(tap.TypeAck, &ack); got != id || string(ack.Body) != `{"action":"x"}` || ack.Status != 200 {
		t.Errorf("ack %+v for %s, want %s", ack, got, id)
	}
	last := n.handler.last.Load()
	if last.Method != "POST" || last.Path != "/v1/evidence" || last.ID != id || last.Session == nil || last.Session.Identity != "ana" ||
		last.Transport != "pipe" || !last.Remote.IsValid() || last.Received.IsZero() {
		t.Errorf("evidence became %+v", last)
	}

	// A virtual request carries its own signature: the session lends nothing.
	key := uuid.New()
	v := &tap.VirtualRequest{
		Method: "POST", Path: "/v1/kernel/intent", Query: "a=b", Body: []byte(`{"q":1}`),
		Header: map[string]string{"signature": "sig", "idempotency-key": key.String(), "accept-language": "es-MX"},
	}
	r.send(tap.TypeIntentRequest, pack(v))
	r.expect(tap.TypeAck, &ack)
	last = n.handler.last.Load()
	if last.Session != nil || last.ID != key || last.RawQuery != "a=b" || last.Header["signature"] != "sig" || last.Lang != tap.Spanish {
		t.Errorf("the intent became %+v", last)
	}
	for _, bad := range []string{
		"seven", "", uuid.Nil.String(), "{" + key.String() + "}", key.URN(), strings.ReplaceAll(key.String(), "-", ""), key.String() + " ",
	} {
		v.Header["idempotency-key"] = bad
		r.refused(r.send(tap.TypeIntentRequest, pack(v)), tap.Invalid, "idempotency_key")
	}
	r.refused(r.send(tap.TypeIntentRequest, []byte("nonsense")), tap.Invalid, "malformed_payload")

	r.refused(r.send(tap.TypeEvidenceRecord, []byte("refuse")), tap.Refused, "principle")
	r.refused(r.send(tap.TypeEvidenceRecord, []byte("panic")), tap.Internal, "internal")
	r.refused(r.send(tap.TypeEvidenceRecord, []byte("fail")), tap.Internal, "internal")
	r.refused(r.send("teleport", nil), tap.Invalid, "unknown_type")
	r.refused(r.send(tap.TypeReady, nil), tap.Invalid, "unknown_type")
	big := bytes.Repeat([]byte("x"), tap.DefaultFrameLimit-300)
	r.refused(r.send(tap.TypeEvidenceRecord, big), tap.Limited, "reply_too_large")
}

// To the store, all requests of an actor that have no id would be one.
func TestFramesWithoutAnIDAreRefused(t *testing.T) {
	n := newNode(t, hub.Limits{Checkpoint: 4})
	r, served := n.rawDial(t, "ana")
	anonymous := func(typ string, payload []byte) {
		r.write(r.Seal(nil, &tap.Envelope{Type: typ, Payload: payload}))
	}
	for _, typ := range []string{
		tap.TypePublish, tap.TypeXREvent, tap.TypeDreamSpaceSync, tap.TypeEvidenceRecord, tap.TypeIntentRequest, tap.TypeSubscribe,
		tap.TypeUnsubscribe, tap.TypePing, "teleport",
	} {
		anonymous(typ, pack(&tap.Publish{Room: "plaza", Class: tap.ClassDurable, Data: []byte("[1]")}))
		r.refused(uuid.Nil, tap.Invalid, "request_id")
	}
	r.send(tap.TypePing, nil) // the session goes on
	r.expect(tap.TypePong, nil)
	// A checkpoint that is refused is still owed.
	for {
		c := r.Checkpoint(uuid.MustParse(r.ready.Session), n.directory.keys["main/ana"])
		anonymous(tap.TypeCheckpoint, pack(&c))
		r.refused(uuid.Nil, tap.Invalid, "request_id")
		id := r.send(tap.TypeEvidenceRecord, []byte("{}"))
		e := r.next()
		if e.ID != id {
			t.Fatalf("%s answers %s, want %s", e.Type, e.ID, id)
		}
		if e.Type == tap.TypeError {
			break
		}
		if n.handler.served.Load() > 16 {
			t.Fatal("checkpoints that nobody recorded cover frames")
		}
	}
	if err := <-served; tap.AsError(err).StableCode() != "checkpoint_overdue" {
		t.Errorf("the session ended with %v", err)
	}
	n.ledger.mu.Lock()
	defer n.ledger.mu.Unlock()
	if len(n.ledger.checkpoints)+len(n.ledger.batches) > 0 {
		t.Errorf("%d checkpoints and %d batches without an id", len(n.ledger.checkpoints), len(n.ledger.batches))
	}
}

// Whatever a request waits for, its client hears after Limits.Request that the
// outcome is unknown, and the session goes on.
func TestRequestsAreBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, hub.Limits{})
		n.handler.hold = make(chan struct{})
		n.ledger.stalled = true
		r, served := n.rawDial(t, "ana")
		c := r.Checkpoint(uuid.MustParse(r.ready.Session), n.directory.keys["main/ana"])
		action := durable("1")
		for i, send := range []func() uuid.UUID{
			func() uuid.UUID { return r.send(tap.TypeCheckpoint, pack(&c)) }, // the first frame: it covers none
			func() uuid.UUID { return r.send(tap.TypeEvidenceRecord, []byte("{}")) },
			func() uuid.UUID {
				return r.send(tap.TypeIntentRequest, pack(&tap.VirtualRequest{Method: "GET", Path: "/"}))
			},
			func() uuid.UUID { return r.send(tap.TypeSubscribe, pack(&tap.Subscribe{Room: "plaza"})) },
			func() uuid.UUID { return r.send(tap.TypeDreamSpaceSync, pack(&action)) },
		} {
			began := time.Now()
			r.refused(send(), tap.Timeout, "timeout")
			if took := time.Since(began); took != 30*time.Second {
				t.Errorf("request %d: took %s", i, took)
			}
		}
		n.ledger.mu.Lock()
		n.ledger.stalled = false
		n.ledger.mu.Unlock()
		r.send(tap.TypeDreamSpaceSync, pack(&action))
		r.expect(tap.TypeAck, nil)
		_ = r.conn.Close(tap.CloseNormal, "")
		<-served
	})
}

func TestCreditIsBounded(t *testing.T) {
	n := newNode(t, hub.Limits{Credit: 3})
	n.handler.hold = make(chan struct{})
	r, _ := n.rawDial(t, "ana")
	var sent []uuid.UUID
	for range 3 {
		sent = append(sent, r.send(tap.TypeEvidenceRecord, []byte("{}")))
	}
	fourth := r.send(tap.TypeEvidenceRecord, []byte("{}"))
	var busy tap.Busy
	if id := r.expect(tap.TypeBusy, &busy); id != fourth || busy.RetryMs == 0 {
		t.Errorf("busy %+v for %s, want %s", busy, id, fourth)
	}
	// A checkpoint goes through: refused, it would be lost.
	c := r.Checkpoint(uuid.MustParse(r.ready.Session), n.directory.keys["main/ana"])
	signed := r.send(tap.TypeCheckpoint, pack(&c))
	if id := r.expect(tap.TypeAck, nil); id != signed {
		t.Errorf("an ack for %s, want the checkpoint's", id)
	}
	close(n.handler.hold)
	for range 3 {
		id := r.expect(tap.TypeAck, nil)
		if i := slices.Index(sent, id); i < 0 {
			t.Errorf("an ack for %s", id)
		} else {
			sent = slices.Delete(sent, i, i+1)
		}
	}
	r.send(tap.TypeEvidenceRecord, []byte("{}"))
	r.expect(tap.TypeAck, nil)
}
