package subject

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// The spaces of this package in the store, besides [store.SpaceErasure].
const (
	SpaceRequest = "erasure-request" // those that wait
	SpaceDone    = "erasure-done"    // what became of them, kept apart so that nobody has to go through it
	SpacePolicy  = "erasure-policy"
)

const (
	// RequestLife is how long a request waits for approvals, and how long what
	// became of it is remembered.
	RequestLife = 24 * time.Hour
	// MaxPending bounds the requests of a tenant that wait.
	MaxPending = 256
	// MaxApprovals is the highest number that a policy can ask for.
	MaxApprovals = 5
)

// Erasure says how often a subject was erased, and how the last time came about.
type Erasure struct {
	Generation uint64    `json:"generation"`
	At         int64     `json:"at"`
	Requested  string    `json:"requested"` // who asked
	Approvers  []string  `json:"approvers"`
	ID         uuid.UUID `json:"id"` // of the request
}

// Policy is a tenant's rule for erasures.
type Policy struct {
	Approvals int    `json:"approvals"` // different identities, 0 to MaxApprovals
	By        string `json:"by,omitempty"`
	At        int64  `json:"at,omitempty"`
}

// needed is how many identities an erasure needs.
func (p Policy) needed() int { return max(p.Approvals, 1) }

// What a request is for.
const (
	kindErasure = "erasure"
	kindPolicy  = "policy"
)

// Request is an erasure, or a change of the policy, that waits, was done or was withdrawn.
type Request struct {
	ID        uuid.UUID  `json:"id"`
	Kind      string     `json:"kind"`
	Subject   string     `json:"subject,omitempty"`   // of an erasure
	Approvals int        `json:"approvals,omitempty"` // of a policy: what shall hold
	Reason    string     `json:"reason,omitempty"`    // until it is done
	Digest    string     `json:"digest,omitempty"`    // SHA-256 of the reason
	By        string     `json:"by"`
	At        int64      `json:"at"`
	Expires   int64      `json:"expires"`
	Approvers []approver `json:"approvers"`
	Done      bool       `json:"done,omitempty"`      // it waits no more
	Withdrawn string     `json:"withdrawn,omitempty"` // by whom
	Result    uint64     `json:"result,omitempty"`    // the generation that began
}

// approver is somebody who approved, as the gate knew them.
type approver struct {
	Identity string     `json:"identity"`
	Roles    []tap.Role `json:"roles"`
	KeyID    string     `json:"keyId"`
}

func (r *Request) approvedBy(identity string) bool {
	return slices.ContainsFunc(r.Approvers, func(a approver) bool { return a.Identity == identity })
}

// names are those who approved, in order.
func names(approvers []approver) []string {
	all := make([]string, len(approvers))
	for i, a := range approvers {
		all[i] = a.Identity
	}
	return all
}

func requestKey(tenant, id string) store.Key { return store.K(tenant, SpaceRequest, id) }
func doneKey(tenant, id string) store.Key    { return store.K(tenant, SpaceDone, id) }
func policyKey(tenant string) store.Key      { return store.K(tenant, SpacePolicy) }

// digestOf is what the ledger has of a reason.
func digestOf(reason string) string {
	sum := sha256.Sum256([]byte(reason))
	return hex.EncodeToString(sum[:])
}

// parse reads a stored record strictly.
func parse[T any](raw []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, tap.Wrap("subject.record", tap.Internal, err, "a record of an erasure does not parse")
	}
	if _, err := d.Token(); err != io.EOF {
		return v, tap.E("subject.record", tap.Internal, "a record of an erasure does not parse")
	}
	return v, nil
}

// read finds a record; a zero version says that there is none.
func read[T any](v store.View, k store.Key) (record T, version uint64, err error) {
	item, ok, err := v.Get(k)
	if err != nil || !ok {
		return record, 0, err
	}
	record, err = parse[T](item.Value)
	return record, item.Version, err
}

// find finds a request, whether it waits or is done.
func find(v store.View, tenant, id string) (r Request, version uint64, err error) {
	if r, version, err = read[Request](v, requestKey(tenant, id)); err != nil || version != 0 {
		return r, version, err
	}
	return read[Request](v, doneKey(tenant, id))
}

// policyOf is the rule in force: one identity, unless somebody set another.
func policyOf(v store.View, tenant string) (Policy, uint64, error) {
	p, version, err := read[Policy](v, policyKey(tenant))
	if err == nil && version == 0 {
		p = Policy{Approvals: 1}
	}
	return p, version, err
}

// requests are those that wait.
func requests(v store.View, tenant string) (pending []Request, err error) {
	var damaged error
	err = v.Scan(store.K(tenant, SpaceRequest).Prefix(), "", func(i store.Item) bool {
		var r Request
		if r, damaged = parse[Request](i.Value); damaged == nil {
			pending = append(pending, r)
		}
		return damaged == nil
	})
	if err == nil {
		err = damaged
	}
	return pending, err
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("subject: a record that cannot be encoded: " + err.Error())
	}
	return b
}
