package isabella

import (
	"fmt"

	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// Reply is the answer to an intent. EvidenceHash and Receipt are known only once
// it is committed: a reply that is kept for the submitter of a held intent is
// kept without them.
type Reply struct {
	ID            string          `json:"id"`
	AIResponse    string          `json:"aiResponse"`
	SpatialData   any             `json:"spatialData,omitempty"`
	Economy       any             `json:"economy,omitempty"`
	EvidenceHash  string          `json:"evidenceHash,omitempty"`
	Receipt       *store.Receipt  `json:"receipt,omitempty"`
	Citations     []pods.Citation `json:"citations"`
	Audit         *Audit          `json:"audit"`
	Degraded      []Degradation   `json:"degraded,omitempty"`
	Clarification *Clarification  `json:"clarification,omitempty"`
}

// Clarification asks for what an intent left open. Nothing was done.
type Clarification struct {
	Question string         `json:"question"` // in the caller's language
	Declared pods.InputType `json:"declared"`
	Detected pods.InputType `json:"detected"` // an input type, "incomplete" or "payment"
}

// proven puts the receipt into the reply.
func (r *Reply) proven(receipt store.Receipt) {
	r.EvidenceHash, r.Receipt = receipt.Leaf.String(), &receipt
}

// outcome is how the ledger names an answered intent.
func (a *answer) outcome() string {
	if len(a.degraded) > 0 {
		return "degraded"
	}
	return "ok"
}

func (a *answer) reply() *Reply {
	cited := a.citations
	if cited == nil {
		cited = []pods.Citation{}
	}
	return &Reply{
		ID: a.task.id(), AIResponse: a.text(), SpatialData: a.spatial, Economy: a.economy,
		Citations: cited, Audit: a.task.audit, Degraded: a.degraded,
	}
}

// evidence is what the capabilities did, each in its own words, and last the
// intent itself: the receipt's leaf is the intent's.
func (a *answer) evidence() []store.Evidence {
	return append(a.effects, a.task.evidence(a.outcome(), func(e *entry) {
		e.Capabilities, e.Degraded = a.task.plan.capabilities, a.degraded
		e.Economy, e.Effects = a.economy, len(a.ops)
		for _, cited := range a.citations {
			e.Citations = append(e.Citations, cited.DocumentID)
		}
	}))
}

func (a *answer) result() *pods.Result {
	reply := a.reply()
	return &pods.Result{
		Body: reply, Ops: a.ops, Evidence: a.evidence(), Receipted: reply.proven,
	}
}

// refuse ends a task that the audit rejects: an error for the caller, evidence
// for the ledger.
func (t *task) refuse() *pods.Result {
	return t.stopped(tap.E("isabella.audit", tap.Refused, "%s", t.audit.Explanation), "refused")
}

// stopped makes the result of a task that ends in an error with evidence.
func (t *task) stopped(e *tap.Error, outcome string) *pods.Result {
	e.WithDetail("audit", t.audit)
	return &pods.Result{
		Error: e, Evidence: []store.Evidence{t.evidence(outcome, nil)},
		Receipted: func(r store.Receipt) { e.WithDetail("evidenceHash", r.Leaf.String()).WithDetail("receipt", r) },
	}
}

var (
	whichTypeText = tap.Text{
		EN: "The input is declared as %s, but it looks like %s. Which of the two is meant? Send it again with the right type.",
		ES: "La entrada se declara como %s, pero parece %s. ¿Cuál de las dos es? Envíela de nuevo con el tipo correcto.",
	}
	whereText = tap.Text{
		EN: "A spatial input needs {\"room\", \"object\"} and in the object a position {\"x\", \"y\", \"z\"}. Where should the object go?",
		ES: "Una entrada espacial necesita {\"room\", \"object\"} y en el objeto una posición {\"x\", \"y\", \"z\"}. ¿Dónde va el objeto?",
	}
)

// clarify asks back instead of guessing.
func (t *task) clarify() *pods.Result {
	lang := t.call.Lang
	question := fmt.Sprintf(whichTypeText.In(lang), t.input.declared, t.input.detected)
	if t.input.detected == incomplete {
		question = whereText.In(lang)
	}
	reply := &Reply{
		ID: t.id(), AIResponse: question, Citations: []pods.Citation{}, Audit: t.audit,
		Clarification: &Clarification{question, t.input.declared, t.input.detected},
	}
	return &pods.Result{
		Body: reply, Evidence: []store.Evidence{t.evidence("clarify", nil)}, Receipted: reply.proven,
	}
}
