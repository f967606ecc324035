package consensus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

const purposeEcho byte = 'E'

// echo answers what it is told behind the name of who told it.
func echo(conn net.Conn, peer string) {
	defer conn.Close()
	word := make([]byte, 4)
	if _, err := io.ReadFull(conn, word); err == nil {
		_, _ = conn.Write(append([]byte(peer+":"), word...))
	}
}

func ask(conn net.Conn, word string) (string, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(word)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// knownLayer proves who everybody at an address is, as certificates do.
type knownLayer struct {
	*pipeStream
	names map[string]string // by address
	from  string            // who connects here
}

func (l knownLayer) Accept() (net.Conn, error) {
	conn, err := l.pipeStream.Accept()
	return provenConn{conn, l.from}, err
}

func (l knownLayer) Dial(address string, timeout time.Duration) (net.Conn, error) {
	conn, err := l.pipeStream.Dial(address, timeout)
	return provenConn{conn, l.names[address]}, err
}

func TestAPurposeOfTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		names := map[string]string{"n1": "n1", "n2": "n2", "n3": "somebody"}
		other := map[string]string{"n1": "n2", "n2": "n1", "n3": "n1"}
		members := openClusterOf(t, 3, func(cfg *Config) {
			cfg.Stream = knownLayer{w.listen(cfg.ID), names, other[cfg.ID]}
			cfg.Purposes = map[byte]PurposeHandler{purposeEcho: echo}
		})
		conn, err := members[0].DialMember(t.Context(), "n2", purposeEcho)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := ask(conn, "hola"); answer != "n1:hola" || err != nil {
			t.Errorf("%q %v", answer, err)
		}
		if _, err := members[0].DialMember(t.Context(), "n9", purposeEcho); !errors.Is(err, ErrUnknownMember) {
			t.Errorf("a member that is none: %v", err)
		}
		if _, err := members[0].DialMember(t.Context(), "n3", purposeEcho); !errors.Is(err, ErrWrongMember) {
			t.Errorf("a member whose address another has: %v", err)
		}
		// A purpose that the other side does not know is closed there.
		conn, err = members[0].DialMember(t.Context(), "n2", 'X')
		if err != nil {
			t.Fatal(err)
		}
		if answer, _ := ask(conn, "hola"); answer != "" {
			t.Errorf("an unknown purpose answered %q", answer)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := members[0].DialMember(ctx, "n2", purposeEcho); !errors.Is(err, context.Canceled) {
			t.Errorf("dialed for nobody: %v", err)
		}
	})
}

// Closing ends the handlers, and so does everything that ends a connection.
func TestClosingEndsAPurpose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		began, ended := make(chan string, 1), make(chan error, 1)
		s := newStreams(w.listen("b"), slog.New(slog.DiscardHandler))
		s.serveFor(map[byte]PurposeHandler{purposeEcho: func(conn net.Conn, peer string) {
			defer conn.Close()
			began <- peer
			_, err := conn.Read(make([]byte, 1))
			ended <- err
		}})
		a := newStreams(w.listen("a"), slog.New(slog.DiscardHandler))
		conn, err := a.dial("b", time.Second, purposeEcho)
		if err != nil {
			t.Fatal(err)
		}
		if peer := <-began; peer != "" {
			t.Errorf("a layer that proves nothing proved %q", peer)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err == nil {
				t.Error("the handler read something")
			}
		default:
			t.Error("closed while a handler runs")
		}
		conn.Close()
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPurposesThatAreTaken(t *testing.T) {
	for purpose, h := range map[byte]PurposeHandler{purposeRaft: echo, purposeCalls: echo, purposeFiles: echo, 0: echo, purposeEcho: nil} {
		cfg := testConfig(t, t.TempDir())
		cfg.Purposes = map[byte]PurposeHandler{purpose: h}
		if err := cfg.Validate(); err == nil {
			t.Errorf("%q was taken", purpose)
		}
	}
	cfg := testConfig(t, t.TempDir())
	cfg.Purposes = map[byte]PurposeHandler{purposeEcho: echo}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
