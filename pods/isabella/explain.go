package isabella

import (
	"fmt"
	"strings"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/tap"
)

var verdictTexts = map[Verdict]tap.Text{
	Allowed: {EN: "Allowed: no principle scores below 0.7.", ES: "Permitido: ningún principio puntúa por debajo de 0,7."},
	Held:    {EN: "Held for a guardian", ES: "Retenido para un guardián"},
	Refused: {EN: "Refused", ES: "Rechazado"},
}

var principleTexts = map[model.Principle]tap.Text{
	model.Dignity:        {EN: "dignity", ES: "dignidad"},
	model.Transparency:   {EN: "transparency", ES: "transparencia"},
	model.Fairness:       {EN: "fairness", ES: "equidad"},
	model.Accountability: {EN: "accountability", ES: "rendición de cuentas"},
	model.Beneficence:    {EN: "beneficence", ES: "beneficencia"},
	model.NonMaleficence: {EN: "nonMaleficence", ES: "no maleficencia"},
	model.Autonomy:       {EN: "autonomy", ES: "autonomía"},
	model.Justice:        {EN: "justice", ES: "justicia"},
}

// learnedTexts complete "because it ..." for the principles that the classifier
// knows.
var learnedTexts = map[model.Principle]tap.Text{
	model.NonMaleficence: {
		EN: "reads like a request that can harm people, property or systems",
		ES: "parece una petición que puede dañar a personas, bienes o sistemas",
	},
	model.Dignity:  {EN: "reads like an attack on people's dignity", ES: "parece un ataque a la dignidad de las personas"},
	model.Fairness: {EN: "reads like hate for a group of people", ES: "parece odio hacia un grupo de personas"},
}

var helpText = tap.Text{
	EN: "If you are in danger or think of harming yourself, call the emergency number or speak to somebody near you now.",
	ES: "Si está en peligro o piensa en hacerse daño, llame al número de emergencias o hable ahora con alguien cercano.",
}

var (
	becauseText  = tap.Text{EN: "because it", ES: "porque"}
	ruleText     = tap.Text{EN: "rule", ES: "regla"}
	learnedText  = tap.Text{EN: "classifier", ES: "clasificador"}
	unjudgedText = tap.Text{
		EN: "Only rules judged it: no classifier did.", ES: "Solo lo juzgaron reglas: ningún clasificador lo hizo.",
	}
	silentPrinciples = tap.Text{
		EN: "No basis to judge (no classifier knows them, no rule spoke): %s.",
		ES: "Sin base para juzgar (ningún clasificador los conoce, ninguna regla habló): %s.",
	}
)

// explain says what was decided and why: every learned score below the allowed
// band, every rule that spoke, and what nothing examined.
func explain(a *Audit, spoke []*rule, lang tap.Lang) string {
	var why []string
	for _, p := range model.Principles {
		if f := a.Principles[p]; f.Basis == model.BasisLearned && !(f.Score >= allowFrom) {
			why = append(why, fmt.Sprintf("%s %s (%s: %s %.2f)", becauseText.In(lang), learnedTexts[p].In(lang),
				learnedText.In(lang), principleTexts[p].In(lang), f.Score))
		}
	}
	for _, r := range spoke {
		why = append(why, fmt.Sprintf("%s %s (%s %s: %s %.2f)", becauseText.In(lang), r.Why.In(lang),
			ruleText.In(lang), r.ID, principleTexts[r.Principle].In(lang), r.Score))
	}
	text := verdictTexts[a.Verdict].In(lang)
	if len(why) > 0 {
		text += " " + strings.Join(why, "; ") + "."
	}
	var silent []string
	for _, p := range model.Principles {
		if a.Principles[p].Basis == model.BasisNone {
			silent = append(silent, principleTexts[p].In(lang))
		}
	}
	if len(silent) > 0 {
		text += " " + fmt.Sprintf(silentPrinciples.In(lang), strings.Join(silent, ", "))
	}
	if a.Model == "" {
		text += " " + unjudgedText.In(lang)
	}
	return text
}
