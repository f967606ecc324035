package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"tamv.internal/tamv/tap"
)

// streamStall is how long a peer may take nothing of a stream before it is cut.
const streamStall = 30 * time.Second

// shutdown is the key of the context, among a connection's values, that ends
// when the server is told to shut down.
type shutdown struct{}

// endStreamsOnShutdown makes the streams of a server end with its shutdown,
// which would wait for them otherwise. Other requests are served to their end.
func endStreamsOnShutdown(s *http.Server) {
	ending, end := context.WithCancel(context.Background())
	s.RegisterOnShutdown(end)
	s.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.Background(), shutdown{}, ending)
	}
}

// stream carries a reply of unknown length. An error before the first byte is
// answered as any other; after it the connection is cut, so that the peer cannot
// take a part for the whole.
func (h *handler) stream(w http.ResponseWriter, hr *http.Request, r *tap.Request, response *tap.Response) {
	ctx, cancel := context.WithCancel(hr.Context())
	defer cancel()
	if ending, ok := hr.Context().Value(shutdown{}).(context.Context); ok {
		defer context.AfterFunc(ending, cancel)()
	}
	to := &streamWriter{w: w, control: http.NewResponseController(w), begin: func() { h.head(w, r, response) }}
	err := h.runStream(ctx, r, response.Stream, to)
	switch {
	case err == nil && ctx.Err() == nil:
		to.header() // an empty stream is an answer, too
	case !to.begun && ctx.Err() == nil:
		h.writeError(w, r, tap.AsError(err))
	case !to.begun:
		h.writeError(w, r, tap.E("httpapi.stream", tap.Unavailable, "this node is shutting down"))
	default:
		if err != nil && ctx.Err() == nil {
			h.options.Logger.Debug("a stream was cut", "request", r.ID, "path", r.Path, "error", err)
		}
		panic(http.ErrAbortHandler) // net/http's way to end without ending the body
	}
}

// runStream calls the stream; its panic is an error of this request alone.
func (h *handler) runStream(ctx context.Context, r *tap.Request, stream tap.StreamFunc, to *streamWriter) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.options.Logger.Error("stream panicked", "request", r.ID, "path", r.Path, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the stream panicked: %v", p)
		}
	}()
	return stream(ctx, to, to.flush)
}

// streamWriter writes a reply as long as its peer takes it. One goroutine uses
// it.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begin   func() // writes the header
	begun   bool
}

var _ io.Writer = (*streamWriter)(nil)

func (s *streamWriter) header() {
	if !s.begun {
		s.begun = true
		s.begin()
	}
}

// Write passes b on within [streamStall].
func (s *streamWriter) Write(b []byte) (int, error) {
	s.allow(streamStall)
	s.header()
	return s.w.Write(b)
}

// flush hands over what was written. A stream that is idle afterwards has no
// deadline until it writes again.
func (s *streamWriter) flush() error {
	s.allow(streamStall)
	s.header()
	err := s.control.Flush()
	s.allow(0)
	return err
}

// allow gives the peer d from now to take what is written; 0 = as long as it
// likes. A writer without deadlines, as in tests, takes all at once.
func (s *streamWriter) allow(d time.Duration) {
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = s.control.SetWriteDeadline(deadline)
}
