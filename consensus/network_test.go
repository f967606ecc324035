package consensus

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// network joins nodes by pipes in memory, so that a cluster can live in virtual time. Like TCP it delivers everything in
// order or breaks the connection, and like a bad network it may take its time.
type network struct {
	mu      sync.Mutex
	ends    map[string]*pipeStream
	apart   map[string]bool // members that nobody reaches and that reach nobody
	conns   map[*wirePair]bool
	held    map[[2]string]bool          // ways, from and to, on which nothing arrives for now
	delay   map[[2]string]time.Duration // on a way
	changed broadcast
}

func newNetwork() *network {
	return &network{
		ends: map[string]*pipeStream{}, apart: map[string]bool{}, conns: map[*wirePair]bool{},
		held: map[[2]string]bool{}, delay: map[[2]string]time.Duration{},
	}
}

// pipeStream is one member's StreamLayer.
type pipeStream struct {
	network *network
	address string
	accept  chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

func (w *network) listen(address string) *pipeStream {
	s := &pipeStream{network: w, address: address, accept: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends[address] = s
	return s
}

// isolate cuts a member off: its connections break and no new ones are made.
func (w *network) isolate(address string, apart bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart[address] = apart
	for pair := range w.conns {
		if apart && slices.Contains(pair.ends[:], address) {
			pair.breakOff()
			delete(w.conns, pair)
		}
	}
}

// hold keeps back what is sent from one member to another, until it is let go. Connections stay.
func (w *network) hold(from, to string, held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[[2]string{from, to}] = held
	w.changed.wake()
}

// slow delays what is sent from one member to another.
func (w *network) slow(from, to string, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay[[2]string{from, to}] = delay
	w.changed.wake()
}

// way returns what happens on a way, and a channel that is closed when that changes.
func (w *network) way(from, to string) (held bool, delay time.Duration, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	way := [2]string{from, to}
	return w.held[way], w.delay[way], w.changed.changed()
}

// reachable reports whether a connection can be made.
func (w *network) reachable(from, to string) bool {
	return from == to || !w.apart[from] && !w.apart[to]
}

// wirePair is a connection between two members: two pipes with relays between them.
type wirePair struct {
	ends  [2]string
	inner [2]net.Conn
	open  sync.WaitGroup // relays that still read
	gone  chan struct{}  // closed when none does
}

// breakOff ends the connection for both sides at once.
func (p *wirePair) breakOff() {
	p.inner[0].Close()
	p.inner[1].Close()
}

// connect returns the two ends of a connection.
func (w *network) connect(from, to string) (near, far net.Conn, pair *wirePair) {
	near, a := net.Pipe()
	far, b := net.Pipe()
	pair = &wirePair{ends: [2]string{from, to}, inner: [2]net.Conn{a, b}, gone: make(chan struct{})}
	pair.open.Add(2)
	go func() {
		pair.open.Wait()
		close(pair.gone)
	}()
	go w.relay(pair, a, b, from, to)
	go w.relay(pair, b, a, to, from)
	return near, far, pair
}

type piece struct {
	data []byte
	sent time.Time
}

// relay carries what one side sends.
func (w *network) relay(pair *wirePair, source, target net.Conn, from, to string) {
	queue := make(chan piece, 1<<12)
	go func() {
		defer pair.open.Done()
		defer close(queue)
		buffer := make([]byte, 64<<10)
		for {
			n, err := source.Read(buffer)
			if err != nil {
				return
			}
			queue <- piece{slices.Clone(buffer[:n]), time.Now()}
		}
	}()
	for p := range queue {
		if !w.arrive(pair, p, from, to) {
			continue
		}
		if _, err := target.Write(p.data); err != nil {
			source.Close()
		}
	}
	target.Close()
}

// arrive waits for the moment at which a piece arrives. It reports false if there is nobody to get it any more.
func (w *network) arrive(pair *wirePair, p piece, from, to string) bool {
	for {
		held, delay, changed := w.way(from, to)
		var due <-chan time.Time
		if !held {
			wait := time.Until(p.sent.Add(delay))
			if wait <= 0 {
				return true
			}
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-changed:
		case <-pair.gone:
			return false
		}
	}
}

func (s *pipeStream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	w := s.network
	w.mu.Lock()
	peer := w.ends[address]
	reachable := w.reachable(s.address, address)
	held := w.held[[2]string{s.address, address}] || w.held[[2]string{address, s.address}]
	w.mu.Unlock()
	if peer == nil || !reachable {
		return nil, errors.New("no route")
	}
	if held {
		<-time.After(timeout)
		return nil, errors.New("timeout")
	}
	near, far, pair := w.connect(s.address, address)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case peer.accept <- far:
	case <-peer.closed:
		pair.breakOff()
		return nil, errors.New("connection refused")
	case <-timer.C:
		pair.breakOff()
		return nil, errors.New("timeout")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// The cut may have come while the peer accepted.
	if !w.reachable(s.address, address) {
		pair.breakOff()
		return nil, errors.New("no route")
	}
	w.conns[pair] = true
	return near, nil
}

func (s *pipeStream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.accept:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *pipeStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *pipeStream) Addr() net.Addr { return pipeAddr(s.address) }
