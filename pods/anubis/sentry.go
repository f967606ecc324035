package anubis

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tamv.internal/tamv/tap"
)

const (
	// slots is into how many parts a window is divided. A failure counts in the
	// part it fell into and in the next fifteen.
	slots = 16
	// maxTraces is how many addresses, and how many identities, are watched at a
	// time; who failed longest ago makes room.
	maxTraces = 1 << 14
	// maxAlarms is how many alarms may wait to be committed.
	maxAlarms = 256
)

// alarmRate bounds the alerts of a node, for those about addresses and those
// about identities each, so that a flood of one does not hide the other. What
// is beyond stays at its threshold and is raised by the next failure that finds
// room.
var alarmRate = Rate{PerSecond: 0.5, Burst: 30}

// alarm is an alert of this node that is not committed yet.
type alarm struct {
	tenant   string
	alert    Alert
	block    *Block
	withheld int64 // failures beyond a threshold since the last alarm that raised nothing
}

// sentry finds patterns in the failures that this node sees. It remembers a
// bounded number of addresses and identities, each in bounded memory.
type sentry struct {
	watchlist *Watchlist
	exempt    func(netip.Addr) bool
	metrics   *metrics
	seed      maphash.Seed

	mu         sync.Mutex
	policy     *Policy                    // guarded by mu; what the traces were made for
	addresses  *recent[netip.Addr, trace] // guarded by mu
	identities *recent[string, trace]     // guarded by mu; by key id
	families   [2]family                  // guarded by mu; of identities, of addresses
	alarms     []alarm                    // guarded by mu
}

// family is the budget that the patterns of one sort of subject share.
type family struct {
	budget   *rate.Limiter
	withheld int64
}

func newSentry(w *Watchlist, exempt func(netip.Addr) bool, m *metrics) *sentry {
	s := &sentry{watchlist: w, exempt: exempt, metrics: m, seed: maphash.MakeSeed()}
	for i := range s.families {
		s.families[i].budget = alarmRate.limiter()
	}
	s.follow(w.policy.Load())
	return s
}

// follow starts anew under a policy; mu is held, or nobody else has s yet.
func (s *sentry) follow(p *Policy) {
	s.policy = p
	s.addresses, s.identities = newRecent[netip.Addr, trace](maxTraces), newRecent[string, trace](maxTraces)
}

// spared says whether an address is never blocked.
func (s *sentry) spared(remote netip.Addr) bool {
	remote = remote.Unmap().WithZone("")
	return !remote.IsValid() || remote.IsLoopback() || s.exempt != nil && s.exempt(remote)
}

// failure is one refused attempt, as the sentry sees it.
type failure struct {
	claim
	keyID  string // of the identity, if it is enrolled; else empty
	spared bool
	now    time.Time
}

