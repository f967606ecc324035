package ws

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"tamv.internal/tamv/tap"
)

// conn is the server's end of a WebSocket connection.
type conn struct {
	nc      net.Conn
	options Options
	remote  netip.Addr
	tls     *tls.ConnectionState // nil without TLS

	// Owned by the reading goroutine.
	r       *bufio.Reader
	header  [ws.MaxHeaderSize]byte
	message []byte // of the pool; nil while waiting
	rest    []byte // frames of the message not yet read
	limit   int
	fixed   bool // a deadline set from outside is in force
	silent  int  // pings since the peer was last heard
	started bool

	text    atomic.Bool // the peer speaks text
	goodbye atomic.Bool // the peer closed first
	closed  atomic.Bool
	writeMu sync.Mutex // one message at a time
}

// maxSilence is how many unanswered pings end a connection.
const maxSilence = 2

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// maxPooled is the largest buffer, in bytes, that goes back to the pool.
const maxPooled = 256 << 10

func putBuffer(b []byte) {
	if cap(b) <= maxPooled {
		b = b[:0]
		buffers.Put(&b)
	}
}

func getBuffer() []byte { return *buffers.Get().(*[]byte) }

func newConn(nc net.Conn, r *http.Request, o Options) *conn {
	return &conn{
		nc: nc, options: o, tls: r.TLS, remote: tap.RemoteIP(nc.RemoteAddr()),
		r: bufio.NewReaderSize(nc, 4096), limit: tap.HandshakeLimit,
	}
}

func (c *conn) ReadFrame() ([]byte, error) {
	for len(c.rest) == 0 {
		if c.message != nil {
			putBuffer(c.message)
			c.message = nil
		}
		text, err := c.readMessage()
		if err != nil {
			return nil, err
		}
		if !c.started {
			c.started = true
			c.text.Store(text)
		}
		if text {
			return c.textFrame()
		}
		c.rest = c.message
	}
	frame, rest, err := tap.CutFrame(c.rest, c.limit)
	c.rest = rest
	return frame, err
}

// textFrame turns the message, one frame in JSON, into its binary form.
func (c *conn) textFrame() ([]byte, error) {
	if !utf8.Valid(c.message) {
		return nil, protocolError("the text message is not UTF-8")
	}
	e, err := tap.ParseTextFrame(c.message)
	if err != nil {
		return nil, err
	}
	return e.Append(nil), nil
}

func protocolError(format string, args ...any) error {
	return tap.E("ws.read", tap.Invalid, format, args...).WithCode("malformed_frame")
}

// readMessage reads one message into c.message and answers the control frames
// around it.
func (c *conn) readMessage() (text bool, err error) {
	state := ws.StateServerSide
	for {
		if !state.Fragmented() {
			if err := c.await(); err != nil {
				return false, err
			}
		}
		h, err := ws.ReadHeaderBuffer(c.r, c.header[:])
		if err != nil {
			return false, readError(err)
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return false, protocolError("%s", err)
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return false, err
			}
			continue
		}
		if h.Length > int64(tap.MessageLimit(c.limit)-len(c.message)) {
			return false, tap.E("ws.read", tap.Invalid, "the message is longer than %d bytes", tap.MessageLimit(c.limit)).WithCode("too_large")
		}
		if c.message == nil {
			c.message = getBuffer()
		}
		have := len(c.message)
		if c.message, err = tap.ReadGrowing(c.r, c.message, int(h.Length)); err != nil {
			return false, err
		}
		ws.Cipher(c.message[have:], h.Mask, 0)
		text = text || h.OpCode == ws.OpText
		if h.Fin {
			return text, nil
		}
		state = state.Set(ws.StateFragmented)
	}
}

// readError tells a malformed header from a broken connection.
func readError(err error) error {
	if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
		return protocolError("%s", err)
	}
	return err
}

// await waits for the first bytes of a message, pinging a silent peer, then
// gives the rest of the message its own, shorter time.
func (c *conn) await() error {
	for c.r.Buffered() == 0 {
		if !c.fixed {
			if err := c.nc.SetReadDeadline(time.Now().Add(c.options.PingInterval)); err != nil {
				return err
			}
		}
		_, err := c.r.Peek(1)
		if err == nil {
			break
		}
		if c.fixed || !errors.Is(err, os.ErrDeadlineExceeded) || c.silent >= maxSilence {
			return err
		}
		c.silent++
		if err := c.writeMessage(ws.OpPing, nil); err != nil {
			return err
		}
	}
	c.silent = 0
	if c.fixed || c.wholeMessage() {
		return nil
	}
	return c.nc.SetReadDeadline(time.Now().Add(c.options.FrameTimeout))
}

// wholeMessage says whether the buffer holds a whole short message, for which
// no deadline needs to be set.
func (c *conn) wholeMessage() bool {
	const masked = 2 + 4
	b, err := c.r.Peek(min(c.r.Buffered(), 4))
	if err != nil || len(b) < 4 {
		return false
	}
	switch n := int(b[1] & 0x7f); n {
	case 126:
		return c.r.Buffered() >= masked+2+int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return false
	default:
		return c.r.Buffered() >= masked+n
	}
}

