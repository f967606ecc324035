package anubis

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

const (
	// SessionTTL is how long a session may be silent before it is over.
	SessionTTL = 24 * time.Hour
	// touchAfter is how old the replicated record of a session that was used
	// since may get.
	touchAfter = SessionTTL / 4
	// maxChanges is how many sessions one batch records; the rest waits for
	// the next. Each takes two operations.
	maxChanges = store.MaxOps / 2
)

// sessions are the TAP sessions of this node. Opening, use and closing stay in
// memory; what lasts longer than a flush is replicated as a record that expires
// SessionTTL after its last touch, so that a session whose node died goes away
// by itself.
type sessions struct {
	mu   sync.RWMutex
	open map[*tap.Principal]*session // guarded by mu; a session is known by the principal made for it
	gone []store.Key                 // guarded by mu; replicated records to delete
}

type session struct {
	key        store.Key
	record     sessionRecord
	touched    atomic.Int64 // microseconds
	replicated int64        // the touch that the record tells; 0 = none. Owned by the flush.
}

// sessionRecord is a session as stored, as JSON; times in microseconds.
type sessionRecord struct {
	Identity  string `json:"identity"`
	Address   string `json:"address"`
	Transport string `json:"transport"`
	OpenedAt  int64  `json:"openedAt"`
	TouchedAt int64  `json:"touchedAt"`
}

func newSessions() *sessions { return &sessions{open: map[*tap.Principal]*session{}} }

// Key is the first half of a session's handshake: the public key that the
// client must prove to hold.
func (g *Gate) Key(ctx context.Context, keyID string, remote netip.Addr, _ string) (ed25519.PublicKey, error) {
	now, c := g.now(), unclaimed(remote)
	who, err := g.handshake(keyID, now, &c)
	if err != nil && g.catchUp(ctx, err) {
		who, err = g.handshake(keyID, now, &c)
	}
	if err != nil {
		return nil, g.refused(c, err, now)
	}
	return who.key, nil
}

func (g *Gate) handshake(keyID string, now time.Time, c *claim) (*standing, error) {
	if err := g.checkBlocked(c.remote, now); err != nil {
		return nil, err
	}
	if err := g.checkAddress(c.remote, now); err != nil {
		return nil, err
	}
	who, err := g.find(keyID, now, c)
	if err == nil && who.identity.State != StateActive {
		err = errRevoked()
	}
	return who, err
}

// Established opens a session for a client that proved to hold the key. The
// principal stands for this session: hand the same pointer to Active and
// Closed.
func (g *Gate) Established(_ context.Context, keyID string, remote netip.Addr, transport string) (*tap.Principal, error) {
	now, c := g.now(), unclaimed(remote)
	who, err := g.handshake(keyID, now, &c)
	if err == nil && !g.identities.take(who.principal.KeyID, now) {
		err = limited(codeRateIdentity, "this identity sends too much")
	}
	if err != nil {
		return nil, g.refused(c, err, now)
	}
	g.note(c, codeOK, now)
	p := *who.principal
	s := &session{
		key: store.K(who.tenant, SpaceSession, uuid.Must(uuid.NewV7()).String()),
		record: sessionRecord{
			Identity: p.Identity, Address: attempt{claim: c}.place(), Transport: transport, OpenedAt: now.UnixMicro(),
		},
	}
	s.touched.Store(now.UnixMicro())
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	g.sessions.open[&p] = s
	return &p, nil
}

// Failed counts a handshake that ended with the given code after Key. A code
// that is not a short word of the form bad_signature is counted as handshake.
func (g *Gate) Failed(_ context.Context, keyID string, remote netip.Addr, _, code string) {
	c := unclaimed(remote)
	if who := g.directory.lookup(keyID); who != nil {
		c.is(who)
	} else {
		c.names(keyID, g.directory)
	}
	if !isCode(code) {
		code = codeHandshake
	}
	_ = g.refused(c, refusal(code, "the handshake failed"), g.now())
}

func isCode(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// Active says whether a session may go on: its identity is active and it was
// not silent for SessionTTL. It counts as a touch.
func (g *Gate) Active(p *tap.Principal) bool {
	now := g.now().UnixMicro()
	g.sessions.mu.RLock()
	s := g.sessions.open[p]
	g.sessions.mu.RUnlock()
	if s == nil || now-s.touched.Load() >= SessionTTL.Microseconds() {
		return false
	}
	who := g.directory.lookup(p.KeyID)
	if who == nil || who.identity.State != StateActive {
		return false
	}
	s.touched.Store(now)
	return true
}

// Closed ends a session; closing twice is fine.
func (g *Gate) Closed(p *tap.Principal) {
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	if s := g.sessions.open[p]; s != nil {
		g.sessions.close(p, s)
	}
}

// close forgets a session; mu is held.
func (s *sessions) close(p *tap.Principal, gone *session) {
	delete(s.open, p)
	if gone.replicated != 0 {
		s.gone = append(s.gone, gone.key)
	}
}

func (s *sessions) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.open)
}

// sessionChange is one session to record or, without a record, to delete.
type sessionChange struct {
	key    store.Key
	record *sessionRecord
}

// changes collects what the replicated records do not tell yet, and forgets
// sessions that were silent for too long.
func (s *sessions) changes(now int64) []sessionChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []sessionChange
	for p, open := range s.open {
		touched := open.touched.Load()
		switch {
		case now-touched >= SessionTTL.Microseconds():
			s.close(p, open)
		case len(found) < maxChanges && touched != open.replicated && now-open.replicated >= touchAfter.Microseconds():
			open.replicated = touched
			record := open.record
			record.TouchedAt = touched
			found = append(found, sessionChange{open.key, &record})
		}
	}
	n := min(len(s.gone), maxChanges-len(found))
	for _, key := range s.gone[:n] {
		found = append(found, sessionChange{key: key})
	}
	s.gone = slices.Delete(s.gone, 0, n)
	return found
}

// sessionsPayload is the evidence of a batch of session records.
type sessionsPayload struct {
	Recorded int `json:"recorded"`
	Closed   int `json:"closed"`
}

// batches makes one batch per tenant of what changed.
func (s *sessions) batches(now time.Time) []store.Batch {
	changes := s.changes(now.UnixMicro())
	slices.SortFunc(changes, func(a, b sessionChange) int {
		return cmp.Or(strings.Compare(a.key.Tenant(), b.key.Tenant()), strings.Compare(string(a.key), string(b.key)))
	})
	var batches []store.Batch
	for len(changes) > 0 {
		tenant := changes[0].key.Tenant()
		b := store.Batch{RequestID: uuid.Must(uuid.NewV7()), Tenant: tenant}
		var told sessionsPayload
		for len(changes) > 0 && changes[0].key.Tenant() == tenant {
			c := changes[0]
			changes = changes[1:]
			if c.record == nil {
				b.Ops = append(b.Ops, store.Delete(c.key))
				told.Closed++
				continue
			}
			// Put as well as Expire: the record of a session that was
			// silent on one side may be gone already.
			b.Ops = append(b.Ops, store.Put(c.key, mustJSON(c.record)),
				store.Expire(c.key, c.record.TouchedAt+SessionTTL.Microseconds()))
			told.Recorded++
		}
		b.Evidence = []store.Evidence{{Actor: system, Action: "auth.sessions", Outcome: "ok", Payload: mustJSON(told)}}
		batches = append(batches, b)
	}
	return batches
}
