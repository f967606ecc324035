package bookpi

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of a policy. C2SP asks for at least 32 of each.
const (
	MaxPolicySize    = 512 << 10 // bytes of the file
	MaxPolicyEntries = 64        // logs, and as many witnesses, and as many groups
	maxPolicyName    = 255       // bytes of a witness's or a group's name
	maxPolicyURL     = 2048      // bytes
)

// QuorumNone is the quorum that is satisfied without any cosignature.
const QuorumNone = "none"

var (
	// ErrPolicy: a policy that is malformed or contradicts itself.
	ErrPolicy = errors.New("bookpi: invalid policy")
	// ErrQuorum: a checkpoint that too few witnesses have cosigned.
	ErrQuorum = errors.New("quorum not reached")
)

// Policy says which checkpoints to believe: those that one of the logs signed and
// that witnesses cosigned as the quorum asks. It is the content of a C2SP tlog-policy
// file:
//
//	log <verifier key> [<url>]
//	witness <name> <verifier key> [<url>]
//	group <name> all|any|<k> <member>...
//	quorum <name>|none
//
// Log keys are of type ed25519 or ml-dsa-44, witness keys of type cosignature/v1 or
// ml-dsa-44. Names are for the file alone. A group counts as having witnessed when k
// of its members have. The zero Policy is invalid: it lacks a quorum.
type Policy struct {
	Logs      []PolicyLog
	Witnesses []PolicyWitness
	Groups    []PolicyGroup // members are witnesses, or groups earlier in the list
	Quorum    string        // a witness, a group or [QuorumNone]
}

// PolicyLog is a log whose checkpoints are believed.
type PolicyLog struct {
	Key VerifierKey // its name is the log's origin
	URL string      // for people and clients; may be empty
}

// PolicyWitness is a witness that counts.
type PolicyWitness struct {
	Name string // in this policy
	Key  VerifierKey
	URL  string // may be empty
}

// PolicyGroup is a named threshold over witnesses and groups.
type PolicyGroup struct {
	Name      string
	Threshold int // 1..len(Members)
	Members   []string
}

// PolicyError says which line of a policy file is unacceptable. It wraps [ErrPolicy].
type PolicyError struct {
	Line   int    // from 1; 0 if no single line is to blame
	Reason string // for people
}

// Error implements error.
func (e *PolicyError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%v: %s", ErrPolicy, e.Reason)
	}
	return fmt.Sprintf("%v: line %d: %s", ErrPolicy, e.Line, e.Reason)
}

// Unwrap returns [ErrPolicy].
func (e *PolicyError) Unwrap() error { return ErrPolicy }

// ParsePolicy reads a policy file as C2SP tlog-policy describes it: items separated by
// spaces and tabs, comments and empty lines ignored, names defined before use, every
// line ended by a line feed. Beyond that it refuses a witness with a log's key, which
// would witness itself, and two keys that signatures cannot tell apart. Errors are
// [*PolicyError].
func ParsePolicy(text []byte) (Policy, error) {
	if len(text) > MaxPolicySize {
		return Policy{}, &PolicyError{0, fmt.Sprintf("%d bytes, limit %d", len(text), MaxPolicySize)}
	}
	b := newPolicyBuilder()
	number := 0
	for len(text) > 0 {
		number++
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		text = rest
		if !ended {
			return Policy{}, &PolicyError{number, "the line does not end"}
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return Policy{}, &PolicyError{number, "a control character"}
		}
		if err := b.line(policyFields(string(line))); err != nil {
			return Policy{}, &PolicyError{number, err.Error()}
		}
	}
	if b.policy.Quorum == "" {
		return Policy{}, &PolicyError{0, "no quorum line"}
	}
	return b.policy, nil
}

// policyFields splits at spaces and tabs only, where strings.Fields would take any
// Unicode space for one.
func policyFields(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
}

