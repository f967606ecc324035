package client_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
	"tamv.internal/tamv/tap/hub"
)

// A node that breaks the protocol gets an error out of the client, not a crash.
func TestDialAgainstABrokenNode(t *testing.T) {
	frame := func(typ string, payload []byte) []byte {
		return (&tap.Envelope{Type: typ, Payload: payload}).AppendFrame(nil)
	}
	binary := func(b []byte) []byte { return ws.MustCompileFrame(ws.NewBinaryFrame(b)) }
	part := func(op ws.OpCode, fin bool, b []byte) []byte { return ws.MustCompileFrame(ws.NewFrame(op, fin, b)) }
	challenge := tap.AppendPayload(nil, &tap.Challenge{Nonce: make([]byte, 32), Ephemeral: make([]byte, 32)})
	ready := tap.AppendPayload(nil, &tap.Ready{Session: uuid.NewString(), Frame: 1 << 20, Credit: 1, Checkpoint: 1})
	refusal := tap.ErrorEnvelope(uuid.Nil, tap.E("n", tap.Limited, "too many").WithCode("handshakes"), time.UnixMilli(0), tap.English)
	fragmented := append(part(ws.OpBinary, false, refusal.AppendFrame(nil)[:10]), part(ws.OpPing, true, []byte("hi"))...)
	fragmented = append(fragmented, part(ws.OpContinuation, true, refusal.AppendFrame(nil)[10:])...)
	masked := ws.MustCompileFrame(ws.MaskFrameWith(ws.NewBinaryFrame(frame("challenge", challenge)), [4]byte{1}))
	for name, c := range map[string]struct {
		sent []byte
		kind tap.Kind
		code string
	}{
		"says nothing":          {nil, tap.Unavailable, client.CodeUnreachable},
		"says goodbye":          {part(ws.OpClose, true, nil), tap.Unavailable, client.CodeUnreachable},
		"stops inside a frame":  {binary(make([]byte, 100))[:50], tap.Unavailable, client.CodeUnreachable},
		"masks":                 {masked, tap.Invalid, "malformed_frame"},
		"speaks text":           {ws.MustCompileFrame(ws.NewTextFrame([]byte("{}"))), tap.Invalid, "malformed_frame"},
		"sends a huge message":  {[]byte{0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0}, tap.Invalid, "too_large"},
		"sends no frame":        {binary([]byte{3, 1, 2, 3}), tap.Invalid, "malformed_frame"},
		"answers out of turn":   {binary(frame("ready", ready)), tap.Invalid, client.CodeReply},
		"sends a bad challenge": {binary(frame("challenge", []byte{0x80})), tap.Invalid, "malformed_payload"},
		"sends a bad error":     {binary(frame("error", []byte(`{}`))), tap.Invalid, "malformed_payload"},
		"has a weak key":        {append(binary(frame("challenge", challenge)), binary(frame("ready", ready))...), tap.Unauthenticated, "bad_ephemeral"},
		"refuses in fragments":  {fragmented, tap.Limited, "handshakes"},
		"has a bad session id": {
			append(binary(frame("challenge", challenge)), binary(frame("ready", tap.AppendPayload(nil, &tap.Ready{Session: "x", Frame: 1, Credit: 1, Checkpoint: 1})))...),
			tap.Invalid, client.CodeReply,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				nc, _, _, err := ws.UpgradeHTTP(r, w)
				if err != nil {
					t.Error(err)
					return
				}
				defer nc.Close()
				br := bufio.NewReader(nc)
				skipMessage(br)         // the hello
				_, _ = nc.Write(c.sent) // the client may hang up at the first wrong byte
				if strings.HasPrefix(name, "has") {
					skipMessage(br) // the proof
				}
			}))
			defer server.Close()
			_, err := client.Dial(t.Context(), client.SessionConfig{URL: "ws" + strings.TrimPrefix(server.URL, "http"), KeyID: "main/ana", Key: anaKey})
			if e := tap.AsError(err); e == nil || e.Kind != c.kind || e.StableCode() != c.code {
				t.Errorf("got %v (%s, %s), want %s, %s", err, tap.KindOf(err), tap.AsError(err).StableCode(), c.kind, c.code)
			}
		})
	}
}

