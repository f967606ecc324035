package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/tap"
)

// streaming answers every request with a stream.
func streaming(stream tap.StreamFunc) tap.Handler {
	return tap.HandlerFunc(func(_ context.Context, r *tap.Request) (*tap.Response, error) {
		if !r.Streams {
			return nil, tap.E("test", tap.Internal, "HTTP does not say that it carries streams")
		}
		return &tap.Response{ContentType: "text/event-stream", Header: map[string]string{"X-Kind": "live"}, Stream: stream}, nil
	})
}

const getHead = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// A stream outlives every limit that ordinary replies have, as long as it is read.
func TestStreamsLiveLong(t *testing.T) {
	const beats = 100 // of 15 s: far beyond replyTimeout
	h := streaming(func(ctx context.Context, w io.Writer, flush func() error) error {
		for range beats {
			select {
			case <-time.After(15 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			if _, err := io.WriteString(w, "beat\n"); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
		return nil
	})
	onVirtualTime(t, h, Options{MaxInFlight: 1}, func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, getHead)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := response.Header; got.Get("Content-Type") != "text/event-stream" || got.Get("X-Kind") != "live" || got.Get("Content-Length") != "" {
			t.Errorf("header %v", got)
		}
		lines := bufio.NewScanner(response.Body)
		began, n := time.Now(), 0
		for ; lines.Scan(); n++ {
			if at := time.Since(began); at != time.Duration(n)*15*time.Second {
				t.Fatalf("beat %d came after %s", n, at)
			}
		}
		if n != beats || lines.Err() != nil {
			t.Errorf("%d beats, %v", n, lines.Err())
		}
	})
}

// Over HTTP/2 a stream may be silent for longer than a peer may stall.
func TestQuietStreamsOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := NewServer(newHandler(streaming(func(_ context.Context, w io.Writer, flush func() error) error {
			for range 5 {
				if err := flush(); err != nil {
					return err
				}
				<-time.After(3 * replyTimeout)
				if _, err := io.WriteString(w, "beat"); err != nil {
					return err
				}
			}
			return nil
		}), Options{}), nil)
		unencrypted := new(http.Protocols)
		unencrypted.SetUnencryptedHTTP2(true)
		server.Protocols = unencrypted
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		go server.Serve(l)
		client := &http.Client{Transport: &http.Transport{Protocols: unencrypted, DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			l.conns <- theirs
			return ours, nil
		}}}
		response, err := client.Get("http://site.test/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if response.ProtoMajor != 2 || string(body) != strings.Repeat("beat", 5) || err != nil {
			t.Errorf("%s: %q, %v", response.Proto, body, err)
		}
		client.CloseIdleConnections()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAPeerThatDoesNotReadIsCut(t *testing.T) {
	var cut atomic.Pointer[time.Time]
	h := streaming(func(_ context.Context, w io.Writer, flush func() error) error {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 64<<10)); err != nil {
				now := time.Now()
				cut.Store(&now)
				return err
			}
		}
	})
	onVirtualTime(t, h, Options{}, func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, getHead)
		began := time.Now()
		<-time.After(2 * streamStall)
		if at := cut.Load(); at == nil || at.Sub(began) != streamStall {
			t.Errorf("cut at %v, began at %v", at, began)
		}
	})
}

// A body that was cut is never taken for a whole one.
func TestAFailedStreamIsNoWholeBody(t *testing.T) {
	for name, after := range map[string]func() error{
		"error": func() error { return errors.New("the disk is gone") },
		"panic": func() error { panic("the disk is gone") },
	} {
		server := httptest.NewServer(newHandler(streaming(func(_ context.Context, w io.Writer, flush func() error) error {
			io.WriteString(w, "half")
			flush()
			return after()
		}), Options{}))
		response, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if string(body) != "half" || err == nil {
			t.Errorf("%s: %q, %v", name, body, err)
		}
		server.Close()
	}
}

func TestAStreamThatRefusesAtOnceIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		stream tap.StreamFunc
		status int
		body   string
	}{
		"typed": {func(context.Context, io.Writer, func() error) error {
			return tap.E("test", tap.Limited, "enough").WithCode("streams")
		}, 429, `"code":"streams"`},
		"panic": {func(context.Context, io.Writer, func() error) error { panic("x") }, 500, `"kind":"internal"`},
		"empty": {func(context.Context, io.Writer, func() error) error { return nil }, 200, ""},
	} {
		w := do(newHandler(streaming(c.stream), Options{}), httptest.NewRequest("GET", "/", nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) || w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// A server that shuts down ends its streams and nothing else.
func TestShutdownEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming(func(ctx context.Context, w io.Writer, flush func() error) error {
			if err := flush(); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
		server := NewServer(newHandler(h, Options{}), nil)
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		go server.Serve(l)
		ours, theirs := net.Pipe()
		l.conns <- theirs
		go io.WriteString(ours, getHead)
		response, err := http.ReadResponse(bufio.NewReader(ours), nil)
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, response.Body)
			read <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-read; err == nil {
			t.Error("the cut body looks whole")
		}
	})
}
