package store

import (
	"strings"

	"tamv.internal/tamv/tap"
)

// Key names a record: tenant, space (which pod's data) and the parts within
// it, joined by zero bytes. Keys of one tenant never sort among another's.
type Key string

const separator = "\x00"

// K builds a key. A part may hold any bytes but zero; a space is a constant of
// the pod that owns it.
func K(tenant, space string, parts ...string) Key {
	var b strings.Builder
	b.WriteString(tenant)
	b.WriteString(separator)
	b.WriteString(space)
	for _, p := range parts {
		b.WriteString(separator)
		b.WriteString(p)
	}
	return Key(b.String())
}

// Prefix is the key's children: what Scan takes to list them.
func (k Key) Prefix() Key { return k + separator }

// Tenant is the key's first part.
func (k Key) Tenant() string {
	t, _, _ := strings.Cut(string(k), separator)
	return t
}

// Space is the key's second part.
func (k Key) Space() string {
	_, rest, _ := strings.Cut(string(k), separator)
	s, _, _ := strings.Cut(rest, separator)
	return s
}

// Last is the key's last part.
func (k Key) Last() string { return string(k[strings.LastIndex(string(k), separator)+1:]) }

// validate refuses what would break the key space: another tenant's key, a
// missing space, an empty or oversized key.
func (k Key) validate(tenant string) error {
	switch {
	case len(k) > MaxKeyBytes:
		return tap.E("store.key", tap.Invalid, "a key of %d bytes is longer than %d", len(k), MaxKeyBytes)
	case k.Tenant() != tenant:
		return tap.E("store.key", tap.Forbidden, "a key of tenant %q in a batch of tenant %q", k.Tenant(), tenant)
	case k.Space() == "":
		return tap.E("store.key", tap.Invalid, "a key without a space")
	}
	return nil
}
