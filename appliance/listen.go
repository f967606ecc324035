package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/net/netutil"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/httpapi"
	"tamv.internal/tamv/tap/quic"
	"tamv.internal/tamv/tap/ws"
)

// tapPath is where WebSocket clients connect.
const tapPath = "/tap"

// maxConnections bounds TCP connections, below the files that a process may
// have open.
const maxConnections = 16_000

// portAttempts is how often a free TCP port is looked for whose UDP twin is
// free as well.
const portAttempts = 20

// openPort binds the one port, TCP and UDP.
func openPort(address string) (net.Listener, net.PacketConn, error) {
	var lastErr error
	for range portAttempts {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, tap.Wrap("appliance.listen", tap.Unavailable, err, "cannot listen on %s; is another tamvd running?", address)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp, nil
		}
		lastErr = errors.Join(err, tcp.Close())
		if _, port, _ := net.SplitHostPort(address); port != "0" {
			break
		}
	}
	return nil, nil, tap.Wrap("appliance.listen", tap.Unavailable, lastErr, "cannot listen on %s over UDP", address)
}

// localName is how clients on this machine reach a listener on this host.
func localName(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "localhost"
	}
	return host
}

// listen opens the port and serves HTTPS, WebSocket and QUIC on it.
func (n *node) listen(c *certificates) error {
	tcp, udp, err := openPort(n.cfg.Listen)
	if err != nil {
		return err
	}
	n.address = net.JoinHostPort(localName(n.cfg.host()), strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port))
	config := &tls.Config{
		GetCertificate: c.get, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		// A coalesced write of many frames should be one record and one send.
		DynamicRecordSizingDisabled: true,
	}
	n.serveTCP(tcp, config)
	n.serveUDP(udp, config)
	return nil
}

func (n *node) serveTCP(l net.Listener, config *tls.Config) {
	mux := http.NewServeMux()
	mux.Handle(tapPath, ws.Handler(n.parts.hub, ws.Options{Log: n.cfg.Logger}))
	mux.Handle("/", httpapi.Handler(n.parts.server, httpapi.Options{
		Limit: n.parts.server.BodyLimit, Now: n.cfg.Now, Logger: n.cfg.Logger,
	}))
	server := httpapi.NewServer(mux, config)
	l = netutil.LimitListener(l, maxConnections)
	server.ErrorLog = quietly(n.cfg.Logger)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.failed <- tap.Wrap("appliance.listen", tap.Unavailable, err, "the TCP listener ended")
		}
	}()
	n.onStop(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err := errors.Join(n.parts.hub.Shutdown(ctx), server.Shutdown(ctx))
		if err != nil { // somebody would not leave: nothing may run on a closed store
			err = errors.Join(err, server.Close())
		}
		<-ended
		return err
	})
}

func (n *node) serveUDP(pc net.PacketConn, config *tls.Config) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := quic.Serve(ctx, pc, config, n.parts.hub, quic.Options{Log: n.cfg.Logger}); err != nil {
			n.failed <- tap.Wrap("appliance.listen", tap.Unavailable, err, "the UDP listener ended")
		}
	}()
	n.onStop(func() error {
		cancel()
		<-ended
		return pc.Close()
	})
}
