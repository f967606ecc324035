package consensus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"tamv.internal/tamv/consensus/snapshot"
)

// Files are pulled over connections of their own, any number one after the other. A request is the file's SHA-256 (32 bytes)
// and the offset to begin at (8, big-endian). The answer is a status byte, the size of the file (8, big-endian) and, if the
// status is fileFollows, the bytes from the offset to the end. Who asks verifies; who serves does not.
const (
	fileRequestSize = sha256.Size + 8
	fileAnswerSize  = 1 + 8

	fileFollows byte = 0
	fileNone    byte = 1 // there is no such file, or it is shorter than the offset
	fileBusy    byte = 2 // no transfer ended within fileWait
)

const (
	// maxTransfers bounds the files that a member sends at the same time, so that its own work goes on.
	maxTransfers = 2
	// fileWait is how long a request waits for its turn.
	fileWait = 5 * time.Second
	// fileTimeout bounds the silence within a transfer, and fileIdle that between two.
	fileTimeout = 10 * time.Second
	fileIdle    = 30 * time.Second
	// fileStep is what is sent or received under one deadline.
	fileStep = 256 << 10
)

// fileServer sends the files of the snapshots and of the present state.
type fileServer struct {
	snapshots *snapshot.Store
	machine   StateMachine
	log       *slog.Logger
	turns     chan struct{} // holds one per transfer under way
	done      <-chan struct{}
}

// serve answers the requests of one connection.
func (s *fileServer) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var request [fileRequestSize]byte
		if conn.SetReadDeadline(time.Now().Add(fileIdle)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, request[:]); err != nil {
			return
		}
		if err := s.answer(conn, [32]byte(request[:]), binary.BigEndian.Uint64(request[32:])); err != nil {
			s.log.Debug("a file was not sent to its end", "to", conn.RemoteAddr(), "error", err)
			return
		}
	}
}

// answer serves one request. An error ends the connection.
func (s *fileServer) answer(conn net.Conn, sum [32]byte, offset uint64) error {
	timer := time.NewTimer(fileWait)
	defer timer.Stop()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-timer.C:
		return writeFileAnswer(conn, fileBusy, 0)
	case <-s.done:
		return ErrClosed
	}
	file, size, err := s.open(sum)
	if err != nil {
		return writeFileAnswer(conn, fileNone, 0)
	}
	defer file.Close()
	if offset > uint64(size) {
		return writeFileAnswer(conn, fileNone, uint64(size))
	}
	if _, err := file.Seek(int64(offset), io.SeekStart); err != nil {
		return err
	}
	if err := writeFileAnswer(conn, fileFollows, uint64(size)); err != nil {
		return err
	}
	for rest := size - int64(offset); rest > 0; {
		if err := conn.SetWriteDeadline(time.Now().Add(fileTimeout)); err != nil {
			return err
		}
		n, err := io.CopyN(conn, file, min(rest, fileStep))
		if err != nil {
			return err
		}
		rest -= n
	}
	return nil
}

// open finds a file.
func (s *fileServer) open(sum [32]byte) (*os.File, int64, error) {
	file, err := s.snapshots.File(sum)
	if err != nil {
		if file, err = s.machine.Part(sum); err != nil {
			return nil, 0, err
		}
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func writeFileAnswer(conn net.Conn, status byte, size uint64) error {
	if err := conn.SetWriteDeadline(time.Now().Add(fileTimeout)); err != nil {
		return err
	}
	_, err := conn.Write(binary.BigEndian.AppendUint64([]byte{status}, size))
	return err
}

// errNoFile means that the peer has no file with that SHA-256.
var errNoFile = errors.New("consensus: the peer does not have the file")

// peerFiles pulls files from one member; it is a snapshot.Source.
type peerFiles struct {
	streams *streams
	address string

	mu   sync.Mutex // held by a Fetch
	conn net.Conn   // nil when there is none; guarded by mu
}

// Fetch implements snapshot.Source.
func (p *peerFiles) Fetch(ctx context.Context, sum [32]byte, offset int64, w io.Writer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		conn, err := p.streams.dial(p.address, dialTimeout, purposeFiles)
		if err != nil {
			return fmt.Errorf("consensus: reach %s: %w", p.address, err)
		}
		p.conn = conn
	}
	conn := p.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := p.fetch(sum, offset, w)
	if !stop() || err != nil {
		conn.Close() // there may be bytes in it that nobody asked for any more
		p.conn = nil
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	return err
}

// fetch makes one request.
func (p *peerFiles) fetch(sum [32]byte, offset int64, w io.Writer) error {
	if err := p.conn.SetDeadline(time.Now().Add(fileWait + fileTimeout)); err != nil {
		return err
	}
	request := append(make([]byte, 0, fileRequestSize), sum[:]...)
	if _, err := p.conn.Write(binary.BigEndian.AppendUint64(request, uint64(offset))); err != nil {
		return err
	}
	var answer [fileAnswerSize]byte
	if _, err := io.ReadFull(p.conn, answer[:]); err != nil {
		return fmt.Errorf("consensus: pull from %s: %w", p.address, err)
	}
	size := binary.BigEndian.Uint64(answer[1:])
	switch {
	case answer[0] == fileNone:
		return fmt.Errorf("%w: %s", errNoFile, p.address)
	case answer[0] == fileBusy:
		return fmt.Errorf("%w: %s sends other files", ErrBusy, p.address)
	case answer[0] != fileFollows || size < uint64(offset) || size > 1<<62:
		return fmt.Errorf("%w: status %d, size %d from %s", errCall, answer[0], size, p.address)
	}
	for rest := int64(size) - offset; rest > 0; {
		if err := p.conn.SetReadDeadline(time.Now().Add(fileTimeout)); err != nil {
			return err
		}
		n, err := io.CopyN(w, p.conn, min(rest, fileStep))
		if err != nil {
			return fmt.Errorf("consensus: pull from %s: %w", p.address, err)
		}
		rest -= n
	}
	return nil
}

// close ends the connection.
func (p *peerFiles) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// FetchPart copies the file with this SHA-256 from another member to w: a part of the state, see StateMachine.Part, or a file of
// a snapshot. The members are asked one after the other until one sends the right content; nothing else is written to w. It
// returns ErrNoPart if none does.
func (n *Node) FetchPart(ctx context.Context, sum [32]byte, w io.Writer) error {
	if err := n.open(); err != nil {
		return err
	}
	file, err := n.installs.snapshots.Temp()
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	var failures []error
	for _, address := range n.installs.others() {
		peer := &peerFiles{streams: n.installs.streams, address: address}
		err := fetchVerified(ctx, peer, sum, file)
		peer.close()
		if err == nil {
			_, err = io.Copy(w, file)
			return err
		}
		failures = append(failures, err)
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	return fmt.Errorf("%w: %x: %w", ErrNoPart, sum, errors.Join(failures...))
}

// fetchVerified fills file from one member and leaves it at its beginning.
func fetchVerified(ctx context.Context, peer *peerFiles, sum [32]byte, file *os.File) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	hash := sha256.New()
	if err := peer.Fetch(ctx, sum, 0, io.MultiWriter(file, hash)); err != nil {
		return err
	}
	if [32]byte(hash.Sum(nil)) != sum {
		return fmt.Errorf("%w: what %s sent", snapshot.ErrDamaged, peer.address)
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}
