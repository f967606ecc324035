package anubis

import (
	"crypto/ed25519"
	"slices"
	"sync"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Directory is the read cache of the identities. The store feeds it inside
// Apply, before the batch that changed an identity is acknowledged, so it is
// never older than what a caller has been told: a revocation holds from its
// commit.
type Directory struct {
	mu      sync.RWMutex
	view    store.View           // guarded by mu; what Load was given
	byKeyID map[string]*standing // guarded by mu; the entries are never changed
	tenants map[string]int       // guarded by mu; identities per tenant
}

// standing is an identity as the gate uses it, prepared once per change.
type standing struct {
	identity  Identity
	tenant    string
	key       ed25519.PublicKey
	principal *tap.Principal // with all roles; shared, read-only
	// unchanged is the check that the identity's record is still this one,
	// to be committed with whatever the request does.
	unchanged []store.Op
}

// NewDirectory makes an empty directory. Register its ObserveChanges with the
// store for the space [SpaceIdentity], and Load it before the store applies
// anything.
func NewDirectory() *Directory {
	return &Directory{byKeyID: map[string]*standing{}, tenants: map[string]int{}}
}

// ObserveChanges takes over records that the store has just written or removed.
// Records of other spaces are skipped; a record that does not parse makes its
// identity unknown. After a reset everything is loaded again from the view that
// Load was given; if that fails nobody is known, so nobody is admitted.
func (d *Directory) ObserveChanges(changes []store.Change, reset bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if reset {
		clear(d.byKeyID)
		clear(d.tenants)
		if d.view != nil {
			loaded, _ := recordsIn(d.view, SpaceIdentity)
			changes = append(loaded, changes...)
		}
	}
	for _, c := range changes {
		if c.Key.Space() == SpaceIdentity {
			d.replace(c)
		}
	}
}

// replace updates one entry; mu is held.
func (d *Directory) replace(c store.Change) {
	tenant := c.Key.Tenant()
	keyID := tap.JoinKeyID(tenant, c.Key.Last())
	if d.byKeyID[keyID] != nil {
		delete(d.byKeyID, keyID)
		if d.tenants[tenant]--; d.tenants[tenant] == 0 {
			delete(d.tenants, tenant)
		}
	}
	if c.Value == nil {
		return
	}
	identity, err := parseIdentity(c.Value)
	if err != nil || identity.Name != c.Key.Last() {
		return
	}
	d.tenants[tenant]++
	d.byKeyID[keyID] = &standing{
		identity: identity, tenant: tenant, key: identity.PublicKey,
		principal: &tap.Principal{Tenant: tenant, Identity: identity.Name, Roles: slices.Clip(identity.Roles), KeyID: keyID},
		unchanged: slices.Clip([]store.Op{store.Check(c.Key, c.Version)}),
	}
}

// Load reads the identities of all tenants, and remembers the view for a reset.
func (d *Directory) Load(v store.View) error {
	loaded, err := recordsIn(v, SpaceIdentity)
	if err != nil {
		return tap.Wrap("anubis.load", tap.Internal, err, "the identities cannot be read")
	}
	d.mu.Lock()
	d.view = v
	d.mu.Unlock()
	d.ObserveChanges(loaded, false)
	return nil
}

// recordsIn reads the records of a space in all tenants. It finds the tenants by
// jumping from the first record of one to the first record of the next.
func recordsIn(v store.View, space string) (found []store.Change, err error) {
	for next := store.Key(""); ; {
		tenant := ""
		if err := v.Scan("", next, func(i store.Item) bool {
			tenant = i.Key.Tenant()
			return false
		}); err != nil {
			return nil, err
		}
		if tenant == "" {
			return found, nil
		}
		err := v.Scan(store.K(tenant, space).Prefix(), "", func(i store.Item) bool {
			found = append(found, store.Change{Key: i.Key, Value: i.Value, Version: i.Version})
			return true
		})
		if err != nil {
			return nil, err
		}
		next = store.Key(tenant + "\x01") // behind the tenant's zero byte, before any longer name
	}
}

// Len is the number of identities, active and revoked.
func (d *Directory) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.byKeyID)
}

// Stands says whether the principal's identity is enrolled and active, whatever
// brought the principal here; [Gate.Active] is for one with an open session.
func (d *Directory) Stands(p *tap.Principal) bool {
	who := d.lookup(tap.JoinKeyID(p.Tenant, p.Identity))
	return who != nil && who.identity.State == StateActive
}

// lookup finds the identity behind a key id; nil when there is none.
func (d *Directory) lookup(keyID string) *standing {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byKeyID[keyID]
}

// knows says whether a tenant has any identity.
func (d *Directory) knows(tenant string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.tenants[tenant] > 0
}
