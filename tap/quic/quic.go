// Package quic carries TAP over QUIC (RFC 9000): one bidirectional stream per
// connection, opened by the client, with the framing of package ws's binary
// messages (uvarint length, envelope). The application protocol is [tap.ALPN], TLS
// is 1.3.
//
// # What holds
//
// 0-RTT is off, because early data can be replayed. A connection whose stream does
// not come within Options.StreamTimeout is closed, a second stream is not allowed,
// and a connection beyond Options.MaxConns is closed at once with
// [tap.CloseUnavailable], so that a crowd cannot keep others waiting. The session
// is bound to the connection by TLS's exporter, which package hub puts into the
// handshake's transcript.
//
// # Ends and errors
//
// However the peer leaves (it closes, resets, or says nothing for
// Options.IdleTimeout), the hub reads io.EOF. When this side closes, it ends the
// stream first and gives the peer a second to take note, since closing a connection
// drops what was not delivered. [Serve] returns nil after its context ends, and
// Unavailable when the listener fails.
package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"tamv.internal/tamv/tap"
)

// Options bounds a connection. Zero fields take the default named.
type Options struct {
	StreamTimeout time.Duration // from handshake to stream; 5 s
	IdleTimeout   time.Duration // without any packet; 75 s
	FrameTimeout  time.Duration // from a frame's first byte to its last; 10 s
	WriteTimeout  time.Duration // 10 s
	MaxConns      int           // connections at once; 10,000
	Log           *slog.Logger  // why connections ended, at debug level; nil = nowhere
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&o.StreamTimeout, 5 * time.Second},
		{&o.IdleTimeout, 75 * time.Second},
		{&o.FrameTimeout, 10 * time.Second},
		{&o.WriteTimeout, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.MaxConns == 0 {
		o.MaxConns = 10_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Config is the transport configuration of both ends.
func Config(idle time.Duration) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:  5 * time.Second,
		MaxIdleTimeout:        idle,
		KeepAlivePeriod:       idle / 3,
		MaxIncomingStreams:    1,
		MaxIncomingUniStreams: -1,
		// A session is one stream, so the stream's window is the connection's.
		MaxStreamReceiveWindow:     2 << 20,
		MaxConnectionReceiveWindow: 2 << 20,
	}
}

// Serve accepts connections on pc and hands their streams to h until the
// context ends; it then closes them all and waits for them. The caller closes
// pc. The TLS configuration is cloned and narrowed to TLS 1.3 and tap.ALPN.
func Serve(ctx context.Context, pc net.PacketConn, config *tls.Config, h tap.ConnHandler, o Options) error {
	config = config.Clone()
	config.MinVersion, config.NextProtos = tls.VersionTLS13, []string{tap.ALPN}
	o = o.withDefaults()
	l, err := quic.Listen(pc, config, Config(o.IdleTimeout))
	if err != nil {
		return tap.Wrap("quic.listen", tap.Unavailable, err, "QUIC cannot listen on %s", pc.LocalAddr())
	}
	return ServeListener(ctx, l, h, o)
}

// Listener is what ServeListener needs of a *quic.Listener.
type Listener interface {
	Accept(ctx context.Context) (*quic.Conn, error)
	Close() error
}

// ServeListener is Serve on a listener that exists, for whoever shares a port
// between protocols. It closes the listener at the end.
func ServeListener(ctx context.Context, l Listener, h tap.ConnHandler, o Options) error {
	o = o.withDefaults()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer l.Close()
	slots := make(chan struct{}, o.MaxConns)
	for {
		qc, err := l.Accept(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return tap.Wrap("quic.accept", tap.Unavailable, err, "the QUIC listener ended")
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = qc.CloseWithError(tap.CloseUnavailable, "too many connections")
			continue
		}
		conns.Go(func() {
			defer func() { <-slots }()
			err := ServeConn(ctx, qc, h, o)
			o.Log.Debug("tap session ended", "transport", "quic", "remote", qc.RemoteAddr().String(), "error", err)
		})
	}
}

// ServeConn waits for the connection's stream and serves it, for whoever
// accepts connections of several protocols on one listener.
func ServeConn(ctx context.Context, qc *quic.Conn, h tap.ConnHandler, o Options) error {
	o = o.withDefaults()
	wait, cancel := context.WithTimeout(ctx, o.StreamTimeout)
	defer cancel()
	s, err := qc.AcceptStream(wait)
	if err != nil {
		return qc.CloseWithError(tap.ClosePolicy, "no stream was opened")
	}
	return h.ServeConn(ctx, NewConn(qc, s, o))
}

// NewConn makes a tap.Conn of a connection's stream.
func NewConn(qc *quic.Conn, s *quic.Stream, o Options) tap.Conn {
	return tap.NewStreamConn(stream{s}, tap.StreamLink{
		Transport:    "quic",
		Remote:       tap.RemoteIP(qc.RemoteAddr()),
		FrameTimeout: o.FrameTimeout,
		WriteTimeout: o.WriteTimeout,
		Export: func(label string, context []byte, length int) ([]byte, error) {
			state := qc.ConnectionState().TLS
			return state.ExportKeyingMaterial(label, context, length)
		},
		Close: func(code uint16, reason string) error {
			// Closing a connection drops what its stream has not sent yet: end
			// the stream first and let the peer hang up.
			s.CancelRead(0)
			_ = s.Close()
			select {
			case <-qc.Context().Done():
			case <-time.After(farewell):
			}
			return qc.CloseWithError(quic.ApplicationErrorCode(code), reason)
		},
	})
}

// farewell is how long a peer has to take note of the end of its stream.
const farewell = time.Second

// stream gives an orderly end of the connection the name that every transport
// uses.
type stream struct{ *quic.Stream }

func (s stream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	return n, ended(err)
}

func (s stream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	return n, ended(err)
}

// ended maps the ways in which a connection ends to io.EOF.
func ended(err error) error {
	var app *quic.ApplicationError
	var idle *quic.IdleTimeoutError
	var reset *quic.StreamError
	if errors.As(err, &app) || errors.As(err, &idle) || errors.As(err, &reset) {
		return io.EOF
	}
	return err
}
