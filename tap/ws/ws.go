// Package ws carries TAP over WebSocket (RFC 6455): the server's side, mounted
// as an [net/http.Handler] at /tap on the TLS port.
//
// # Framing
//
// A binary message holds one or several TAP frames, each preceded by its length
// as a uvarint; a QUIC stream carries the same bytes. A message is at most
// [tap.MessageLimit] bytes, so that any single frame fits. A text message is
// one frame in its JSON form ([tap.ParseTextFrame]). A peer whose first message
// is text is answered in text.
//
// # Protection
//
// Client frames must be masked; reserved bits, extensions, bad UTF-8 and broken
// fragmentation end the connection; fragments count against the message limit.
// A length that a peer announces reserves no memory. A message that has begun
// must end within Options.FrameTimeout, a write within Options.WriteTimeout. A
// silent peer is pinged every Options.PingInterval and dropped at the third
// silence. There is no per-connection compression: it costs up to 0.8 MB per
// connection and gains nothing on short frames.
//
// Sessions are authenticated by a key, not by a cookie, so a page of another
// origin gains nothing by opening one; the Origin header is not consulted.
package ws

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// Options bounds a connection. Zero fields take the default named.
type Options struct {
	FrameLimit   int           // bytes of a frame; tap.DefaultFrameLimit
	PingInterval time.Duration // 30 s
	FrameTimeout time.Duration // 10 s
	WriteTimeout time.Duration // 10 s
	Log          *slog.Logger  // why connections ended, at debug level; nil = nowhere
}

func (o Options) withDefaults() Options {
	if o.FrameLimit == 0 {
		o.FrameLimit = tap.DefaultFrameLimit
	}
	if o.PingInterval == 0 {
		o.PingInterval = 30 * time.Second
	}
	if o.FrameTimeout == 0 {
		o.FrameTimeout = 10 * time.Second
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Handler upgrades requests and hands the connections to h. For large fan-out
// set DynamicRecordSizingDisabled in the server's TLS configuration, else a
// coalesced write leaves as many small records, each with its own system call.
func Handler(h tap.ConnHandler, o Options) http.Handler {
	o = o.withDefaults()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			refuse(w)
			return
		}
		nc, buffered, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			if nc != nil {
				_ = nc.Close()
			}
			return
		}
		if buffered.Reader.Buffered() > 0 { // the client did not wait for our answer
			_ = nc.Close()
			return
		}
		err = h.ServeConn(r.Context(), newConn(nc, r, o))
		o.Log.Debug("tap session ended", "transport", "wss", "remote", r.RemoteAddr, "error", err)
	})
}

// refuse answers a request that is no WebSocket handshake.
func refuse(w http.ResponseWriter) {
	e := tap.E("ws.upgrade", tap.Invalid, "this address speaks WebSocket over HTTP/1.1").WithCode("upgrade")
	body, err := json.Marshal(e.Body(uuid.NewString(), time.Now(), tap.English))
	if err != nil {
		body = nil
	}
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUpgradeRequired)
	_, _ = w.Write(body) // the client may be gone; nobody else wants to know
}
