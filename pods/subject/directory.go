package subject

import (
	"sync"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Keys are a node's keys. A keyring is one. No method waits for a disk.
type Keys interface {
	// Advance makes the keys of a subject's generations below the given one
	// unusable, has them destroyed, and keeps others from coming.
	Advance(tenant, subject string, generation uint64)
	// Reset forgets which generations are over; Advance says it again.
	Reset()
}

// Directory tells a node's keys about erasures from inside Apply, so that no key
// is used after its erasure was acknowledged.
type Directory struct {
	keys Keys

	mu   sync.Mutex
	view store.View // guarded by mu; what Load was given
}

// NewDirectory makes the directory. Register its ObserveChanges with the store
// for the space [store.SpaceErasure], and Load it before the store applies
// anything.
func NewDirectory(keys Keys) *Directory { return &Directory{keys: keys} }

// ObserveChanges passes on erasures that the store has just written. After a
// reset, all of them are read again from the view that Load was given; if that
// fails, what the keys know stays.
func (d *Directory) ObserveChanges(changes []store.Change, reset bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if reset && d.view != nil {
		loaded, err := erasures(d.view)
		if err == nil {
			d.keys.Reset()
			changes = append(loaded, changes...)
		}
	}
	for _, c := range changes {
		if generation, err := store.ParseGeneration(c.Value); c.Key.Space() == store.SpaceErasure && err == nil {
			d.keys.Advance(c.Key.Tenant(), c.Key.Last(), generation)
		}
	}
}

// Load reads the erasures of all tenants, and remembers the view for a reset.
func (d *Directory) Load(v store.View) error {
	loaded, err := erasures(v)
	if err != nil {
		return tap.Wrap("subject.load", tap.Internal, err, "the erasures cannot be read")
	}
	d.mu.Lock()
	d.view = v
	d.mu.Unlock()
	d.ObserveChanges(loaded, false)
	return nil
}

// erasures reads the erasure records of all tenants. It finds the tenants by
// jumping from the first record of one to the first record of the next.
func erasures(v store.View) (found []store.Change, err error) {
	for next := store.Key(""); ; {
		tenant := ""
		if err := v.Scan("", next, func(i store.Item) bool {
			tenant = i.Key.Tenant()
			return false
		}); err != nil || tenant == "" {
			return found, err
		}
		err := v.Scan(store.K(tenant, store.SpaceErasure).Prefix(), "", func(i store.Item) bool {
			found = append(found, store.Change{Key: i.Key, Value: i.Value, Version: i.Version})
			return true
		})
		if err != nil {
			return nil, err
		}
		next = store.Key(tenant + "\x01") // behind the tenant's zero byte, before any longer name
	}
}
