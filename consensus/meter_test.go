package consensus

import (
	"io"
	"net"
	"sync"
	"time"
)

// fileMeter is a StreamLayer that counts the bytes a member receives on connections for files, and calls at in between.
type fileMeter struct {
	StreamLayer

	mu    sync.Mutex
	total int64
	at    []meterStop // in order
}

// meterStop is what happens when so many bytes were received: do is called, then the connection is cut if do says so.
type meterStop struct {
	bytes int64
	do    func() (cut bool)
}

func (m *fileMeter) Dial(address string, timeout time.Duration) (net.Conn, error) {
	conn, err := m.StreamLayer.Dial(address, timeout)
	if err != nil {
		return nil, err
	}
	return &meteredConn{Conn: conn, meter: m}, nil
}

func (m *fileMeter) read() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}

type meteredConn struct {
	net.Conn
	meter   *fileMeter
	purpose byte
}

func (c *meteredConn) Write(p []byte) (int, error) {
	if c.purpose == 0 {
		c.purpose = p[0]
	}
	return c.Conn.Write(p)
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.purpose != purposeFiles {
		return n, err
	}
	m := c.meter
	m.mu.Lock()
	m.total += int64(n)
	var stop *meterStop
	if len(m.at) > 0 && m.total >= m.at[0].bytes {
		stop, m.at = &m.at[0], m.at[1:]
	}
	m.mu.Unlock()
	if stop != nil && stop.do() {
		c.Conn.Close()
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
