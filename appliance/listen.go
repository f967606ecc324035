package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/httpapi"
	"tamv.internal/tamv/tap/quic"
	"tamv.internal/tamv/tap/ws"
)

// tapPath is where WebSocket clients connect.
const tapPath = "/tap"

// portAttempts is how often a free TCP port is looked for whose UDP twin is
// free as well.
const portAttempts = 20

// openPort binds the one port, TCP and UDP.
func openPort(address string) (net.Listener, net.PacketConn, error) {
	var lastErr error
	for range portAttempts {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, tap.Wrap("appliance.listen", tap.Unavailable, err, "cannot listen on %s", address).WithCode(listenCode(err))
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
	return nil, nil, tap.Wrap("appliance.listen", tap.Unavailable, lastErr, "cannot listen on %s over UDP", address).WithCode(listenCode(lastErr))
}

// CodeAddressInUse is the code of a port that another process has; the kind is
// Unavailable.
const CodeAddressInUse = "address_in_use"

func listenCode(err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return CodeAddressInUse
	}
	return ""
}

// listenAddress is where to listen: as configured, else where this node did
// last.
func listenAddress(cfg Config) (string, error) {
	if cfg.Listen != "" {
		return cfg.Listen, nil
	}
	settings, err := cluster.ReadSettings(cfg.Data)
	if err == nil && settings.Listen != "" {
		return settings.Listen, nil
	}
	if err != nil && !tap.IsKind(err, tap.NotFound) {
		return "", err
	}
	return DefaultListen, nil
}

// boundAddress is where others reach a listener that was asked for an address:
// with the port that it got.
func boundAddress(asked string, l net.Listener) string {
	host, _, err := net.SplitHostPort(advertised(asked))
	if err != nil {
		return asked // nobody could have listened there
	}
	return net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// limit bounds the connections of a listener; member says where members live.
func (n *node) limit(l net.Listener, member func(netip.Addr) bool) net.Listener {
	return &connections{Listener: l, quota: cluster.NewQuota(connectionLimits, member), log: n.cfg.Logger}
}

// tlsConfig is what clients meet; other nodes meet the link's.
func (n *node) tlsConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: n.certificates.Get, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		// A coalesced write of many frames should be one record and one send.
		DynamicRecordSizingDisabled: true,
	}
}

// serveTCP serves HTTPS and WebSocket. Until the node has caught up it answers
// only what is about the node itself.
func (n *node) serveTCP() {
	answers := httpapi.Handler(tap.HandlerFunc(n.answer), httpapi.Options{
		Limit: n.parts.server.BodyLimit, Now: n.clock.Now, Logger: n.cfg.Logger,
	})
	sessions := ws.Handler(n.parts.hub, ws.Options{Log: n.cfg.Logger})
	mux := http.NewServeMux()
	mux.Handle("/", answers)
	mux.HandleFunc(tapPath, func(w http.ResponseWriter, r *http.Request) {
		if n.serving.Load() {
			sessions.ServeHTTP(w, r)
			return
		}
		answers.ServeHTTP(w, r) // with the reason
	})
	server := httpapi.NewServer(mux, n.tlsConfig())
	server.ErrorLog = quietly(n.cfg.Logger)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(n.tcp); !errors.Is(err, http.ErrServerClosed) {
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

// alwaysAnswered are the paths about the node itself.
var alwaysAnswered = map[string]bool{"/health": true, "/ready": true, "/metrics": true, "/openapi.json": true}

// answer serves a request, or turns it away while the node catches up: it would
// be judged by an old state.
func (n *node) answer(ctx context.Context, r *tap.Request) (*tap.Response, error) {
	if !n.serving.Load() && !alwaysAnswered[r.Path] {
		return nil, tap.E("appliance.serve", tap.Unavailable, "this node is catching up with the others").
			WithCode("starting").WithRetryAfter(tap.DefaultRetryAfter)
	}
	response, err := n.parts.server.Serve(ctx, r)
	n.scrubbed.note(err)
	return response, err
}

// serveUDP serves TAP over QUIC.
func (n *node) serveUDP() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := quic.Serve(ctx, n.udp, n.tlsConfig(), n.parts.hub, quic.Options{Log: n.cfg.Logger}); err != nil {
			n.failed <- tap.Wrap("appliance.listen", tap.Unavailable, err, "the UDP listener ended")
		}
	}()
	n.onStop(func() error {
		cancel()
		<-ended
		return nil
	})
}

// specificIP is the address of a listener that listens on one; nil when it
// listens everywhere.
func specificIP(a net.Addr) net.IP {
	if tcp, ok := a.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		return tcp.IP
	}
	return nil
}

// ignoreClosed is for what may have been closed by its user.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