// control answers a ping or a close. A close from the peer is io.EOF.
func (c *conn) control(h ws.Header) error {
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		return c.writeMessage(ws.OpPong, payload)
	case ws.OpClose:
		if len(payload) == 1 {
			return protocolError("a close frame has one byte")
		}
		if len(payload) >= 2 {
			code, reason := ws.ParseCloseFrameData(payload)
			if err := ws.CheckCloseFrameData(code, reason); err != nil {
				return protocolError("%s", err)
			}
		}
		c.goodbye.Store(true)
		_ = c.Close(tap.CloseNormal, "")
		return io.EOF
	}
	return nil
}

// WriteFrames sends the frames in as few messages as the message limit allows.
func (c *conn) WriteFrames(frames ...[]byte) error {
	if c.text.Load() {
		return c.writeText(frames)
	}
	limit := tap.MessageLimit(c.options.FrameLimit)
	total := 0
	for _, f := range frames {
		total += len(f)
	}
	if total <= limit {
		return c.writeMessage(ws.OpBinary, frames...)
	}
	var batch [][]byte
	size := 0
	err := eachFrame(frames, func(frame []byte) error {
		if size+len(frame) > limit {
			if err := c.writeMessage(ws.OpBinary, batch...); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
		batch, size = append(batch, frame), size+len(frame)
		return nil
	})
	if err != nil {
		return err
	}
	return c.writeMessage(ws.OpBinary, batch...)
}

// eachFrame cuts slices of several frames into single ones, prefix included.
func eachFrame(frames [][]byte, do func(frame []byte) error) error {
	for _, b := range frames {
		for len(b) > 0 {
			_, rest, err := tap.CutFrame(b, len(b))
			if err != nil {
				return err
			}
			if err := do(b[:len(b)-len(rest)]); err != nil {
				return err
			}
			b = rest
		}
	}
	return nil
}

func (c *conn) writeText(frames [][]byte) error {
	return eachFrame(frames, func(frame []byte) error {
		body, _, err := tap.CutFrame(frame, len(frame))
		if err != nil {
			return err
		}
		e, err := tap.DecodeEnvelope(body)
		if err != nil {
			return err
		}
		text, err := e.AppendText(nil)
		if err != nil {
			return err
		}
		return c.writeMessage(ws.OpText, text)
	})
}

// writeMessage sends one unfragmented message in one write.
func (c *conn) writeMessage(op ws.OpCode, parts ...[]byte) error {
	b := getBuffer()
	b = append(b, make([]byte, ws.MaxHeaderSize)...)
	for _, p := range parts {
		b = append(b, p...)
	}
	defer func() { putBuffer(b) }()
	start := putHeader(b, op)
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.closed.Load() && op != ws.OpClose {
		return net.ErrClosed
	}
	timeout := c.options.WriteTimeout
	if op == ws.OpClose {
		timeout = farewell
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b[start:])
	return err
}

// putHeader writes the header of an unmasked message right before its payload,
// which starts at ws.MaxHeaderSize, and returns where it begins.
func putHeader(b []byte, op ws.OpCode) int {
	n := len(b) - ws.MaxHeaderSize
	var start int
	switch {
	case n < 126:
		start = ws.MaxHeaderSize - 2
		b[start+1] = byte(n)
	case n < 1<<16:
		start = ws.MaxHeaderSize - 4
		b[start+1] = 126
		binary.BigEndian.PutUint16(b[start+2:], uint16(n))
	default:
		start = ws.MaxHeaderSize - 10
		b[start+1] = 127
		binary.BigEndian.PutUint64(b[start+2:], uint64(n))
	}
	b[start] = 0x80 | byte(op) // FIN
	return start
}

// farewell bounds how long a close frame may take to be written.
const farewell = time.Second

func (c *conn) Close(code uint16, reason string) error {
	if c.closed.Swap(true) {
		return nil
	}
	// A writer that is stuck gives up, so that we are not stuck behind it.
	_ = c.nc.SetWriteDeadline(time.Now().Add(farewell))
	if len(reason) > 120 {
		reason = reason[:120]
	}
	_ = c.writeMessage(ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(code), reason))
	if !c.goodbye.Load() {
		c.linger()
	}
	return c.nc.Close()
}

// linger reads what the peer still sends until it hangs up: closing a TCP
// connection with unread data resets it, and the peer would lose our last
// frames.
func (c *conn) linger() {
	stop := time.AfterFunc(farewell, func() { _ = c.nc.Close() })
	defer stop.Stop()
	_ = c.nc.SetReadDeadline(time.Time{})
	if t, ok := c.nc.(*tls.Conn); ok {
		_ = t.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, c.nc)
}

func (c *conn) SetReadLimit(n int) { c.limit = n }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.fixed = !t.IsZero()
	return c.nc.SetReadDeadline(t)
}

func (c *conn) Remote() netip.Addr { return c.remote }

func (c *conn) Transport() string {
	if c.tls == nil {
		return "ws"
	}
	return "wss"
}

func (c *conn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, bool) {
	if c.tls == nil || c.tls.Version < tls.VersionTLS13 {
		return nil, false
	}
	m, err := c.tls.ExportKeyingMaterial(label, context, length)
	return m, err == nil
}
