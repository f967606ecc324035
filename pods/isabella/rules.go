package isabella

import (
	"strings"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// rule is one row of the audit's table. It speaks when one of its word patterns
// stands in the intent or its condition holds; then its principle scores at most
// Score.
type rule struct {
	ID        string
	Principle model.Principle
	Score     float32
	Any       []string              // patterns: concepts within a window of the first
	Unless    string                // concepts before the first that make it a question about the matter
	Except    string                // concepts anywhere near that make it another matter
	Holds     func(s *subject) bool // a condition on the request, instead of words
	Strict    bool                  // only under STRICT_DEKATEOTL
	Why       tap.Text              // completes "because it ..."

	patterns []pattern
}

// Scores that rules give. What must not be done is refused; what may be right
// when a person agrees is held.
const (
	refuse = 0.1
	hold   = 0.5
)

// rules is the table.
var rules = compile([]rule{
	{
		ID: "accountability.evidence", Principle: model.Accountability, Score: refuse,
		Any: []string{"alter evidence"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to hide, delete or rewrite evidence", ES: "pide ocultar, borrar o reescribir evidencias"},
	}, {
		ID: "accountability.untraceable", Principle: model.Accountability, Score: refuse,
		Any: []string{"without trace"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to act without leaving a trace", ES: "pide actuar sin dejar rastro"},
	}, {
		ID: "transparency.deceive", Principle: model.Transparency, Score: refuse,
		Any: []string{"deceive person", "deceive authority"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to deceive people", ES: "pide engañar a personas"},
	}, {
		ID: "transparency.impersonate", Principle: model.Transparency, Score: refuse,
		Any: []string{"impersonate authority"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to pass oneself off as somebody with authority", ES: "pide hacerse pasar por alguien con autoridad"},
	}, {
		ID: "transparency.fabricate", Principle: model.Transparency, Score: hold,
		Any: []string{"fake testimony"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "speaks of invented testimony or documents", ES: "habla de testimonios o documentos inventados"},
	}, {
		ID: "transparency.purpose", Principle: model.Transparency, Score: hold, Holds: noPurpose,
		Why: tap.Text{
			EN: "uses the profile RESEARCH without stating the purpose in the context",
			ES: "usa el perfil RESEARCH sin indicar el propósito en el contexto",
		},
	}, {
		ID: "autonomy.surveillance", Principle: model.Autonomy, Score: hold,
		Any:    []string{"spy person", "track person without consent", "track person covert"},
		Unless: "prevent neutral victim",
		Why:    tap.Text{EN: "asks to watch a person without consent", ES: "pide vigilar a una persona sin su consentimiento"},
	}, {
		ID: "autonomy.proxy", Principle: model.Autonomy, Score: hold,
		Any: []string{"act person without consent"}, Unless: "prevent neutral victim",
		Why: tap.Text{
			EN: "asks to act for another person without that person's consent",
			ES: "pide actuar por otra persona sin su consentimiento",
		},
	}, {
		ID: "autonomy.coercion", Principle: model.Autonomy, Score: refuse,
		Any: []string{"coerce person", "coerce authority"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to threaten or blackmail people", ES: "pide amenazar o chantajear a personas"},
	}, {
		ID: "dignity.humiliation", Principle: model.Dignity, Score: refuse,
		Any: []string{"humiliate person"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to humiliate a person", ES: "pide humillar a una persona"},
	}, {
		ID: "dignity.personalData", Principle: model.Dignity, Score: hold, Strict: true, Holds: personalData,
		Why: tap.Text{
			EN: "carries personal data, which the strict profile shows to a person first",
			ES: "contiene datos personales, que el perfil estricto muestra antes a una persona",
		},
	}, {
		ID: "dignity.health", Principle: model.Dignity, Score: hold, Strict: true,
		Any: []string{"health person"},
		Why: tap.Text{EN: "speaks of a person's health", ES: "habla de la salud de una persona"},
	}, {
		ID: "justice.decision", Principle: model.Justice, Score: hold,
		Any: []string{"decide entitlement"}, Unless: "neutral victim query",
		Why: tap.Text{
			EN: "asks the machine to decide about a person's rights or benefits",
			ES: "pide que la máquina decida sobre derechos o prestaciones de una persona",
		},
	}, {
		ID: "fairness.exclusion", Principle: model.Fairness, Score: refuse,
		Any: []string{"exclude protected"}, Unless: "neutral victim prevent",
		Why: tap.Text{EN: "asks to exclude people for a protected trait", ES: "pide excluir a personas por un rasgo protegido"},
	}, {
		ID: "fairness.profiling", Principle: model.Fairness, Score: hold,
		Any: []string{"rank protected"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to rank people by a protected trait", ES: "pide clasificar a personas por un rasgo protegido"},
	}, {
		ID: "beneficence.medication", Principle: model.Beneficence, Score: hold,
		Any: []string{"quit medicine"},
		Why: tap.Text{
			EN: "is about giving up a treatment, where a wrong answer can harm the one who asks",
			ES: "trata de abandonar un tratamiento, donde una respuesta errónea puede dañar a quien pregunta",
		},
	}, {
		ID: "nonMaleficence.violence", Principle: model.NonMaleficence, Score: refuse,
		Any: []string{"kill person", "kill place", "weapon kill"}, Unless: "prevent neutral victim", Except: "technical",
		Why: tap.Text{EN: "asks to hurt people", ES: "pide herir a personas"},
	}, {
		ID: "nonMaleficence.weapon", Principle: model.NonMaleficence, Score: hold,
		Any: []string{"weapon make"}, Unless: "prevent neutral victim", Except: "technical",
		Why: tap.Text{EN: "asks how a weapon is made", ES: "pregunta cómo se fabrica un arma"},
	}, {
		ID: "nonMaleficence.intrusion", Principle: model.NonMaleficence, Score: refuse,
		Any: []string{"intrude person asset"}, Unless: "prevent neutral victim",
		Why: tap.Text{EN: "asks to take over what belongs to somebody else", ES: "pide apropiarse de lo que es de otra persona"},
	}, {
		ID: "nonMaleficence.theft", Principle: model.NonMaleficence, Score: hold,
		Any: []string{"intrude asset"}, Unless: "prevent neutral victim query",
		Why: tap.Text{EN: "speaks of stealing or breaking into accounts", ES: "habla de robar o forzar cuentas"},
	}, {
		ID: "nonMaleficence.unseen", Principle: model.NonMaleficence, Score: hold, Strict: true, Holds: unjudgeable,
		Why: tap.Text{
			EN: "holds an image or sound, whose content the audit cannot judge",
			ES: "contiene una imagen o un sonido, cuyo contenido la auditoría no puede juzgar",
		},
	}, {
		ID: "nonMaleficence.uncleared", Principle: model.NonMaleficence, Score: hold, Holds: uncleared,
		Why: tap.Text{
			EN: "could not be judged by the classifier, and no rule clears it",
			ES: "no pudo ser juzgado por el clasificador y ninguna regla lo autoriza",
		},
	},
})

func compile(table []rule) []rule {
	for i := range table {
		r := &table[i]
		r.patterns = lexicon.patterns(r.Any, r.Unless, r.Except)
	}
	return table
}

// subject is what the audit judges.
type subject struct {
	intent   *pods.Intent
	texts    []string // everything readable: the input's texts and the context
	phrase   phrase   // the words of texts and of the intent's type
	judged   bool     // a classifier has judged the texts
	contents bool     // there is an image or sound
	words    []string
}

// speaks says whether the rule applies to the subject.
func (r *rule) speaks(s *subject) bool {
	if r.Strict && s.intent.SafetyProfile != pods.Strict {
		return false
	}
	return r.Holds != nil && r.Holds(s) || anyIn(r.patterns, &s.phrase)
}

// purposeWords is how many words a stated purpose has at least.
const purposeWords = 3

func noPurpose(s *subject) bool {
	return s.intent.SafetyProfile == pods.Research && len(strings.Fields(s.intent.Input.Context)) < purposeWords
}

func unjudgeable(s *subject) bool { return s.contents }

// uncleared says whether the texts were not judged and are not plainly about
// the appliance or polite: every word must be on the list of cleared words.
func uncleared(s *subject) bool {
	if s.judged {
		return false
	}
	for _, w := range s.words {
		if !cleared[w] {
			return true
		}
	}
	return false
}
