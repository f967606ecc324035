package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Rule says what happens to what one node sends to another. The zero Rule passes
// everything.
type Rule struct {
	// Cut closes the connections that the one opened to the other, and refuses
	// new ones.
	Cut bool
	// Hold accepts connections and bytes, and forwards nothing until the rule
	// changes. Nobody is told: this is a cable pulled out. What was held is
	// forwarded afterwards, as TCP would send it again.
	Hold bool
	// Delay is how long every byte travels, and Jitter how much longer at most.
	// Order is kept.
	Delay, Jitter time.Duration
}

// pair is an ordered pair of nodes.
type pair struct{ from, to string }

// maxLinks bounds the connections through a network; more are refused.
const maxLinks = 512

// Network passes TCP connections between nodes on, by the rule of each ordered
// pair. It is safe for concurrent use; Close it.
type Network struct {
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu        sync.Mutex              // guards all below
	names     map[netip.Addr]string   // who dials from an address
	listeners map[string]net.Listener // by the node they lead to
	rules     map[pair]Rule
	changed   chan struct{} // closed and replaced when a rule changes
	links     map[*link]struct{}
	closed    bool
}

// NewNetwork makes a network without nodes.
func NewNetwork() *Network {
	ctx, cancel := context.WithCancel(context.Background())
	return &Network{
		ctx: ctx, cancel: cancel, names: map[netip.Addr]string{}, listeners: map[string]net.Listener{},
		rules: map[pair]Rule{}, changed: make(chan struct{}), links: map[*link]struct{}{},
	}
}

// Attach makes a node reachable: whoever connects to advertised reaches listen.
// Connections from the host of listen are the node's own. Attaching a name again
// is an error.
func (n *Network) Attach(name, listen, advertised string) error {
	own, err := netip.ParseAddrPort(listen)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", advertised)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[name] != nil || n.closed {
		return errors.Join(errors.New("faults: the node is attached already, or the network is closed"), l.Close())
	}
	n.names[own.Addr()], n.listeners[name] = name, l
	n.tasks.Go(func() { n.accept(l, name, listen) })
	return nil
}

// Set gives the ordered pair a rule, for new connections and those that exist.
func (n *Network) Set(from, to string, r Rule) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules[pair{from, to}] = r
	n.announce()
	if r.Cut {
		for l := range n.links {
			if l.from == from && l.to == to {
				l.reset()
			}
		}
	}
}

// Heal forgets all rules.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.rules)
	n.announce()
}

// announce wakes everybody who waits for a rule. n.mu is held.
func (n *Network) announce() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Close cuts everything and waits until nothing of the network runs.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	for _, l := range n.listeners {
		l.Close()
	}
	for l := range n.links {
		l.reset()
	}
	n.mu.Unlock()
	n.cancel()
	n.tasks.Wait()
}

// rule is the pair's rule, and a channel that closes when it may have changed.
func (n *Network) rule(from, to string) (Rule, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rules[pair{from, to}], n.changed
}

// pass waits until the pair's rule lets bytes through; false when done closes
// first.
func (n *Network) pass(from, to string, done <-chan struct{}) bool {
	for {
		r, changed := n.rule(from, to)
		if !r.Hold {
			return true
		}
		select {
		case <-changed:
		case <-done:
			return false
		}
	}
}

// travel is how long bytes of the pair are on their way.
func (n *Network) travel(from, to string) time.Duration {
	r, _ := n.rule(from, to)
	if r.Jitter > 0 {
		return r.Delay + rand.N(r.Jitter)
	}
	return r.Delay
}

// accept takes connections to a node until its listener closes.
func (n *Network) accept(l net.Listener, to, target string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if opened := n.open(conn.(*net.TCPConn), to); opened != nil {
			n.tasks.Go(func() { opened.run(target) })
		}
	}
}

// open admits a connection; nil when it is refused, and closed then.
func (n *Network) open(conn *net.TCPConn, to string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	from := ""
	if remote, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		from = n.names[remote.Addr()]
	}
	l := &link{network: n, from: from, to: to, near: conn, done: make(chan struct{})}
	if n.closed || n.rules[pair{from, to}].Cut || len(n.links) >= maxLinks {
		l.reset()
		return nil
	}
	n.links[l] = struct{}{}
	return l
}

// forget ends a link's membership.
func (n *Network) forget(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
}
