package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// trustFlags say whose checkpoints to believe.
type trustFlags struct{ key, policy, history string }

// flags adds the two flags, of which a verb takes exactly one.
func (f *trustFlags) flags(a *app, c *cobra.Command) {
	f.optional(a, c)
	c.MarkFlagsOneRequired("key", "policy")
}

// optional is flags for a verb that can do with neither.
func (f *trustFlags) optional(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.key, "key", "", textFlagVerifierKey.In(a.lang))
	c.Flags().StringVar(&f.policy, "policy", "", textFlagPolicy.In(a.lang))
	c.MarkFlagsMutuallyExclusive("key", "policy")
}

func (f *trustFlags) given() bool { return f.key != "" || f.policy != "" }

// policyOf is what the flags say to trust: a policy file, or a log's key alone.
func (a *app) policyOf(f trustFlags) (bookpi.Policy, error) {
	if f.policy != "" {
		raw, err := a.readFile(f.policy)
		if err != nil {
			return bookpi.Policy{}, err
		}
		p, err := bookpi.ParsePolicy(raw)
		if err != nil {
			return bookpi.Policy{}, badInput("%s: %v", f.policy, err)
		}
		return p, nil
	}
	text, err := a.readKey(f.key)
	if err != nil {
		return bookpi.Policy{}, err
	}
	p, err := keyPolicy(text)
	if err != nil || f.history == "" {
		return p, err
	}
	return a.followed(p, f.history)
}

// followed trusts every key that a log ever had, if one that is trusted vouches for
// them.
func (a *app) followed(p bookpi.Policy, file string) (bookpi.Policy, error) {
	raw, err := a.readFile(file)
	if err != nil {
		return p, err
	}
	if _, err := bookpi.ParseKeyHistory(raw); err != nil {
		return p, badInput("%s: %v", file, err)
	}
	var known []bookpi.VerifierKey
	for _, l := range p.Logs {
		known = append(known, l.Key)
	}
	keys, err := logKeysIn(raw, known)
	if err != nil {
		return p, err
	}
	p.Logs = nil
	for _, k := range keys {
		if !slices.ContainsFunc(p.Logs, func(l bookpi.PolicyLog) bool { return l.Key == k }) { // one of two may stay
			p.Logs = append(p.Logs, bookpi.PolicyLog{Key: k})
		}
	}
	return p, nil
}

// keyPolicy trusts one key of a log, or several, one a line, and asks for no witnesses.
func keyPolicy(text string) (bookpi.Policy, error) {
	p := bookpi.Policy{Quorum: bookpi.QuorumNone}
	for line := range strings.Lines(text) {
		key, err := bookpi.ParseVerifierKey(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return bookpi.Policy{}, badInput("--key: %v", err)
		}
		p.Logs = append(p.Logs, bookpi.PolicyLog{Key: key})
	}
	if err := p.Check(); err != nil {
		return bookpi.Policy{}, badInput("--key: %v", err)
	}
	return p, nil
}

// cosigner is a witness whose cosignature verified.
type cosigner struct {
	Witness   string `json:"witness"`
	Name      string `json:"name"`
	KeyHash   string `json:"keyHash"`
	Algorithm string `json:"algorithm"`
	Time      string `json:"time,omitempty"`
}

func cosigners(by []bookpi.Cosignature) []cosigner {
	var all []cosigner
	for _, s := range by {
		c := cosigner{Witness: s.Witness, Name: s.Name, KeyHash: fmt.Sprintf("%08x", s.KeyHash), Algorithm: s.Algorithm.String()}
		if !s.Time.IsZero() {
			c.Time = s.Time.UTC().Format("2006-01-02T15:04:05Z")
		}
		all = append(all, c)
	}
	return all
}

// quorum is what the policy calls the quorum that was reached; empty if it asks for none.
func quorum(p bookpi.Policy) string {
	if p.Quorum == bookpi.QuorumNone {
		return ""
	}
	return p.Quorum
}

func drawCosigners(t *table, by []cosigner, quorum string) {
	t.field(textQuorum, quorum)
	for _, c := range by {
		t.row(textCosignedBy.In(t.lang), c.Name+"  "+c.Algorithm+"  "+c.Time)
	}
}

// Codes of what evidence can contradict, besides codeBroken.
const (
	codeQuorum     = "quorum"      // Unauthenticated: genuine, but too few witnesses cosigned
	codeSplitView  = "split_view"  // Conflict: the log signed two histories
	codeRolledBack = "rolled_back" // Conflict: the log lost entries that were seen before
	codeOtherLog   = "other_log"   // Conflict: another log than before
)

// broken gives the failure of a verification its kind, and says which entry and
// which part of it.
func broken(err error) error {
	var where *bookpi.BrokenError
	if !errors.As(err, &where) {
		return tap.E("tamvctl.verify", tap.Invalid, "%v", err).WithCode(codeInput)
	}
	kind, code := tap.Unauthenticated, codeBroken
	switch {
	case errors.Is(err, bookpi.ErrSplitView):
		kind, code = tap.Conflict, codeSplitView
	case errors.Is(err, bookpi.ErrRolledBack):
		kind, code = tap.Conflict, codeRolledBack
	case errors.Is(err, bookpi.ErrOtherLog):
		kind, code = tap.Conflict, codeOtherLog
	case errors.Is(err, bookpi.ErrQuorum):
		code = codeQuorum
	}
	e := tap.E("tamvctl.verify", kind, "%v", err).WithCode(code).WithDetail("part", where.Part)
	if where.HasPosition {
		e.WithDetail("position", where.Position)
	}
	return e
}

// unproven gives the failure of a tlog-proof its kind. Its errors say what is wrong by
// what they wrap.
func unproven(err error) error {
	part, cause := bookpi.PartProof, err
	switch {
	case errors.Is(err, bookpi.ErrPolicy):
		return tap.E("tamvctl.verify", tap.Invalid, "%v", err).WithCode(codeInput)
	case errors.Is(err, bookpi.ErrTLogProof):
		part = bookpi.PartStructure
	case errors.Is(err, bookpi.ErrEntry):
		part = bookpi.PartEntry
	case errors.Is(err, bookpi.ErrCheckpoint):
		part = bookpi.PartCheckpoint
	}
	return broken(&bookpi.BrokenError{Part: part, Reason: err.Error(), Err: cause})
}
