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

// raftTransport is all that Raft may find in a transport. A wrapper embeds this and not raft.Transport: Raft looks for the
// optional parts by type assertion, and without pre-vote a member that was cut off would disturb the others.
type raftTransport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// transport connects Raft to the other members, and to this node itself, which can put messages before it.
type transport struct {
	raftTransport
	inbox chan raft.RPC
	done  chan struct{} // closed by Close
	once  sync.Once
	work  sync.WaitGroup
}

// newTransport connects through the streams. Without a stream layer the node talks only to itself, at an address that is
// its id; the address is replaced when it first starts with a stream layer (see Node.updateAddress).
func newTransport(cfg Config, s *streams, logger hclog.Logger) *transport {
	t := &transport{inbox: make(chan raft.RPC), done: make(chan struct{})}
	if s.layer == nil {
		address, inmem := raft.NewInmemTransport(raft.ServerAddress(cfg.ID))
		inmem.Connect(address, inmem)
		t.raftTransport = inmem
	} else {
		t.raftTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:                  newRaftStream(s),
			MaxPool:                 pooledConns,
			Timeout:                 rpcTimeout,
			Logger:                  logger,
			MsgpackUseNewTimeFormat: true,
		})
	}
	t.work.Go(t.pump)
	return t
}

// pump hands on what the other members send.
func (t *transport) pump() {
	for {
		select {
		case rpc := <-t.raftTransport.Consumer():
			select {
			case t.inbox <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.inbox }

// tell puts a message before this node's own Raft, as if a member had sent it, and returns the answer.
func (t *transport) tell(message any) (any, error) {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.inbox <- raft.RPC{Command: message, RespChan: answer}:
	case <-t.done:
		return nil, raft.ErrTransportShutdown
	}
	select {
	case a := <-answer:
		return a.Response, a.Error
	case <-t.done:
		return nil, raft.ErrTransportShutdown
	}
}

// Close implements raft.WithClose. Raft calls it when it has stopped.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.done) })
	err := t.raftTransport.Close()
	t.work.Wait()
	return err
}

// raftStream is the StreamLayer of Raft's transport: the connections for purposeRaft. Closing it closes them too, because
// Raft's transport leaves them, and the goroutines that read from them, to the other side.
type raftStream struct {
	streams  *streams
	accepted chan net.Conn
	done     chan struct{} // closed by Close
	once     sync.Once
}

func newRaftStream(s *streams) *raftStream {
	r := &raftStream{streams: s, accepted: make(chan net.Conn), done: make(chan struct{})}
	s.handle(purposeRaft, func(conn net.Conn) {
		select {
		case r.accepted <- conn:
		case <-r.done:
			conn.Close()
		case <-s.done:
			conn.Close()
		}
	})
	return r
}

// Dial implements raft.StreamLayer.
func (r *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	conn, err := r.streams.dial(string(address), timeout, purposeRaft)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		conn.Close()
		return nil, net.ErrClosed
	default:
		return conn, nil
	}
}

// Accept implements net.Listener.
func (r *raftStream) Accept() (net.Conn, error) {
	select {
	case conn := <-r.accepted:
		return conn, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (r *raftStream) Close() error {
	r.once.Do(func() { close(r.done) })
	r.streams.handle(purposeRaft, nil)
	r.streams.closePurpose(purposeRaft)
	return nil
}

// Addr implements net.Listener.
func (r *raftStream) Addr() net.Addr { return r.streams.layer.Addr() }
