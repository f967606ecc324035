package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is the result of one scenario.
type Row struct {
	Scenario     string        `json:"scenario"`
	Faults       []string      `json:"faults"`
	Operations   Counts        `json:"operations"`
	Verdict      Verdict       `json:"verdict"`
	Interruption time.Duration `json:"interruptionNs"` // longest time without an acknowledged write
	Interrupted  time.Time     `json:"interrupted"`    // when that began
	Recovery     time.Duration `json:"recoveryNs"`     // longest time until a write got through again
	After        string        `json:"after"`          // what that recovery was from
	Took         time.Duration `json:"tookNs"`         // the whole scenario, checks included
	Failure      string        `json:"failure,omitempty"`
	Skipped      string        `json:"skipped,omitempty"`
}

// Good says whether the scenario ran, or was skipped for a reason, and nothing was
// wrong.
func (r *Row) Good() bool { return r.Verdict.Good() && r.Failure == "" }

// WriteTable prints the rows for people, with a sentence below for everything that
// was wrong.
func WriteTable(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\tfaults\tacknowledged\tunknown\trefused\tlost\tstale\tdoubled\treordered\tdiverged\tlongest pause\trecovery\ttook\t")
	for _, r := range rows {
		if r.Skipped != "" {
			fmt.Fprintf(t, "%s\tskipped\t\t\t\t\t\t\t\t\t\t\t\t\n", r.Scenario)
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t\n", r.Scenario, len(r.Faults),
			r.Operations.Acknowledged, r.Operations.Unknown, r.Operations.Refused,
			r.Verdict.Lost, r.Verdict.Stale, r.Verdict.Doubled, r.Verdict.Reordered, r.Verdict.Diverged,
			seconds(r.Interruption), seconds(r.Recovery), seconds(r.Took))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		for _, sentence := range append(r.Verdict.Findings, r.Failure, r.Skipped) {
			if sentence == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "%s: %s\n", r.Scenario, strings.TrimSpace(sentence)); err != nil {
				return err
			}
		}
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// WriteJSON writes the rows for machines.
func WriteJSON(w io.Writer, rows []Row) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
