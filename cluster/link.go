package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

// Protocol is the ALPN name of node-to-node streams.
const Protocol = "tamv-node/1"

const (
	// handshakeTimeout bounds a handshake with whoever connects.
	handshakeTimeout = 5 * time.Second
	// acceptQueue is how many proven connections may wait for Accept; more are
	// closed, because nobody takes them.
	acceptQueue = 64
)

// admitted is what the listening side sends once it trusts the dialer. In TLS
// 1.3 a client learns otherwise only when it reads.
const admitted = 1

// handshakeLimits are the handshakes that go on at a time. A proper one takes
// some milliseconds, and behind one address there may be a venue full of people
// who come back at the same moment; who says nothing holds a place for
// handshakeTimeout, and needs eight addresses to take them all. Sixteen members that all dial at once, some ten connections
// each, stay within theirs.
var handshakeLimits = Limits{Total: 4096, PerSource: 512, Members: 256}

// LinkConfig is what a link joins. Every field but From and Member is needed.
type LinkConfig struct {
	Authority    *Authority
	Certificates *Certificates
	Roster       Roster
	Address      string // HOST:PORT, where other nodes reach this one
	// From is the IP address that connections are made from; nil = any. A node
	// that listens on one of several networks should also be seen there.
	From net.IP
	// Member says whether a member lives at an IP address, so that strangers do
	// not keep it from its handshake; nil = nobody is known to. It proves nothing.
	Member func(netip.Addr) bool
	Now    func() time.Time // for the validity of certificates
	// Refused is told of every connection that did not pass. It is called
	// during a handshake, so it must be quick, and by many goroutines.
	Refused func(Refusal)
}

// Link is the node-to-node transport: a listener and a dialer of streams whose
// other end is a member of the site, named by the connection's Peer method. All methods are safe for concurrent use.
type Link struct {
	config     LinkConfig
	verifier   verifier
	handshakes *Quota
	accepted   chan *linkConn
	closed     chan struct{}

	mu    sync.Mutex
	over  bool               // guarded by mu
	conns map[*linkConn]bool // guarded by mu; open, both directions
}

// NewLink makes a link. It serves nobody until a listener is [Link.Split].
func NewLink(c LinkConfig) *Link {
	return &Link{
		config: c, verifier: verifier{c.Authority, c.Roster, c.Now}, handshakes: NewQuota(handshakeLimits, c.Member),
		accepted: make(chan *linkConn, acceptQueue), closed: make(chan struct{}), conns: map[*linkConn]bool{},
	}
}

// linkConn is a connection to a proven peer, known to its link while it is open.
type linkConn struct {
	*tls.Conn
	link *Link
	peer peer
}

// Peer is the name of the node at the other end, as its certificate proves it.
func (c *linkConn) Peer() string { return c.peer.node }

// Close implements net.Conn.
func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

// Accept waits for the next connection of a member. The error is net.ErrClosed
// once the link is closed.
func (l *Link) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr is the address where other nodes reach this one.
func (l *Link) Addr() net.Addr { return advertised(l.config.Address) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// Close ends the link and all its connections. The listeners it was split from
// go on without it.
func (l *Link) Close() error {
	l.mu.Lock()
	conns := l.conns
	if !l.over {
		l.over, l.conns = true, nil
		close(l.closed)
	}
	l.mu.Unlock()
	for c := range conns {
		c.Conn.Close() // there is nobody left to tell
	}
	return nil
}

// Dial connects to the node at an address within the timeout. The error is
// Forbidden with code node_refused when one side does not trust the other, else
// Unavailable.
func (l *Link) Dial(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	dialer := net.Dialer{LocalAddr: l.from(address)}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, tap.Wrap("cluster.dial", tap.Unavailable, err, "the node at %s cannot be reached", address)
	}
	var found peer
	var refusal *Refusal
	conn := tls.Client(raw, &tls.Config{
		GetClientCertificate: l.config.Certificates.GetClient, NextProtos: []string{Protocol}, MinVersion: tls.VersionTLS13,
		// A node is known by its certificate and its key, and not by a host
		// name: VerifyConnection below is the whole verification.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if found, refusal = l.verifier.verify(&state, address, true); refusal != nil {
				return refusal
			}
			return nil
		},
		DynamicRecordSizingDisabled: true,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		if refusal != nil {
			l.config.Refused(*refusal)
			return nil, refusal.forbidden()
		}
		return nil, tap.Wrap("cluster.dial", tap.Unavailable, err, "the node at %s does not complete the handshake", address)
	}
	if err := awaitAdmission(ctx, conn); err != nil {
		conn.Close()
		return nil, err
	}
	return l.track(conn, found)
}

// from is where a connection to an address is made from; nil leaves it to the
// system, as for a host name, whose addresses may be of another kind.
func (l *Link) from(address string) net.Addr {
	to := net.ParseIP(Host(address))
	if l.config.From == nil || to == nil || (to.To4() == nil) != (l.config.From.To4() == nil) {
		return nil
	}
	return &net.TCPAddr{IP: l.config.From}
}

// awaitAdmission reads the byte that says that the other side trusts this node.
func awaitAdmission(ctx context.Context, conn *tls.Conn) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return tap.AsError(err)
	}
	var sign [1]byte
	if _, err := io.ReadFull(conn, sign[:]); err != nil || sign[0] != admitted {
		if ctx.Err() != nil {
			return tap.Wrap("cluster.dial", tap.Unavailable, err, "the node at %s does not answer", conn.RemoteAddr())
		}
		return tap.Wrap("cluster.dial", tap.Forbidden, err, "the node at %s refuses this one; its log names the reason", conn.RemoteAddr()).
			WithCode(codeRefused)
	}
	return conn.SetReadDeadline(time.Time{})
}

// track takes a proven connection into the books, unless the link was closed or
// the peer lost its standing in the meantime.
func (l *Link) track(conn *tls.Conn, p peer) (*linkConn, error) {
	c := &linkConn{conn, l, p}
	l.mu.Lock()
	over := l.over
	if !over {
		l.conns[c] = true
	}
	l.mu.Unlock()
	if over {
		conn.Close()
		return nil, net.ErrClosed
	}
	if reason := l.verifier.standing(p); reason != "" {
		return nil, c.cut(reason).forbidden()
	}
	return c, nil
}

// cut ends a connection whose peer has lost its standing. The peer is not told
// why.
func (c *linkConn) cut(reason Reason) *Refusal {
	refusal := &Refusal{Reason: reason, Node: c.peer.node, Address: c.RemoteAddr().String(), Dialed: c.peer.dialed}
	c.link.config.Refused(*refusal)
	c.Close()
	return refusal
}

// Recheck cuts the connections of members that were removed, or whose key is
// not the pinned one any more, and those that came from nodes that turn out to
// be unknown, and returns how many. Call it whenever the roster has changed, and
// now and then. A certificate that has ended since the handshake is no reason:
// its node has renewed it long ago and uses the new one for the next connection.
func (l *Link) Recheck() int {
	lost := map[*linkConn]Reason{}
	l.mu.Lock()
	for c := range l.conns {
		if reason := l.verifier.standing(c.peer); reason != "" {
			lost[c] = reason
		}
	}
	l.mu.Unlock()
	for c, reason := range lost {
		c.cut(reason)
	}
	return len(lost)
}
