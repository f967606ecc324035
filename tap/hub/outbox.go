package hub

import (
	"runtime"
	"slices"
	"sync"

	"tamv.internal/tamv/tap"
)

// outbox is what a session has to say: answers, in a buffer, and subscriptions
// whose room moved on. While there is something, one goroutine writes; between
// times there is none.
type outbox struct {
	mu      sync.Mutex // guards what follows; taken after a room's lock, never before
	idle    sync.Cond  // signalled after each write
	answers []byte     // frames with their prefixes
	spare   []byte     // the buffer of the last write, for reuse
	payload []byte     // scratch
	behind  []*subscription
	writing bool
	closed  bool
}

// keepAnswers is the largest answer buffer, in bytes, kept between writes.
const keepAnswers = 64 << 10

// writeBudget is about how many bytes of room frames one write takes, so that
// no single write lasts long and answers come in between.
const writeBudget = 128 << 10

// queue adds an answer, with a payload of ours if there is one. When it is true
// nobody writes: the caller calls write, or has a worker do it.
func (s *session) queue(e tap.Envelope, p tap.Payload) bool {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	if p != nil {
		o.payload = tap.AppendPayload(o.payload[:0], p)
		e.Payload = o.payload
	}
	o.answers = e.AppendFrame(o.answers)
	if cap(o.payload) > keepAnswers {
		o.payload = nil
	}
	return s.claim()
}

// send queues an answer for somebody else to write.
func (s *session) send(e *tap.Envelope) { s.reply(*e, nil) }

// reply queues an answer with a payload of ours.
func (s *session) reply(e tap.Envelope, p tap.Payload) {
	if s.queue(e, p) {
		s.hub.workers.run(s.write)
	}
}

// sendFrames queues encoded frames.
func (s *session) sendFrames(frames []byte) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.answers = append(o.answers, frames...)
		s.wake()
	}
}

// moved notes that a subscription has frames to collect.
func (s *session) moved(sub *subscription) {
	if sub.marked.Swap(true) {
		return
	}
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.behind = append(o.behind, sub)
		s.wake()
	}
}

// claim makes the caller responsible for the writing, unless somebody is. The
// outbox is locked.
func (s *session) claim() bool {
	if s.out.writing || s.out.closed {
		return false
	}
	s.out.writing = true
	s.jobs.Add(1)
	return true
}

// wake has a worker write when nobody does. The outbox is locked.
func (s *session) wake() {
	if s.claim() {
		s.hub.workers.run(s.write)
	}
}

// write empties the outbox. Room frames are collected before the answers are
// taken and sent after them, so a snapshot, which is queued as an answer before
// its subscription goes live, always precedes the stream. What was collected for
// a subscription that was left meanwhile is not sent, so an unsubscribe's ack
// always ends the stream.
func (s *session) write() {
	defer s.jobs.Done()
	o := &s.out
	var frames [][]byte
	var behind []*subscription
	var ends []int // where the frames of each subscription end
	for {
		if s.inFlight.Load() > 0 {
			runtime.Gosched() // what was committed together is answered together: let the others speak
		}
		o.mu.Lock()
		behind, o.behind = o.behind, behind[:0]
		o.mu.Unlock()

		frames = append(frames[:0], nil)
		budget := writeBudget
		ends = ends[:0]
		for _, sub := range behind {
			sub.marked.Store(false)
			frames, budget = sub.collect(frames, budget)
			ends = append(ends, len(frames))
		}

		o.mu.Lock()
		frames = withoutLeft(frames, behind, ends)
		clear(behind)
		if len(o.answers) == 0 && len(frames) == 1 {
			if len(o.behind) > 0 && !o.closed {
				o.mu.Unlock()
				continue
			}
			o.writing = false
			o.idle.Broadcast()
			o.mu.Unlock()
			return
		}
		frames[0] = o.answers
		o.answers, o.spare = o.spare[:0], nil
		o.mu.Unlock()

		err := s.flush(frames)

		o.mu.Lock()
		if cap(frames[0]) <= keepAnswers {
			o.spare = frames[0][:0]
		}
		if err != nil {
			o.closed = true
			o.answers, o.behind = nil, nil
		}
		o.idle.Broadcast()
		o.mu.Unlock()
		clear(frames)
	}
}

// withoutLeft takes out the room frames of subscriptions that were left. The
// outbox is locked: an unsubscribe whose ack is not queued yet is answered after
// these frames.
func withoutLeft(frames [][]byte, subs []*subscription, ends []int) [][]byte {
	for i := len(subs) - 1; i >= 0; i-- {
		if !subs[i].left.Load() {
			continue
		}
		start := 1 // after the answers
		if i > 0 {
			start = ends[i-1]
		}
		frames = slices.Delete(frames, start, ends[i])
	}
	return frames
}

// flush writes, unless the identity was revoked meanwhile.
func (s *session) flush(frames [][]byte) error {
	if len(frames) > 1 && !s.hub.config.Authenticator.Active(s.principal) {
		_ = s.conn.Close(tap.ClosePolicy, "revoked")
		return errRevoked()
	}
	if len(frames[0]) == 0 {
		frames = frames[1:]
	}
	if err := s.conn.WriteFrames(frames...); err != nil {
		_ = s.conn.Close(tap.CloseProtocol, "")
		return err
	}
	return nil
}

// await blocks the reader while the client leaves too many answers unread. It
// is false when the session cannot write any more.
func (s *session) await(limit int) bool {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.answers) > limit && !o.closed {
		o.idle.Wait()
	}
	return !o.closed
}

// drain waits until everything queued was written.
func (s *session) drain() {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && !o.closed {
		o.idle.Wait()
	}
}

// shut refuses further output.
func (s *session) shut() {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.answers, o.behind = nil, nil
	o.idle.Broadcast()
}
