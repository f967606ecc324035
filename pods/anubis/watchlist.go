package anubis

import (
	"encoding/json"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Key spaces of alerts, beside those of identities.
const (
	SpaceAlert    = "alert"    // tenant, alert id -> Alert, expires
	SpaceBlocked  = "blocked"  // site's tenant, address -> Block, expires repeatMemory after its end
	SpaceSecurity = "security" // site's tenant, "policy" -> Policy
)

// repeatMemory is how long after its end a block still doubles the next one.
const repeatMemory = 24 * time.Hour

// Alert is a pattern that was seen, stored as JSON under an id that follows from
// pattern and subject: what happens again is the same alert. Times are
// microseconds since the Unix epoch.
type Alert struct {
	ID             string    `json:"id"` // a UUID
	Pattern        Pattern   `json:"pattern"`
	Identity       string    `json:"identity,omitempty"` // of guessing and spread: the subject
	Address        string    `json:"address,omitempty"`  // of hammering and spray: the subject; else where the last failure came from
	Count          int       `json:"count"`              // when it was last raised: failures, names or addresses in the window
	WindowSeconds  int       `json:"windowSeconds"`
	First          int64     `json:"first"` // when it was first raised
	Last           int64     `json:"last"`  // when it was last raised
	Times          int       `json:"times"` // how often it was raised; two nodes that raise it at once may count one
	BlockedUntil   int64     `json:"blockedUntil,omitempty"`
	Expires        int64     `json:"expires"`
	AcknowledgedAt int64     `json:"acknowledgedAt,omitempty"`
	AcknowledgedBy string    `json:"acknowledgedBy,omitempty"`
	AckRequest     uuid.UUID `json:"ackRequest,omitzero"` // makes a repeated request harmless
}

// Block is an address that is refused, stored as JSON. It is in force before
// Until and remembered for repeatMemory afterwards. Times are microseconds.
type Block struct {
	Address string  `json:"address"` // an IPv4 address, or the first address of an IPv6 /64
	Pattern Pattern `json:"pattern"`
	Since   int64   `json:"since"`
	Until   int64   `json:"until"`
	Times   int     `json:"times"` // blocks in a row, this one included
}

func (b Block) forgotten(now time.Time) bool {
	return b.Until+repeatMemory.Microseconds() <= now.UnixMicro()
}

func alertKey(tenant, id string) store.Key { return store.K(tenant, SpaceAlert, id) }

func blockKey(tenant string, address netip.Addr) store.Key {
	return store.K(tenant, SpaceBlocked, address.String())
}

// alertID names the one alert of a pattern about a subject.
func alertID(p Pattern, tenant, subject string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("tamv alert\x00"+string(p)+"\x00"+tenant+"\x00"+subject)).String()
}

// Watchlist is the read cache of the policy, the blocks and the alerts. The
// store feeds it inside Apply, so a block holds on every node from the moment
// that the node applies it, and is over when somebody lifts it. What this node
// raised itself is in it at once, before it is committed.
type Watchlist struct {
	tenant string // the site's: of policy and blocks
	policy atomic.Pointer[Policy]

	mu     sync.RWMutex
	view   store.View           // guarded by mu; what Load was given
	blocks map[netip.Addr]Block // guarded by mu; in force, or over and remembered
	alerts map[store.Key]Alert  // guarded by mu
	lifted func(netip.Addr)     // guarded by mu; told when a block is taken away; may be nil
}

// NewWatchlist makes the empty watchlist of the site with this tenant. Register
// its ObserveChanges with the store for the spaces [SpaceAlert], [SpaceBlocked]
// and [SpaceSecurity], and Load it before the store applies anything.
func NewWatchlist(tenant string) *Watchlist {
	w := &Watchlist{tenant: tenant, blocks: map[netip.Addr]Block{}, alerts: map[store.Key]Alert{}}
	standard := DefaultPolicy()
	w.policy.Store(&standard)
	return w
}

// ObserveChanges takes over records that the store has just written or removed.
// Others, and those that do not parse, are skipped. After a reset everything is
// loaded again from the view that Load was given; if that fails, what was known
// stays, so that no block ends because a disk failed.
func (w *Watchlist) ObserveChanges(changes []store.Change, reset bool) {
	w.mu.Lock()
	if reset && w.view != nil {
		if loaded, err := w.read(w.view); err == nil {
			w.clear()
			changes = append(loaded, changes...)
		}
	}
	var gone []netip.Addr
	for _, c := range changes {
		gone = append(gone, w.replace(c)...)
	}
	lifted := w.lifted
	w.mu.Unlock() // whoever is told may be asking this list
	for _, address := range gone {
		if lifted != nil {
			lifted(address)
		}
	}
}

// Load reads the records, and remembers the view for a reset.
func (w *Watchlist) Load(v store.View) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view = v
	loaded, err := w.read(v)
	if err != nil {
		return tap.Wrap("anubis.load", tap.Internal, err, "the security alerts cannot be read")
	}
	w.clear()
	for _, c := range loaded {
		w.replace(c)
	}
	return nil
}

func (w *Watchlist) read(v store.View) (found []store.Change, err error) {
	for _, space := range []string{SpaceSecurity, SpaceBlocked, SpaceAlert} {
		records, err := recordsIn(v, space)
		if err != nil {
			return nil, err
		}
		found = append(found, records...)
	}
	return found, nil
}

