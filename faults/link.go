package faults

import (
	"net"
	"sync"
	"time"
)

const (
	chunkBytes = 16 << 10 // that are read at once
	maxChunks  = 64       // on their way in one direction
)

// link is one connection through a Network: the near half was opened by a node,
// the far half leads to another.
type link struct {
	network  *Network
	from, to string // who opened it, and to whom

	mu   sync.Mutex // guards far, near's closing, and gone
	near *net.TCPConn
	far  *net.TCPConn // nil until the other node is reached
	gone bool
	done chan struct{} // closed with the link
}

// reset closes both halves so that both ends see an error and not an orderly end.
func (l *link) reset() { l.end(true) }

// end closes both halves, once.
func (l *link) end(abort bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	close(l.done)
	for _, half := range []*net.TCPConn{l.near, l.far} {
		if half == nil {
			continue
		}
		if abort {
			_ = half.SetLinger(0)
		}
		half.Close()
	}
}

// run connects the far half and carries bytes until either end closes.
func (l *link) run(target string) {
	defer l.network.forget(l)
	defer l.end(false)
	// A pulled cable lets no connection through in either direction, but the
	// harness accepted already; it is the bytes that wait.
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(l.network.ctx, "tcp", target)
	if err != nil {
		l.reset()
		return
	}
	l.mu.Lock()
	l.far = conn.(*net.TCPConn)
	gone := l.gone
	l.mu.Unlock()
	if gone {
		conn.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.carry(l.near, l.far, l.from, l.to) })
	both.Go(func() { l.carry(l.far, l.near, l.to, l.from) })
	both.Wait()
}

// chunk is bytes on their way.
type chunk struct {
	bytes []byte
	due   time.Time
}

// carry moves bytes in one direction until the sender ends or the link is reset.
// An orderly end is passed on, behind the bytes.
func (l *link) carry(src, dst *net.TCPConn, from, to string) {
	queue := make(chan chunk, maxChunks)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(queue)
		for {
			buf := make([]byte, chunkBytes)
			n, err := src.Read(buf)
			if n > 0 {
				select {
				case queue <- chunk{buf[:n], time.Now().Add(l.network.travel(from, to))}:
				case <-l.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	defer reader.Wait()
	for c := range queue {
		if !l.arrive(c.due) || !l.network.pass(from, to, l.done) {
			l.reset()
			return
		}
		if _, err := dst.Write(c.bytes); err != nil {
			l.reset()
			return
		}
	}
	if !l.network.pass(from, to, l.done) || dst.CloseWrite() != nil {
		l.reset()
	}
}

// arrive waits for the time at which bytes are due; false when the link is reset
// first.
func (l *link) arrive(due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}
