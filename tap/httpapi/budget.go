package httpapi

import (
	"net/netip"
	"sync"
)

// minCharge is the least that a body is charged, in bytes: about what a request
// that waits for one costs beside it, so that the budget also bounds how many
// can wait.
const minCharge = 4 << 10

// budget is how much memory the bodies of all requests may take, together and
// per network. Nobody waits for it: who finds none left is told so.
type budget struct {
	total, perNetwork int64 // bytes

	mu       sync.Mutex
	used     int64
	networks map[netip.Addr]int64 // bytes that each holds; absent = none
}

func newBudget(total, perNetwork int64) *budget {
	return &budget{total: total, perNetwork: perNetwork, networks: map[netip.Addr]int64{}}
}

// take charges a body of n bytes to the peer, or changes nothing and says no.
func (b *budget) take(peer netip.Addr, n int64) bool {
	n, peer = max(n, minCharge), network(peer)
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.total-b.used || n > b.perNetwork-b.networks[peer] {
		return false
	}
	b.used += n
	b.networks[peer] += n
	return true
}

// give returns what take(peer, n) charged.
func (b *budget) give(peer netip.Addr, n int64) {
	n, peer = max(n, minCharge), network(peer)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.networks[peer] -= n; b.networks[peer] == 0 {
		delete(b.networks, peer)
	}
}

// network is what one host can be assumed to command: an IPv4 address, an IPv6
// /64. All peers without an address are one.
func network(peer netip.Addr) netip.Addr {
	if !peer.Is6() {
		return peer
	}
	return netip.PrefixFrom(peer, 64).Masked().Addr()
}