// Check reports whether the policy could come from a file. Errors are [*PolicyError]
// without a line.
func (p Policy) Check() error {
	b := newPolicyBuilder()
	for _, l := range p.Logs {
		if err := b.log(l); err != nil {
			return &PolicyError{0, err.Error()}
		}
	}
	for _, w := range p.Witnesses {
		if err := b.witness(w); err != nil {
			return &PolicyError{0, err.Error()}
		}
	}
	for _, g := range p.Groups {
		if err := b.group(g); err != nil {
			return &PolicyError{0, err.Error()}
		}
	}
	if err := b.quorum(p.Quorum); err != nil {
		return &PolicyError{0, err.Error()}
	}
	return nil
}

// Encode returns the policy's file in one spelling: logs, witnesses, groups, quorum,
// one space between items, no comments. It checks nothing; see [Policy.Check]. Two
// policies mean the same if they encode the same.
func (p Policy) Encode() []byte {
	var out bytes.Buffer
	line := func(items ...string) {
		out.WriteString(strings.TrimSuffix(strings.Join(items, " "), " ")) // a missing URL leaves a space
		out.WriteByte('\n')
	}
	for _, l := range p.Logs {
		line("log", l.Key.String(), l.URL)
	}
	for _, w := range p.Witnesses {
		line("witness", w.Name, w.Key.String(), w.URL)
	}
	for _, g := range p.Groups {
		threshold := strconv.Itoa(g.Threshold)
		switch g.Threshold {
		case len(g.Members):
			threshold = "all"
		case 1:
			threshold = "any"
		}
		line("group", g.Name, threshold, strings.Join(g.Members, " "))
	}
	line("quorum", p.Quorum)
	return out.Bytes()
}

// Satisfied reports whether cosignatures by the witnesses, given by their names in the
// policy, reach the quorum. Names that are no witnesses count for nothing.
func (p Policy) Satisfied(witnesses ...string) bool {
	reached := map[string]bool{QuorumNone: true}
	for _, w := range p.Witnesses {
		reached[w.Name] = slices.Contains(witnesses, w.Name)
	}
	// Members come before their groups, so one pass decides all.
	for _, g := range p.Groups {
		count := 0
		for _, member := range g.Members {
			if reached[member] {
				count++
			}
		}
		reached[g.Name] = count >= g.Threshold
	}
	return reached[p.Quorum]
}

// witness returns the witness that a signature line claims to be of.
func (p Policy) witness(line signatureLine) (PolicyWitness, bool) {
	for _, w := range p.Witnesses {
		if line.by(w.Key) {
			return w, true
		}
	}
	return PolicyWitness{}, false
}

// witnessNames returns what the policy calls the cosigners.
func witnessNames(by []Cosignature) []string {
	names := make([]string, len(by))
	for i := range by {
		names[i] = by[i].Witness
	}
	return names
}

// policyBuilder checks a policy one line at a time.
type policyBuilder struct {
	policy  Policy
	defined map[string]bool // witnesses and groups; true once it is a group's member
}

func newPolicyBuilder() *policyBuilder {
	return &policyBuilder{defined: map[string]bool{}}
}

// line takes the items of one line of a file.
func (b *policyBuilder) line(items []string) error {
	if len(items) == 0 || strings.HasPrefix(items[0], "#") {
		return nil
	}
	keyword, items := items[0], items[1:]
	optional := func(n int) string { // the URL, which may be missing
		if len(items) > n {
			return items[n]
		}
		return ""
	}
	switch {
	case keyword == "log" && (len(items) == 1 || len(items) == 2):
		key, err := ParseVerifierKey(items[0])
		if err != nil {
			return err
		}
		return b.log(PolicyLog{key, optional(1)})
	case keyword == "witness" && (len(items) == 2 || len(items) == 3):
		key, err := ParseVerifierKey(items[1])
		if err != nil {
			return err
		}
		return b.witness(PolicyWitness{items[0], key, optional(2)})
	case keyword == "group" && len(items) >= 3:
		members := items[2:]
		threshold, err := parseThreshold(items[1], len(members))
		if err != nil {
			return err
		}
		return b.group(PolicyGroup{items[0], threshold, members})
	case keyword == "quorum" && len(items) == 1:
		return b.quorum(items[0])
	}
	return fmt.Errorf("not a log, witness, group or quorum line")
}

