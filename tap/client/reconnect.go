package client

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

// Backoff spaces attempts to reconnect: after k failures the wait is drawn
// uniformly from [d/2, d] with d = min(Max, First * 2^k). The spread keeps the
// clients of a node that restarts from coming back all at once.
type Backoff struct {
	First time.Duration  // 0 = 1 s
	Max   time.Duration  // 0 = 30 s
	Rand  func() float64 // uniform in [0, 1); nil = math/rand/v2
}

// Delay is the wait after k failures, counted from 0.
func (b Backoff) Delay(k int) time.Duration {
	first, limit, random := b.First, b.Max, b.Rand
	if first == 0 {
		first = time.Second
	}
	if limit == 0 {
		limit = 30 * time.Second
	}
	if random == nil {
		random = rand.Float64
	}
	d := limit
	if k < 62 && first <= limit>>k {
		d = first << k
	}
	return d/2 + time.Duration(random()*float64(d-d/2))
}

// ReconnectConfig is a session that comes back.
type ReconnectConfig struct {
	Session SessionConfig
	Backoff Backoff
	// Dial opens a session; nil = Dial.
	Dial func(context.Context, SessionConfig) (*Session, error)
	// DialTimeout bounds one attempt; 0 = 10 s.
	DialTimeout time.Duration
	// Changed is told when a session began (nil error) and why one ended or
	// could not begin; may be nil.
	Changed func(error)
}

// Reconnector keeps a session open: it dials again with growing, jittered
// pauses, re-enters the rooms where they stand, and repeats unanswered evidence
// with the same id, which the node applies at most once.
type Reconnector struct {
	config ReconnectConfig

	mu      sync.Mutex // guards what follows
	session *Session   // nil while disconnected
	changed chan struct{}
	subs    map[*Subscription]struct{}
	err     error // why Run ended
}

// NewReconnector makes a Reconnector; Run starts it.
func NewReconnector(c ReconnectConfig) *Reconnector {
	if c.Dial == nil {
		c.Dial = Dial
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 10 * time.Second
	}
	if c.Changed == nil {
		c.Changed = func(error) {}
	}
	return &Reconnector{config: c, changed: make(chan struct{}), subs: map[*Subscription]struct{}{}}
}

// Run connects, again and again, until the context ends (nil) or the node
// refuses for good: a retry with the same key cannot help.
func (r *Reconnector) Run(ctx context.Context) error {
	err := r.run(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	end := err
	if end == nil {
		end = tap.E("client.reconnect", tap.Unavailable, "the session was closed").WithCode("closed")
	}
	r.mu.Lock()
	subs := r.subs
	r.subs = nil
	r.mu.Unlock()
	for sub := range subs {
		sub.end(end)
	}
	r.lose(end)
	return err
}

func (r *Reconnector) run(ctx context.Context) error {
	for failures := 0; ; failures++ {
		s, err := r.connect(ctx)
		if err == nil {
			r.config.Changed(nil)
			failures = 0
			select {
			case <-s.Done():
				err = s.Err()
			case <-ctx.Done():
				return s.Close()
			}
			r.lose(nil)
			r.config.Changed(err)
		} else {
			r.config.Changed(err)
			if permanent(err) {
				return err
			}
		}
		pause := max(r.config.Backoff.Delay(failures), tap.AsError(err).RetryAfter)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// permanent says whether the node would answer the same to every attempt.
func permanent(err error) bool {
	switch tap.KindOf(err) {
	case tap.Unauthenticated, tap.Forbidden, tap.Invalid:
		return true
	}
	return false
}

// connect opens a session, re-enters the rooms and makes the session the
// current one.
func (r *Reconnector) connect(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.DialTimeout)
	defer cancel()
	s, err := r.config.Dial(ctx, r.config.Session)
	if err != nil {
		return nil, err
	}
	for {
		outside := r.install(s)
		if len(outside) == 0 {
			return s, nil
		}
		for _, sub := range outside {
			err := s.attach(ctx, sub)
			switch {
			case err == nil:
			case ctx.Err() != nil || s.Err() != nil:
				_ = s.conn.Close(tap.CloseNormal, "")
				return nil, err
			default: // the room is gone, or closed to us
				r.forget(sub)
				sub.end(err)
			}
		}
	}
}

// install makes s the current session unless there are rooms that it has not
// entered; it returns those.
func (r *Reconnector) install(s *Session) []*Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	var outside []*Subscription
	for sub := range r.subs {
		sub.mu.Lock()
		switch {
		case !sub.lasting: // closed
			delete(r.subs, sub)
		case sub.session != s:
			outside = append(outside, sub)
		}
		sub.mu.Unlock()
	}
	if len(outside) == 0 {
		r.session = s
		r.notify()
	}
	return outside
}

// notify wakes whoever waits for a change. r.mu is locked.
func (r *Reconnector) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// lose forgets the session; a non-nil error is the end.
func (r *Reconnector) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.err = nil, err
	r.notify()
}

func (r *Reconnector) forget(sub *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subs, sub)
}

// Session waits for a session that stands.
func (r *Reconnector) Session(ctx context.Context) (*Session, error) {
	for {
		r.mu.Lock()
		s, changed, err := r.session, r.changed, r.err
		r.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case s != nil && s.Err() == nil:
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, tap.AsError(ctx.Err())
		}
	}
}

// Subscribe enters a room and stays there across connections. After a
// reconnection the stream goes on without a loss, or a snapshot follows.
func (r *Reconnector) Subscribe(ctx context.Context, room string) (*Subscription, error) {
	sub := newSubscription(room)
	sub.lasting = true
	for {
		s, err := r.Session(ctx)
		if err != nil {
			return nil, err
		}
		err = s.attach(ctx, sub)
		if err == nil {
			if kept, err := r.keep(s, sub); kept || err != nil {
				return sub, err
			}
		} else if !broken(err) {
			return nil, err
		}
	}
}

// keep has connect take the subscription, entered through s, along from now on;
// false when another session already took over.
func (r *Reconnector) keep(s *Session, sub *Subscription) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || r.session != nil && r.session != s {
		return false, r.err
	}
	r.subs[sub] = struct{}{}
	return true, nil
}

// broken says whether an error means that the connection ended.
func broken(err error) bool {
	return tap.IsKind(err, tap.Unavailable) && tap.AsError(err).StableCode() == CodeUnreachable
}

// Evidence is Session.Evidence, repeated with the same id on the next
// connection when one ends before the answer.
func (r *Reconnector) Evidence(ctx context.Context, body []byte) ([]byte, error) {
	id := newID()
	for {
		s, err := r.Session(ctx)
		if err != nil {
			return nil, err
		}
		reply, err := s.evidence(ctx, id, body)
		if !broken(err) {
			return reply, err
		}
	}
}
