package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tamv.internal/tamv/tap"
)

// jargon is what a person who never saw a Go program should not have to read.
var jargon = []string{
	"EOF", "context ", "no such file or directory", "no such host", "dial tcp", "lookup ", "x509", "tls:", "json:", "open /",
	"syscall", "strconv", "Get \"", "read tcp", "bind:",
}

func plain(t *testing.T, err error, want string) {
	t.Helper()
	got := Plain(err)
	if !strings.Contains(got, want) {
		t.Errorf("%q (%v) lacks %q", got, err, want)
	}
	for _, word := range jargon {
		if strings.Contains(got, word) {
			t.Errorf("%q has %q", got, word)
		}
	}
}

func TestReasonsOfTheOperatingSystem(t *testing.T) {
	dir := t.TempDir()
	_, missing := os.Open(filepath.Join(dir, "missing"))
	plain(t, missing, "missing: there is no such file or folder")
	_, folder := os.ReadFile(dir)
	plain(t, folder, "it is a folder")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plain(t, os.Mkdir(filepath.Join(file, "x"), 0o700), "a part of the path is no folder")
	plain(t, os.Link(file, file), "it exists already")

	// The message names the file, or its folder: it is not said twice.
	named := tap.Wrap("x", tap.NotFound, missing, "%s cannot be used", filepath.Join(dir, "missing"))
	if got := Plain(named); strings.Count(got, "missing") != 1 {
		t.Error(got)
	}
	beside := tap.Wrap("x", tap.NotFound, missing, "%s cannot be used", filepath.Join(dir, "other"))
	plain(t, beside, "other cannot be used: there is no such file or folder")
	linked := tap.Wrap("x", tap.Conflict, os.Link(file, file), "%s cannot be made", file)
	plain(t, linked, "file cannot be made: it exists already")

	plain(t, &fs.PathError{Op: "write", Path: "x", Err: errors.New("odd")}, "x: odd")
	plain(t, os.NewSyscallError("bind", os.ErrDeadlineExceeded), "no answer in time")
}

func TestReasonsOfTheNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, again := net.Listen("tcp", l.Addr().String())
	plain(t, again, "the address is in use")
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, closed := l.Accept()
	plain(t, closed, "closed")
	_, refused := http.Get("https://" + address)
	plain(t, refused, address+": nothing listens there")
	plain(t, &net.DNSError{Err: "no such host", Name: "no.such.host", IsNotFound: true}, "no machine of the name no.such.host is known")

	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	_, stranger := http.Get(secure.URL)
	plain(t, stranger, "its certificate is from another authority")
	pool := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	dial := func(c *tls.Config) error {
		conn, err := tls.Dial("tcp", secure.Listener.Addr().String(), c)
		if err == nil {
			conn.Close()
		}
		return err
	}
	plain(t, dial(&tls.Config{RootCAs: pool, ServerName: "plaza.invalid"}), "for other names than plaza.invalid")
	plain(t, dial(&tls.Config{RootCAs: pool, Time: func() time.Time { return time.Unix(1<<40, 0) }}), "clock")
	open := httptest.NewServer(http.NotFoundHandler())
	defer open.Close()
	_, bare := tls.Dial("tcp", open.Listener.Addr().String(), &tls.Config{RootCAs: pool})
	plain(t, bare, "does not speak TLS")
	plain(t, tls.AlertError(42), "refused the connection: ")
}

func TestOtherReasons(t *testing.T) {
	plain(t, fmt.Errorf("x: %w", context.DeadlineExceeded), "no answer in time")
	plain(t, context.Canceled, "ended before it was done")
	plain(t, io.ErrUnexpectedEOF, "it ends too early")
	var number struct{ N int }
	plain(t, json.Unmarshal([]byte(`{"N": x}`), &number), "not JSON from byte 7 on")
	plain(t, json.Unmarshal([]byte(`{"N": "x"}`), &number), `the field "N" cannot be a string`)
	plain(t, json.Unmarshal([]byte(`[]`), &number), "it is a array")
	plain(t, errors.New("as it is"), "as it is")

	inner := tap.Wrap("store.open", tap.Unavailable, io.EOF, "the state cannot be read")
	if got := Plain(tap.Wrap("appliance.run", tap.Unavailable, inner, "no node")); got != "no node: the state cannot be read: it ends too early" {
		t.Error(got)
	}
	if got := Plain(errors.Join(inner, errors.New("and that"))); got != "the state cannot be read: it ends too early; and that" {
		t.Error(got)
	}
	if got := Plain(tap.Wrap("x", tap.Invalid, tap.E("y", tap.Invalid, "the same"), "it says the same")); got != "it says the same" {
		t.Error(got)
	}
}
