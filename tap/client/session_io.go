package client

import (
	"bytes"
	"context"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// call sends a frame and waits for its answer.
func (s *Session) call(ctx context.Context, e tap.Envelope) (tap.Ack, error) {
	if e.Timestamp == 0 {
		e.Timestamp = uint64(s.now().UnixMilli())
	}
	if uint64(e.Size()+tap.TagLen+1) > s.ready.Frame {
		return tap.Ack{}, tap.E("client.session", tap.Invalid, "the frame is longer than %d bytes", s.ready.Frame).WithCode("too_large")
	}
	reply, err := s.expect(e.ID)
	if err != nil {
		return tap.Ack{}, err
	}
	s.send(&e)
	return s.wait(ctx, e.ID, reply)
}

// expect registers the id of a frame about to be sent.
func (s *Session) expect(id uuid.UUID) (<-chan answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if s.calls[id] != nil {
		return nil, tap.E("client.session", tap.Conflict, "a request with this id is under way").WithCode("request_id")
	}
	reply := make(chan answer, 1)
	s.calls[id] = reply
	return reply, nil
}

func (s *Session) wait(ctx context.Context, id uuid.UUID, reply <-chan answer) (tap.Ack, error) {
	select {
	case a := <-reply:
		return a.ack, a.err
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.calls, id)
		s.mu.Unlock()
		return tap.Ack{}, tap.AsError(ctx.Err())
	}
}

// send seals the frame and writes it, or leaves it to the goroutine that is
// writing: frames leave in the order of their sequence, several in one write
// when there are several. A failed write ends the connection, which answers
// every call.
func (s *Session) send(e *tap.Envelope) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.out = s.sealer.Seal(s.out, e)
	if e.Type != tap.TypePing {
		s.uncovered++
	}
	if s.uncovered >= s.ready.Checkpoint {
		s.sealCheckpoint(newID())
	}
	s.flush()
}

// sealCheckpoint signs everything sealed so far. sendMu is locked.
func (s *Session) sealCheckpoint(id uuid.UUID) {
	c := s.sealer.Checkpoint(s.id, s.key)
	e := tap.Envelope{ID: id, Type: tap.TypeCheckpoint, Timestamp: uint64(s.now().UnixMilli()), Payload: tap.AppendPayload(nil, &c)}
	s.out = s.sealer.Seal(s.out, &e)
	s.uncovered = 0
}

// flush writes until nothing waits, unless another goroutine does. sendMu is
// locked on entry and on return.
func (s *Session) flush() {
	if s.sending {
		return
	}
	s.sending = true
	for len(s.out) > 0 {
		b := s.out
		s.out, s.spare = s.spare[:0], nil
		s.sendMu.Unlock()
		if err := s.conn.WriteFrames(b); err != nil {
			_ = s.conn.Close(tap.CloseNormal, "")
		}
		s.sendMu.Lock()
		s.spare = b[:0]
	}
	s.sending = false
}

// checkpoints signs what was sent, at every interval in which something was.
func (s *Session) checkpoints(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
			s.sendMu.Lock()
			if s.uncovered > 0 {
				s.sealCheckpoint(newID())
				s.flush()
			}
			s.sendMu.Unlock()
		}
	}
}

// sign sends a checkpoint and waits for its ack; nothing when all is signed.
func (s *Session) sign(ctx context.Context) error {
	id := newID()
	reply, err := s.expect(id)
	if err != nil {
		return err
	}
	s.sendMu.Lock()
	signed := s.uncovered == 0
	if !signed {
		s.sealCheckpoint(id)
		s.flush()
	}
	s.sendMu.Unlock()
	if signed {
		s.resolve(id, answer{})
	}
	_, err = s.wait(ctx, id, reply)
	return err
}

// read distributes frames until the connection ends, then fails every call.
func (s *Session) read() {
	err := s.readFrames()
	_ = s.conn.Close(tap.CloseNormal, "")
	s.mu.Lock()
	if s.err == nil {
		s.err = lost(err)
	}
	err = s.err
	calls, subs := s.calls, s.subs
	s.calls, s.subs = map[uuid.UUID]chan answer{}, map[string]*Subscription{}
	s.mu.Unlock()
	for _, reply := range calls {
		reply <- answer{err: err}
	}
	for _, sub := range subs {
		sub.detach(s, err)
	}
	close(s.done)
}

func (s *Session) readFrames() error {
	for {
		b, err := s.conn.ReadFrame()
		if err != nil {
			return err
		}
		s.heard.Store(time.Now().UnixNano())
		e, err := tap.DecodeEnvelope(b)
		if err != nil {
			return err
		}
		if err := s.receive(&e); err != nil {
			return err
		}
	}
}

// receive handles one frame. An error ends the session.
func (s *Session) receive(e *tap.Envelope) error {
	payload := bytes.Clone(e.Payload) // the next read reuses the buffer
	switch e.Type {
	case tap.TypeAck:
		var a answer
		if err := tap.DecodePayload(payload, &a.ack); err != nil {
			return err
		}
		s.resolve(e.ID, a)
	case tap.TypePong:
		s.resolve(e.ID, answer{})
	case tap.TypeBusy:
		var b tap.Busy
		if err := tap.DecodePayload(payload, &b); err != nil {
			return err
		}
		s.resolve(e.ID, answer{err: tap.E("client.session", tap.Limited, "too much is in flight").
			WithCode("busy").WithRetryAfter(time.Duration(b.RetryMs) * time.Millisecond)})
	case tap.TypeError:
		err := refusal(payload)
		if !s.resolve(e.ID, answer{err: err}) && e.ID == uuid.Nil {
			return err
		}
	case tap.TypeXREvent, tap.TypeDreamSpaceSync, tap.TypeSnapshot, tap.TypeGap:
		return s.deliver(e, payload)
	}
	return nil // a newer node may send types that we do not know
}

// resolve answers a call; false when nobody waits for this id.
func (s *Session) resolve(id uuid.UUID, a answer) bool {
	s.mu.Lock()
	reply := s.calls[id]
	delete(s.calls, id)
	s.mu.Unlock()
	if reply != nil {
		reply <- a
	}
	return reply != nil
}
