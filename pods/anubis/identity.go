package anubis

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Key spaces of this package in the store.
const (
	SpaceIdentity = "identity" // tenant, name -> Identity
	SpaceNonce    = "nonce"    // tenant, name, nonce -> one byte, expires with the signature
	SpaceSession  = "session"  // tenant, session id -> sessionRecord, expires
)

// State is where an identity stands in its life.
type State string

// The states. A revoked identity never becomes active again, and its name is
// not given away again, because the ledger knows actors by name.
const (
	StateActive  State = "active"
	StateRevoked State = "revoked"
)

// Identity is the record of who may sign, stored as JSON. Times are
// microseconds since the Unix epoch.
type Identity struct {
	Name          string     `json:"name"`
	PublicKey     []byte     `json:"publicKey"` // raw Ed25519, 32 bytes
	Roles         []tap.Role `json:"roles"`
	State         State      `json:"state"`
	EnrolledAt    int64      `json:"enrolledAt"`
	EnrolledBy    string     `json:"enrolledBy"`
	EnrolRequest  uuid.UUID  `json:"enrolRequest"` // makes a repeated request harmless
	RevokedAt     int64      `json:"revokedAt,omitempty"`
	RevokedBy     string     `json:"revokedBy,omitempty"`
	RevokeRequest uuid.UUID  `json:"revokeRequest,omitzero"`
	Reason        string     `json:"reason,omitempty"`
}

// reserved are names that mean something else in the ledger or in a path.
var reserved = []string{anonymous, system, "me"}

const (
	anonymous = "anonymous" // actor of attempts that claim no identity
	system    = "system"    // actor of what the appliance does by itself
)

func identityKey(tenant, name string) store.Key { return store.K(tenant, SpaceIdentity, name) }

// operates says whether the identity counts as an operator who can still act.
func (i *Identity) operates() bool {
	return i.State == StateActive && slices.Contains(i.Roles, tap.Operator)
}

// parseIdentity reads a stored record. It is strict about what the gate relies
// on: a record that does not parse admits nobody.
func parseIdentity(b []byte) (Identity, error) {
	var i Identity
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&i); err != nil {
		return Identity{}, tap.Wrap("anubis.identity", tap.Internal, err, "an identity record does not parse")
	}
	if !tap.ValidName(i.Name) || len(i.PublicKey) != ed25519.PublicKeySize ||
		i.State != StateActive && i.State != StateRevoked {
		return Identity{}, tap.E("anubis.identity", tap.Internal, "an identity record is incomplete")
	}
	return i, nil
}

// encode is the stored form. The struct holds nothing that JSON cannot.
func (i *Identity) encode() []byte { return mustJSON(i) }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("anubis: a record that cannot be encoded: " + err.Error())
	}
	return b
}

// Enrolment is a new identity. The composition root enrols the first operator
// with it, the pod everybody else.
type Enrolment struct {
	Tenant, Name string
	Key          ed25519.PublicKey
	Roles        []tap.Role
	By           string // the actor
	At           time.Time
	RequestID    uuid.UUID
}

// Batch is what enrols: the identity's record, created so that an existing name
// is a conflict, and the evidence identity.enrol. The error is Invalid when name,
// key or roles are not acceptable.
func (e Enrolment) Batch() (store.Batch, error) {
	if err := e.check(); err != nil {
		return store.Batch{}, err
	}
	record := Identity{
		Name: e.Name, PublicKey: e.Key, Roles: e.Roles, State: StateActive,
		EnrolledAt: e.At.UnixMicro(), EnrolledBy: e.By, EnrolRequest: e.RequestID,
	}
	return store.Batch{
		RequestID: e.RequestID,
		Tenant:    e.Tenant,
		Ops:       []store.Op{store.Create(identityKey(e.Tenant, e.Name), record.encode())},
		Evidence: []store.Evidence{{
			Actor: e.By, Action: "identity.enrol", Outcome: "ok",
			Payload: mustJSON(map[string]any{
				"name": e.Name, "keyId": tap.JoinKeyID(e.Tenant, e.Name), "publicKey": []byte(e.Key), "roles": e.Roles,
			}),
		}},
	}, nil
}

func (e Enrolment) check() error {
	invalid := func(code, format string, args ...any) error {
		return tap.E("anubis.enrol", tap.Invalid, format, args...).WithCode(code)
	}
	switch {
	case !tap.ValidName(e.Tenant):
		return invalid("tenant", "the tenant's name is not acceptable")
	case !tap.ValidName(e.Name) || slices.Contains(reserved, e.Name):
		return invalid("name", "a name has 1 to 64 lower-case letters, digits, '-', '_' or '.', and is none of %v", reserved)
	case len(e.Roles) == 0 || len(e.Roles) > len(tap.Roles()):
		return invalid("roles", "an identity has 1 to %d roles", len(tap.Roles()))
	}
	for i, r := range e.Roles {
		if !slices.Contains(tap.Roles(), r) || slices.Contains(e.Roles[:i], r) {
			return invalid("roles", "each role is one of %v and named once", tap.Roles())
		}
	}
	return CheckPublicKey(e.Key)
}

// Standing is the public key of an identity as a view has it, and the check that its
// record stays so; ok says whether it is active. It is for decisions that depend on
// others than the caller, whom the gate has checked.
func Standing(v store.View, tenant, name string) (key string, unchanged store.Op, ok bool, err error) {
	item, ok, err := v.Get(identityKey(tenant, name))
	if err != nil || !ok {
		return "", store.Op{}, false, err
	}
	i, err := parseIdentity(item.Value)
	if err != nil {
		return "", store.Op{}, false, err
	}
	return string(i.PublicKey), store.Check(item.Key, item.Version), i.State == StateActive, nil
}
