package quic

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/quic-go/quic-go"

	"tamv.internal/tamv/tap"
)

// certificate makes a server's TLS configuration and a client's that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, NextProtos: []string{tap.ALPN}}
}

// echo sends frames back and reports how reading ended.
type echo struct {
	conns chan tap.Conn
	ended chan error
}

func (h *echo) ServeConn(_ context.Context, c tap.Conn) error {
	h.conns <- c
	for {
		b, err := c.ReadFrame()
		if err == nil {
			err = c.WriteFrames(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
		}
		if err != nil {
			if tap.IsKind(err, tap.Invalid) {
				_ = c.WriteFrames([]byte{1, 'x'}, []byte{1, 'y'}) // last words
			}
			_ = c.Close(tap.CloseProtocol, "malformed")
			h.ended <- err
			return err
		}
	}
}

// serve runs the echo on loopback until the test ends.
func serve(t *testing.T, o Options) (*echo, string, *tls.Config) {
	t.Helper()
	h := &echo{make(chan tap.Conn, 8), make(chan error, 8)}
	server, client := certificate(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, pc, server, h, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("served: %v", err)
		}
		_ = pc.Close()
	})
	return h, pc.LocalAddr().String(), client
}

func dial(t *testing.T, addr string, config *tls.Config) *quic.Conn {
	t.Helper()
	qc, err := quic.DialAddr(t.Context(), addr, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qc.CloseWithError(0, "") })
	return qc
}

func open(t *testing.T, qc *quic.Conn) *quic.Stream {
	t.Helper()
	s, err := qc.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFramesCrossTheStream(t *testing.T) {
	h, addr, config := serve(t, Options{})
	qc := dial(t, addr, config)
	s := open(t, qc)
	e := tap.Envelope{ID: uuid.New(), Type: tap.TypePing, Payload: make([]byte, 5000)}
	sent := append(e.AppendFrame(nil), e.AppendFrame(nil)...)
	if _, err := s.Write(sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != string(sent) {
		t.Fatalf("the echo differs: %v", err)
	}
	c := <-h.conns
	if c.Transport() != "quic" || !c.Remote().IsLoopback() {
		t.Errorf("%s from %s", c.Transport(), c.Remote())
	}
	theirs, ok := c.ExportKeyingMaterial(tap.ExporterLabel, nil, tap.ExporterLen)
	state := qc.ConnectionState().TLS
	ours, err := state.ExportKeyingMaterial(tap.ExporterLabel, nil, tap.ExporterLen)
	if !ok || err != nil || string(theirs) != string(ours) || len(ours) != tap.ExporterLen {
		t.Errorf("exporters %x and %x, %v", theirs, ours, err)
	}
	// A second stream is not allowed.
	if _, err := qc.OpenStream(); err == nil {
		t.Error("a second stream opened")
	}
	_ = qc.CloseWithError(tap.CloseNormal, "bye")
	if err := <-h.ended; err != io.EOF {
		t.Errorf("ended with %v", err)
	}
}

// What is said last arrives, although the connection ends right after.
func TestBadFramesEndTheConnection(t *testing.T) {
	for name, sent := range map[string][]byte{
		"oversize":       binary.AppendUvarint(nil, tap.HandshakeLimit+1),
		"endless prefix": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		h, addr, config := serve(t, Options{})
		qc := dial(t, addr, config)
		s := open(t, qc)
		if _, err := s.Write(sent); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(s)
		if err != nil || string(got) != "\x01x\x01y" {
			t.Errorf("%s: last words %q, %v", name, got, err)
		}
		_ = qc.CloseWithError(0, "")
		if err := <-h.ended; !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: ended with %v", name, err)
		}
	}
}

func TestConnectionsWithoutAStreamEnd(t *testing.T) {
	_, addr, config := serve(t, Options{StreamTimeout: 50 * time.Millisecond})
	qc := dial(t, addr, config)
	var closed *quic.ApplicationError
	select {
	case <-qc.Context().Done():
		if err := context.Cause(qc.Context()); !errors.As(err, &closed) || closed.ErrorCode != tap.ClosePolicy {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("still open")
	}
}

func TestConnectionsAreCapped(t *testing.T) {
	h, addr, config := serve(t, Options{MaxConns: 1})
	s := open(t, dial(t, addr, config))
	if _, err := s.Write([]byte{1, 'a'}); err != nil {
		t.Fatal(err)
	}
	<-h.conns
	second := dial(t, addr, config)
	var closed *quic.ApplicationError
	select {
	case <-second.Context().Done():
		if err := context.Cause(second.Context()); !errors.As(err, &closed) || closed.ErrorCode != tap.CloseUnavailable {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("still open")
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	_, addr, config := serve(t, Options{})
	config.NextProtos = []string{"h3"}
	if _, err := quic.DialAddr(t.Context(), addr, config, nil); err == nil {
		t.Error("a client of another protocol got in")
	}
}

func TestSlowFramesEnd(t *testing.T) {
	h, addr, config := serve(t, Options{FrameTimeout: 50 * time.Millisecond})
	qc := dial(t, addr, config)
	s := open(t, qc)
	if _, err := s.Write([]byte{100, 1, 2}); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if err := <-h.ended; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("ended with %v", err)
	}
}

func TestServeReportsAListenerThatCannotListen(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = pc.Close()
	server, _ := certificate(t)
	err = Serve(t.Context(), pc, server, &echo{}, Options{})
	if !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("got %v", err)
	}
}