// skipMessage reads one message; how the client leaves is not the point.
func skipMessage(r io.Reader) {
	if h, err := ws.ReadHeader(r); err == nil {
		_, _ = io.CopyN(io.Discard, r, h.Length)
	}
}

// inject opens a session and lets the test speak in the node's name.
func (s *site) inject(t *testing.T) (*client.Session, func(tap.Envelope)) {
	t.Helper()
	near, far := net.Pipe()
	node := pipeConn(far) // any number may write
	go func() { _ = s.hub.ServeConn(context.Background(), node) }()
	c, err := client.NewSession(t.Context(), pipeConn(near), client.SessionConfig{KeyID: "main/ana", Key: anaKey})
	if err != nil {
		t.Fatal(err)
	}
	return c, func(e tap.Envelope) {
		t.Helper()
		if err := node.WriteFrames(e.AppendFrame(nil)); err != nil {
			t.Fatal(err)
		}
	}
}

// A ready session survives frames that it does not know and ends on malformed
// ones.
func TestSessionAgainstABrokenNode(t *testing.T) {
	for name, payload := range map[string]struct {
		typ  string
		body []byte
	}{
		"ack":      {tap.TypeAck, []byte{0xc0}},
		"busy":     {tap.TypeBusy, []byte{0xc0}},
		"event":    {tap.TypeXREvent, []byte{0xc0}},
		"snapshot": {tap.TypeSnapshot, []byte{0xc0}},
		"gap":      {tap.TypeGap, []byte{0xc0}},
		"error":    {tap.TypeError, []byte{0xc0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, hub.Limits{})
			c, send := s.inject(t)
			send(tap.Envelope{Type: "unheard_of"})
			send(tap.Envelope{Type: tap.TypeAck, Payload: []byte{0x80}}) // answers nobody
			send(tap.Envelope{Type: tap.TypeXREvent, Payload: tap.AppendPayload(nil, &tap.Event{Room: "patio"})})
			if err := c.Ping(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			send(tap.Envelope{Type: payload.typ, Payload: payload.body})
			<-c.Done()
			if !tap.IsKind(c.Err(), tap.Invalid) {
				t.Errorf("%s: ended with %v", name, c.Err())
			}
		})
	}
}

// A reader that falls behind by more than the client holds is told so; the
// session goes on.
func TestSlowReadersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		c, send := s.inject(t)
		sub, err := c.Subscribe(t.Context(), "plaza")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1<<16 + 1 {
			send(tap.Envelope{Type: tap.TypeXREvent, Payload: tap.AppendPayload(nil, &tap.Event{Room: "plaza", Sequence: uint64(i)})})
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = sub.Next(t.Context())
		if e := tap.AsError(err); e == nil || e.Kind != tap.Limited || e.Code != "slow_reader" {
			t.Errorf("got %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestGapsReachTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, hub.Limits{})
		c, send := s.inject(t)
		sub, err := c.Subscribe(t.Context(), "plaza")
		if err != nil {
			t.Fatal(err)
		}
		if e, err := sub.Next(t.Context()); err != nil || e.Kind != client.Snapshot || !bytes.Equal(e.Data, []byte("[0]")) {
			t.Errorf("%+v, %v", e, err)
		}
		send(tap.Envelope{Type: tap.TypeGap, Payload: tap.AppendPayload(nil, &tap.Gap{Room: "plaza", Epoch: 7, From: 3, To: 9})})
		if e, err := sub.Next(t.Context()); err != nil || e.Kind != client.Gap || e.Sequence != 3 || e.To != 9 || e.Epoch != 7 {
			t.Errorf("%+v, %v", e, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
