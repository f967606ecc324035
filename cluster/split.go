package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
)

// Split takes over a TCP listener: it does the TLS handshakes, keeps the
// connections that negotiate [Protocol] for Accept, and returns a listener of
// all others, as *tls.Conn with the handshake done, for an HTTP server without
// TLS of its own. The node protocol asks for the client's certificate, the
// others, configured by base, do not.
//
// Links are not handed through net/http (TLSNextProto), because Server.Shutdown
// would wait for them: a node that stops must finish the requests in flight, and
// those need the links until the last one is committed.
//
// The inner listener bounds the number of connections. Of the handshakes, 4,096
// go on at a time and 512 per source, besides those of members; a connection
// beyond is closed at once, because one that waited would be as good to a
// stranger.
func (l *Link) Split(inner net.Listener, base *tls.Config) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	s := &split{inner, l, l.configure(base), ctx, cancel, make(chan arrival), sync.Once{}}
	go s.run()
	return s
}

// configure is the listener's TLS configuration: base, but for those who ask
// for the node protocol.
func (l *Link) configure(base *tls.Config) *tls.Config {
	config := base.Clone()
	config.MinVersion = tls.VersionTLS13
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.SupportedProtos, Protocol) {
			return nil, nil // base
		}
		address := hello.Conn.RemoteAddr().String()
		return &tls.Config{
			GetCertificate: l.config.Certificates.Get, NextProtos: []string{Protocol}, MinVersion: tls.VersionTLS13,
			// Not required here, but by verify: the lack of one is a refusal
			// that has to be recorded.
			ClientAuth:             tls.RequestClientCert,
			SessionTicketsDisabled: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				if _, refusal := l.verifier.verify(&state, address, false); refusal != nil {
					l.config.Refused(*refusal)
					return refusal
				}
				return nil
			},
			DynamicRecordSizingDisabled: true,
		}, nil
	}
	return config
}

// arrival is what the inner listener came up with.
type arrival struct {
	conn *tls.Conn
	err  error
}

// split is the listener of the connections that are not links.
type split struct {
	net.Listener
	link    *Link
	config  *tls.Config
	ctx     context.Context // of the handshakes
	cancel  context.CancelFunc
	arrived chan arrival
	once    sync.Once
}

// run accepts until the inner listener is closed. Its errors are the HTTP
// server's to judge: some, such as too many open files, pass.
func (s *split) run() {
	for {
		raw, err := s.Listener.Accept()
		if err == nil {
			if release, ok := s.link.handshakes.Take(raw.RemoteAddr()); ok {
				go s.welcome(raw, release)
			} else {
				raw.Close()
			}
			continue
		}
		if !s.deliver(arrival{err: err}) || errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// welcome does one handshake and brings the connection to where it belongs.
func (s *split) welcome(raw net.Conn, release func()) {
	conn := tls.Server(raw, s.config)
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	release()
	switch {
	case err != nil:
		raw.Close() // the handshake has sent its alert
	case conn.ConnectionState().NegotiatedProtocol == Protocol:
		s.link.admit(conn)
	case !s.deliver(arrival{conn: conn}):
		conn.Close()
	}
}

// deliver hands an arrival to Accept; false when nobody will ask any more.
func (s *split) deliver(a arrival) bool {
	select {
	case s.arrived <- a:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// Accept implements net.Listener.
func (s *split) Accept() (net.Conn, error) {
	select {
	case a := <-s.arrived:
		if a.err != nil {
			return nil, a.err
		}
		return a.conn, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Links stay open, but no new ones arrive.
func (s *split) Close() (err error) {
	s.once.Do(func() {
		s.cancel()
		err = s.Listener.Close()
	})
	return err
}

// admit tells a proven dialer so, and queues its connection for Accept.
func (l *Link) admit(conn *tls.Conn) {
	leaf := conn.ConnectionState().PeerCertificates[0]
	c, err := l.track(conn, peer{nodeOf(leaf), PinOf(leaf), false})
	if err != nil {
		return
	}
	if _, err := conn.Write([]byte{admitted}); err != nil {
		c.Close()
		return
	}
	select {
	case l.accepted <- c:
	default:
		c.Close()
	}
}
