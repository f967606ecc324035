package consensus

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// callers are two members that call each other, without Raft.
func callers(t *testing.T, w *network) (a, b *calls) {
	t.Helper()
	open := func(address string) *calls {
		c := newCalls(newStreams(w.listen(address), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
		t.Cleanup(func() {
			if err := c.close(); err != nil {
				t.Error(err)
			}
		})
		return c
	}
	a, b = open("a"), open("b")
	b.handle(100, func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
	return a, b
}

func TestCallsManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		a, _ := callers(t, w)
		w.slow("b", "a", time.Second)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte(i)}, i*5000)
				reply, err := a.call(t.Context(), "b", 100, body)
				if err != nil || !bytes.Equal(reply, body) {
					t.Errorf("call %d: %d bytes, %v", i, len(reply), err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("fifty calls took %v: they waited for each other", took)
		}
		if n := len(w.conns); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// provenLayer proves that whoever connects is peer.
type provenLayer struct {
	*pipeStream
	peer string
}

type provenConn struct {
	net.Conn
	peer string
}

func (c provenConn) Peer() string { return c.peer }

func (l provenLayer) Accept() (net.Conn, error) {
	conn, err := l.pipeStream.Accept()
	return provenConn{conn, l.peer}, err
}

// What the layer proves about a connection reaches those who answer on it.
func TestHandlersKnowTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		for peer, want := range map[string]map[string]bool{"n1": {"n1": true, "n2": false}, "": {"n1": true, "n2": true}} {
			var layer StreamLayer = w.listen("b")
			if peer != "" {
				layer = provenLayer{w.listen("b"), peer}
			}
			a := newCalls(newStreams(w.listen("a"), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
			b := newCalls(newStreams(layer, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
			b.handle(100, func(ctx context.Context, body []byte) ([]byte, error) { return nil, speaksFor(ctx, string(body)) })
			for id, ok := range want {
				if _, err := a.call(t.Context(), "b", 100, []byte(id)); (err == nil) != ok || err != nil && !errors.Is(err, errCall) {
					t.Errorf("proven %q says it is %q: %v", peer, id, err)
				}
			}
			if err := errors.Join(a.close(), b.close()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCallErrorsCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := callers(t, newNetwork())
		for code, known := range callErrors {
			b.handle(101, func(context.Context, []byte) ([]byte, error) { return nil, fmt.Errorf("%w: about %d", known, code) })
			_, err := a.call(t.Context(), "b", 101, nil)
			var remote *remoteError
			if !errors.Is(err, known) || !errors.As(err, &remote) || !strings.Contains(err.Error(), fmt.Sprint("about ", code)) {
				t.Errorf("%v became %v", known, err)
			}
		}
		b.handle(101, func(context.Context, []byte) ([]byte, error) { return nil, errors.New(strings.Repeat("x\n", 1000)) })
		if _, err := a.call(t.Context(), "b", 101, nil); !errors.Is(err, errRemote) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 2000 {
			t.Errorf("another error became %v", err)
		}
		if _, err := a.call(t.Context(), "b", 102, nil); !errors.Is(err, errUnknownCall) {
			t.Errorf("a call nobody answers: %v", err)
		}
		if _, err := a.call(t.Context(), "b", 100, make([]byte, maxFrameBody+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a call too large: %v", err)
		}
		b.handle(103, func(context.Context, []byte) ([]byte, error) { return make([]byte, maxFrameBody+1), nil })
		if _, err := a.call(t.Context(), "b", 103, nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a reply too large: %v", err)
		}
	})
}

func TestCallIsCancelledAtThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := callers(t, newNetwork())
		ended := make(chan error, 1)
		b.handle(101, func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		// Longer than linkTimeout: pings keep the connection open.
		ctx, cancel := context.WithTimeout(t.Context(), 3*linkTimeout)
		defer cancel()
		begin := time.Now()
		if _, err := a.call(ctx, "b", 101, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call past its deadline: %v", err)
		}
		if took := time.Since(begin); took != 3*linkTimeout {
			t.Errorf("it ended after %v", took)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("at the peer: %v", err)
		}
	})
}

func TestDeadPeerDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		a, b := callers(t, w)
		if _, err := a.call(t.Context(), "b", 100, nil); err != nil {
			t.Fatal(err)
		}
		b.handle(101, func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		// Silence: everything in flight ends after linkTimeout, and what comes later too.
		w.hold("b", "a", true)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 2 * frameQueue {
			wg.Go(func() {
				if _, err := a.call(t.Context(), "b", 101, nil); !errors.Is(err, errBroken) && !errors.Is(err, errUnreachable) {
					t.Errorf("a silent peer: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took > linkTimeout+dialTimeout {
			t.Errorf("a silent peer held up calls for %v", took)
		}
		w.hold("b", "a", false)

		// No route: at once, and without a dial for each call.
		w.isolate("b", true)
		<-time.After(time.Second)
		begin = time.Now()
		for range 1000 {
			if _, err := a.call(t.Context(), "b", 100, nil); !errors.Is(err, errUnreachable) {
				t.Fatalf("no route: %v", err)
			}
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("a thousand refusals took %v", took)
		}
		w.isolate("b", false)
		<-time.After(maxRedial)
		if reply, err := a.call(t.Context(), "b", 100, []byte("again")); err != nil || string(reply) != "again" {
			t.Errorf("the peer is back: %q, %v", reply, err)
		}

		// A connection that nobody needs is closed.
		<-time.After(2 * linkTimeout)
		a.mu.Lock()
		l := a.links["b"]
		a.mu.Unlock()
		l.mu.Lock()
		live := l.live
		l.mu.Unlock()
		if live != nil {
			t.Error("an idle connection stays open")
		}
	})
}

func TestTooManyCallsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := callers(t, newNetwork())
		leave := make(chan struct{})
		b.handle(101, func(context.Context, []byte) ([]byte, error) {
			<-leave
			return nil, nil
		})
		errs := make(chan error, maxRunning+1)
		for range maxRunning + 1 {
			go func() {
				_, err := a.call(t.Context(), "b", 101, nil)
				errs <- err
			}()
		}
		if err := <-errs; !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		close(leave)
		for range maxRunning {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestClosedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := callers(t, newNetwork())
		b.handle(101, func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		errs := make(chan error, 1)
		go func() {
			_, err := a.call(t.Context(), "b", 101, nil)
			errs <- err
		}()
		synctest.Wait()
		if err := b.close(); err != nil {
			t.Error(err)
		}
		if err := <-errs; !errors.Is(err, errBroken) && !errors.Is(err, errRemote) {
			t.Errorf("the peer closed: %v", err)
		}
		if err := a.close(); err != nil {
			t.Error(err)
		}
		if _, err := a.call(t.Context(), "b", 100, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestStreamsRefuseWhatTheyDoNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		layer := w.listen("a")
		s := newStreams(layer, slog.New(slog.DiscardHandler))
		other := w.listen("b")
		closed := func(conn net.Conn) bool {
			conn.SetReadDeadline(time.Now().Add(2 * purposeTimeout))
			_, err := conn.Read(make([]byte, 1))
			return err != nil && !errors.Is(err, context.DeadlineExceeded)
		}
		dial := func() net.Conn {
			conn, err := other.Dial("a", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		conn := dial()
		conn.Write([]byte{'?'})
		begin := time.Now()
		if !closed(conn) || time.Since(begin) > time.Second {
			t.Error("a connection of unknown purpose stays open")
		}
		silent := dial()
		if begin = time.Now(); !closed(silent) || time.Since(begin) != purposeTimeout {
			t.Errorf("a silent connection was closed after %v", time.Since(begin))
		}
		var open []net.Conn
		for range maxHalfOpen {
			open = append(open, dial())
		}
		if begin = time.Now(); !closed(dial()) || time.Since(begin) > 0 {
			t.Error("one half-open connection too many was accepted")
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		for _, conn := range open {
			if !closed(conn) {
				t.Error("a connection outlives its streams")
			}
		}
		if _, err := s.dial("b", time.Second, purposeCalls); err == nil {
			t.Error("closed streams dialled")
		}
		if _, err := newStreams(nil, nil).dial("b", time.Second, purposeCalls); !errors.Is(err, errNoStream) {
			t.Errorf("dial without a stream layer: %v", err)
		}
	})
}

// encoded is a frame as bytes.
func encoded(f frame) []byte {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	if err := errors.Join(writeFrame(w, f), w.Flush()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestFramesSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := frame{
			id: rapid.Uint64Min(1).Draw(t, "id"), kind: rapid.Byte().Draw(t, "kind"),
			body: make([]byte, rapid.SampledFrom([]int{0, 1, 100, bodyStep, 3*bodyStep + 7}).Draw(t, "size")),
		}
		data := encoded(f)
		got, err := readFrame(bufio.NewReader(bytes.NewReader(data)))
		if err != nil || got.id != f.id || got.kind != f.kind || !bytes.Equal(got.body, f.body) {
			t.Fatalf("%d, %d, %d bytes: %v", got.id, got.kind, len(got.body), err)
		}
		cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(data[:cut]))); err == nil {
			t.Fatalf("%d bytes of %d are a frame", cut, len(data))
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(encoded(frame{1, callForward, []byte("body")}))
	f.Add(encoded(frame{7, framePing, nil}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2})
	f.Add([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		if again := encoded(got); !bytes.Equal(again, data[:len(again)]) {
			t.Errorf("%x was read from %x", again, data)
		}
	})
}

// FuzzCallBodies reads what a peer may send as the body of a request or a reply. What is accepted must be what is written
// for the same content.
func FuzzCallBodies(f *testing.F) {
	f.Add(uint8(0), appendForward("n1", [][]byte{[]byte("a"), nil, make([]byte, 200)}))
	f.Add(uint8(1), appendPosition(nil, position{1, 2, 3}))
	f.Add(uint8(2), appendReadPoint(nil, readPoint{1, 2}))
	f.Add(uint8(3), appendBytes(make([]byte, 8), "n1"))
	f.Add(uint8(4), appendStatus(nil, status{id: "n1", report: Report{1, "unfit", []byte("detail")}, leader: "n2"}))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		var again []byte
		switch kind % 5 {
		case 0:
			from, commands, err := readForward(data)
			if err != nil {
				return
			}
			again = appendForward(from, commands)
		case 1:
			p, err := readPosition(data)
			if err != nil {
				return
			}
			again = appendPosition(nil, p)
		case 2:
			p, err := readReadPoint(data)
			if err != nil {
				return
			}
			again = appendReadPoint(nil, p)
		case 3:
			_, id, err := readTerm(data)
			if err != nil {
				return
			}
			again = appendBytes(bytes.Clone(data[:8]), id)
		default:
			s, err := readStatus(data)
			if err != nil {
				return
			}
			again = appendStatus(nil, s)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("kind %d: %x was read from %x", kind, again, data)
		}
	})
}
