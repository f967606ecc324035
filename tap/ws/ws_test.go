package ws

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// echoFrames sends every frame back; it keeps why reading ended.
type echoFrames struct {
	ended chan error
	limit int
	info  chan tap.Conn
}

func newEcho() *echoFrames {
	return &echoFrames{ended: make(chan error, 1), limit: 1 << 16, info: make(chan tap.Conn, 1)}
}

func (h *echoFrames) ServeConn(_ context.Context, c tap.Conn) error {
	h.info <- c
	c.SetReadLimit(h.limit)
	for {
		b, err := c.ReadFrame()
		if err == nil {
			var e tap.Envelope
			if e, err = tap.DecodeEnvelope(b); err == nil {
				err = c.WriteFrames(e.AppendFrame(nil))
			}
		}
		if err != nil {
			_ = c.Close(tap.CloseProtocol, "malformed")
			h.ended <- err
			return err
		}
	}
}

// serve runs a handler over TLS and returns a client's connection.
func serve(t *testing.T, h tap.ConnHandler, o Options) (net.Conn, *bufio.Reader) {
	t.Helper()
	server := httptest.NewTLSServer(Handler(h, o))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	dialer := ws.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}
	nc, br, _, err := dialer.Dial(t.Context(), "wss"+strings.TrimPrefix(server.URL, "https"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return nc, br
}

// raw is one WebSocket frame as a client sends it.
func raw(op ws.OpCode, fin bool, payload []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, bytes.Clone(payload)), [4]byte{1, 2, 3, 4}))
}

func frameOf(n int) []byte {
	e := tap.Envelope{ID: uuid.New(), Type: tap.TypePublish, Payload: make([]byte, n)}
	return e.AppendFrame(nil)
}

func readMessage(t *testing.T, r io.Reader) (ws.OpCode, []byte) {
	t.Helper()
	h, err := ws.ReadHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	if h.Masked {
		t.Error("a server masks")
	}
	return h.OpCode, b
}

