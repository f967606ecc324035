package keyring

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

const (
	// SyncInterval is how often a node asks the others for what it lacks; each time a
	// little more or less, so that they do not all do it at once.
	SyncInterval = 30 * time.Second
	// storeTimeout bounds how long a member may take to store a key; who waits for it has
	// a request to answer.
	storeTimeout = 1500 * time.Millisecond
	// fetchGrace is how long the others may take when a majority lacks a key.
	fetchGrace = 300 * time.Millisecond
	// syncTimeout bounds one comparison with another member.
	syncTimeout = time.Minute
)

// ExchangeConfig says between whom secrets are exchanged.
type ExchangeConfig struct {
	Ring *Ring
	Self string
	// Members are the ids of all members at present, Self among them, always in the same
	// order.
	Members func() []string
	// Voters are those of the members whose majority a secret must be stored by; nil = all.
	// A member that only follows, and may be away for long, is none of them.
	Voters func() []string
	// Dial connects to a member whose Exchange serves the other end.
	Dial func(ctx context.Context, member string) (net.Conn, error)
	// Changed returns a channel that is closed when the members change next; nil = they
	// never do.
	Changed func() <-chan struct{}
	Logger  *slog.Logger // nil discards; it is never told secrets
}

// Exchange hands secrets from member to member. Its methods are safe for concurrent use.
type Exchange struct {
	config ExchangeConfig
	ring   *Ring
	log    *slog.Logger
	served chan struct{} // a place for each connection that is served
	absent absences

	mu    sync.Mutex
	ended bool                     // guarded by mu: Run returned
	work  sync.WaitGroup           // what may outlive its caller; Add under mu while not ended
	tells map[string]chan struct{} // guarded by mu; a place for each connection on which a member is sent a secret
}

// NewExchange makes an exchange. It serves and asks nobody by itself; see Serve and Run.
func NewExchange(c ExchangeConfig) *Exchange {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Voters == nil {
		c.Voters = c.Members
	}
	if c.Changed == nil {
		c.Changed = func() <-chan struct{} { return nil }
	}
	return &Exchange{config: c, ring: c.Ring, log: c.Logger, served: make(chan struct{}, maxServed), tells: map[string]chan struct{}{}}
}

// start runs f, which Run waits for at its end; after that it runs nothing any more and
// returns the error.
func (e *Exchange) start(f func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return tap.E("keyring.exchange", tap.Unavailable, "this node is stopping")
	}
	e.work.Go(f)
	return nil
}

// end waits for what was started.
func (e *Exchange) end() {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.work.Wait()
}

// others are the members but this one.
func (e *Exchange) others() []string {
	return slices.DeleteFunc(slices.Clone(e.config.Members()), func(id string) bool { return id == e.config.Self })
}

// majority is how many voters are more than half of them, and how many of these this node
// is: one or none. votes says whether another member is one.
func (e *Exchange) majority() (needed, here int, votes func(member string) bool) {
	voters := e.config.Voters()
	votes = func(member string) bool { return slices.Contains(voters, member) }
	if votes(e.config.Self) {
		here = 1
	}
	return len(voters)/2 + 1, here, votes
}

// call sends one request to a member and returns the body of the answer.
func (e *Exchange) call(ctx context.Context, conn net.Conn, kind byte, body []byte, want byte) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	if err := writeFrame(conn, kind, body); err != nil {
		return nil, err
	}
	got, answer, err := readFrame(conn)
	if err == nil && got != want {
		err = fmt.Errorf("%w: answered with type %d", errFrame, got)
	}
	return answer, err
}

