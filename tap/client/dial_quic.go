package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/url"
	"time"

	"github.com/quic-go/quic-go"

	"tamv.internal/tamv/tap"
)

// dialQUIC opens a QUIC connection and its one stream.
func dialQUIC(ctx context.Context, u *url.URL, config *tls.Config) (tap.Conn, error) {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion, config.NextProtos = tls.VersionTLS13, []string{tap.ALPN}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	qc, err := quic.DialAddr(ctx, u.Host, config, &quic.Config{
		HandshakeIdleTimeout:       5 * time.Second,
		MaxIdleTimeout:             idleTimeout,
		KeepAlivePeriod:            idleTimeout / 4,
		MaxIncomingStreams:         -1,
		MaxIncomingUniStreams:      -1,
		MaxStreamReceiveWindow:     2 << 20,
		MaxConnectionReceiveWindow: 2 << 20,
	})
	if err != nil {
		return nil, dialError(ctx, err)
	}
	s, err := qc.OpenStreamSync(ctx)
	if err != nil {
		_ = qc.CloseWithError(tap.CloseNormal, "")
		return nil, dialError(ctx, err)
	}
	return tap.NewStreamConn(quicStream{s}, tap.StreamLink{
		Transport:    "quic",
		Remote:       tap.RemoteIP(qc.RemoteAddr()),
		WriteTimeout: writeTimeout,
		Export: func(label string, context []byte, length int) ([]byte, error) {
			state := qc.ConnectionState().TLS
			return state.ExportKeyingMaterial(label, context, length)
		},
		Close: func(code uint16, reason string) error {
			return qc.CloseWithError(quic.ApplicationErrorCode(code), reason)
		},
	}), nil
}

// quicStream reports an orderly end of the connection as io.EOF.
type quicStream struct{ *quic.Stream }

func (s quicStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	var closed *quic.ApplicationError
	if errors.As(err, &closed) {
		err = io.EOF
	}
	return n, err
}
