package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Space is the key space of this package in the store.
const Space = "cluster"

const (
	kindMember     = "member"
	kindRemoved    = "removed"
	kindInvitation = "invitation"
)

// Pin is the SHA-256 of a node's public key (SubjectPublicKeyInfo), in hex when
// written as text.
type Pin [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (p Pin) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pin) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(p) {
		return tap.E("cluster.pin", tap.Invalid, "a pin is %d bytes in hex", len(p))
	}
	*p = Pin(raw)
	return nil
}

// Member is a node that shall be part of the site.
type Member struct {
	ID       string    `json:"id"`
	Address  string    `json:"address"` // HOST:PORT, for the other nodes
	Pin      Pin       `json:"pin"`
	Observer bool      `json:"observer,omitempty"` // shall not vote
	Joined   int64     `json:"joined"`
	Release  string    `json:"release"`
	Version  uint32    `json:"version"`              // newest commands that it applies
	Request  uuid.UUID `json:"joinRequest,omitzero"` // that took it in
	By       string    `json:"invitedBy,omitempty"`  // the operator
	Invited  string    `json:"invitation,omitempty"` // id of the invitation
}

// Removal is a node that was part of the site and never will be again.
type Removal struct {
	ID     string `json:"id"`
	Pin    Pin    `json:"pin"`
	When   int64  `json:"when"`
	By     string `json:"by"`
	Forced bool   `json:"forced,omitempty"`
}

// Invitation is the right of one machine to join.
type Invitation struct {
	Hash     Pin    `json:"hash"` // SHA-256 of the secret
	Expires  int64  `json:"expires"`
	Observer bool   `json:"observer,omitempty"`
	Node     string `json:"node,omitempty"` // the only name that it is good for; "" = any
	By       string `json:"by"`
	UsedBy   string `json:"usedBy,omitempty"`
	UsedPin  Pin    `json:"usedPin,omitzero"`
	UsedAt   int64  `json:"usedAt,omitempty"`
}

func memberKey(tenant, id string) store.Key     { return store.K(tenant, Space, kindMember, id) }
func removedKey(tenant, id string) store.Key    { return store.K(tenant, Space, kindRemoved, id) }
func invitationKey(tenant, id string) store.Key { return store.K(tenant, Space, kindInvitation, id) }

// invitationID names an invitation by the hash of its secret.
func invitationID(hash Pin) string { return hex.EncodeToString(hash[:8]) }

func validID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == 8 && hex.EncodeToString(raw) == id
}

// parse reads a stored record strictly; a record that does not parse is a
// defect, not something to guess about.
func parse[T any](raw []byte, sound func(*T) bool) (T, error) {
	var v T
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF || !sound(&v) {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		var zero T
		return zero, tap.Wrap("cluster.record", tap.Internal, err, "a record of the cluster does not parse")
	}
	return v, nil
}

func parseMember(raw []byte) (Member, error) {
	return parse(raw, func(m *Member) bool { return tap.ValidName(m.ID) && m.Address != "" })
}

func parseRemoval(raw []byte) (Removal, error) {
	return parse(raw, func(r *Removal) bool { return tap.ValidName(r.ID) })
}

func parseInvitation(raw []byte) (Invitation, error) {
	return parse(raw, func(i *Invitation) bool { return i.Expires > 0 })
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("cluster: a record that cannot be encoded: " + err.Error())
	}
	return b
}

// stored is a record with the version to check.
type stored[T any] struct {
	item store.Item
	T    T
}

// read finds one record; ok is false when there is none.
func read[T any](v store.View, k store.Key, parse func([]byte) (T, error)) (s stored[T], ok bool, err error) {
	item, ok, err := v.Get(k)
	if err != nil || !ok {
		return s, false, err
	}
	record, err := parse(item.Value)
	return stored[T]{item, record}, err == nil, err
}

// list reads all records of a kind, by name.
func list[T any](v store.View, tenant, kind string, parse func([]byte) (T, error)) (all []stored[T], err error) {
	var damaged error
	err = v.Scan(store.K(tenant, Space, kind).Prefix(), "", func(i store.Item) bool {
		var record T
		if record, damaged = parse(i.Value); damaged == nil {
			all = append(all, stored[T]{i, record})
		}
		return damaged == nil
	})
	if err == nil {
		err = damaged
	}
	return all, err
}
