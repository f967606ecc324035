package tap

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conn carries frames between two ends, whatever is below. One goroutine reads;
// any number may write and close.
type Conn interface {
	// ReadFrame returns the next encoded envelope, without its length prefix,
	// valid until the next call. io.EOF is an orderly end. A frame over the read
	// limit or broken framing is an *Error of kind Invalid, after which the
	// connection is of no use.
	ReadFrame() ([]byte, error)
	// WriteFrames writes complete frames, each with its length prefix (as
	// Envelope.AppendFrame makes them; one slice may hold several), in one
	// piece. It blocks for at most the transport's write timeout, after which
	// the connection is of no use.
	WriteFrames(frames ...[]byte) error
	// SetReadLimit bounds the size of a frame in bytes. It starts at
	// HandshakeLimit. Only the reading goroutine calls it.
	SetReadLimit(n int)
	// SetReadDeadline ends ReadFrame at t; the zero time hands over to the
	// transport's own idle timeout.
	SetReadDeadline(t time.Time) error
	// Close says goodbye with a code and a reason of at most 120 bytes, and
	// releases the connection. Only the first call counts.
	Close(code uint16, reason string) error
	// Remote is the peer's address.
	Remote() netip.Addr
	// Transport is "wss" or "quic" ("ws" without TLS).
	Transport() string
	// ExportKeyingMaterial is the TLS exporter; ok is false when the
	// connection has none or the peer cannot read its own.
	ExportKeyingMaterial(label string, context []byte, length int) (material []byte, ok bool)
}

// ConnHandler serves one connection until it ends, and closes it.
type ConnHandler interface {
	ServeConn(ctx context.Context, c Conn) error
}

// Close codes. WebSocket sends them as they are (RFC 6455, 7.4), QUIC as the
// application error code.
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001 // the node stops or hands over
	CloseProtocol    = 1002 // malformed frames
	ClosePolicy      = 1008 // not authenticated, revoked
	CloseTooBig      = 1009
	CloseUnavailable = 1013 // overloaded: come back later
)

// errFrameTooLarge refuses a frame over the read limit.
func errFrameTooLarge(limit int) error {
	return E("tap.read", Invalid, "the frame is longer than %d bytes", limit).WithCode("too_large")
}

// CutFrame splits the first frame off b, the content of a WebSocket message.
// The error is Invalid: too_large or malformed_frame.
func CutFrame(b []byte, limit int) (frame, rest []byte, err error) {
	n, width := binary.Uvarint(b)
	switch {
	case width <= 0:
		return nil, nil, badFrame("the length prefix is not a uvarint")
	case n > uint64(limit):
		return nil, nil, errFrameTooLarge(limit)
	case n > uint64(len(b)-width):
		return nil, nil, badFrame("the message ends inside a frame")
	}
	end := width + int(n)
	return b[width:end:end], b[end:], nil
}

// maxPrefix is the longest length prefix in bytes that a frame can need.
const maxPrefix = 5

// MessageLimit is the largest WebSocket message, in bytes, when a frame may
// have limit bytes: one full frame with its prefix, or several smaller ones.
func MessageLimit(limit int) int { return limit + maxPrefix }

