package model

// Principle is one of the eight principles of the ethical audit.
type Principle string

// The eight principles, by their names on the wire.
const (
	Dignity        Principle = "dignity"
	Transparency   Principle = "transparency"
	Fairness       Principle = "fairness"
	Accountability Principle = "accountability"
	Beneficence    Principle = "beneficence"
	NonMaleficence Principle = "nonMaleficence"
	Autonomy       Principle = "autonomy"
	Justice        Principle = "justice"
)

// Principles lists the eight in their canonical order.
var Principles = [8]Principle{
	Dignity, Transparency, Fairness, Accountability,
	Beneficence, NonMaleficence, Autonomy, Justice,
}

// Basis says where a principle's score comes from.
type Basis string

// What a score can rest on.
const (
	// BasisLearned: a classifier trained on labelled examples of this principle.
	BasisLearned Basis = "learned"
	// BasisRule: an explicit rule on the request and its context.
	BasisRule Basis = "rule"
	// BasisNone: nothing was examined. The score is 1 and says nothing.
	BasisNone Basis = "none"
)

// Labels of the audit classifier.
const (
	LabelHarm       = "harm"       // asks for help in harming people, property or systems, or is hateful or threatening
	LabelHate       = "hate"       // demeans people for a protected trait
	LabelHarassment = "harassment" // demeans, bullies or torments a person
	LabelViolence   = "violence"   // depicts, threatens or promotes violence
	LabelSelfHarm   = "self-harm"  // the writer's own suicide or self-injury, in distress or asking for means
	LabelSexual     = "sexual"     // sexual content
	LabelFlagged    = "flagged"    // any of the above: one trained head for "somebody should look"
)

// PrincipleScore is one principle's score in [0,1]; 1 means no concern.
type PrincipleScore struct {
	Score float32 `json:"score"`
	Basis Basis   `json:"basis"`
}

// Audit holds a score for each of the eight principles.
type Audit map[Principle]PrincipleScore

// selfHarmWeight keeps a cry for help out of the refused band (< 0.3): distress
// alone brings nonMaleficence down to 0.4 at worst, where a person looks at it.
// A request for means also raises the harm label, and that one can refuse.
const selfHarmWeight = 0.6

// LearnedAudit derives the principles for which labelled examples exist from an
// audit classifier's scores; every other principle comes back as BasisNone for
// rules to fill in.
//
//	nonMaleficence = 1 - max(harm, 0.6 self-harm)
//	dignity        = 1 - max(hate, harassment)
//	fairness       = 1 - hate
func LearnedAudit(s Scores) Audit {
	audit := make(Audit, len(Principles))
	for _, p := range Principles {
		audit[p] = PrincipleScore{Score: 1, Basis: BasisNone}
	}
	hate := s.Get(LabelHate)
	harm := max(s.Get(LabelHarm), selfHarmWeight*s.Get(LabelSelfHarm))
	audit[NonMaleficence] = PrincipleScore{Score: 1 - harm, Basis: BasisLearned}
	audit[Dignity] = PrincipleScore{Score: 1 - max(hate, s.Get(LabelHarassment)), Basis: BasisLearned}
	audit[Fairness] = PrincipleScore{Score: 1 - hate, Basis: BasisLearned}
	return audit
}
