package isabella

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// The kernel's key spaces.
const (
	spaceIntent = "intent" // {id}/body/{n}: a held intent in pieces; {id}/response: the kept reply
	spaceReview = "review" // {ticket}: the review; held/{ticket}: index of the open ones
)

// State is how far a held intent is.
type State string

// The states of a review.
const (
	StateHeld     State = "held"
	StateApproved State = "approved"
	StateDenied   State = "denied"
)

// Review is a held intent before and after a guardian's decision. It is kept
// without the intent's text, which is a record of its own until the decision.
type Review struct {
	Ticket        string         `json:"ticket"` // also the intent's id
	State         State          `json:"state"`
	Submitter     string         `json:"submitter"`
	Submitted     string         `json:"submitted"` // RFC 3339, UTC
	Type          string         `json:"type"`
	InputType     pods.InputType `json:"inputType"`
	InputDigest   string         `json:"inputDigest"`
	SafetyProfile pods.Profile   `json:"safetyProfile"`
	Jurisdiction  string         `json:"jurisdiction"`
	Audit         *Audit         `json:"audit"`
	Guardian      string         `json:"guardian,omitempty"`
	Decided       string         `json:"decided,omitempty"` // RFC 3339, UTC
	Reason        string         `json:"reason,omitempty"`
}

// stored is a review with what only the kernel needs.
type stored struct {
	Review
	Roles      []tap.Role `json:"roles"` // the submitter's, when the intent was sent
	KeyID      string     `json:"keyId"`
	Lang       tap.Lang   `json:"lang"`
	Address    string     `json:"address"`
	BodyDigest string     `json:"bodyDigest"`
	Pieces     int        `json:"pieces"`
	DecisionID uuid.UUID  `json:"decisionId"` // request that decided
	version    uint64
}

func reviewKey(tenant, ticket string) store.Key { return store.K(tenant, spaceReview, ticket) }
func openKey(tenant, ticket string) store.Key {
	return store.K(tenant, spaceReview, string(StateHeld), ticket)
}

func responseKey(tenant, id string) store.Key { return store.K(tenant, spaceIntent, id, "response") }

func pieceKey(tenant, id string, n int) store.Key {
	return store.K(tenant, spaceIntent, id, "body", fmt.Sprintf("%04d", n))
}

// load reads a review. A ticket that names none is NotFound.
func load(view store.View, tenant, ticket string) (*stored, error) {
	if _, err := uuid.Parse(ticket); err != nil {
		return nil, errNoReview()
	}
	item, ok, err := view.Get(reviewKey(tenant, ticket))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoReview()
	}
	r := &stored{version: item.Version}
	if err := json.Unmarshal(item.Value, r); err != nil {
		return nil, tap.Wrap("isabella.review", tap.Internal, err, "a review is damaged")
	}
	return r, nil
}

func errNoReview() error {
	return tap.E("isabella.review", tap.NotFound, "there is no such held intent")
}

// pieceBytes is how much of a held intent one record takes. The whole, with the
// review, fits in a batch.
const (
	pieceBytes = 448 << 10
	bodyLimit  = 2 * pieceBytes
)

// hold ends a task that a guardian must decide. The same request sent again is
// given the same ticket.
func (t *task) hold() (*pods.Result, error) {
	c, in := t.call, t.intent
	r := stored{
		Review: Review{
			Ticket: t.id(), State: StateHeld, Submitter: c.Actor(), Submitted: pods.Timestamp(c.Now), Type: in.Type,
			InputType: in.Input.Type, InputDigest: digest(in.Input.Data), SafetyProfile: in.SafetyProfile,
			Jurisdiction: in.Jurisdiction, Audit: t.audit,
		},
		Roles: c.Principal.Roles, KeyID: c.Principal.KeyID, Lang: c.Lang, Address: c.Remote,
		BodyDigest: digest(c.Body), Pieces: (len(c.Body) + pieceBytes - 1) / pieceBytes,
	}
	result := t.stopped(tap.E("isabella.audit", tap.Held, "%s", t.audit.Explanation).WithDetail("ticket", r.Ticket), "held")
	earlier, err := load(c.View, c.Tenant, r.Ticket)
	switch {
	case tap.IsKind(err, tap.NotFound):
		result.Ops = r.create(c)
		return result, nil
	case err != nil:
		return nil, err
	case earlier.Submitter != r.Submitter || earlier.BodyDigest != r.BodyDigest:
		return nil, tap.E("isabella.review", tap.Conflict, "this request id already names another intent").WithCode("request_id_reused")
	case earlier.State != StateHeld:
		return nil, errDecided(earlier.State)
	}
	return result, nil
}

func errDecided(s State) error {
	return tap.E("isabella.review", tap.Conflict, "this intent is already %s", s).WithCode("decided").WithDetail("state", s)
}

// create stores the review, its entry among the open ones, and the intent.
func (r *stored) create(c *pods.Call) []store.Op {
	ops := []store.Op{
		store.Create(reviewKey(c.Tenant, r.Ticket), encode(r)),
		store.Put(openKey(c.Tenant, r.Ticket), nil),
	}
	for n := range r.Pieces {
		piece := c.Body[n*pieceBytes : min((n+1)*pieceBytes, len(c.Body))]
		ops = append(ops, store.Put(pieceKey(c.Tenant, r.Ticket, n), piece))
	}
	return ops
}

// body reads the intent as it was sent.
func (r *stored) body(view store.View, tenant string) ([]byte, error) {
	var whole []byte
	for n := range r.Pieces {
		item, ok, err := view.Get(pieceKey(tenant, r.Ticket, n))
		if err != nil {
			return nil, err
		}
		if !ok {
			// The view moved on: somebody has just decided.
			return nil, tap.E("isabella.review", tap.Conflict, "this intent has just been decided").WithCode("decided")
		}
		whole = append(whole, item.Value...)
	}
	return whole, nil
}

// close replaces the review by its decided form and removes the intent's text.
// It holds only while the review is as it was read.
func (r *stored) close(tenant string) []store.Op {
	key := reviewKey(tenant, r.Ticket)
	ops := []store.Op{store.Check(key, r.version), store.Put(key, encode(r)), store.Delete(openKey(tenant, r.Ticket))}
	for n := range r.Pieces {
		ops = append(ops, store.Delete(pieceKey(tenant, r.Ticket, n)))
	}
	return ops
}
