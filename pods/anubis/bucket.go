package anubis

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is a token bucket's setting.
type Rate struct {
	PerSecond float64
	Burst     int
}

// buckets is a table of token buckets of which the least recently used make
// room for new ones. A key that was pushed out starts with a full bucket.
type buckets[K comparable] struct {
	rate     Rate
	capacity int

	mu    sync.Mutex
	table map[K]*bucket[K] // guarded by mu
	ring  bucket[K]        // guarded by mu; ring.next is the most recently used
}

type bucket[K comparable] struct {
	key        K
	limiter    *rate.Limiter
	prev, next *bucket[K]
}

func newBuckets[K comparable](r Rate, capacity int) *buckets[K] {
	b := &buckets[K]{rate: r, capacity: capacity, table: map[K]*bucket[K]{}}
	b.ring.prev, b.ring.next = &b.ring, &b.ring
	return b
}

// take takes one token and says whether there was one.
func (b *buckets[K]) take(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.table[key]
	switch {
	case e != nil:
		e.unlink()
	case len(b.table) >= b.capacity:
		// The oldest entry is used again: a full table allocates nothing.
		e = b.ring.prev
		e.unlink()
		delete(b.table, e.key)
		e.key, e.limiter = key, b.limiter()
		b.table[key] = e
	default:
		e = &bucket[K]{key: key, limiter: b.limiter()}
		b.table[key] = e
	}
	e.prev, e.next = &b.ring, b.ring.next
	e.prev.next, e.next.prev = e, e
	return e.limiter.AllowN(now, 1)
}

func (b *buckets[K]) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(b.rate.PerSecond), b.rate.Burst)
}

func (e *bucket[K]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

// spent says whether the key has no token left. It takes none and remembers
// nothing about keys that it does not know.
func (b *buckets[K]) spent(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.table[key]
	return e != nil && e.limiter.TokensAt(now) < 1
}

func (b *buckets[K]) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.table)
}

// network is what rates count as one address: an IPv4 address, or the /64 that
// an IPv6 host may choose its addresses from.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}
