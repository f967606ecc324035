package tap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func pipeConns(link StreamLink) (Conn, net.Conn) {
	near, far := net.Pipe()
	if link.Close == nil {
		link.Close = func(uint16, string) error { return near.Close() }
	}
	return NewStreamConn(near, link), far
}

func TestStreamConnCarriesFrames(t *testing.T) {
	a, far := pipeConns(StreamLink{Transport: "pipe", Remote: netip.MustParseAddr("192.0.2.1"), WriteTimeout: time.Minute})
	b := NewStreamConn(far, StreamLink{Close: func(uint16, string) error { return far.Close() }, IdleTimeout: time.Minute, FrameTimeout: time.Minute})
	b.SetReadLimit(DefaultFrameLimit)
	var want []Envelope
	var sent [][]byte
	for _, n := range []int{0, 1, 100, 5000, 70_000} {
		e := Envelope{ID: uuid.New(), Type: TypePublish, Payload: make([]byte, n)}
		want = append(want, e)
		sent = append(sent, e.AppendFrame(nil))
	}
	done := make(chan error, 1)
	go func() {
		err := a.WriteFrames(sent...)
		if err == nil {
			err = a.WriteFrames(sent[0])
		}
		_ = a.Close(CloseNormal, "")
		_ = a.Close(CloseNormal, "") // only the first counts
		done <- err
	}()
	for _, w := range append(want, want[0]) {
		f, err := b.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeEnvelope(f); err != nil || got.ID != w.ID || len(got.Payload) != len(w.Payload) {
			t.Fatalf("got %v, %v; want %v", got.ID, err, w.ID)
		}
	}
	if _, err := b.ReadFrame(); err != io.EOF && err != io.ErrClosedPipe { // net.Pipe has two names for it
		t.Errorf("at the end: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a.Transport() != "pipe" || a.Remote() != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("link %s %s", a.Transport(), a.Remote())
	}
	if _, ok := a.ExportKeyingMaterial("x", nil, 32); ok {
		t.Error("a pipe exports keys")
	}
}

func TestStreamConnRefusesBadFraming(t *testing.T) {
	for name, c := range map[string]struct {
		sent []byte
		kind Kind
		code string
	}{
		"over the limit":     {binary.AppendUvarint(nil, HandshakeLimit+1), Invalid, "too_large"},
		"a huge length":      {binary.AppendUvarint(nil, 1<<34), Invalid, "too_large"},
		"an endless uvarint": {bytes.Repeat([]byte{0xff}, 6), Invalid, "malformed_frame"},
	} {
		conn, far := pipeConns(StreamLink{FrameTimeout: time.Minute})
		go func() { _, _ = far.Write(c.sent) }()
		_, err := conn.ReadFrame()
		_ = far.Close() // not before: a pipe whose far end is closed takes no deadlines
		if !IsKind(err, c.kind) || AsError(err).Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.Close(CloseProtocol, "")
	}
	for name, sent := range map[string][]byte{"inside the length": {0x80}, "inside the frame": {5, 1, 2}} {
		conn, far := pipeConns(StreamLink{})
		go func() { _, _ = far.Write(sent); _ = far.Close() }()
		if _, err := conn.ReadFrame(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("ended %s: %v", name, err)
		}
	}
}

// A peer that sends a byte now and then does not hold a frame open.
func TestStreamConnEndsSlowFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, far := pipeConns(StreamLink{IdleTimeout: time.Hour, FrameTimeout: 10 * time.Second})
		defer far.Close()
		var writing sync.WaitGroup
		defer writing.Wait()
		writing.Go(func() {
			for range 100 {
				if _, err := far.Write([]byte{100}); err != nil {
					return
				}
				<-time.After(time.Second)
			}
		})
		began := time.Now()
		if _, err := conn.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
		_ = conn.Close(CloseProtocol, "")
	})
}

func TestStreamConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, far := pipeConns(StreamLink{IdleTimeout: time.Minute, WriteTimeout: 5 * time.Second})
		defer far.Close()
		began := time.Now()
		if err := conn.SetReadDeadline(began.Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("fixed deadline: %v after %s", err, time.Since(began))
		}
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 62*time.Second {
			t.Errorf("idle: %v after %s", err, time.Since(began))
		}
		if err := conn.WriteFrames([]byte{1, 0}); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 67*time.Second {
			t.Errorf("write: %v after %s", err, time.Since(began))
		}
	})
}

func TestCutFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		frames := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "frames")
		for _, f := range frames {
			b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
		}
		for _, want := range frames {
			got, rest, err := CutFrame(b, 300)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %x, %v; want %x", got, err, want)
			}
			b = rest
		}
		if len(b) > 0 {
			t.Fatalf("%d bytes left", len(b))
		}
	})
	for name, c := range map[string]struct {
		b    []byte
		code string
	}{
		"empty":          {nil, "malformed_frame"},
		"unended prefix": {[]byte{0x80}, "malformed_frame"},
		"overflow":       {bytes.Repeat([]byte{0xff}, 11), "malformed_frame"},
		"truncated":      {[]byte{3, 1, 2}, "malformed_frame"},
		"over the limit": {append([]byte{4}, 1, 2, 3, 4), "too_large"},
	} {
		if _, _, err := CutFrame(c.b, 3); !IsKind(err, Invalid) || AsError(err).Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCutFrame(f *testing.F) {
	f.Add([]byte{3, 1, 2, 3, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			frame, rest, err := CutFrame(b, 1000)
			if err != nil {
				return
			}
			if len(frame)+len(rest) >= len(b) || len(frame) > 1000 {
				t.Fatalf("cut %d and %d of %d bytes", len(frame), len(rest), len(b))
			}
			b = rest
		}
	})
}

// A length that a peer announces reserves no memory until the bytes arrive.
func TestReadGrowingFollowsTheData(t *testing.T) {
	got, err := ReadGrowing(bytes.NewReader(make([]byte, 5000)), nil, 1<<30)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(got) > 1<<15 {
		t.Errorf("%d bytes reserved, %v", cap(got), err)
	}
	want := bytes.Repeat([]byte("abc"), 40_000)
	if got, err = ReadGrowing(bytes.NewReader(want), []byte("x"), len(want)); err != nil || string(got) != "x"+string(want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestRemoteIP(t *testing.T) {
	for _, c := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}, "192.0.2.1"},
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 5}, "fe80::1"},
		{&net.UnixAddr{Name: "x"}, "invalid IP"},
		{nil, "invalid IP"},
	} {
		if got := RemoteIP(c.addr).String(); got != c.want {
			t.Errorf("%v: %s, want %s", c.addr, got, c.want)
		}
	}
}
