package consensus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A frame is one message of a peer link; integers are big-endian:
//
//	 0  4  length of what follows, 9 to 9 + maxFrameBody
//	 4  8  number of the call, not 0; a reply bears that of its request
//	12  1  kind: below 0x80 a request, from 0x80 on a reply, 0x80 + its code
//	13  -  body
const (
	frameHeader  = 13
	maxFrameBody = maxBody + 64<<10

	frameReply = 0x80 // or-ed with a code makes the kind of a reply
)

// The kinds of requests. The first two belong to the link itself; see calls.handle for the others.
const (
	framePing   byte = iota // answered at once by an empty reply
	frameCancel             // nobody waits for the call of this number any more; not answered
	callForward
	callReadIndex
	callConfirm
	callStatus
	callTransfer
)

// errFrame means that a peer sent what is no frame; its connection is closed.
var errFrame = errors.New("consensus: malformed frame")

type frame struct {
	id   uint64
	kind byte
	body []byte
}

// readFrame reads one frame, strictly. It allocates the body as it arrives, so that an announced length costs nothing.
func readFrame(r *bufio.Reader) (frame, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	size := int64(binary.BigEndian.Uint32(header[:])) - (frameHeader - 4)
	f := frame{id: binary.BigEndian.Uint64(header[4:]), kind: header[12]}
	if size < 0 || size > maxFrameBody || f.id == 0 {
		return frame{}, fmt.Errorf("%w: call %d, %d bytes", errFrame, f.id, size)
	}
	for int64(len(f.body)) < size {
		start := len(f.body)
		f.body = append(f.body, make([]byte, min(size-int64(start), max(bodyStep, int64(start))))...)
		if _, err := io.ReadFull(r, f.body[start:]); err != nil {
			return frame{}, noEOF(err)
		}
	}
	return f, nil
}

// bodyStep is what is allocated for a body before its first byte has come; then it may double.
const bodyStep = 64 << 10

// noEOF tells the end within a frame from the end between two.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writeFrame appends one frame to w. The body must not exceed maxFrameBody.
func writeFrame(w *bufio.Writer, f frame) error {
	var header [frameHeader]byte
	binary.BigEndian.PutUint32(header[:], uint32(frameHeader-4+len(f.body)))
	binary.BigEndian.PutUint64(header[4:], f.id)
	header[12] = f.kind
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	_, err := w.Write(f.body)
	return err
}

const (
	// frameQueue bounds the frames that wait to be written to a connection.
	frameQueue = 64
	// writeTimeout bounds the time a peer may take to accept what waits.
	writeTimeout = 10 * time.Second
)

// outbox writes frames to a connection from one goroutine: what waits together leaves together.
type outbox struct {
	conn  net.Conn
	queue chan frame
	done  chan struct{} // closed when the connection has ended
}

func newOutbox(conn net.Conn) *outbox {
	return &outbox{conn: conn, queue: make(chan frame, frameQueue), done: make(chan struct{})}
}

// send queues a frame; it reports false if the connection has ended or cancel is closed first.
func (o *outbox) send(f frame, cancel <-chan struct{}) bool {
	select {
	case o.queue <- f:
		return true
	case <-o.done:
		return false
	case <-cancel:
		return false
	}
}

// run writes until done is closed or a write fails, in which case it closes the connection. tick, if not nil, is called
// each second and may return one more frame.
func (o *outbox) run(tick func() (frame, bool)) {
	w := bufio.NewWriterSize(o.conn, 64<<10)
	var seconds <-chan time.Time
	if tick != nil {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		seconds = ticker.C
	}
	for {
		var f frame
		select {
		case f = <-o.queue:
		case <-seconds:
			var ok bool
			if f, ok = tick(); !ok {
				continue
			}
		case <-o.done:
			return
		}
		if err := o.write(w, f); err != nil {
			o.conn.Close() // whoever reads from it learns that it ended
			return
		}
	}
}

// write writes f and everything that waits behind it.
func (o *outbox) write(w *bufio.Writer, f frame) error {
	for {
		if err := o.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := writeFrame(w, f); err != nil {
			return err
		}
		select {
		case f = <-o.queue:
		default:
			return w.Flush()
		}
	}
}
