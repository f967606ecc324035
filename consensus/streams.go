package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Every connection between members begins with one byte that says what it is for.
const (
	purposeRaft  byte = 'R' // Raft's own messages
	purposeCalls byte = 'C' // calls of this package, see calls
	purposeFiles byte = 'F' // files of snapshots, pulled by their SHA-256
)

const (
	// purposeTimeout bounds the wait for the first byte of an accepted connection, and for sending it.
	purposeTimeout = 5 * time.Second
	// maxHalfOpen bounds the accepted connections whose purpose is not known yet; one more is closed at once.
	maxHalfOpen = 64
	// acceptRetry and maxAcceptRetry are the pauses after an accept that failed, say for want of descriptors.
	acceptRetry    = 5 * time.Millisecond
	maxAcceptRetry = time.Second
)

// errNoStream means that the node was opened without a StreamLayer and reaches nobody.
var errNoStream = errors.New("consensus: this node has no connection to others")

// streams shares one StreamLayer among the purposes. It works from newStreams on, before Raft runs and after it stopped,
// and owns every connection: close ends them all.
type streams struct {
	layer StreamLayer // nil for a node in memory
	log   *slog.Logger
	work  sync.WaitGroup // the accept loop and the handlers; Add under mu while not closed

	mu       sync.Mutex
	handlers map[byte]func(net.Conn)
	conns    map[*streamConn]bool // the open connections
	halfOpen int
	closed   bool
	done     chan struct{} // closed with closed
}

// newStreams begins to accept on layer, unless it is nil. Until a purpose has a handler its connections are refused.
func newStreams(layer StreamLayer, log *slog.Logger) *streams {
	s := &streams{
		layer: layer, log: log,
		handlers: map[byte]func(net.Conn){}, conns: map[*streamConn]bool{}, done: make(chan struct{}),
	}
	if layer != nil {
		s.work.Go(s.accept)
	}
	return s
}

// handle makes h serve the connections for a purpose, each in a goroutine of its own. h must close its connection, or see
// to it that somebody does, and return when the connection is closed under it. nil refuses further connections.
func (s *streams) handle(purpose byte, h func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[purpose] = h
}

// dial opens a connection for a purpose.
func (s *streams) dial(address string, timeout time.Duration, purpose byte) (net.Conn, error) {
	if s.layer == nil {
		return nil, errNoStream
	}
	conn, err := s.layer.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	c, err := s.track(conn, purpose)
	if err != nil {
		return nil, err
	}
	err = c.SetWriteDeadline(time.Now().Add(min(timeout, purposeTimeout)))
	if err == nil {
		_, err = c.Write([]byte{purpose})
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("consensus: open a stream to %s: %w", address, err)
	}
	return c, nil
}

// accept takes connections until close.
func (s *streams) accept() {
	pause := acceptRetry
	for {
		conn, err := s.layer.Accept()
		if err == nil {
			pause = acceptRetry
			s.open(conn)
			continue
		}
		select {
		case <-s.done:
			return
		case <-time.After(pause):
			s.log.Warn("no connection accepted", "error", err)
			pause = min(2*pause, maxAcceptRetry)
		}
	}
}

// open starts the goroutine that serves an accepted connection, if there is room for one more of unknown purpose.
func (s *streams) open(conn net.Conn) {
	c, err := s.track(conn, 0)
	if err != nil {
		return
	}
	s.mu.Lock()
	full := s.closed || s.halfOpen == maxHalfOpen
	if !full {
		s.halfOpen++
		s.work.Go(func() { s.serve(c) })
	}
	s.mu.Unlock()
	if full {
		c.Close()
	}
}

// serve reads the purpose and hands the connection over.
func (s *streams) serve(c *streamConn) {
	var first [1]byte
	err := c.SetReadDeadline(time.Now().Add(purposeTimeout))
	if err == nil {
		_, err = c.Read(first[:])
	}
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	s.mu.Lock()
	s.halfOpen--
	c.purpose = first[0]
	h := s.handlers[first[0]]
	s.mu.Unlock()
	if err != nil || h == nil {
		c.Close()
		return
	}
	h(c)
}

// closePurpose closes the open connections for one purpose.
func (s *streams) closePurpose(purpose byte) {
	s.mu.Lock()
	var conns []*streamConn
	for c := range s.conns {
		if c.purpose == purpose {
			conns = append(conns, c)
		}
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.Close() // there is nobody left to tell
	}
}

// close ends every connection and returns when no handler runs any more.
func (s *streams) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.work.Wait()
		return nil
	}
	s.closed = true
	close(s.done)
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	var err error
	if s.layer != nil {
		err = s.layer.Close()
	}
	for c := range conns {
		c.Conn.Close()
	}
	s.work.Wait()
	return err
}

// track remembers an open connection, or closes it if the streams were closed meanwhile.
func (s *streams) track(conn net.Conn, purpose byte) (*streamConn, error) {
	c := &streamConn{Conn: conn, streams: s, purpose: purpose}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	s.conns[c] = true
	return c, nil
}

// streamConn is forgotten by its streams when it is closed.
type streamConn struct {
	net.Conn
	streams *streams
	purpose byte // guarded by streams.mu; 0 until it is known
}

// peerOf returns the id that the StreamLayer proved the other end of a connection to have, "" if the layer proves none.
func peerOf(conn net.Conn) string {
	if c, ok := conn.(*streamConn); ok {
		conn = c.Conn
	}
	if proven, ok := conn.(interface{ Peer() string }); ok {
		return proven.Peer()
	}
	return ""
}

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.streams.mu.Lock()
	delete(c.streams.conns, c)
	c.streams.mu.Unlock()
	return c.Conn.Close()
}