// clear forgets everything; mu is held.
func (w *Watchlist) clear() {
	clear(w.blocks)
	clear(w.alerts)
	standard := DefaultPolicy()
	w.policy.Store(&standard)
}

// replace takes one record over, and returns the address whose block it takes
// away; mu is held.
func (w *Watchlist) replace(c store.Change) (lifted []netip.Addr) {
	switch space := c.Key.Space(); {
	case space == SpaceAlert:
		if a, err := parseAlert(c.Value); err == nil {
			w.alerts[c.Key] = a
			break
		}
		delete(w.alerts, c.Key)
	case c.Key.Tenant() != w.tenant:
	case c.Key == policyKey(w.tenant):
		p, err := parsePolicy(c.Value)
		if err != nil {
			p = DefaultPolicy()
		}
		w.policy.Store(&p)
	case space == SpaceBlocked:
		address, err := netip.ParseAddr(c.Key.Last())
		if err != nil {
			break
		}
		if b, err := parseBlock(c.Value); err == nil {
			w.blocks[address] = b
			break
		}
		delete(w.blocks, address)
		lifted = append(lifted, address)
	}
	return lifted
}

func parseBlock(value []byte) (b Block, err error) {
	if err := json.Unmarshal(value, &b); err != nil {
		return Block{}, tap.Wrap("anubis.block", tap.Internal, err, "the record of a block does not parse")
	}
	return b, nil
}

func parseAlert(value []byte) (a Alert, err error) {
	if err := json.Unmarshal(value, &a); err != nil {
		return Alert{}, tap.Wrap("anubis.alert", tap.Internal, err, "the record of an alert does not parse")
	}
	return a, nil
}

// onLift registers who is told of a block that is taken away.
func (w *Watchlist) onLift(fn func(netip.Addr)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lifted = fn
}

// Policy is the policy in force.
func (w *Watchlist) Policy() Policy { return *w.policy.Load() }

// blocked says until when the address, as [network] gives it, is refused.
func (w *Watchlist) blocked(address netip.Addr, now time.Time) (until time.Time, blocked bool) {
	w.mu.RLock()
	b, known := w.blocks[address]
	w.mu.RUnlock()
	if !known || b.Until <= now.UnixMicro() {
		return time.Time{}, false
	}
	return time.UnixMicro(b.Until), true
}

// hold blocks the address on this node until the record is committed.
func (w *Watchlist) hold(address netip.Addr, p Pattern, now time.Time) Block {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := Block{Address: address.String(), Pattern: p, Since: now.UnixMicro(), Times: 1}
	if last, known := w.blocks[address]; known && !last.forgotten(now) {
		b.Times += last.Times
	}
	b.Until = now.Add(w.policy.Load().block(b.Times)).UnixMicro()
	w.blocks[address] = b
	return b
}

// raised is when the alert was last raised; zero = never.
func (w *Watchlist) raised(key store.Key) time.Time {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if a, known := w.alerts[key]; known {
		return time.UnixMicro(a.Last)
	}
	return time.Time{}
}

// raise takes over an alert of this node and returns it with its history.
func (w *Watchlist) raise(key store.Key, a Alert) Alert {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, known := w.alerts[key]
	if a.First = a.Last; known {
		a.First = old.First
	}
	a.Times = old.Times + 1
	w.alerts[key] = a
	return a
}

// forget drops what has expired. The store takes the records away by itself;
// this is for those that were never committed.
func (w *Watchlist) forget(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := now.UnixMicro()
	maps.DeleteFunc(w.alerts, func(_ store.Key, a Alert) bool { return a.Expires <= at })
	maps.DeleteFunc(w.blocks, func(_ netip.Addr, b Block) bool { return b.forgotten(now) })
}

// AlertSummary is what there is to see to.
type AlertSummary struct {
	Open    int       // alerts that nobody acknowledged since they were last raised
	Newest  time.Time // when the newest of them was raised; zero without one
	Pattern Pattern   // of the newest
}

// Alerts sums up the open alerts of all tenants.
func (w *Watchlist) Alerts() AlertSummary {
	w.mu.RLock()
	defer w.mu.RUnlock()
	var s AlertSummary
	newest := int64(0)
	for _, a := range w.alerts {
		if a.AcknowledgedAt != 0 {
			continue
		}
		if s.Open++; a.Last > newest {
			newest, s.Pattern, s.Newest = a.Last, a.Pattern, time.UnixMicro(a.Last)
		}
	}
	return s
}

// Health fails while an alert is open, for a condition that warns.
func (w *Watchlist) Health() error {
	s := w.Alerts()
	if s.Open == 0 {
		return nil
	}
	return tap.E("anubis.alerts", tap.Unavailable,
		"security alerts: %d open, the newest is %s; list them with GET /v1/security/alerts and acknowledge each", s.Open, s.Pattern).
		WithCode("security_alerts")
}

// inForce is how many addresses are blocked.
func (w *Watchlist) inForce(now time.Time) (n int) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, b := range w.blocks {
		if b.Until > now.UnixMicro() {
			n++
		}
	}
	return n
}
