package httpapi

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tamv.internal/tamv/tap"
)

// pipeListener accepts in-memory connections, so that deadlines run on virtual
// time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "192.0.2.1:1" }

// onVirtualTime serves h to one client connection inside a bubble.
func onVirtualTime(t *testing.T, h tap.Handler, o Options, client func(t *testing.T, conn net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		o.Logger = quiet
		server := NewServer(Handler(h, o), nil)
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		go server.Serve(l)
		ours, theirs := net.Pipe()
		l.conns <- theirs
		client(t, ours)
		ours.Close()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// reply reads one response and its error, if it is one.
func reply(t *testing.T, conn net.Conn) (*http.Response, *tap.Error) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	e, _, _ := tap.ParseErrorBody(raw)
	return response, e
}

const postHead = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n"

func TestSlowBodyEndsInTime(t *testing.T) {
	h := &recorded{}
	onVirtualTime(t, h, Options{BodyTimeout: 3 * time.Second}, func(t *testing.T, conn net.Conn) {
		began := time.Now()
		io.WriteString(conn, postHead+"\r\n{\"x")
		if _, e := reply(t, conn); e == nil || e.Kind != tap.Timeout || e.Code != "slow_body" {
			t.Errorf("got %v", e)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	if h.request != nil {
		t.Error("the handler was called")
	}
}

// A body that arrived frees the request from its deadline.
func TestLongCallsSurviveTheBodyDeadline(t *testing.T) {
	slow := tap.HandlerFunc(func(ctx context.Context, r *tap.Request) (*tap.Response, error) {
		select {
		case <-time.After(10 * time.Second):
			return &tap.Response{Body: r.Body}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	onVirtualTime(t, slow, Options{BodyTimeout: 3 * time.Second}, func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, postHead+"\r\n{\"x\":1}")
		if response, e := reply(t, conn); response.StatusCode != 200 {
			t.Errorf("got %d %v", response.StatusCode, e)
		}
	})
}

func TestSlowHeaderEndsInTime(t *testing.T) {
	onVirtualTime(t, &recorded{}, Options{}, func(t *testing.T, conn net.Conn) {
		began := time.Now()
		go io.WriteString(conn, "GET / HTTP/1.1\r\nHost:")
		io.Copy(io.Discard, conn)
		if took := time.Since(began); took != headerTimeout {
			t.Errorf("the connection stayed for %s", took)
		}
	})
}

func TestIdleConnectionEndsInTime(t *testing.T) {
	onVirtualTime(t, &recorded{}, Options{}, func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if response, _ := reply(t, conn); response.StatusCode != 200 {
			t.Fatalf("got %d", response.StatusCode)
		}
		began := time.Now()
		io.Copy(io.Discard, conn)
		if took := time.Since(began); took != idleTimeout {
			t.Errorf("the connection stayed for %s", took)
		}
	})
}

// A client that stops sending but still listens is told why.
func TestTruncatedBodyOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(Handler(&recorded{}, Options{Logger: quiet}), nil)
	go server.Serve(l)
	defer server.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, postHead+"\r\n{\"x")
	conn.(*net.TCPConn).CloseWrite()
	if _, e := reply(t, conn); e == nil || e.Code != "truncated_body" {
		t.Errorf("got %v", e)
	}
}

func TestRequestsOverTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"expect 100":      {postHead + "Expect: 100-continue\r\n\r\n", 100, ""},
		"other expect":    {postHead + "Expect: 200-maybe\r\n\r\n", 417, ""},
		"chunked":         {"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "length_required"},
		"too large":       {strings.Replace(postHead, ": 7", ": 1048577", 1) + "\r\n", 400, "too_large"},
		"no body":         {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		"huge header":     {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", headerBytes) + "\r\n\r\n", 431, ""},
		"large header":    {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", headerBytes-64) + "\r\n\r\n", 200, ""},
		"no HTTP":         {"\x16\x03\x01\x00\x00\r\n\r\n", 400, ""},
		"two lengths":     {strings.Replace(postHead, "7\r\n", "7\r\nContent-Length: 8\r\n", 1) + "\r\n", 400, ""},
		"bad length":      {strings.Replace(postHead, ": 7", ": -7", 1) + "\r\n", 400, ""},
		"whole URL":       {"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		"options star":    {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		"bad escape":      {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"bad idempotency": {"GET / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: x\r\n\r\n", 400, "request_id"},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, &recorded{}, Options{}, func(t *testing.T, conn net.Conn) {
				go io.WriteString(conn, c.request)
				response, e := reply(t, conn)
				if response.StatusCode != c.status || (e != nil) != (c.code != "") || e != nil && e.Code != c.code {
					t.Errorf("got %d %v, want %d %s", response.StatusCode, e, c.status, c.code)
				}
			})
		})
	}
}