// failed counts a refusal that may be part of a pattern.
func (s *sentry) failed(c claim, code string, who *standing, now time.Time) {
	byIdentity, byAddress := evidenceOf(code)
	if !byIdentity && !byAddress {
		return
	}
	f := failure{claim: c, spared: s.spared(c.remote), now: now}
	if who != nil {
		f.keyID = who.principal.KeyID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.watchlist.policy.Load(); p != s.policy {
		s.follow(p)
	}
	if byIdentity && f.keyID != "" {
		t, _ := s.identities.use(f.keyID)
		s.weigh(f, Guessing, &t.raised[0], t.failures.add(s.slot(Guessing, now)))
		s.weigh(f, Spread, &t.raised[1], t.others.add(maphash.Comparable(s.seed, network(c.remote)), s.slot(Spread, now), s.policy.Spread.Count))
	}
	if byAddress {
		t, _ := s.addresses.use(f.subject())
		s.weigh(f, Hammering, &t.raised[0], t.failures.add(s.slot(Hammering, now)))
		if c.identity != anonymous {
			name := maphash.Comparable(s.seed, c.tenant+"\x00"+c.identity)
			s.weigh(f, Spray, &t.raised[1], t.others.add(name, s.slot(Spray, now), s.policy.Spray.Count))
		}
	}
}

// subject is the address that a failure is counted under: one that is never
// blocked stands for itself, so that its /64 does not answer for it.
func (f *failure) subject() netip.Addr {
	if f.spared {
		return f.remote.Unmap()
	}
	return network(f.remote)
}

// slot is the number of the part of the pattern's window that is now; mu is held.
func (s *sentry) slot(p Pattern, now time.Time) int64 {
	return now.UnixMicro() / (s.policy.of(p).window() / slots).Microseconds()
}

// weigh raises an alarm when the count makes a pattern, unless the same was
// raised a moment ago or there were too many; raised is when the trace heard of
// it last. mu is held.
func (s *sentry) weigh(f failure, p Pattern, raised *time.Time, count int) {
	threshold := s.policy.of(p)
	if count < threshold.Count || within(threshold.window(), *raised, f.now) {
		return
	}
	a, family := s.alarm(f, p, count)
	key := alertKey(a.tenant, a.alert.ID)
	blocks := p.ofAddress() && s.policy.BlockSeconds > 0 && !f.spared
	if blocks {
		if _, already := s.watchlist.blocked(f.subject(), f.now); already {
			return
		}
	} else if *raised = s.watchlist.raised(key); within(threshold.window(), *raised, f.now) {
		return
	}
	if len(s.alarms) == maxAlarms || !family.budget.AllowN(f.now, 1) {
		family.withheld++
		s.metrics.withheld.Inc()
		return
	}
	if blocks {
		b := s.watchlist.hold(f.subject(), p, f.now)
		a.block, a.alert.BlockedUntil = &b, b.Until
		s.addresses.forget(f.subject()) // afterwards it starts anew
	}
	a.alert = s.watchlist.raise(key, a.alert)
	a.withheld, family.withheld = family.withheld, 0
	s.alarms = append(s.alarms, a)
	s.metrics.alerts.WithLabelValues(string(p)).Inc()
}

// alarm makes the alarm of a pattern that a failure completed; mu is held.
func (s *sentry) alarm(f failure, p Pattern, count int) (alarm, *family) {
	a := alarm{tenant: f.tenant, alert: Alert{
		Pattern: p, Count: count, WindowSeconds: s.policy.of(p).WindowSeconds,
		Last: f.now.UnixMicro(), Expires: f.now.Add(s.policy.kept()).UnixMicro(),
	}}
	if p.ofAddress() {
		// The names that were tried are the attacker's words; the address is
		// what is known.
		a.tenant, a.alert.Address = s.watchlist.tenant, placeOf(f.subject())
		a.alert.ID = alertID(p, a.tenant, a.alert.Address)
		return a, &s.families[1]
	}
	a.alert.Identity, a.alert.Address = strings.Clone(f.identity), placeOf(f.remote)
	a.alert.ID = alertID(p, a.tenant, f.identity)
	return a, &s.families[0]
}

// lifted forgets what an address did: whoever lifted its block means it.
func (s *sentry) lifted(address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses.forget(address)
}

// take hands over the alarms that wait.
func (s *sentry) take() []alarm {
	s.mu.Lock()
	defer s.mu.Unlock()
	alarms := s.alarms
	s.alarms = nil
	return alarms
}

// trace is what is remembered of one address or identity.
type trace struct {
	failures window
	others   sightings    // names of an address, addresses of an identity
	raised   [2]time.Time // when the failures, and the others, were last found to be told already
}

// within says whether two moments are closer than a window. Clocks differ and
// are set back, hence in either order.
func within(window time.Duration, a, b time.Time) bool { return b.Sub(a).Abs() < window }

// window counts events in the slots of a window that moves.
type window struct {
	newest int64 // number of the newest slot
	counts [slots]uint32
}

// add counts one event in a slot and returns how many the window holds. A slot
// just behind the newest counts there; one that is out of reach in either
// direction means that the clock was set, and starts anew.
func (w *window) add(slot int64) int {
	if slot >= w.newest+slots || slot <= w.newest-slots {
		*w = window{newest: slot}
	}
	for ; w.newest < slot; w.newest++ {
		w.counts[uint64(w.newest+1)%slots] = 0
	}
	w.counts[uint64(w.newest)%slots]++
	n := 0
	for _, c := range w.counts {
		n += int(c)
	}
	return n
}

// sightings are the different ones that were seen within a window, by hash, the
// one that was not seen for longest first.
type sightings []sighting

type sighting struct {
	hash uint64
	slot int64
}

// add takes over that one was seen in a slot, and returns how many different
// ones the window holds. It remembers at most the given number.
func (s *sightings) add(hash uint64, slot int64, most int) int {
	kept := slices.DeleteFunc(*s, func(x sighting) bool {
		return x.hash == hash || slot >= x.slot+slots || slot <= x.slot-slots
	})
	if len(kept) >= most {
		kept = slices.Delete(kept, 0, len(kept)-most+1)
	}
	*s = append(kept, sighting{hash, slot})
	return len(*s)
}

// errBlocked is the refusal of an address that is blocked.
func errBlocked(left time.Duration) error {
	return tap.E("anubis.blocked", tap.Limited,
		"too many attempts from this address failed, so it is blocked for now; an operator of this site can lift that").
		WithCode(codeBlocked).WithRetryAfter(left)
}
