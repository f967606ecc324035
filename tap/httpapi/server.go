package httpapi

import (
	"crypto/tls"
	"net/http"
	"time"
)

// Limits of the server, against peers that are slow or large on purpose.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 30 * time.Second // header and body, of handlers that set no deadline of their own
	replyTimeout   = time.Minute
	idleTimeout    = 2 * time.Minute
	headerBytes    = 16 << 10
	streamsPerConn = 256 // concurrent HTTP/2 requests
)

// NewServer makes a server with bounded headers and times around a handler.
// Its shutdown ends the streams, see [tap.StreamFunc], and waits for everything else.
// The TLS configuration is cloned and raised to TLS 1.3; nil leaves TLS to the
// caller's listener.
func NewServer(h http.Handler, config *tls.Config) *http.Server {
	if config != nil {
		config = config.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS13)
	}
	server := &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      replyTimeout,
		IdleTimeout:       idleTimeout,
		// net/http reads 4 KiB beyond its limit before it refuses.
		MaxHeaderBytes: headerBytes - 4<<10,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: streamsPerConn},
	}
	endStreamsOnShutdown(server)
	return server
}
