package client

import (
	"context"
	"math/rand/v2"
	"slices"
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
	// URLs are addresses of the same appliance beside Session.URL, which may
	// be among them, or empty.
	URLs []string
	// Backoff spaces the rounds over all addresses; within a round the pauses
	// are as many times shorter as there are addresses.
	Backoff Backoff
	// Dial opens a session; nil = Dial.
	Dial func(context.Context, SessionConfig) (*Session, error)
	// DialTimeout bounds one attempt; 0 = 10 s.
	DialTimeout time.Duration
	// Silence is how long a node may say nothing, not even to a ping, before
	// its session is taken for lost; 0 = 10 s.
	Silence time.Duration
	// Changed is told when a session began (nil error) and why one ended or
	// could not begin; may be nil.
	Changed func(error)
}

// Reconnector keeps a session open, with one node after the other when there are
// several: it dials again with growing, jittered pauses, re-enters the rooms
// where they stand, and repeats unanswered evidence with the same id, which the
// appliance applies at most once.
type Reconnector struct {
	config ReconnectConfig
	urls   []string // at least one, each once

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
	if c.Silence == 0 {
		c.Silence = 10 * time.Second
	}
	if c.Changed == nil {
		c.Changed = func(error) {}
	}
	urls := []string{}
	for _, u := range append([]string{c.Session.URL}, c.URLs...) {
		if u != "" && !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
	}
	if len(urls) == 0 {
		urls = append(urls, "") // Dial says what is wrong with it
	}
	return &Reconnector{config: c, urls: urls, changed: make(chan struct{}), subs: map[*Subscription]struct{}{}}
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
	failures, foreign := 0, 0 // attempts in a row that failed; with a wrong certificate
	for turn := 0; ; turn++ {
		s, err := r.connect(ctx, r.urls[turn%len(r.urls)])
		if err == nil {
			failures, foreign = 0, 0
			r.config.Changed(nil)
			if err = r.attend(ctx, s); ctx.Err() != nil {
				return s.Close()
			}
			r.lose(nil)
			r.config.Changed(err)
		} else {
			r.config.Changed(err)
			// One wrong server among the addresses is not the appliance's word.
			if tap.AsError(err).Code != CodeCertificate {
				foreign = 0
			} else if foreign++; foreign < len(r.urls) {
				err = tap.Wrap("client.reconnect", tap.Unavailable, err, "another server answers").WithCode(CodeCertificate)
			}
			if permanent(err) {
				return err
			}
		}
		if !r.pause(ctx, failures, tap.AsError(err)) {
			return nil
		}
		failures++
	}
}

// pause waits before the next attempt; false when the context ended. What one
// node asks for does not hold up the attempt at another.
func (r *Reconnector) pause(ctx context.Context, failures int, e *tap.Error) bool {
	nodes := len(r.urls)
	pause := r.config.Backoff.Delay(failures/nodes) / time.Duration(nodes)
	if nodes == 1 || e.Kind == tap.Limited {
		pause = max(pause, e.RetryAfter)
	}
	return sleep(ctx, pause)
}

// attend waits until the session ends, and ends it itself when the node has been
// silent for too long: a machine that lost its power does not say goodbye.
func (r *Reconnector) attend(ctx context.Context, s *Session) error {
	half := r.config.Silence / 2
	ticker := time.NewTicker(half)
	defer ticker.Stop()
	for {
		select {
		case <-s.Done():
			return s.Err()
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if s.silence() < half {
			continue
		}
		within, cancel := context.WithTimeout(ctx, half)
		err := s.Ping(within)
		cancel()
		if tap.IsKind(err, tap.Timeout) && s.silence() >= half {
			_ = s.conn.Close(tap.CloseNormal, "")
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

// connect opens a session with one node, re-enters the rooms and makes the session the
// current one.
func (r *Reconnector) connect(ctx context.Context, url string) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.DialTimeout)
	defer cancel()
	config := r.config.Session
	config.URL = url
	s, err := r.config.Dial(ctx, config)
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
// connection when one ends before the answer, and when a node that was busy said
// to come back, until the context ends.
func (r *Reconnector) Evidence(ctx context.Context, body []byte) ([]byte, error) {
	id := newID()
	for {
		s, err := r.Session(ctx)
		if err != nil {
			return nil, err
		}
		reply, err := s.EvidenceAs(ctx, id, body)
		switch {
		case err == nil:
			return reply, nil
		case busy(err):
			if !sleep(ctx, tap.AsError(err).RetryAfter) {
				return nil, err
			}
		case !broken(err):
			return nil, err
		}
	}
}

// busy says whether a node asks to repeat the request a moment later.
func busy(err error) bool {
	e := tap.AsError(err)
	return e.Kind == tap.Limited && e.Code == "busy" && e.RetryAfter > 0 && e.RetryAfter <= maxRetryAfter
}

// sleep is false when the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
