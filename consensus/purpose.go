package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// PurposeHandler serves a connection that another member opened for one of
// [Config.Purposes], in a goroutine of its own. peer is the id that the StreamLayer
// proved the other end to have, "" if it proves none. The handler closes the
// connection, and returns soon when it is closed under it: [Node.Close] waits for
// that.
type PurposeHandler func(conn net.Conn, peer string)

// ErrWrongMember means that another node than the one that was asked for answers at
// its address.
var ErrWrongMember = errors.New("consensus: another node answers at the member's address")

// memberDialTimeout bounds how long DialMember tries.
const memberDialTimeout = 5 * time.Second

// checkPurposes refuses what this package needs itself, and what nobody could serve.
func checkPurposes(purposes map[byte]PurposeHandler) error {
	for purpose, h := range purposes {
		switch {
		case purpose == 0, purpose == purposeRaft, purpose == purposeCalls, purpose == purposeFiles:
			return fmt.Errorf("consensus: Purposes has %q, which is taken", purpose)
		case h == nil:
			return fmt.Errorf("consensus: Purposes has %q without a handler", purpose)
		}
	}
	return nil
}

// serveFor makes handlers serve their purposes from now on, before Raft runs.
func (s *streams) serveFor(purposes map[byte]PurposeHandler) {
	for purpose, h := range purposes {
		s.handle(purpose, func(conn net.Conn) { h(conn, peerOf(conn)) })
	}
}

// DialMember opens a connection to a member for a purpose that is in its
// [Config.Purposes]; a member that does not know the purpose closes it. The errors
// are ErrUnknownMember, ErrWrongMember if the StreamLayer proves that another node
// answered, and those of the StreamLayer. The node closes what is still open when
// it is closed itself.
func (n *Node) DialMember(ctx context.Context, id string, purpose byte) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx)
	}
	server, ok := n.server(id)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownMember, id)
	}
	timeout := memberDialTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	conn, err := n.calls.streams.dial(string(server.Address), timeout, purpose)
	if err != nil {
		return nil, err
	}
	if peer := peerOf(conn); peer != "" && peer != id {
		conn.Close()
		return nil, fmt.Errorf("%w: %q instead of %q", ErrWrongMember, peer, id)
	}
	return conn, nil
}
