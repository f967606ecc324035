package anubis

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

const nonceShards = 64

// nonces remembers which nonces were spent, each until its signature can no
// longer pass the window. Nonces are kept by the minute in which they expire;
// a minute is forgotten as a whole.
type nonces struct {
	perShard int
	shards   [nonceShards]nonceShard
}

type nonceShard struct {
	mu      sync.Mutex
	minutes map[int64]map[nonceID]int64 // guarded by mu; expiry minute -> nonce -> expiry
	count   int                         // guarded by mu
	swept   int64                       // guarded by mu; the minute of the last sweep
	// forgotten are the minutes, in order, in which forgotten nonces
	// expired. Only a clock that was set back brings signatures from there,
	// and of those nobody knows whether they were used. Guarded by mu.
	forgotten []span
}

// span is a run of minutes, both ends included.
type span struct{ from, to int64 }

const (
	spanGap  = 60  // minutes between spans that are kept apart
	maxSpans = 128 // per shard; beyond it the oldest two become one
)

// nonceID stands for a nonce and its key: 128 bits of SHA-256, so that nobody
// can make two that collide.
type nonceID [16]byte

// verdict is what the memory knows about a nonce.
type verdict int

const (
	nonceFresh verdict = iota
	nonceUsed
	nonceForgotten // too old to know
	nonceNoRoom    // fresh, but it cannot be remembered
)

// newNonces makes a memory for about capacity nonces.
func newNonces(capacity int) *nonces {
	n := &nonces{perShard: max(1, capacity/nonceShards)}
	for i := range n.shards {
		n.shards[i].minutes = map[int64]map[nonceID]int64{}
	}
	return n
}

func idOfNonce(keyID, nonce string) nonceID {
	var room [256]byte
	b := append(room[:0], keyID...)
	b = append(b, 0)
	sum := sha256.Sum256(append(b, nonce...))
	return nonceID(sum[:16])
}

// look says what is known without spending the nonce.
func (n *nonces) look(id nonceID, created, now time.Time) verdict {
	s := &n.shards[id[0]%nonceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.know(id, expiry(created), now.Unix())
}

// spend marks a fresh nonce as used. Of several callers with one nonce, one is
// told that it was fresh.
func (n *nonces) spend(id nonceID, created, now time.Time) verdict {
	s := &n.shards[id[0]%nonceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now.Unix())
	expires := expiry(created)
	if v := s.know(id, expires, now.Unix()); v != nonceFresh {
		return v
	}
	if s.count >= n.perShard {
		return nonceNoRoom
	}
	minute := expires / 60
	if s.minutes[minute] == nil {
		s.minutes[minute] = map[nonceID]int64{}
	}
	s.minutes[minute][id] = expires
	s.count++
	return nonceFresh
}

// expiry is the last second in which a signature can pass the window.
func expiry(created time.Time) int64 { return created.Add(tap.SignatureWindow).Unix() }

func (s *nonceShard) know(id nonceID, expires, now int64) verdict {
	for _, f := range s.forgotten {
		if expires/60 >= f.from && expires/60 <= f.to {
			return nonceForgotten
		}
	}
	for _, spent := range s.minutes {
		if until, found := spent[id]; found && until >= now {
			return nonceUsed
		}
	}
	return nonceFresh
}

// sweep forgets the minutes that have passed, at most once a minute.
func (s *nonceShard) sweep(now int64) {
	if s.swept == now/60 {
		return
	}
	s.swept = now / 60
	for _, minute := range slices.Sorted(maps.Keys(s.minutes)) {
		if minute < s.swept {
			s.forget(minute)
			s.count -= len(s.minutes[minute])
			delete(s.minutes, minute)
		}
	}
}

// forget notes a minute whose nonces are dropped.
func (s *nonceShard) forget(minute int64) {
	for i := range s.forgotten {
		if f := &s.forgotten[i]; minute >= f.from-spanGap && minute <= f.to+spanGap {
			f.from, f.to = min(f.from, minute), max(f.to, minute)
			return
		}
	}
	s.forgotten = append(s.forgotten, span{minute, minute})
	slices.SortFunc(s.forgotten, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	if len(s.forgotten) > maxSpans {
		s.forgotten[1].from = s.forgotten[0].from
		s.forgotten = slices.Delete(s.forgotten, 0, 1)
	}
}

func (n *nonces) len() int {
	total := 0
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		total += s.count
		s.mu.Unlock()
	}
	return total
}
