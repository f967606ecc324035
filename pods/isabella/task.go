package isabella

import (
	"encoding/json"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// task is one intent on its way.
type task struct {
	call   *pods.Call // whose it is, and in which language to answer
	intent *pods.Intent
	input  *input
	audit  *Audit
	plan   plan
	// approval is set when a guardian let a held intent run.
	approval *approval
}

type approval struct {
	Ticket   string `json:"ticket"`
	Guardian string `json:"guardian"`
}

// readTask reads a body that the route's schema has accepted.
func readTask(c *pods.Call, body []byte) (*task, error) {
	in := &pods.Intent{}
	if err := json.Unmarshal(body, in); err != nil {
		return nil, errInput()
	}
	if in.TenantID != c.Tenant {
		return nil, tap.E("isabella.intent", tap.Forbidden, "tenantId is not the caller's tenant").WithCode("tenant")
	}
	read, err := readInput(in)
	if err != nil {
		return nil, err
	}
	in.Parsed = read.parsed
	return &task{call: c, intent: in, input: read}, nil
}

// id is the intent's identifier, and its ticket when it is held: the request's.
func (t *task) id() string { return t.call.RequestID.String() }

// entry is the payload of the ledger's intent.process: digests and decisions,
// never the text.
type entry struct {
	IntentID      string                      `json:"intentId"`
	Type          string                      `json:"type"`
	InputType     pods.InputType              `json:"inputType"`
	InputDigest   string                      `json:"inputDigest"`
	ContextDigest string                      `json:"contextDigest,omitempty"`
	Parts         []part                      `json:"parts,omitempty"`
	Detected      pods.InputType              `json:"detected,omitempty"`
	Profile       pods.Profile                `json:"safetyProfile"`
	Jurisdiction  string                      `json:"jurisdiction"`
	Score         float32                     `json:"score"`
	Principles    map[model.Principle]Finding `json:"principles"`
	Rules         []string                    `json:"rules,omitempty"`
	Model         string                      `json:"model,omitempty"`
	Outcome       string                      `json:"outcome"`
	Approval      *approval                   `json:"approval,omitempty"`
	Capabilities  []string                    `json:"capabilities,omitempty"`
	Degraded      []Degradation               `json:"degraded,omitempty"`
	Economy       any                         `json:"economy,omitempty"`   // what the economy pod booked
	Effects       int                         `json:"effects"`             // operations committed with this entry, by the capabilities
	Citations     []string                    `json:"citations,omitempty"` // document ids
	Address       string                      `json:"address"`
}

// evidence makes the ledger's entry for how the task ended.
func (t *task) evidence(outcome string, amend func(*entry)) store.Evidence {
	in := t.intent
	e := entry{
		IntentID: t.id(), Type: in.Type, InputType: in.Input.Type, InputDigest: digest(in.Input.Data),
		Detected: t.input.detected, Profile: in.SafetyProfile, Jurisdiction: in.Jurisdiction,
		Score: t.audit.Score, Principles: t.audit.Principles, Rules: t.audit.Rules, Model: t.audit.Model,
		Outcome: outcome, Approval: t.approval, Address: t.call.Remote,
	}
	if in.Input.Context != "" {
		e.ContextDigest = digest([]byte(in.Input.Context))
	}
	if in.Input.Type != pods.Text {
		e.Parts = t.input.parts
	}
	if amend != nil {
		amend(&e)
	}
	return store.Evidence{Actor: t.call.Actor(), Action: "intent.process", Outcome: outcome, Payload: encode(e)}
}

// encode renders a record of this package; none of them holds what JSON cannot
// express.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("isabella: a record that is no JSON: " + err.Error())
	}
	return b
}
