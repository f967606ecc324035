package consensus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// linkTimeout is the silence after which a link is given up while something waits for it; it is pinged each second
	// then. One that nobody needs for as long is closed.
	linkTimeout = 3 * time.Second
	// dialTimeout bounds the making of a connection.
	dialTimeout = 2 * time.Second
	// redial and maxRedial are the pauses after a connection could not be made. Calls meanwhile fail at once.
	redial    = 25 * time.Millisecond
	maxRedial = 500 * time.Millisecond
	// cancelAfter is the age from which the peer is told that nobody waits for a call any more. A younger one is as
	// good as answered.
	cancelAfter = 50 * time.Millisecond
)

var (
	// errUnreachable means that there is no connection to the peer: the call was not made.
	errUnreachable = errors.New("consensus: peer unreachable")
	// errBroken means that the connection broke before the reply: the call may have had its effect.
	errBroken = errors.New("consensus: the connection broke before the reply")
)

// link is this member's way to one peer, by address: a connection when there is one, and when to try again when not.
type link struct {
	calls   *calls
	address string

	mu      sync.Mutex
	live    *session
	dialing chan struct{} // closed when the dial under way has ended; nil when there is none
	pause   time.Duration // after the last failed dial
	retry   time.Time     // no dial before
	failure error         // of the last dial
}

// connect returns the open connection, or waits until one is made or cannot be.
func (l *link) connect(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		if l.live != nil {
			defer l.mu.Unlock()
			return l.live, nil
		}
		if l.dialing == nil {
			if time.Now().Before(l.retry) {
				defer l.mu.Unlock()
				return nil, fmt.Errorf("%w: %w", errUnreachable, l.failure)
			}
			dialing := make(chan struct{})
			if !l.calls.start(func() { l.dial(dialing) }) {
				defer l.mu.Unlock()
				return nil, ErrClosed
			}
			l.dialing = dialing
		}
		wait := l.dialing
		l.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errUnreachable, ctx.Err())
		}
	}
}

// dial tries once to make a connection.
func (l *link) dial(done chan struct{}) {
	conn, err := l.calls.streams.dial(l.address, dialTimeout, purposeCalls)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(done)
	l.dialing = nil
	if err == nil {
		s := newSession(l, conn)
		if l.calls.start(s.run) {
			l.live, l.pause = s, 0
			return
		}
		conn.Close()
		err = ErrClosed
	}
	l.pause = min(max(2*l.pause, redial), maxRedial)
	l.retry, l.failure = time.Now().Add(l.pause), err
}

// session is one connection of a link, from dial to end.
type session struct {
	link *link
	out  *outbox

	mu      sync.Mutex
	pending map[uint64]chan frame // calls without a reply; nil once the session has ended
	last    uint64                // number of the last call
	since   time.Time             // when pending ceased to be empty
}

func newSession(l *link, conn net.Conn) *session {
	return &session{link: l, out: newOutbox(conn), pending: map[uint64]chan frame{}}
}

// call makes one call on this connection.
func (s *session) call(ctx context.Context, kind byte, body []byte) ([]byte, error) {
	reply := make(chan frame, 1)
	begin := time.Now()
	s.mu.Lock()
	if s.pending == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %s", errUnreachable, s.link.address)
	}
	if len(s.pending) == 0 {
		s.since = begin
	}
	s.last++
	id := s.last
	s.pending[id] = reply
	s.mu.Unlock()

	if !s.out.send(frame{id, kind, body}, ctx.Done()) {
		s.forget(id)
		return nil, fmt.Errorf("%w: %s is gone or slow", errUnreachable, s.link.address)
	}
	select {
	case f, ok := <-reply:
		if !ok {
			return nil, fmt.Errorf("%w: %s", errBroken, s.link.address)
		}
		return f.body, readError(s.link.address, f)
	case <-ctx.Done():
		s.forget(id)
		if time.Since(begin) >= cancelAfter {
			select { // if there is no room it is not worth waiting
			case s.out.queue <- frame{id, frameCancel, nil}:
			default:
			}
		}
		return nil, contextError(ctx)
	}
}

// forget drops a call that nobody waits for.
func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
}

// run reads replies until the connection ends, and then ends the calls that wait for one.
func (s *session) run() {
	defer s.end()
	conn := s.out.conn
	var work sync.WaitGroup
	defer work.Wait()
	defer close(s.out.done)
	defer conn.Close()
	work.Go(func() { s.out.run(s.ping) })
	in := bufio.NewReaderSize(conn, 64<<10)
	heard := time.Now()
	for s.listen(in, heard) {
		f, err := readFrame(in)
		if err != nil || f.kind < frameReply {
			return
		}
		heard = time.Now()
		s.mu.Lock()
		reply := s.pending[f.id]
		delete(s.pending, f.id)
		s.mu.Unlock()
		if reply != nil {
			reply <- f
		}
	}
}

// listen waits for the first byte of a reply and gives its sender linkTimeout for the rest. It reports false when the
// connection ended, or was silent for linkTimeout although something waited, or although nothing did.
func (s *session) listen(in *bufio.Reader, heard time.Time) bool {
	for {
		if err := s.out.conn.SetReadDeadline(heard.Add(linkTimeout)); err != nil {
			return false
		}
		_, err := in.Peek(1)
		if err == nil {
			return s.out.conn.SetReadDeadline(time.Now().Add(linkTimeout)) == nil
		}
		s.mu.Lock()
		waiting, since := len(s.pending) > 0, s.since
		s.mu.Unlock()
		if !errors.Is(err, os.ErrDeadlineExceeded) || !waiting || !since.After(heard) {
			return false
		}
		heard = since // the call that waits came after a silence that was nobody's fault
	}
}

// ping is sent each second while something waits.
func (s *session) ping() (frame, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return frame{}, false
	}
	s.last++
	return frame{s.last, framePing, nil}, true
}

// end takes the session out of its link and ends what waits for it.
func (s *session) end() {
	s.link.mu.Lock()
	if s.link.live == s {
		s.link.live = nil
	}
	s.link.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reply := range s.pending {
		close(reply)
	}
	s.pending = nil
}
