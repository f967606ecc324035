package isabella

import "slices"

// Capability names, in the order in which their parts stand in an answer.
const (
	capChat        = "chat"
	capStudy       = "study"
	capTranscriber = "transcriber"
	capPen2PDF     = "pen2pdf"
	capSpatial     = "spatial"
	capEconomy     = "tcep"
)

var capabilityOrder = []string{capChat, capStudy, capTranscriber, capPen2PDF, capSpatial, capEconomy}

// plan is what an intent needs.
type plan struct {
	capabilities []string // in capabilityOrder
	recall       bool     // passages are of use
}

// cue is words that call for a capability.
type cue struct {
	capability string
	patterns   []pattern
}

// cues are requests, not questions: "how do I move a chair?" is for chat alone.
var cues = []cue{
	{capSpatial, lexicon.patterns([]string{"move object"}, "query", "")},
	{capStudy, lexicon.patterns([]string{"quiz"}, "", "")},
	{capPen2PDF, lexicon.patterns([]string{"digest paper"}, "query", "")},
}

// planFor names the capabilities that a task needs, by what its data is, by the
// intent's type and by what its words ask for.
func planFor(t *task) plan {
	parsed := &t.input.parsed
	needed := map[string]bool{
		capPen2PDF:     len(parsed.Image) > 0,
		capTranscriber: len(parsed.Audio) > 0,
		capSpatial:     parsed.Spatial != nil,
	}
	switch {
	case t.intent.Type == paymentType:
		needed[capEconomy] = true
	case parsed.Text != "":
		needed[capChat] = true
		var p phrase
		readable, _ := unmask(parsed.Text)
		p.read(lexicon, words(readable))
		for _, c := range cues {
			needed[c.capability] = needed[c.capability] || anyIn(c.patterns, &p)
		}
	}
	missing := func(name string) bool { return !needed[name] }
	list := slices.DeleteFunc(slices.Clone(capabilityOrder), missing)
	return plan{capabilities: list, recall: needed[capChat] || needed[capStudy]}
}
