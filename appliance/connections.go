package appliance

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"tamv.internal/tamv/cluster"
)

// connectionLimits bound TCP connections, all together below the files that a
// process may have open. One address gets half: many clients may stand behind
// one, and must not be all. A member holds about ten connections, and a site has
// at most sixteen.
var connectionLimits = cluster.Limits{Total: 16_000, PerSource: 8_000, Members: 256}

// refusedEvery is how often the log says that connections were refused.
const refusedEvery = time.Minute

// connections is a listener with a quota. A connection beyond it is closed at
// once: if it had to wait, nobody behind it would come in, a member neither.
type connections struct {
	net.Listener
	quota *cluster.Quota
	log   *slog.Logger

	refused int       // since logged; owned by Accept, which one goroutine calls
	logged  time.Time // owned by Accept
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if release, ok := c.quota.Take(conn.RemoteAddr()); ok {
			return &placed{Conn: conn, release: sync.OnceFunc(release)}, nil
		}
		c.refuse(conn)
	}
}

// refuse closes a connection without leaving its port behind.
func (c *connections) refuse(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset: there is nothing to deliver
	}
	from := conn.RemoteAddr()
	conn.Close()
	c.refused++
	if time.Since(c.logged) >= refusedEvery {
		c.log.Warn("too many connections are open; more are refused", "refused", c.refused, "last", from)
		c.refused, c.logged = 0, time.Now()
	}
}

// placed is a connection that has a place in a quota.
type placed struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (p *placed) Close() error {
	p.release()
	return p.Conn.Close()
}
