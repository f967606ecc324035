package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/store/bookpi"
)

// policyFlags is what evidence policy is told: whom to trust, or nothing to ask the site.
type policyFlags struct {
	logs, witnesses []string
	quorum          int
	all             bool // of the witnesses, whatever quorum says
	out             string
}

func (f *policyFlags) composes() bool { return len(f.logs) > 0 || len(f.witnesses) > 0 || !f.all }

// policyShown is a policy, and how much it asks for where it was composed here.
type policyShown struct {
	File      string `json:"file,omitempty"`
	Policy    string `json:"policy"`
	Witnesses *int   `json:"witnesses,omitempty"`
	Quorum    *int   `json:"quorum,omitempty"` // so many of the witnesses
}

func (a *app) evidencePolicy() *cobra.Command {
	var in policyFlags
	var c *cobra.Command
	c = a.verb("policy [--log KEY|@FILE]... [--witness KEY|@FILE]... [--quorum N] [--out FILE|-]", textEvidencePolicy, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		in.all = !c.Flags().Changed("quorum")
		v, err := a.policy(ctx, &in)
		if err != nil {
			return err
		}
		if in.out == "-" {
			_, err := a.out.Write([]byte(v.Policy))
			return err
		}
		if v.File = in.out; in.out != "" {
			if err := writeFile(a.path(in.out), []byte(v.Policy)); err != nil {
				return err
			}
		}
		return a.printValue(v, func(t *table) {
			t.paragraph(v.Policy)
			t.line("")
			if v.Quorum == nil {
				t.line(textPolicyAdvice.In(t.lang))
			} else {
				t.line(fmt.Sprintf(textPolicyComposed.In(t.lang), *v.Quorum, *v.Witnesses))
			}
		})
	})
	c.Flags().StringArrayVar(&in.logs, "log", nil, textFlagPolicyLog.In(a.lang))
	c.Flags().StringArrayVar(&in.witnesses, "witness", nil, textFlagPolicyWitness.In(a.lang))
	c.Flags().IntVar(&in.quorum, "quorum", 0, textFlagPolicyQuorum.In(a.lang))
	c.Flags().StringVar(&in.out, "out", "", textFlagOut.In(a.lang))
	return c
}

// policy is what the site suggests or, without asking anybody, what the flags say.
func (a *app) policy(ctx context.Context, in *policyFlags) (policyShown, error) {
	if !in.composes() {
		reply, err := a.request(ctx, ask{path: logPrefix + bookpi.PolicyPath})
		if err != nil {
			return policyShown{}, err
		}
		return policyShown{Policy: string(reply.Body)}, nil
	}
	logs, err := a.keysOf("--log", in.logs)
	if err != nil {
		return policyShown{}, err
	}
	if len(logs) == 0 {
		return policyShown{}, usage("a policy needs --log: the key of the ledger to believe")
	}
	witnesses, err := a.keysOf("--witness", in.witnesses)
	if err != nil {
		return policyShown{}, err
	}
	names := map[string]bool{}
	for _, k := range witnesses {
		names[k.Name()] = true
	}
	known := len(names)
	quorum := in.quorum
	if in.all {
		quorum = known
	}
	if quorum < 0 || quorum > known {
		return policyShown{}, usage("--quorum %d is not within 0..%d, the witnesses that --witness names", quorum, known)
	}
	p, err := bookpi.SuggestPolicy(logs, witnesses, quorum)
	if err != nil {
		return policyShown{}, badInput("%v", err)
	}
	return policyShown{Policy: string(p.Encode()), Witnesses: &known, Quorum: &quorum}, nil
}

// keysOf reads the keys that the values of a flag give, each one key, or a file with
// several.
func (a *app) keysOf(flag string, values []string) ([]bookpi.VerifierKey, error) {
	var keys []bookpi.VerifierKey
	for _, value := range values {
		text, err := a.readKey(value)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			key, err := bookpi.ParseVerifierKey(strings.TrimRight(line, "\r\n"))
			if err != nil {
				return nil, badInput("%s: %v", flag, err)
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}