func TestMessagesHoldOneOrSeveralFrames(t *testing.T) {
	h := newEcho()
	nc, br := serve(t, h, Options{})
	conn := <-h.info
	if conn.Transport() != "wss" || !conn.Remote().IsLoopback() {
		t.Errorf("%s from %s", conn.Transport(), conn.Remote())
	}
	one, two, large := frameOf(0), frameOf(200), frameOf(40_000)
	for _, sent := range [][]byte{
		raw(ws.OpBinary, true, one),
		raw(ws.OpBinary, true, append(bytes.Clone(one), two...)),
		// In fragments, with a ping in between.
		append(append(append(raw(ws.OpBinary, false, two[:50]), raw(ws.OpPing, true, []byte("hi"))...),
			raw(ws.OpContinuation, false, two[50:51])...), raw(ws.OpContinuation, true, two[51:])...),
		raw(ws.OpBinary, true, nil),
		raw(ws.OpBinary, true, large),
		raw(ws.OpPong, true, []byte("unasked")),
	} {
		if _, err := nc.Write(sent); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [][]byte{one, one, two, []byte("hi"), two, large} {
		op, got := readMessage(t, br)
		if wantOp := map[bool]ws.OpCode{true: ws.OpPong, false: ws.OpBinary}[i == 3]; op != wantOp || !bytes.Equal(got, want) {
			t.Errorf("message %d: op %d, %d bytes; want op %d, %d bytes", i, op, len(got), wantOp, len(want))
		}
	}
	// Saying goodbye is orderly.
	if _, err := nc.Write(raw(ws.OpClose, true, ws.NewCloseFrameBody(1000, "bye"))); err != nil {
		t.Fatal(err)
	}
	if op, _ := readMessage(t, br); op != ws.OpClose {
		t.Errorf("op %d, want close", op)
	}
	if err := <-h.ended; err != io.EOF {
		t.Errorf("ended with %v", err)
	}
}

func TestTextIsAnsweredInText(t *testing.T) {
	h := newEcho()
	nc, br := serve(t, h, Options{})
	id := uuid.NewString()
	text := `{"id":"` + id + `","type":"publish","timestamp":5,"payload":{"room":"plaza","data":{"x": 1}}}`
	if _, err := nc.Write(raw(ws.OpText, true, []byte(text))); err != nil {
		t.Fatal(err)
	}
	op, got := readMessage(t, br)
	e, err := tap.ParseTextFrame(got)
	if op != ws.OpText || err != nil || e.ID.String() != id || string(e.Payload) != `{"room":"plaza","data":{"x": 1}}` {
		t.Errorf("op %d, %s, %v", op, got, err)
	}
}

func TestBrokenProtocolEndsTheConnection(t *testing.T) {
	unmasked := ws.MustCompileFrame(ws.NewBinaryFrame(frameOf(1)))
	reserved := raw(ws.OpBinary, true, frameOf(1))
	reserved[0] |= 0x40
	header := func(b ...byte) []byte { return append(b, 1, 2, 3, 4) } // with a mask
	for name, c := range map[string]struct {
		sent []byte
		code string
	}{
		"not masked":               {unmasked, "malformed_frame"},
		"reserved bit":             {reserved, "malformed_frame"},
		"reserved opcode":          {raw(0x3, true, nil), "malformed_frame"},
		"continuation of nothing":  {raw(ws.OpContinuation, true, nil), "malformed_frame"},
		"a message inside another": {append(raw(ws.OpBinary, false, []byte{1}), raw(ws.OpBinary, true, nil)...), "malformed_frame"},
		"a long ping":              {raw(ws.OpPing, true, make([]byte, 126)), "malformed_frame"},
		"a fragmented ping":        {raw(ws.OpPing, false, nil), "malformed_frame"},
		"length with the top bit":  {header(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0), "malformed_frame"},
		"8 EiB":                    {header(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "too_large"},
		"oversize":                 {header(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 6), "too_large"},
		"oversize in fragments":    {append(raw(ws.OpBinary, false, make([]byte, 40_000)), raw(ws.OpContinuation, true, make([]byte, 40_000))...), "too_large"},
		"frame over the limit":     {raw(ws.OpBinary, true, []byte{0xff, 0xff, 0x7f}), "too_large"},
		"truncated frame":          {raw(ws.OpBinary, true, []byte{9, 1}), "malformed_frame"},
		"endless prefix":           {raw(ws.OpBinary, true, bytes.Repeat([]byte{0xff}, 12)), "malformed_frame"},
		"text not UTF-8":           {raw(ws.OpText, true, []byte("{\"id\":\"\xff\"}")), "malformed_frame"},
		"text not JSON":            {raw(ws.OpText, true, []byte("hello")), "malformed_frame"},
		"an empty text":            {raw(ws.OpText, true, nil), "malformed_frame"},
		"close of one byte":        {raw(ws.OpClose, true, []byte{3}), "malformed_frame"},
		"close with a bad code":    {raw(ws.OpClose, true, ws.NewCloseFrameBody(1005, "")), "malformed_frame"},
		"close reason not UTF-8":   {raw(ws.OpClose, true, ws.NewCloseFrameBody(1000, "\xff")), "malformed_frame"},
		"compressed without leave": {func() []byte { b := raw(ws.OpText, true, []byte("x")); b[0] |= 0x40; return b }(), "malformed_frame"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newEcho()
			nc, br := serve(t, h, Options{})
			if _, err := nc.Write(c.sent); err != nil {
				t.Fatal(err)
			}
			if op, b := readMessage(t, br); op != ws.OpClose || !strings.HasSuffix(string(b), "malformed") {
				t.Errorf("op %d %q, want a close", op, b)
			}
			_ = nc.Close() // the server lingers until we hang up
			if err := <-h.ended; !tap.IsKind(err, tap.Invalid) || tap.AsError(err).Code != c.code {
				t.Errorf("ended with %v, want %s", err, c.code)
			}
		})
	}
}

func TestUpgradeIsDemanded(t *testing.T) {
	h := newEcho()
	server := httptest.NewServer(Handler(h, Options{}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if e, _, ok := tap.ParseErrorBody(body); err != nil || response.StatusCode != http.StatusUpgradeRequired || !ok || e.Code != "upgrade" {
		t.Errorf("%d %s %v", response.StatusCode, body, err)
	}
	// A handshake with a missing key is refused by the library.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	if response, err = http.DefaultClient.Do(r); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("without a key: %d", response.StatusCode)
	}
	// So is a client that does not wait for our answer.
	nc, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, err = nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + string(raw(ws.OpBinary, true, frameOf(1)))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, nc); err != nil && !errors.Is(err, net.ErrClosed) && !isReset(err) {
		t.Error(err)
	}
	select {
	case <-h.info:
		t.Error("an impatient client was served")
	default:
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// pipe is a connection without TLS in memory.
func pipe(o Options) (*conn, net.Conn) {
	near, far := net.Pipe()
	return newConn(near, &http.Request{}, o.withDefaults()), far
}

func TestLargeBatchesAreSplit(t *testing.T) {
	c, far := pipe(Options{FrameLimit: 1000})
	if c.Transport() != "ws" {
		t.Errorf("transport %s", c.Transport())
	}
	if _, ok := c.ExportKeyingMaterial("x", nil, 32); ok {
		t.Error("keys are exported without TLS")
	}
	var want []byte
	var frames [][]byte
	for i := range 50 {
		f := frameOf(10 * i)
		frames, want = append(frames, f), append(want, f...)
	}
	frames = append(frames[:10:10], bytes.Join(frames[10:], nil)) // one slice may hold several
	written := make(chan error, 1)
	go func() { written <- c.WriteFrames(frames...) }()
	var got []byte
	for len(got) < len(want) {
		op, b := readMessage(t, far)
		if op != ws.OpBinary || len(b) > tap.MessageLimit(1000) {
			t.Fatalf("op %d with %d bytes", op, len(b))
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, want) {
		t.Error("the frames changed")
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	if err := c.WriteFrames(bytes.Repeat([]byte{0xff}, 2000)); err == nil {
		t.Error("a broken frame was written")
	}
}

func TestSilentPeersArePingedThenDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := pipe(Options{PingInterval: 30 * time.Second})
		began := time.Now()
		var pings []time.Duration
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				h, err := ws.ReadHeader(far)
				if err != nil {
					return
				}
				if h.OpCode == ws.OpPing {
					pings = append(pings, time.Since(began))
				}
			}
		})
		_, err := c.ReadFrame()
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 90*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_ = far.Close()
		reading.Wait()
		if len(pings) != 2 || pings[0] != 30*time.Second || pings[1] != time.Minute {
			t.Errorf("pings after %v", pings)
		}
		_ = c.Close(tap.CloseGoingAway, strings.Repeat("long", 100))
	})
}

