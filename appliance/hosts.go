package appliance

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
)

const (
	// lookupEvery is how often the addresses behind members' names are looked up.
	lookupEvery   = 5 * time.Minute
	lookupTimeout = 5 * time.Second
)

// memberHosts is where the other members live. The node itself is left out: it
// does not connect to itself, and its address is that of whoever else runs there.
type memberHosts struct {
	self      string
	directory *members.Directory
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error)

	known atomic.Pointer[map[netip.Addr]bool]
	names map[string][]netip.Addr // as looked up last; owned by run
}

func newMemberHosts(self string, d *members.Directory) *memberHosts {
	lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	h := &memberHosts{self: self, directory: d, lookup: lookup, names: map[string][]netip.Addr{}}
	h.publish()
	return h
}

// followMembers knows from now on where the other members live.
func (n *node) followMembers(ctx context.Context) *memberHosts {
	h := newMemberHosts(n.settings.Node, n.engines.members)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.run(ctx)
	}()
	n.onStop(func() error {
		cancel()
		<-ended
		return nil
	})
	return h
}

// exempt says whether an address is never blocked for what comes from it: that of
// another member, and this node's own, where whoever sits at the machine comes from.
func (n *node) exempt(ip netip.Addr) bool {
	own, err := netip.ParseAddr(cluster.Host(n.settings.Advertise))
	return n.hosts.has(ip) || err == nil && ip == own.Unmap().WithZone("")
}

// has says whether a member lives at an address.
func (h *memberHosts) has(ip netip.Addr) bool { return (*h.known.Load())[ip] }

// run follows the directory until ctx ends, and looks up a name when it is new
// and every lookupEvery.
func (h *memberHosts) run(ctx context.Context) {
	again := time.NewTicker(lookupEvery)
	defer again.Stop()
	all := true
	for {
		changed := h.directory.Changed()
		for _, name := range h.publish() {
			if _, known := h.names[name]; known && !all {
				continue
			}
			if h.resolve(ctx, name) {
				h.publish()
			}
		}
		select {
		case <-changed:
			all = false
		case <-again.C:
			all = true
		case <-ctx.Done():
			return
		}
	}
}

// resolve looks one name up. While that fails the former addresses stand.
func (h *memberHosts) resolve(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := h.lookup(ctx, name)
	if err == nil || h.names[name] == nil {
		h.names[name] = found
	}
	return err == nil
}

// publish tells what is known now and returns the names that members have in
// the place of an address.
func (h *memberHosts) publish() (names []string) {
	known, named := map[netip.Addr]bool{}, map[string][]netip.Addr{}
	for _, m := range h.directory.Members() {
		if m.ID == h.self {
			continue
		}
		host := cluster.Host(m.Address)
		if ip, err := netip.ParseAddr(host); err == nil {
			known[ip.Unmap().WithZone("")] = true
			continue
		}
		names = append(names, host)
		if found, ok := h.names[host]; ok {
			named[host] = found
		}
		for _, ip := range h.names[host] {
			known[ip.Unmap().WithZone("")] = true
		}
	}
	h.names = named // without those of members that are gone
	h.known.Store(&known)
	return names
}

// leaderless is how long a node may hear of no leader before it counts as one
// that does not know the members any more.
const leaderless = time.Minute

// settled says whether this node knows who the members are, so that whoever it
// does not know is a stranger.
func (n *node) settled() bool {
	return n.serving.Load() && knowsMembers(n.consensus.State(), time.Now(), func(id string) bool {
		_, ok := n.engines.members.Member(id)
		return ok || n.counts(id)
	})
}

// knowsMembers says whether a node that has caught up once still has. One that
// was cut off while members came and went must listen to a leader that it has
// never heard of, or it would stay behind for ever.
func knowsMembers(s consensus.Status, now time.Time, known func(id string) bool) bool {
	if s.LeaderID != "" {
		return s.LeaderID == s.ID || known(s.LeaderID)
	}
	return now.Sub(s.LastContact) < leaderless
}
