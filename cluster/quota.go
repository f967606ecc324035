package cluster

import (
	"net"
	"net/netip"
	"sync"
)

// Limits are the places of a [Quota].
type Limits struct {
	Total     int // for all but members
	PerSource int // of those, for one source
	Members   int // for members alone, besides
}

// Quota bounds what others may hold open at a time, so that a stranger who takes
// all that he can get leaves some to others, and members always get in. A source
// is an IPv4 address, or the first 64 bits of an IPv6 address, within which one
// machine may choose any. A member whose own places are taken is served like
// anybody else. All methods are safe for concurrent use.
type Quota struct {
	limits Limits
	member func(netip.Addr) bool

	mu      sync.Mutex         // guards all below
	taken   int                // of Total
	members int                // of Members
	sources map[netip.Addr]int // of Total, by source; only those that hold some
}

// NewQuota makes a quota of free places. member says whether a member lives at
// an IP address, and must be quick; nil = nobody is one.
func NewQuota(l Limits, member func(netip.Addr) bool) *Quota {
	if member == nil {
		member = func(netip.Addr) bool { return false }
	}
	return &Quota{limits: l, member: member, sources: map[netip.Addr]int{}}
}

// Take takes a place for a connection that came from an address; ok is false
// when there is none. The place is free again when release is called, once.
func (q *Quota) Take(remote net.Addr) (release func(), ok bool) {
	ip := addressOf(remote)
	from := source(ip)
	q.mu.Lock()
	defer q.mu.Unlock()
	member := q.member(ip)
	switch {
	case member && q.members < q.limits.Members:
		q.members++
		return q.leaveMember, true
	case q.taken < q.limits.Total && q.sources[from] < q.limits.PerSource:
		q.taken++
		q.sources[from]++
		return func() { q.leave(from) }, true
	}
	return nil, false
}

func (q *Quota) leaveMember() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.members--
}

func (q *Quota) leave(from netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken--
	if q.sources[from]--; q.sources[from] == 0 {
		delete(q.sources, from)
	}
}

// addressOf is the IP address of a TCP connection's end, of which there is one
// form; the zero address for anything else.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// source is what an address counts as.
func source(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().Addr()
	}
	return ip
}
