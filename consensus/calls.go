package consensus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// calls carries requests between members and their replies back. Each member keeps one connection to each peer for the
// calls it makes (see link) and serves those that peers make to it. It works as soon as it exists, also without Raft.
type calls struct {
	streams *streams
	log     *slog.Logger
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	work    sync.WaitGroup // goroutines of links; Add under mu while not closed

	mu       sync.Mutex
	closed   bool
	handlers map[byte]callHandler
	links    map[string]*link // by address
}

// callHandler answers one kind of call. ctx ends when the caller no longer waits, and knows who it is (see speaksFor). body belongs to the handler. The error
// crosses as its code (see callErrors), or as text.
type callHandler func(ctx context.Context, body []byte) ([]byte, error)

func newCalls(s *streams, log *slog.Logger) *calls {
	c := &calls{streams: s, log: log, handlers: map[byte]callHandler{}, links: map[string]*link{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s.handle(purposeCalls, c.serve)
	return c
}

// handle makes h answer the calls of a kind. A kind without a handler is answered with errUnknownCall, which is how
// members of different releases find out.
func (c *calls) handle(kind byte, h callHandler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[kind] = h
}

// call asks the member at address and returns its reply, which belongs to the caller. Many calls may be in flight; body must
// not change meanwhile. errUnreachable says that the call was not made; errBroken, and the errors of ctx, that it may have
// been. A refusal by the member is a *remoteError.
func (c *calls) call(ctx context.Context, address string, kind byte, body []byte) ([]byte, error) {
	if len(body) > maxFrameBody {
		return nil, fmt.Errorf("%w: a call of %d bytes", ErrTooLarge, len(body))
	}
	l, err := c.link(address)
	if err != nil {
		return nil, err
	}
	s, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	return s.call(ctx, kind, body)
}

// link returns the link to an address.
func (c *calls) link(address string) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	l := c.links[address]
	if l == nil {
		l = &link{calls: c, address: address}
		c.links[address] = l
	}
	return l, nil
}

// start runs f in a goroutine that close waits for; it reports false when calls is closed.
func (c *calls) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(f)
	}
	return !c.closed
}

// close ends all calls, those that are made and those that are answered, and all connections of the streams beneath.
func (c *calls) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	err := c.streams.close()
	c.work.Wait()
	return err
}

// maxRunning bounds the calls of one connection that are answered at the same time.
const maxRunning = 64

// serve answers the calls that come in on a connection.
func (c *calls) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.WithValue(c.ctx, callerKey{}, peerOf(conn)))
	out := newOutbox(conn)
	var work sync.WaitGroup
	defer work.Wait()
	defer close(out.done)
	defer conn.Close()
	defer cancel()
	work.Go(func() { out.run(nil) })
	running := runningCalls{cancels: map[uint64]context.CancelFunc{}}
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		// A caller pings while it waits for something, and closes a connection that it does not need.
		if err := conn.SetReadDeadline(time.Now().Add(3 * linkTimeout)); err != nil {
			return
		}
		f, err := readFrame(in)
		if err != nil || f.kind >= frameReply {
			return
		}
		switch f.kind {
		case framePing:
			out.send(frame{f.id, frameReply, nil}, nil)
		case frameCancel:
			running.cancel(f.id)
		default:
			callCtx, done, err := running.begin(ctx, f.id)
			if err != nil {
				out.send(errorFrame(f.id, err), nil)
				continue
			}
			work.Go(func() {
				defer done()
				out.send(c.answer(callCtx, f), nil)
			})
		}
	}
}

// callerKey is the context key of the proven id of the member at the other end, "" when it is not known.
type callerKey struct{}

// speaksFor returns errCall if the caller is proven to be another member than the one it says it is: the name in a body
// decides what the caller gets, and who may connect may not therefore act for others.
func speaksFor(ctx context.Context, id string) error {
	if caller, _ := ctx.Value(callerKey{}).(string); caller != "" && caller != id {
		return fmt.Errorf("%w: %q speaks for %.*q", errCall, caller, maxID, id)
	}
	return nil
}

// answer runs the handler of a request.
func (c *calls) answer(ctx context.Context, request frame) frame {
	c.mu.Lock()
	h := c.handlers[request.kind]
	c.mu.Unlock()
	if h == nil {
		return errorFrame(request.id, errUnknownCall)
	}
	body, err := h(ctx, request.body)
	if err == nil && len(body) > maxFrameBody {
		err = ErrTooLarge
	}
	if err != nil {
		return errorFrame(request.id, err)
	}
	return frame{request.id, frameReply, body}
}

// runningCalls are the calls of one connection that are being answered.
type runningCalls struct {
	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc
}

// begin admits a call; done must be called when it is answered.
func (r *runningCalls) begin(ctx context.Context, id uint64) (context.Context, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cancels) == maxRunning || r.cancels[id] != nil {
		return nil, nil, ErrBusy
	}
	ctx, cancel := context.WithCancel(ctx)
	r.cancels[id] = cancel
	return ctx, func() {
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.cancels, id)
	}, nil
}

// cancel ends the context of a call, if it is still being answered.
func (r *runningCalls) cancel(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.cancels[id]; cancel != nil {
		cancel()
	}
}

var (
	// errUnknownCall means that the peer does not know this kind of call: it runs another release, or Raft does not run there.
	errUnknownCall = errors.New("consensus: the peer does not know this call")
	// errCall means that the peer could not read a call's body, or this node the reply's.
	errCall = errors.New("consensus: malformed call")
	// errRemote is a failure at the peer that has no code of its own.
	errRemote = errors.New("consensus: the call failed there")
)

// callErrors are the errors that cross a link, by their code. Codes are never reused.
var callErrors = map[byte]error{
	1: ErrNotLeader, 2: ErrBusy, 3: ErrTooLarge, 4: ErrClosed, 5: ErrHalted, 6: ErrUncertain, 7: ErrBehind,
	8: errUnknownCall, 9: errCall, 10: ErrUnknownMember, 11: ErrNoPeer,
}

// codeRemote is the code of every other error; its frame carries the text.
const codeRemote = 127

// maxErrorText bounds the text of an error that crosses, in bytes.
const maxErrorText = 512

// errorFrame is a reply that says why there is none.
func errorFrame(id uint64, err error) frame {
	code := byte(codeRemote)
	for c, known := range callErrors {
		if errors.Is(err, known) {
			code = c
			break
		}
	}
	text := err.Error()
	return frame{id, frameReply | code, []byte(text[:min(len(text), maxErrorText)])}
}

// remoteError is a refusal or a failure that a peer answered. It wraps the error of the code.
type remoteError struct {
	address string
	text    string
	err     error
}

// Error implements error.
func (e *remoteError) Error() string { return fmt.Sprintf("%s answered: %s", e.address, e.text) }

// Unwrap returns the error that the code stands for.
func (e *remoteError) Unwrap() error { return e.err }

// readError returns the error in a reply, nil if it has none.
func readError(address string, f frame) error {
	code := f.kind &^ frameReply
	if code == 0 {
		return nil
	}
	err := callErrors[code]
	if err == nil {
		err = errRemote
	}
	return &remoteError{address, fmt.Sprintf("%.*q", maxErrorText, f.body), err}
}
