package faults

import (
	"fmt"
	"maps"
	"slices"
)

// maxFindings bounds the sentences of a verdict; all findings are counted.
const maxFindings = 12

// Verdict is what a checker found wrong; all zero when nothing is.
type Verdict struct {
	Lost      int `json:"lost"`
	Stale     int `json:"stale"`
	Doubled   int `json:"doubled"`
	Reordered int `json:"reordered"`
	Diverged  int `json:"diverged"`

	Findings []string `json:"findings,omitempty"` // the first few, as sentences
}

// find counts one violation in the given field of v.
func (v *Verdict) find(field *int, format string, args ...any) {
	*field++
	if len(v.Findings) < maxFindings {
		v.Findings = append(v.Findings, fmt.Sprintf(format, args...))
	}
}

// Good says whether nothing is wrong.
func (v *Verdict) Good() bool { return v.Lost+v.Stale+v.Doubled+v.Reordered+v.Diverged == 0 }

// Join adds another verdict's findings.
func (v *Verdict) Join(o Verdict) {
	v.Lost += o.Lost
	v.Stale += o.Stale
	v.Doubled += o.Doubled
	v.Reordered += o.Reordered
	v.Diverged += o.Diverged
	v.Findings = append(v.Findings, o.Findings...)
	v.Findings = v.Findings[:min(len(v.Findings), maxFindings)]
}

// Head is the root of one node's ledger at a size.
type Head struct {
	Node string
	Size uint64
	Root string // hexadecimal
}

// CheckHeads demands one root for each size, on whatever nodes.
func CheckHeads(heads []Head) Verdict {
	var v Verdict
	first := map[uint64]Head{}
	for _, h := range heads {
		other, seen := first[h.Size]
		if !seen {
			first[h.Size] = h
			continue
		}
		if other.Root != h.Root {
			v.find(&v.Diverged, "at size %d %s has the root %s and %s has %s", h.Size, other.Node, other.Root, h.Node, h.Root)
		}
	}
	return v
}

// sortedKeys makes findings come in the same order every time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
