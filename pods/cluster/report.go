package cluster

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"tamv.internal/tamv/tap"
)

// MaxReport bounds an encoded report, in bytes.
const MaxReport = 4096

// Report is what a node tells the others about itself.
type Report struct {
	Release    string      `json:"release"`
	Ledger     Ledger      `json:"ledger"`
	Disk       Disk        `json:"disk"`
	Conditions []Condition `json:"conditions,omitempty"`
}

// Ledger is the head of a node's evidence.
type Ledger struct {
	Size uint64 `json:"size"`
	Root string `json:"root"` // Merkle root, hex
}

// Disk is the room in a node's data folder, in bytes.
type Disk struct {
	Free  uint64 `json:"free"`
	Total uint64 `json:"total"`
	Low   bool   `json:"low"` // writes are refused
}

// Condition is one named thing that must hold for a node to be ready.
type Condition struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

const (
	maxConditions = 32
	maxText       = 64  // bytes of a release, a root or a condition's name
	maxMessage    = 160 // bytes of a condition's message
)

// Encode writes the report in at most MaxReport bytes: long texts are cut, and
// when that is not enough, the conditions that hold go first.
func (r Report) Encode() []byte {
	r.Release, r.Ledger.Root = shorten(r.Release, maxText), shorten(r.Ledger.Root, maxText)
	for length := maxMessage; ; length /= 2 {
		var kept []Condition
		for _, c := range r.Conditions {
			if len(kept) < maxConditions && (length == maxMessage || !c.OK) {
				kept = append(kept, Condition{shorten(c.Name, maxText), c.OK, shorten(c.Message, length)})
			}
		}
		cut := r
		cut.Conditions = kept
		if b := mustJSON(cut); len(b) <= MaxReport {
			return b
		}
		if length == 0 {
			r.Conditions = r.Conditions[:len(r.Conditions)/2]
		}
	}
}

// shorten cuts a text to n bytes of UTF-8.
func shorten(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// ParseReport reads what another node sent. It is bounded but not strict about
// fields: the other node may run the next release. The error is Invalid.
func ParseReport(b []byte) (Report, error) {
	var r Report
	invalid := tap.E("cluster.report", tap.Invalid, "a node's report does not parse")
	if len(b) > MaxReport || !utf8.Valid(b) || json.Unmarshal(b, &r) != nil ||
		len(r.Release) > maxText || len(r.Ledger.Root) > maxText || len(r.Conditions) > maxConditions {
		return Report{}, invalid
	}
	for _, c := range r.Conditions {
		if len(c.Name) > maxText || len(c.Message) > maxMessage {
			return Report{}, invalid
		}
	}
	return r, nil
}

// Status is what the answering node knows of the replication.
type Status struct {
	Node    string // who answers
	Leader  string // "" while none is known
	Term    uint64
	Commit  uint64 // index of the last committed entry
	Version uint32 // replicated version of the commands
	Nodes   []Node // of replication's present configuration, the answering node included
}

// Node is one node as the answering node last heard of it.
type Node struct {
	ID, Address string
	Voter       bool
	Reachable   bool
	Heard       time.Time     // of its last answer; zero = never
	RoundTrip   time.Duration // to it and back
	ClockOffset time.Duration // its clock minus the answering node's
	Applied     uint64        // index of the last entry in its state
	Version     uint32        // newest commands that it applies
	Unfit       string        // why it should not lead; "" = it may
	Report      Report
}
