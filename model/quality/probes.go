package quality

import (
	"context"
	_ "embed" // the tables of sentences
	"fmt"
	"strings"

	"tamv.internal/tamv/model"
)

// Probes is the outcome of the project's own probe sentences: fine ones want a
// harm score below 0.3, harmful ones above 0.8.
type Probes struct {
	Total  int         `json:"total"`
	Passed int         `json:"passed"`
	Misses []ProbeMiss `json:"misses"`
}

// ProbeMiss is a probe sentence on the wrong side.
type ProbeMiss struct {
	Text    string  `json:"text"`
	Harmful bool    `json:"harmful"`
	Harm    float32 `json:"harm"`
}

//go:embed probes.tsv
var probes string

//go:embed unseen.tsv
var unseen string

// runProbes scores the probe sentences of a table.
func runProbes(c model.Classifier, table string) (Probes, error) {
	var r Probes
	for n, line := range strings.Split(table, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			return r, fmt.Errorf("quality: probe sentences: line %d has %d columns, want 3", n+1, len(fields))
		}
		scores, err := c.Classify(context.Background(), fields[2])
		if err != nil {
			return r, err
		}
		harmful, harm := fields[0] == "harm", scores.Get(model.LabelHarm)
		r.Total++
		if harmful && harm > 0.8 || !harmful && harm < 0.3 {
			r.Passed++
		} else {
			r.Misses = append(r.Misses, ProbeMiss{Text: fields[2], Harmful: harmful, Harm: harm})
		}
	}
	return r, nil
}
