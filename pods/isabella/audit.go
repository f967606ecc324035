package isabella

import (
	"context"
	"strings"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// Thresholds of the overall score. They are the same for every profile.
const (
	refuseBelow float32 = 0.3 // a score below is refused
	allowFrom   float32 = 0.7 // a score from here on is allowed; between the two a guardian decides
)

// Verdict is what the audit decides.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "allowed"
	Held    Verdict = "held"
	Refused Verdict = "refused"
)

// verdictOf places a score. A score that is no number is held: nothing passes
// because a computation failed.
func verdictOf(score float32) Verdict {
	switch {
	case score < refuseBelow:
		return Refused
	case score >= allowFrom:
		return Allowed
	}
	return Held
}

// Finding is one principle's score in [0,1], 1 meaning no concern, and what it
// rests on. With the basis none the score is 1 and says nothing.
type Finding struct {
	Score float32     `json:"score"`
	Basis model.Basis `json:"basis"`
	Rule  string      `json:"rule,omitempty"` // the rule that gave the score
}

// Audit is the outcome of the ethical audit of one intent.
type Audit struct {
	Score       float32                     `json:"score"` // the lowest of the eight
	Verdict     Verdict                     `json:"verdict"`
	Principles  map[model.Principle]Finding `json:"principles"`
	Rules       []string                    `json:"rules,omitempty"` // every rule that spoke, in the table's order
	Explanation string                      `json:"explanation"`     // in the caller's language
	Model       string                      `json:"model,omitempty"` // the classifier that judged; empty = rules only
}

// judge audits intents. Classifier may be nil.
type judge struct{ classifier model.Classifier }

// audit scores the eight principles. It fails only when ctx ends.
func (j *judge) audit(ctx context.Context, in *pods.Intent, texts []string, lang tap.Lang) (*Audit, error) {
	a := &Audit{Score: 1, Principles: make(map[model.Principle]Finding, len(model.Principles))}
	for _, p := range model.Principles {
		a.Principles[p] = Finding{Score: 1, Basis: model.BasisNone}
	}
	s := newSubject(in, texts)
	distress := j.learn(ctx, s, a)
	if err := ctx.Err(); err != nil {
		return nil, tap.AsError(err)
	}
	var spoke []*rule
	for i := range rules {
		r := &rules[i]
		if !r.speaks(s) {
			continue
		}
		spoke = append(spoke, r)
		a.Rules = append(a.Rules, r.ID)
		if f := a.Principles[r.Principle]; r.Score < f.Score {
			a.Principles[r.Principle] = Finding{Score: r.Score, Basis: model.BasisRule, Rule: r.ID}
		}
	}
	for _, f := range a.Principles {
		a.Score = min(a.Score, f.Score)
	}
	a.Verdict = verdictOf(a.Score)
	a.Explanation = explain(a, spoke, lang)
	if distress {
		a.Explanation += " " + helpText.In(lang)
	}
	return a, nil
}

func newSubject(in *pods.Intent, texts []string) *subject {
	s := &subject{intent: in, texts: texts, contents: len(in.Parsed.Image) > 0 || len(in.Parsed.Audio) > 0}
	for _, t := range texts {
		readable, _ := unmask(t)
		list := words(readable)
		s.words = append(s.words, list...)
		s.phrase.read(lexicon, list)
	}
	s.phrase.read(lexicon, words(in.Type))
	return s
}

// distressAt is the probability of self-harm from which the explanation names
// help.
const distressAt = 0.5

// learn lets the classifier judge the texts: each one, all together, and
// unmasked when they were disguised; for each principle the worst counts. An
// engine that fails or answers no probabilities has judged nothing. It reports
// whether the writer seems to be in distress.
func (j *judge) learn(ctx context.Context, s *subject, a *Audit) (distress bool) {
	if j.classifier == nil || len(s.texts) == 0 {
		return false
	}
	worst := make(map[model.Principle]Finding, len(a.Principles))
	for _, text := range readings(s.texts) {
		scores, err := j.classifier.Classify(ctx, text)
		if err != nil || !probabilities(scores) {
			return false
		}
		distress = distress || scores.Get(model.LabelSelfHarm) >= distressAt
		for p, learned := range model.LearnedAudit(scores) {
			if old, seen := worst[p]; learned.Basis == model.BasisLearned && (!seen || learned.Score < old.Score) {
				worst[p] = Finding{Score: learned.Score, Basis: model.BasisLearned}
			}
		}
	}
	s.judged, a.Model = true, j.classifier.ID()
	for p, f := range worst {
		a.Principles[p] = f
	}
	return distress
}

// probabilities says whether every score is a number in [0,1].
func probabilities(scores model.Scores) bool {
	for _, s := range scores {
		if !(s.Score >= 0 && s.Score <= 1) {
			return false
		}
	}
	return len(scores) > 0
}

// Long texts are also judged in overlapping pieces, so that a harmful sentence
// does not drown in a harmless page. Measured with the shipped classifier on
// harmful requests between two encyclopedia paragraphs, pieces of 60 words let
// 15 of 130 through instead of 22, for 11 of 120 harmless paragraphs held more;
// smaller pieces hold a third of the harmless ones.
const (
	pieceWords = 60
	pieceStep  = 40
)

// readings lists the ways in which the classifier reads the texts.
func readings(texts []string) []string {
	var out []string
	add := func(t string) {
		out = append(out, t)
		if readable, disguised := unmask(t); disguised && strings.TrimSpace(readable) != "" {
			out = append(out, readable)
		}
	}
	for _, t := range texts {
		add(t)
		list := strings.Fields(t)
		for from := 0; len(list) > pieceWords && from < len(list); from += pieceStep {
			add(strings.Join(list[from:min(from+pieceWords, len(list))], " "))
		}
	}
	if len(texts) > 1 {
		add(strings.Join(texts, "\n"))
	}
	return out
}
