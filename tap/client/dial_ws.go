package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"tamv.internal/tamv/tap"
)

// dialWebSocket opens the client's end of a WebSocket connection.
func dialWebSocket(ctx context.Context, u *url.URL, config *tls.Config) (tap.Conn, error) {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion, config.NextProtos = tls.VersionTLS13, []string{"http/1.1"} // HTTP/2 has no upgrade
	dialer := ws.Dialer{TLSConfig: config}
	nc, br, _, err := dialer.Dial(ctx, u.String())
	if err != nil {
		return nil, dialError(ctx, err)
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	c := &wsConn{nc: nc, r: br, limit: tap.HandshakeLimit, transport: "ws"}
	if t, ok := nc.(*tls.Conn); ok {
		c.tls, c.transport = t, "wss"
	}
	return c, nil
}

// dialError names why a node could not be reached.
func dialError(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return tap.AsError(ctx.Err())
	case errors.As(err, &certificate):
		return tap.Wrap("client.dial", tap.Unauthenticated, err, "the server's certificate is not the appliance's").WithCode(CodeCertificate)
	}
	return tap.Wrap("client.dial", tap.Unavailable, err, "the appliance cannot be reached").WithCode(CodeUnreachable)
}

// wsConn is the client's end of a WebSocket connection that carries binary
// messages.
type wsConn struct {
	nc        net.Conn
	tls       *tls.Conn // nil without TLS
	transport string

	// Owned by the reading goroutine.
	r       *bufio.Reader
	header  [ws.MaxHeaderSize]byte
	message []byte
	rest    []byte
	limit   int

	writeMu sync.Mutex
	out     []byte // guarded by writeMu
	closed  atomic.Bool
}

// Timeouts of the client's end. A node pings more often than idleTimeout.
const (
	idleTimeout  = 90 * time.Second
	writeTimeout = 10 * time.Second
	farewell     = time.Second
)

func (c *wsConn) ReadFrame() ([]byte, error) {
	for len(c.rest) == 0 {
		if err := c.readMessage(); err != nil {
			return nil, err
		}
		c.rest = c.message
	}
	frame, rest, err := tap.CutFrame(c.rest, c.limit)
	c.rest = rest
	return frame, err
}

func (c *wsConn) readMessage() error {
	if c.message = c.message[:0]; cap(c.message) > 64<<10 {
		c.message = nil
	}
	for state := ws.StateClientSide; ; {
		if c.r.Buffered() == 0 {
			if err := c.nc.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
				return err
			}
		}
		h, err := ws.ReadHeaderBuffer(c.r, c.header[:])
		if err != nil {
			return err
		}
		if err := ws.CheckHeader(h, state); err != nil || h.OpCode == ws.OpText {
			return tap.Wrap("client.read", tap.Invalid, err, "the node broke the WebSocket protocol").WithCode("malformed_frame")
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return err
			}
			continue
		}
		if h.Length > int64(tap.MessageLimit(c.limit)-len(c.message)) {
			return tap.E("client.read", tap.Invalid, "the message is longer than %d bytes", tap.MessageLimit(c.limit)).WithCode("too_large")
		}
		if c.message, err = tap.ReadGrowing(c.r, c.message, int(h.Length)); err != nil || h.Fin {
			return err
		}
		state = state.Set(ws.StateFragmented)
	}
}

func (c *wsConn) control(h ws.Header) error {
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		return c.write(ws.OpPong, payload)
	case ws.OpClose:
		return io.EOF
	}
	return nil
}

func (c *wsConn) WriteFrames(frames ...[]byte) error { return c.write(ws.OpBinary, frames...) }

// write sends one masked message in one write.
func (c *wsConn) write(op ws.OpCode, parts ...[]byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.closed.Load() && op != ws.OpClose {
		return net.ErrClosed
	}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	mask := ws.NewMask()
	b := append(c.out[:0], 0x80|byte(op)) // FIN
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, mask[:]...)
	start := len(b)
	for _, p := range parts {
		b = append(b, p...)
	}
	ws.Cipher(b[start:], mask, 0)
	if c.out = b; cap(b) > 64<<10 {
		c.out = nil
	}
	timeout := writeTimeout
	if op == ws.OpClose {
		timeout = farewell
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

func (c *wsConn) Close(code uint16, reason string) error {
	if c.closed.Swap(true) {
		return nil
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(farewell)) // a writer that is stuck gives up
	_ = c.write(ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(code), reason[:min(len(reason), 120)]))
	return c.nc.Close()
}

func (c *wsConn) SetReadLimit(n int) { c.limit = n }

func (c *wsConn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

func (c *wsConn) Remote() netip.Addr { return tap.RemoteIP(c.nc.RemoteAddr()) }

func (c *wsConn) Transport() string { return c.transport }

func (c *wsConn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, bool) {
	if c.tls == nil {
		return nil, false
	}
	state := c.tls.ConnectionState()
	m, err := state.ExportKeyingMaterial(label, context, length)
	return m, err == nil
}
