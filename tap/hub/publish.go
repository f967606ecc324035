package hub

import (
	"bytes"
	"context"

	"github.com/google/uuid"

	"tamv.internal/tamv/tap"
)

// publish serves publish, xr_event and dreamspace_sync.
func (s *session) publish(e *tap.Envelope) error {
	var p tap.Publish
	if err := tap.DecodePayload(e.Payload, &p); err != nil {
		return err
	}
	if p.Class == "" {
		p.Class = tap.ClassEvent
		if e.Type == tap.TypeDreamSpaceSync {
			p.Class = tap.ClassDurable
		}
	}
	if e.Type != tap.TypePublish && (p.Class == tap.ClassDurable) != (e.Type == tap.TypeDreamSpaceSync) {
		return tap.E("hub.publish", tap.Invalid, "a frame of type %s cannot have class %s", e.Type, p.Class).WithCode("class")
	}
	if len(p.Data) > s.hub.limits.Frame/2 {
		return tap.E("hub.publish", tap.Invalid, "a publication has at most %d bytes", s.hub.limits.Frame/2).WithCode("too_large")
	}
	if p.Class == tap.ClassDurable {
		return s.act(e.ID, &p)
	}
	sub := s.subscription(p.Room)
	if sub == nil {
		return errNotSubscribed(p.Room)
	}
	if !s.pace.AllowN(s.hub.config.Now(), 1) {
		s.busy(e.ID, busyRetry)
		return nil
	}
	sequence, err := sub.room.publish(sub, e.ID, &p)
	if err != nil {
		return err
	}
	s.ack(e.ID, &tap.Ack{Room: p.Room, Epoch: sub.room.epoch, Sequence: sequence})
	return nil
}

// waitingAction is a durable action and the session to answer.
type waitingAction struct {
	session *session
	action  Action
}

// act queues a durable action. What waits together is committed together.
func (s *session) act(id uuid.UUID, p *tap.Publish) error {
	if !s.take(id, 0) {
		return nil
	}
	r := s.hub.use(roomName{s.principal.Tenant, p.Room}) // until the action is answered
	w := waitingAction{s, Action{
		ID: id, Principal: s.principal, Data: bytes.Clone(p.Data), Remote: s.conn.Remote(), Transport: s.conn.Transport(),
	}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, w)
	if !r.acting {
		r.acting = true
		r.hub.workers.run(r.commit)
	}
	return nil
}

// commit is the room's one worker: it hands over what waits, fans out what was
// committed, and ends when nothing waits.
func (r *room) commit() {
	for {
		r.mu.Lock()
		n := min(len(r.waiting), r.hub.limits.ActBatch)
		if n == 0 {
			r.acting = false
			r.mu.Unlock()
			return
		}
		batch := r.waiting[:n:n]
		if r.waiting = r.waiting[n:]; len(r.waiting) == 0 {
			r.waiting = nil
		}
		r.mu.Unlock()
		r.commitBatch(batch)
		for range batch {
			r.hub.release(r)
		}
	}
}

func (r *room) commitBatch(batch []waitingAction) {
	actions := make([]Action, len(batch))
	for i := range batch {
		actions[i] = batch[i].action
	}
	// Not a session's context: the batch belongs to several of them.
	ctx, cancel := context.WithTimeout(context.Background(), r.hub.limits.Request)
	defer cancel()
	outcomes, err := guarded(func() ([]Outcome, error) {
		return r.hub.config.Rooms.Act(ctx, r.name.tenant, r.name.room, actions)
	})
	if err == nil && len(outcomes) != len(batch) {
		err = tap.E("hub.act", tap.Internal, "%d actions have %d outcomes", len(batch), len(outcomes))
	}
	for i, w := range batch {
		w.session.inFlight.Add(-1)
		if err != nil {
			w.session.fail(w.action.ID, err)
			continue
		}
		o := &outcomes[i]
		if o.Err != nil {
			w.session.fail(w.action.ID, o.Err)
			continue
		}
		data := o.Data
		if data == nil {
			data = w.action.Data
		}
		r.deliver(w.action.ID, w.action.Principal.Identity, o.Sequence, data)
		w.session.ack(w.action.ID, &tap.Ack{Room: r.name.room, Epoch: r.epoch, Durable: o.Sequence, Body: o.Reply})
	}
}
