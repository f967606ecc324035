package keyring

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Sealer seals and opens payloads about a person with the keys of a ring. Its methods are
// safe for concurrent use.
type Sealer struct {
	ring     *Ring
	exchange *Exchange

	mu     sync.Mutex
	among  []string            // guarded by mu; the voters that safe is about
	safe   map[ID]bool         // guarded by mu; known to be stored by a majority of them
	making map[keyFor]*promise // guarded by mu; keys that somebody is making safe
}

type keyFor struct {
	subject
	generation uint64
}

// promise is a key on its way to a majority.
type promise struct {
	done chan struct{} // closed when err is set
	err  error
}

// NewSealer makes a sealer over the ring of an exchange.
func NewSealer(e *Exchange) *Sealer {
	return &Sealer{ring: e.ring, exchange: e, safe: map[ID]bool{}, making: map[keyFor]*promise{}}
}

// Seal encrypts a payload under a key of the subject's generation, and makes one if there
// is none yet. It returns once a majority of the members has that key on disk; that needs
// a round to them for the subject's first payload after a start or a change of the members,
// and nothing later. The errors are those of [Exchange.Store].
func (s *Sealer) Seal(ctx context.Context, tenant, name string, generation uint64, payload []byte) ([]byte, error) {
	key, err := s.key(ctx, keyFor{subject{tenant, name}, generation})
	if err != nil {
		return nil, err
	}
	defer clear(key.Value)
	var salt [32]byte
	rand.Read(salt[:])
	return bookpi.Seal([32]byte(key.Value), key.ID(), salt, payload), nil
}

// key is a key that a majority has. Callers that want the same one at the same time wait
// for the same promise, and none of them ends it for the others by leaving.
func (s *Sealer) key(ctx context.Context, want keyFor) (Secret, error) {
	for {
		key, p, err := s.find(ctx, want)
		if p == nil {
			return key, err
		}
		select {
		case <-p.done:
			if p.err != nil {
				return Secret{}, p.err
			}
		case <-ctx.Done():
			return Secret{}, tap.AsError(ctx.Err())
		}
	}
}

// find is a key that is known to be safe, or the promise of one.
func (s *Sealer) find(ctx context.Context, want keyFor) (Secret, *promise, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if voters := s.exchange.config.Voters(); !slices.Equal(voters, s.among) {
		s.among = slices.Clone(voters)
		clear(s.safe) // a majority of the members then may be none of those now
	}
	key, ok, err := s.ring.Key(want.tenant, want.name, want.generation)
	if err != nil || ok && s.safe[key.ID()] {
		return key, nil, err
	}
	p := s.making[want]
	if p == nil {
		p = &promise{done: make(chan struct{})}
		among := s.among
		if err := s.exchange.start(func() { s.make(context.WithoutCancel(ctx), want, key, ok, among, p) }); err != nil {
			return Secret{}, nil, err
		}
		s.making[want] = p
	}
	return Secret{}, p, nil
}

// make makes a key safe among the members; a new one if there is none.
func (s *Sealer) make(ctx context.Context, want keyFor, key Secret, ok bool, among []string, p *promise) {
	if !ok {
		key = Secret{Kind: SubjectKey, Tenant: want.tenant, Subject: want.name, Generation: want.generation, Value: make([]byte, keyBytes)}
		rand.Read(key.Value)
	}
	id := key.ID()
	p.err = s.exchange.Store(ctx, key)
	clear(key.Value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.err == nil && slices.Equal(among, s.exchange.config.Voters()) {
		s.safe[id] = true
	}
	delete(s.making, want)
	close(p.done)
}

// Open decrypts a sealed payload and says which key opens it and nothing else. The errors
// are NotFound, erased, when its key was destroyed; Unavailable, keyring_quorum, when it is
// not here and too few members answer to say where it is; Invalid, not_sealed, when the
// payload is none of these; and Internal, sealed_damaged, when it does not open.
func (s *Sealer) Open(ctx context.Context, payload []byte) (plain []byte, recordKey [32]byte, err error) {
	id, err := bookpi.SealedUnder(payload)
	if err != nil {
		return nil, recordKey, tap.Wrap("keyring.open", tap.Invalid, err, "this payload is not sealed").WithCode("not_sealed")
	}
	key, ok := s.ring.Get(id)
	if !ok {
		if key, err = s.exchange.Fetch(ctx, id); err != nil {
			return nil, recordKey, err
		}
	}
	defer clear(key.Value)
	if recordKey, err = bookpi.RecordKey([32]byte(key.Value), payload); err == nil {
		plain, err = bookpi.OpenSealed(payload, recordKey)
	}
	if err != nil {
		return nil, [32]byte{}, tap.Wrap("keyring.open", tap.Internal, err, "this payload does not open under its key").WithCode("sealed_damaged")
	}
	return plain, recordKey, nil
}
