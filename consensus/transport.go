package consensus

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds one exchange between members; sending a snapshot gets more with its size.
	rpcTimeout = 10 * time.Second
	// pooledConns is the number of idle connections kept to each member.
	pooledConns = 3
)

// newTransport connects to the other members through the stream layer. Without one the node talks only to itself, at
// an address that is its id; the address is replaced when it first starts with a stream layer (see Node.updateAddress).
func newTransport(cfg Config, logger hclog.Logger) raft.Transport {
	if cfg.Stream == nil {
		address, t := raft.NewInmemTransport(raft.ServerAddress(cfg.ID))
		t.Connect(address, t)
		return t
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  &raftStream{StreamLayer: cfg.Stream, conns: make(map[*trackedConn]bool)},
		MaxPool:                 pooledConns,
		Timeout:                 rpcTimeout,
		Logger:                  logger,
		MsgpackUseNewTimeFormat: true,
	})
}

// raftStream gives a StreamLayer Raft's type of address, and closes its connections with it: Raft's transport leaves
// them, and the goroutines that read from them, to the other side.
type raftStream struct {
	StreamLayer

	mu     sync.Mutex
	closed bool
	conns  map[*trackedConn]bool // open connections, guarded by mu; empty once closed
}

// Dial implements raft.StreamLayer.
func (s *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	conn, err := s.StreamLayer.Dial(string(address), timeout)
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

// Accept implements net.Listener.
func (s *raftStream) Accept() (net.Conn, error) {
	conn, err := s.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

// Close implements net.Listener.
func (s *raftStream) Close() error {
	err := s.StreamLayer.Close()
	s.mu.Lock()
	conns := s.conns
	s.conns, s.closed = nil, true
	s.mu.Unlock()
	for conn := range conns {
		conn.Conn.Close() // there is nobody left to tell
	}
	return err
}

// track remembers an open connection, or closes it if the stream layer was closed meanwhile.
func (s *raftStream) track(conn net.Conn) (net.Conn, error) {
	c := &trackedConn{Conn: conn, stream: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	s.conns[c] = true
	return c, nil
}

// trackedConn is forgotten by its stream layer when it is closed.
type trackedConn struct {
	net.Conn
	stream *raftStream
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.conns, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}
