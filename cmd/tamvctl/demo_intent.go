package main

import (
	"context"
	"strings"
	"time"

	"tamv.internal/tamv/tap"
)

// intentStep: a question in each language, answered out of the manual.
type intentStep struct {
	outcome
	Answers []answerFigures `json:"answers"`
}

type answerFigures struct {
	Lang         tap.Lang            `json:"lang"`
	Question     string              `json:"question"`
	Answer       string              `json:"answer"`
	Citations    []string            `json:"citations"` // documents
	Verdict      string              `json:"verdict"`
	Score        float64             `json:"score"`
	Basis        map[string][]string `json:"basis"` // principles by what their score rests on
	EvidenceHash string              `json:"evidenceHash"`
	Position     uint64              `json:"position"`
	Ms           float64             `json:"ms"`
}

var questions = []answerFigures{
	{Lang: tap.English, Question: "How do I revoke a stolen key?"},
	{Lang: tap.Spanish, Question: "¿Cómo exporto evidencia y la verifico sin conexión?"},
}

// principles is how many the audit scores.
const principles = 8

func (d *demo) intent(ctx context.Context) error {
	r := &d.report.Intent
	ana, err := d.person(ctx, "ana", tap.Citizen)
	if err != nil {
		return err
	}
	for _, q := range questions {
		var v answer
		q.Ms, err = timed(func() error {
			return ana.postIn(ctx, q.Lang, "/v1/kernel/intent", ana.question(q.Question, "STANDARD"), &v)
		})
		if err != nil {
			return err
		}
		q.fill(&v)
		r.Answers = append(r.Answers, q)
		r.say(textAnswer, q.Question, short(q.Answer, 110))
		r.say(textAnswerFrom, strings.Join(q.Citations, ", "), q.Ms)
		r.say(textAnswerAudit, q.Verdict, q.Score, len(q.Basis["learned"]), len(q.Basis["rule"]), len(q.Basis["none"]),
			q.Position, shortHash(q.EvidenceHash))
		if err := q.check(&v); err != nil {
			return err
		}
	}
	return nil
}

// question is a text intent of this person.
func (p *person) question(text, profile string) map[string]any {
	tenant, _, _ := tap.SplitKeyID(p.config.KeyID)
	return map[string]any{
		"tenantId": tenant, "type": "question", "input": map[string]string{"type": "text", "data": text},
		"safetyProfile": profile, "jurisdiction": "INTL",
	}
}

func (q *answerFigures) fill(v *answer) {
	q.Answer, q.Verdict, q.Score = v.AIResponse, v.Audit.Verdict, v.Audit.Score
	q.EvidenceHash, q.Citations, q.Basis = v.EvidenceHash, []string{}, map[string][]string{}
	if v.Receipt != nil {
		q.Position = v.Receipt.Position
	}
	for _, c := range v.Citations {
		q.Citations = append(q.Citations, c.DocumentID)
	}
	for _, name := range sortedNames(v.Audit.Principles) {
		basis := v.Audit.Principles[name].Basis
		q.Basis[basis] = append(q.Basis[basis], name)
	}
}

// check holds an answer to what was promised: grounded in the manual in the
// language of the question, audited, and in the ledger.
func (q *answerFigures) check(v *answer) error {
	grounded := strings.TrimSpace(q.Answer) != "" && len(q.Citations) > 0
	for _, document := range q.Citations {
		grounded = grounded && strings.HasPrefix(document, "manual."+string(q.Lang)+".")
	}
	switch {
	case !grounded:
		return wrong("%q is not answered out of the manual in %s: %v", q.Question, q.Lang, q.Citations)
	case q.Verdict != "allowed" || len(v.Audit.Principles) != principles:
		return wrong("%q is audited as %s with %d principles", q.Question, q.Verdict, len(v.Audit.Principles))
	case v.Receipt == nil || v.Receipt.Leaf != q.EvidenceHash || len(q.EvidenceHash) != hashDigits:
		return wrong("%q has no receipt", q.Question)
	}
	return nil
}

// hashDigits is the length of a hash in hexadecimal digits.
const hashDigits = 64

// shortHash is enough of a hash to recognise it.
func shortHash(h string) string { return h[:min(len(h), 12)] + "…" }

// timed is how long a call took, in milliseconds.
func timed(call func() error) (float64, error) {
	began := time.Now()
	err := call()
	return millis(time.Since(began)), err
}