// Store makes a secret safe: it returns once the secret is on this node's disk and on
// those of a majority of the voters. The others get it as well if they can be reached.
// The error is Conflict, generation_over, when somebody knows that the subject was erased;
// Unavailable, keyring_quorum, while too few members answer, or of this node's disk. After
// an error the secret may be on some members' disks, where it does no harm, and may be
// stored again.
func (e *Exchange) Store(ctx context.Context, s Secret) error {
	if err := e.ring.Put(s); err != nil {
		return err
	}
	others := e.others()
	needed, stored, votes := e.majority()
	type result struct {
		member string
		err    error
	}
	results := make(chan result, len(others))
	body := appendSecrets(nil, []Secret{s}) // now: the caller may clear the secret when we return
	for _, member := range others {
		err := e.start(func() { // goes on when a majority has answered
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
			defer cancel()
			results <- result{member, e.put(ctx, member, body)}
		})
		if err != nil {
			return err
		}
	}
	for range others {
		if stored >= needed {
			return nil
		}
		select {
		case r := <-results:
			if tap.IsKind(r.err, tap.Conflict) {
				return r.err
			}
			if r.err == nil && votes(r.member) {
				stored++
			}
		case <-ctx.Done():
			return tap.AsError(ctx.Err())
		}
	}
	if stored >= needed {
		return nil
	}
	return errQuorum("the key could not be stored by a majority of the members", stored, needed)
}

func errQuorum(message string, answered, needed int) error {
	return tap.E("keyring.exchange", tap.Unavailable, "%s", message).
		WithCode("keyring_quorum").WithDetail("answered", answered).WithDetail("needed", needed)
}

// told is the places of a member.
func (e *Exchange) told(member string) chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tells[member] == nil {
		e.tells[member] = make(chan struct{}, maxTold)
	}
	return e.tells[member]
}

// put stores one secret, as the body of its frame, at one member. It waits for a place,
// because the member turns away what is beyond its own.
func (e *Exchange) put(ctx context.Context, member string, body []byte) error {
	places := e.told(member)
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	conn, err := e.config.Dial(ctx, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := e.call(ctx, conn, framePut, body, frameStored)
	switch {
	case err != nil:
		return err
	case len(answer) != 3 || answer[0] != 0 || answer[1] != 1:
		return errFrame
	case answer[2] == storedOver:
		return errOver()
	case answer[2] != storedDisk:
		return errFrame
	}
	return nil
}

// Fetch gets a secret that this node lacks from any member that has it. The error is
// NotFound, erased, when this node destroyed it, or a majority of the members lacks it:
// what was used was stored by a majority. It is Unavailable, keyring_quorum, while too few
// of them answer. Either is remembered for a moment, so that a list of payloads under one
// key asks once.
func (e *Exchange) Fetch(ctx context.Context, id ID) (Secret, error) {
	if e.ring.Destroyed(id) {
		return Secret{}, errErased()
	}
	if err := e.absent.lookup(id); err != nil {
		return Secret{}, err
	}
	s, err := e.fetch(ctx, id)
	switch {
	case tap.IsKind(err, tap.NotFound):
		e.absent.remember(id, err, erasedFor)
	case err != nil && ctx.Err() == nil:
		e.absent.remember(id, err, unknownFor)
	}
	return s, err
}

// fetch asks all other members at once.
func (e *Exchange) fetch(ctx context.Context, id ID) (Secret, error) {
	type result struct {
		member string
		found  []Secret
		err    error
	}
	others := e.others()
	results := make(chan result, len(others))
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for _, member := range others {
		err := e.start(func() {
			found, err := e.get(ctx, member, []ID{id})
			results <- result{member, found, err}
		})
		if err != nil {
			return Secret{}, err
		}
	}
	needed, lacking, votes := e.majority()
	var late <-chan time.Time // when a majority lacks it, the rest may still have it: one of them may be new here
	if lacking >= needed {
		late = time.After(fetchGrace)
	}
	for answered := 0; answered < len(others); answered++ {
		var r result
		select {
		case r = <-results:
		case <-late:
			return Secret{}, errErased()
		}
		if r.err != nil {
			continue
		}
		if len(r.found) == 0 {
			if votes(r.member) {
				lacking++
			}
			if lacking >= needed && late == nil {
				late = time.After(fetchGrace)
			}
			continue
		}
		s := r.found[0]
		if err := e.ring.Put(s); tap.IsKind(err, tap.Conflict) || e.ring.Over(s) {
			return Secret{}, errErased()
		} else if err != nil {
			e.log.Debug("a key of another member can be used and not be kept", "error", err)
		}
		return s, nil
	}
	if lacking >= needed {
		return Secret{}, errErased()
	}
	return Secret{}, errQuorum("the key is not here, and too few members answer to say whether it is anywhere", lacking, needed)
}

func errErased() error {
	return tap.E("keyring.open", tap.NotFound, "the key of this payload was destroyed when its subject was erased").WithCode("erased")
}

// get asks one member for secrets by their ids. What comes is what was asked for.
func (e *Exchange) get(ctx context.Context, member string, ids []ID) ([]Secret, error) {
	conn, err := e.config.Dial(ctx, member)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return e.getOn(ctx, conn, ids)
}

func (e *Exchange) getOn(ctx context.Context, conn net.Conn, ids []ID) ([]Secret, error) {
	answer, err := e.call(ctx, conn, frameGet, appendIDs(nil, ids), frameSecrets)
	if err != nil {
		return nil, err
	}
	found, err := parseSecrets(answer)
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		if !slices.Contains(ids, s.ID()) {
			return nil, errFrame
		}
	}
	return found, nil
}

