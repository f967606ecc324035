package hub_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

// textClient speaks TAP in WebSocket text messages, with nothing but a JSON
// library: what a person at a console, or a small tool, would do.
type textClient struct {
	t  *testing.T
	nc net.Conn
	r  io.Reader
}

type textMessage struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Timestamp int64           `json:"timestamp"`
	Payload   json.RawMessage `json:"payload,omitempty"`
	Signature []byte          `json:"signature,omitempty"`
}

func (c *textClient) send(m textMessage) {
	c.t.Helper()
	b, err := json.Marshal(m)
	if err == nil {
		err = wsutil.WriteClientText(c.nc, b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *textClient) receive(typ string, into any) textMessage {
	c.t.Helper()
	h, err := ws.ReadHeader(c.r)
	if err != nil || h.OpCode != ws.OpText {
		c.t.Fatalf("op %d, %v; want text", h.OpCode, err)
	}
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	var m textMessage
	if err := json.Unmarshal(b, &m); err != nil || m.Type != typ {
		c.t.Fatalf("%s, %v; want %s", b, err, typ)
	}
	if err := json.Unmarshal(m.Payload, into); err != nil {
		c.t.Fatal(err)
	}
	return m
}

// dialText connects without a library of ours.
func dialText(ctx context.Context, t *testing.T, n *node) *textClient {
	t.Helper()
	wss, _, roots := n.listen(t)
	dialer := ws.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}
	nc, br, _, err := dialer.Dial(ctx, wss)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return &textClient{t, nc, br}
}

// authenticate does the handshake as ana, and returns what seals her frames.
func (c *textClient) authenticate(n *node) *tap.Sealer {
	c.t.Helper()
	own := newEphemeral(c.t)
	hs := tap.Handshake{Hello: tap.Hello{Version: 1, KeyID: "main/ana", Ephemeral: own.PublicKey().Bytes()}}
	c.send(textMessage{ID: uuid.NewString(), Type: "hello", Payload: c.object(map[string]any{
		"version": 1, "keyid": "main/ana", "ephemeral": []byte(hs.Hello.Ephemeral),
	})})
	var challenge struct {
		Nonce, Ephemeral []byte
		Node             string
		Epoch            uint64
	}
	c.receive("challenge", &challenge)
	hs.Challenge = tap.Challenge{Nonce: challenge.Nonce, Node: challenge.Node, Epoch: challenge.Epoch, Ephemeral: challenge.Ephemeral}
	c.send(textMessage{ID: uuid.NewString(), Type: "auth", Payload: c.object(map[string]any{
		"signature": []byte(hs.Sign(n.directory.keys["main/ana"]).Signature), // a browser cannot bind: no "bound"
	})})
	var ready struct{ Identity string }
	c.receive("ready", &ready)
	if ready.Identity != "ana" {
		c.t.Errorf("ready for %q", ready.Identity)
	}
	key, err := hs.SessionKey(own, hs.Challenge.Ephemeral)
	if err != nil {
		c.t.Fatal(err)
	}
	return tap.NewSealer(key, hs.Transcript())
}

func (c *textClient) object(v any) json.RawMessage {
	c.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// say sends a sealed message and returns its id.
func (c *textClient) say(sealer *tap.Sealer, typ string, payload json.RawMessage) string {
	c.t.Helper()
	e := tap.Envelope{ID: uuid.New(), Type: typ, Timestamp: 5, Payload: payload}
	frame, _, err := tap.CutFrame(sealer.Seal(nil, &e), tap.DefaultFrameLimit)
	if err != nil {
		c.t.Fatal(err)
	}
	sealed, err := tap.DecodeEnvelope(frame)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(textMessage{ID: e.ID.String(), Type: typ, Timestamp: 5, Payload: payload, Signature: sealed.Tag})
	return e.ID.String()
}

func TestASessionInText(t *testing.T) {
	n := newNode(t, hub.Limits{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := dialText(ctx, t, n)
	sealer := c.authenticate(n)

	id := c.say(sealer, "evidence_record", c.object(map[string]any{"action": "door.open"}))
	var ack struct{ Body json.RawMessage }
	if m := c.receive("ack", &ack); m.ID != id || string(ack.Body) != `{"action":"door.open"}` {
		t.Errorf("ack %+v %s", m, ack.Body)
	}
	c.say(sealer, "subscribe", c.object(map[string]any{"room": "plaza"}))
	c.receive("ack", &ack)
	var snapshot struct {
		Room  string
		State []json.RawMessage
	}
	c.receive("snapshot", &snapshot)
	if snapshot.Room != "plaza" {
		t.Errorf("snapshot %+v", snapshot)
	}
	// What others publish in MessagePack is readable here.
	speaker := n.dial(t, "beto")
	if _, err := speaker.Subscribe(ctx, "plaza"); err != nil {
		t.Fatal(err)
	}
	if _, err := speaker.Publish(ctx, tap.Publish{Room: "plaza", Class: tap.ClassEvent, Data: []byte(`{"x":1}`)}); err != nil {
		t.Fatal(err)
	}
	var event struct {
		From string
		Data struct{ X int }
	}
	c.receive("xr_event", &event)
	if event.From != "beto" || event.Data.X != 1 {
		t.Errorf("event %+v", event)
	}
	var refusal tap.ErrorBody
	c.say(sealer, "teleport", nil)
	c.receive("error", &refusal)
	if refusal.Error.Code != "unknown_type" {
		t.Errorf("refusal %+v", refusal)
	}
}