// Whoever answers a ping stays; whoever sends a message byte by byte does not.
func TestSlowMessagesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := pipe(Options{PingInterval: 30 * time.Second, FrameTimeout: 10 * time.Second})
		began := time.Now()
		var writing sync.WaitGroup
		writing.Go(func() {
			for range 4 { // alive for two minutes
				h, err := ws.ReadHeader(far)
				if err != nil || h.OpCode != ws.OpPing {
					t.Errorf("%+v, %v", h, err)
					return
				}
				if _, err := far.Write(raw(ws.OpPong, true, nil)); err != nil {
					return
				}
			}
			for _, b := range raw(ws.OpBinary, true, make([]byte, 1000)) {
				if _, err := far.Write([]byte{b}); err != nil {
					return
				}
				<-time.After(time.Second)
			}
		})
		_, err := c.ReadFrame()
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 130*time.Second {
			t.Errorf("%v after %s", err, took)
		}
		_ = far.Close()
		writing.Wait()
		_ = c.Close(tap.CloseProtocol, "")
	})
}

func TestDeadlinesFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := pipe(Options{WriteTimeout: 3 * time.Second})
		defer far.Close()
		began := time.Now()
		if err := c.SetReadDeadline(began.Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if err := c.WriteFrames(frameOf(1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 8*time.Second {
			t.Errorf("write: %v after %s", err, time.Since(began))
		}
		// Nobody reads our farewell: it takes a second, and the end another.
		_ = c.Close(tap.CloseNormal, "")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("closed after %s", took)
		}
		if err := c.WriteFrames(frameOf(1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the close: %v", err)
		}
		if err := c.Close(tap.CloseNormal, ""); err != nil {
			t.Errorf("a second close: %v", err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(raw(ws.OpBinary, true, frameOf(3)))
	f.Add(append(raw(ws.OpBinary, false, []byte{5}), raw(ws.OpContinuation, true, []byte("abcde"))...))
	f.Add(raw(ws.OpText, true, []byte(`{"id":"00000000-0000-0000-0000-000000000001","type":"ping","timestamp":1}`)))
	f.Add(raw(ws.OpClose, true, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newConn(&script{r: bytes.NewReader(b)}, &http.Request{}, Options{}.withDefaults())
		for {
			frame, err := c.ReadFrame()
			if err != nil {
				break
			}
			if len(frame) > tap.HandshakeLimit {
				t.Fatalf("a frame of %d bytes", len(frame))
			}
		}
	})
}

// script is a connection that was recorded.
type script struct {
	net.Conn
	r io.Reader
}

func (s *script) Read(p []byte) (int, error)       { return s.r.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
