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
	rate Rate

	mu    sync.Mutex
	table *recent[K, *rate.Limiter] // guarded by mu
}

func newBuckets[K comparable](r Rate, capacity int) *buckets[K] {
	return &buckets[K]{rate: r, table: newRecent[K, *rate.Limiter](capacity)}
}

// take takes one token and says whether there was one.
func (b *buckets[K]) take(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limiter, fresh := b.table.use(key)
	if fresh {
		*limiter = b.rate.limiter()
	}
	return (*limiter).AllowN(now, 1)
}

func (r Rate) limiter() *rate.Limiter { return rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst) }

// spent says whether the key has no token left. It takes none and remembers
// nothing about keys that it does not know.
func (b *buckets[K]) spent(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limiter := b.table.peek(key)
	return limiter != nil && (*limiter).TokensAt(now) < 1
}

func (b *buckets[K]) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.table.table)
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