// Stream is a bidirectional byte stream: what QUIC offers.
type Stream interface {
	io.Reader
	io.Writer
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// StreamLink describes what is around a Stream.
type StreamLink struct {
	Transport    string
	Remote       netip.Addr
	IdleTimeout  time.Duration // longest wait for the next frame; 0 = the stream's own
	FrameTimeout time.Duration // longest time from a frame's first byte to its last
	WriteTimeout time.Duration
	Export       func(label string, context []byte, length int) ([]byte, error) // nil = none
	Close        func(code uint16, reason string) error
}

// NewStreamConn makes a Conn of a stream: uvarint length, envelope, and again.
func NewStreamConn(s Stream, link StreamLink) Conn {
	return &streamConn{stream: s, link: link, r: bufio.NewReaderSize(s, 4096), limit: HandshakeLimit}
}

type streamConn struct {
	stream Stream
	link   StreamLink

	// Owned by the reading goroutine.
	r     *bufio.Reader
	buf   []byte
	limit int
	fixed bool // a deadline set from outside is in force

	writeMu sync.Mutex
	out     []byte // guarded by writeMu

	closing sync.Once
}

// keepBuffer is the largest buffer, in bytes, that a connection keeps between
// frames.
const keepBuffer = 16 << 10

func (c *streamConn) ReadFrame() ([]byte, error) {
	if cap(c.buf) > keepBuffer {
		c.buf = nil
	}
	if err := c.awaitFrame(); err != nil {
		return nil, err
	}
	n, err := c.readLength()
	switch {
	case err != nil:
		return nil, err
	case n > uint64(c.limit):
		return nil, errFrameTooLarge(c.limit)
	}
	c.buf, err = ReadGrowing(c.r, c.buf[:0], int(n))
	return c.buf, err
}

// awaitFrame waits for a frame's first byte, then gives the rest of the frame
// its own, shorter time.
func (c *streamConn) awaitFrame() error {
	if c.r.Buffered() == 0 {
		if !c.fixed {
			if err := c.stream.SetReadDeadline(deadline(c.link.IdleTimeout)); err != nil {
				return err
			}
		}
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
	}
	if c.fixed || c.link.FrameTimeout == 0 || c.wholeFrame() {
		return nil
	}
	return c.stream.SetReadDeadline(deadline(c.link.FrameTimeout))
}

func (c *streamConn) wholeFrame() bool {
	b, _ := c.r.Peek(min(c.r.Buffered(), maxPrefix))
	n, width := binary.Uvarint(b)
	return width > 0 && uint64(c.r.Buffered()-width) >= n
}

func (c *streamConn) readLength() (n uint64, err error) {
	for shift := 0; shift < 7*maxPrefix; shift += 7 {
		b, err := c.r.ReadByte()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, badFrame("the length prefix is not a uvarint")
}

func deadline(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// ReadGrowing appends n bytes from r to buf. The buffer grows with what has
// arrived, so that a length alone, sent by a peer, reserves no memory. An early
// end is io.ErrUnexpectedEOF.
func ReadGrowing(r io.Reader, buf []byte, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, max(4096, len(buf)))
		have := len(buf)
		if cap(buf)-have < step {
			buf = append(make([]byte, 0, have+step), buf...)
		}
		buf = buf[:have+step]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buf[:have], err
		}
		n -= step
	}
	return buf, nil
}

func (c *streamConn) WriteFrames(frames ...[]byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	b := frames[0]
	if len(frames) > 1 {
		c.out = c.out[:0]
		for _, f := range frames {
			c.out = append(c.out, f...)
		}
		b = c.out
		if cap(c.out) > keepBuffer {
			c.out = nil
		}
	}
	if err := c.stream.SetWriteDeadline(deadline(c.link.WriteTimeout)); err != nil {
		return err
	}
	_, err := c.stream.Write(b)
	return err
}

func (c *streamConn) SetReadLimit(n int) { c.limit = n }

func (c *streamConn) SetReadDeadline(t time.Time) error {
	c.fixed = !t.IsZero()
	return c.stream.SetReadDeadline(t)
}

func (c *streamConn) Close(code uint16, reason string) (err error) {
	c.closing.Do(func() { err = c.link.Close(code, reason) })
	return err
}

func (c *streamConn) Remote() netip.Addr { return c.link.Remote }

func (c *streamConn) Transport() string { return c.link.Transport }

func (c *streamConn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, bool) {
	if c.link.Export == nil {
		return nil, false
	}
	m, err := c.link.Export(label, context, length)
	return m, err == nil
}

// RemoteIP is the address in a net.Addr, without port and zone; the zero Addr
// when there is none.
func RemoteIP(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
