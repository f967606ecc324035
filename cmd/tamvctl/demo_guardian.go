package main

import (
	"context"
	"strings"

	"tamv.internal/tamv/tap"
)

// guardianStep: what must not be done is refused, what a person must see is held,
// and only an uninvolved guardian can release it.
type guardianStep struct {
	outcome
	Refused struct {
		Question     string `json:"question"`
		Explanation  string `json:"explanation"`
		EvidenceHash string `json:"evidenceHash"`
		Position     uint64 `json:"position"`
	} `json:"refused"`
	Held struct {
		Question     string   `json:"question"`
		Ticket       string   `json:"ticket"`
		Explanation  string   `json:"explanation"`
		NotGuardian  string   `json:"notGuardian"` // the code that a citizen's decision is refused with
		Submitter    string   `json:"submitter"`   // the code that the submitter's decision is refused with
		State        string   `json:"state"`
		Answer       string   `json:"answer"`
		Citations    []string `json:"citations"`
		EvidenceHash string   `json:"evidenceHash"`
		Position     uint64   `json:"position"`
	} `json:"held"`
}

var (
	refusedQuestion = tap.Text{
		EN: "Delete the evidence of what I did yesterday so that no auditor finds it.",
		ES: "Borra la evidencia de lo que hice ayer para que ningún auditor la encuentre.",
	}
	// The profile RESEARCH without a stated purpose is what holds it.
	heldQuestion = tap.Text{EN: "What do I do when the machine is lost?", ES: "¿Qué hago si se pierde la máquina?"}
)

func (d *demo) guardian(ctx context.Context) error {
	if err := d.refuse(ctx); err != nil {
		return err
	}
	carla, err := d.person(ctx, "carla", tap.Citizen, tap.Guardian)
	if err != nil {
		return err
	}
	if err := d.hold(ctx, carla); err != nil {
		return err
	}
	return d.approve(ctx, carla)
}

// refuse sends an intent that the audit must refuse, and looks for its trace.
func (d *demo) refuse(ctx context.Context) error {
	r := &d.report.Guardian
	ben, err := d.person(ctx, "ben", tap.Citizen)
	if err != nil {
		return err
	}
	r.Refused.Question = refusedQuestion.In(d.app.lang)
	err = ben.post(ctx, "/v1/kernel/intent", ben.question(r.Refused.Question, "STANDARD"), new(answer))
	if err := refused(err, tap.Refused, tap.Refused.String()); err != nil {
		return err
	}
	e := tap.AsError(err)
	r.Refused.Explanation = e.Message
	r.Refused.EvidenceHash, _ = e.Details["evidenceHash"].(string)
	var entry ledgerEntry
	if err := ben.get(ctx, entryPath(r.Refused.EvidenceHash), nil, &entry); err != nil {
		return err
	}
	if entry.Action != "intent.process" || entry.Outcome != "refused" || entry.Actor != ben.name {
		return wrong("entry %d says %s, %s, %s", entry.Position, entry.Actor, entry.Action, entry.Outcome)
	}
	r.Refused.Position = entry.Position
	r.say(textRefused, r.Refused.Question, short(e.Message, 110), entry.Position, shortHash(entry.EvidenceHash))
	return nil
}

// hold sends an intent that must wait, and shows who cannot release it.
func (d *demo) hold(ctx context.Context, carla *person) error {
	r := &d.report.Guardian
	r.Held.Question = heldQuestion.In(d.app.lang)
	err := carla.post(ctx, "/v1/kernel/intent", carla.question(r.Held.Question, "RESEARCH"), new(answer))
	if err := refused(err, tap.Held, tap.Held.String()); err != nil {
		return err
	}
	e := tap.AsError(err)
	r.Held.Explanation = e.Message
	r.Held.Ticket, _ = e.Details["ticket"].(string)
	r.say(textHeld, r.Held.Question, r.Held.Ticket)

	r.Held.NotGuardian, r.Held.Submitter = "role", "own_intent"
	err = d.people["ben"].decide(ctx, r.Held.Ticket, "approve", new(decided))
	if err := refused(err, tap.Forbidden, r.Held.NotGuardian); err != nil {
		return err
	}
	err = carla.decide(ctx, r.Held.Ticket, "approve", new(decided))
	if err := refused(err, tap.Forbidden, r.Held.Submitter); err != nil {
		return err
	}
	r.say(textCannotApprove, r.Held.NotGuardian, r.Held.Submitter)
	return nil
}

// decided is the answer to a guardian's decision.
type decided struct {
	State   string   `json:"state"`
	Receipt *receipt `json:"receipt"`
}

func (p *person) decide(ctx context.Context, ticket, decision string, v *decided) error {
	return p.post(ctx, ticketPath(ticket)+"/decision",
		map[string]string{"decision": decision, "reason": "seen and found harmless"}, v)
}

// approve has an uninvolved guardian release the intent, and its submitter read
// the answer.
func (d *demo) approve(ctx context.Context, carla *person) error {
	r := &d.report.Guardian
	gema, err := d.person(ctx, "gema", tap.Guardian)
	if err != nil {
		return err
	}
	var v decided
	if err := gema.decide(ctx, r.Held.Ticket, "approve", &v); err != nil {
		return err
	}
	if v.State != "approved" || v.Receipt == nil {
		return wrong("the approved intent is %s", v.State)
	}
	r.Held.Position, r.Held.EvidenceHash = v.Receipt.Position, v.Receipt.Leaf
	var progress struct {
		State    string `json:"state"`
		Response answer `json:"response"`
	}
	if err := carla.get(ctx, "/v1/kernel/intent/"+r.Held.Ticket, nil, &progress); err != nil {
		return err
	}
	r.Held.State, r.Held.Answer, r.Held.Citations = progress.State, progress.Response.AIResponse, []string{}
	for _, c := range progress.Response.Citations {
		r.Held.Citations = append(r.Held.Citations, c.DocumentID)
	}
	r.say(textApproved, gema.name, short(r.Held.Answer, 90), len(r.Held.Citations), r.Held.Position)
	if r.Held.State != "approved" || strings.TrimSpace(r.Held.Answer) == "" || len(r.Held.Citations) == 0 {
		return wrong("the submitter sees %s and %d citations", r.Held.State, len(r.Held.Citations))
	}
	return nil
}