func parseThreshold(word string, members int) (int, error) {
	switch word {
	case "all":
		return members, nil
	case "any":
		return 1, nil
	}
	k, err := parseDecimal(word)
	if err != nil || k > uint64(members) {
		return 0, fmt.Errorf("the threshold is not all, any or a number within 1..%d", members)
	}
	return int(k), nil
}

func (b *policyBuilder) log(l PolicyLog) error {
	switch {
	case len(b.policy.Logs) == MaxPolicyEntries:
		return fmt.Errorf("more than %d logs", MaxPolicyEntries)
	case !l.Key.Algorithm().signsLogs():
		return fmt.Errorf("a log does not sign with %v", l.Key.Algorithm())
	}
	if err := b.newKey(l.Key); err != nil {
		return err
	}
	if err := checkURL(l.URL); err != nil {
		return err
	}
	b.policy.Logs = append(b.policy.Logs, l)
	return nil
}

func (b *policyBuilder) witness(w PolicyWitness) error {
	switch {
	case len(b.policy.Witnesses) == MaxPolicyEntries:
		return fmt.Errorf("more than %d witnesses", MaxPolicyEntries)
	case !w.Key.Algorithm().cosigns():
		return fmt.Errorf("a witness does not cosign with %v", w.Key.Algorithm())
	}
	if err := b.newKey(w.Key); err != nil {
		return err
	}
	if err := checkURL(w.URL); err != nil {
		return err
	}
	if err := b.define(w.Name); err != nil {
		return err
	}
	b.policy.Witnesses = append(b.policy.Witnesses, w)
	return nil
}

// newKey refuses a key that is there already, under whatever name and in whatever role,
// and one that a signature line could mean as well as another.
func (b *policyBuilder) newKey(k VerifierKey) error {
	var others []VerifierKey
	for i := range b.policy.Logs {
		others = append(others, b.policy.Logs[i].Key)
	}
	for i := range b.policy.Witnesses {
		others = append(others, b.policy.Witnesses[i].Key)
	}
	for _, other := range others {
		if other.SharesKey(k) {
			return fmt.Errorf("%s has the same key as %s", k.ID(), other.ID())
		}
		if other.ID() == k.ID() {
			return fmt.Errorf("two keys are called %s", k.ID())
		}
	}
	return nil
}

func (b *policyBuilder) group(g PolicyGroup) error {
	switch {
	case len(b.policy.Groups) == MaxPolicyEntries:
		return fmt.Errorf("more than %d groups", MaxPolicyEntries)
	case g.Threshold < 1 || g.Threshold > len(g.Members):
		return fmt.Errorf("the threshold is not within 1..%d", len(g.Members))
	}
	for _, member := range g.Members {
		taken, known := b.defined[member]
		if !known {
			return fmt.Errorf("%q is not a witness or group defined above", member)
		}
		if taken {
			return fmt.Errorf("%q is already a member of a group", member)
		}
		b.defined[member] = true
	}
	if err := b.define(g.Name); err != nil {
		return err
	}
	b.policy.Groups = append(b.policy.Groups, g)
	return nil
}

func (b *policyBuilder) quorum(name string) error {
	if b.policy.Quorum != "" {
		return fmt.Errorf("a second quorum line")
	}
	if _, known := b.defined[name]; !known && name != QuorumNone {
		return fmt.Errorf("the quorum %q is not a witness or group defined above", name)
	}
	b.policy.Quorum = name
	return nil
}

// define gives a witness or a group its name.
func (b *policyBuilder) define(name string) error {
	if name == "" || name == QuorumNone || len(name) > maxPolicyName || strings.ContainsFunc(name, notInItem) {
		return fmt.Errorf("%q cannot be a name", name)
	}
	if _, known := b.defined[name]; known {
		return fmt.Errorf("%q is defined twice", name)
	}
	b.defined[name] = false
	return nil
}

func checkURL(url string) error {
	if len(url) > maxPolicyURL || strings.ContainsFunc(url, notInItem) {
		return fmt.Errorf("the URL is too long or has a space in it")
	}
	return nil
}

// notInItem reports what would end an item or is not allowed in a file.
func notInItem(r rune) bool { return r <= ' ' || r == 0x7f }