// Run compares this node's ring with the other members' until ctx ends: at once, when the
// members change, and every [SyncInterval]. It returns when nothing of the exchange runs
// any more, but for what Serve serves.
func (e *Exchange) Run(ctx context.Context) {
	defer e.end()
	for {
		changed := e.config.Changed()
		e.Sync(ctx)
		timer := time.NewTimer(SyncInterval*3/4 + rand.N(SyncInterval/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Sync gets from every member that answers what this node lacks.
func (e *Exchange) Sync(ctx context.Context) {
	for _, member := range e.others() {
		if err := e.syncWith(ctx, member); err != nil && ctx.Err() == nil {
			e.log.Debug("the keys were not compared", "member", member, "error", err)
		}
	}
}

// syncWith gets what one member has and this node lacks.
func (e *Exchange) syncWith(ctx context.Context, member string) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	conn, err := e.config.Dial(ctx, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := e.call(ctx, conn, frameDigest, nil, frameState)
	if err != nil {
		return err
	}
	theirs, theirXor, err := parseState(answer)
	count, xor := e.ring.Digest()
	if err != nil || theirs == uint64(count) && theirXor == xor {
		return err
	}
	for after := (ID{}); ; {
		answer, err := e.call(ctx, conn, frameList, after[:], frameIDs)
		if err != nil {
			return err
		}
		ids, err := parseIDs(answer, maxIDs)
		if err != nil || len(ids) == 0 {
			return err
		}
		if !slices.IsSortedFunc(append([]ID{after}, ids...), compareIDs) || ids[len(ids)-1] == after {
			return errFrame // it would never end
		}
		after = ids[len(ids)-1]
		if err := e.take(ctx, conn, ids); err != nil {
			return err
		}
	}
}

// take gets those of the ids that this node lacks and may have.
func (e *Exchange) take(ctx context.Context, conn net.Conn, ids []ID) error {
	lacking := slices.DeleteFunc(ids, func(id ID) bool {
		return e.ring.Has(id) || e.ring.Destroyed(id)
	})
	for some := range slices.Chunk(lacking, maxGet) {
		found, err := e.getOn(ctx, conn, some)
		if err != nil {
			return err
		}
		// Of a generation that is over: the other member will hear of it.
		if err := e.ring.Put(found...); err != nil && !tap.IsKind(err, tap.Conflict) {
			return err
		}
	}
	return nil
}
