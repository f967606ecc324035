package cluster

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Directory is the members in memory. The store feeds it inside Apply, so it is
// never older than what a caller has been told. It answers what links between
// nodes ask before they trust one. All methods are safe for concurrent use.
type Directory struct {
	tenant string

	mu      sync.RWMutex       // guards all below
	view    store.View         // what Load was given
	members map[string]Member  // by name
	removed map[string]Removal // by name
	revoked map[Pin]string     // the keys of the removed, and whose they were
	changed chan struct{}      // closed at the next change
}

// NewDirectory makes the empty directory of the site with this tenant. Register
// its ObserveChanges with the store for the space [Space], and Load it before
// the store applies anything.
func NewDirectory(tenant string) *Directory {
	return &Directory{
		tenant: tenant, members: map[string]Member{}, removed: map[string]Removal{}, revoked: map[Pin]string{}, changed: make(chan struct{}),
	}
}

// ObserveChanges takes over records that the store has just written or removed;
// others than of this package are skipped. After a reset everything is loaded
// again from the view that Load was given. If that fails, or a record does not
// parse, what was known stays: a node that was removed must not come back
// because a disk failed.
func (d *Directory) ObserveChanges(changes []store.Change, reset bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if reset && d.view != nil {
		if err := d.load(d.view); err != nil {
			return
		}
	}
	for _, c := range changes {
		d.replace(c)
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// Load reads the records, and remembers the view for a reset.
func (d *Directory) Load(v store.View) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.view = v
	if err := d.load(v); err != nil {
		return tap.Wrap("cluster.load", tap.Internal, err, "the members cannot be read")
	}
	return nil
}

// load replaces what is known; mu is held.
func (d *Directory) load(v store.View) error {
	members, err := list(v, d.tenant, kindMember, parseMember)
	if err != nil {
		return err
	}
	removals, err := list(v, d.tenant, kindRemoved, parseRemoval)
	if err != nil {
		return err
	}
	clear(d.members)
	clear(d.removed)
	clear(d.revoked)
	for _, m := range members {
		d.members[m.T.ID] = m.T
	}
	for _, r := range removals {
		d.removed[r.T.ID], d.revoked[r.T.Pin] = r.T, r.T.ID
	}
	return nil
}

// replace updates one entry; mu is held.
func (d *Directory) replace(c store.Change) {
	id := c.Key.Last()
	switch c.Key {
	case memberKey(d.tenant, id):
		if m, err := parseMember(c.Value); c.Value != nil && err == nil {
			d.members[id] = m
		} else if c.Value == nil {
			delete(d.members, id)
		}
	case removedKey(d.tenant, id): // never taken back
		if r, err := parseRemoval(c.Value); err == nil {
			d.removed[id], d.revoked[r.Pin] = r, id
		}
	}
}

// Members lists the nodes that shall be members, by name.
func (d *Directory) Members() []Member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(d.members), func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
}

// Member is the record of one node; ok is false when it is no member.
func (d *Directory) Member(id string) (m Member, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	m, ok = d.members[id]
	return m, ok
}

// Pin is the pinned key of a member; ok is false when it is none.
func (d *Directory) Pin(id string) (pin [32]byte, ok bool) {
	m, ok := d.Member(id)
	return m.Pin, ok
}

// NodeAt is the member with this address; ok is false when there is none.
func (d *Directory) NodeAt(address string) (id string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, m := range d.members {
		if m.Address == address {
			return m.ID, true
		}
	}
	return "", false
}

// Removed says whether a node was a member and is none for good.
func (d *Directory) Removed(id string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, gone := d.removed[id]
	return gone
}

// RevokedKey says whether a key was that of a removed node.
func (d *Directory) RevokedKey(pin [32]byte) bool {
	_, gone := d.owner(pin)
	return gone
}

// owner is the removed node that a key was that of.
func (d *Directory) owner(pin Pin) (id string, gone bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	id, gone = d.revoked[pin]
	return id, gone
}

// Changed is closed at the next change. Ask for it before reading the members,
// and no change is missed.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.changed
}

// Roster is the directory as links between nodes ask it: a node that was removed
// is refused once replication does not count it any more, and not a moment
// earlier. Two voters of which one is removed show why: until the configuration
// says so, the one that stays needs the other's vote to lead.
type Roster struct {
	*Directory
	counts  func(id string) bool
	settled func() bool
}

// ForLinks is the roster for links; counts says whether a node is in
// replication's present configuration, as far as this node knows, and settled
// whether this node knows what the others know, rather than catching up.
func (d *Directory) ForLinks(counts func(id string) bool, settled func() bool) Roster {
	return Roster{d, counts, settled}
}

// Pin is the pinned key of a member, and of one that was removed and that links
// must outlive: its name is good for no other key.
func (r Roster) Pin(id string) (pin [32]byte, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if m, ok := r.members[id]; ok {
		return m.Pin, true
	}
	gone, ok := r.removed[id]
	return gone.Pin, ok
}

// Expected says whether a node that connects may be one of the site: it has a
// record, or replication counts on it, or this node is catching up and has yet
// to hear of it.
func (r Roster) Expected(id string) bool {
	_, member := r.Member(id)
	return member || r.counts(id) || !r.settled()
}

// Removed says whether a node was a member and is out of the configuration.
func (r Roster) Removed(id string) bool { return r.Directory.Removed(id) && !r.counts(id) }

// RevokedKey says whether a key was that of such a node.
func (r Roster) RevokedKey(pin [32]byte) bool {
	id, gone := r.owner(pin)
	return gone && !r.counts(id)
}
