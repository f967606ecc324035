package bookpi

import (
	"cmp"
	"slices"
	"strings"
)

// witnessesGroup is what a suggested policy calls all of its witnesses together.
const witnessesGroup = "witnesses"

// SuggestPolicy returns the policy that believes the logs of these keys when so many of the
// witnesses have cosigned; 0 asks for none. Keys of one name are one witness with keys of
// several algorithms, which has cosigned when any of them did. In the policy a witness is called as its key
// is, with apostrophes behind it if that name is taken. The order of the witnesses' keys means nothing.
//
// Errors wrap [ErrPolicy]: a quorum of more witnesses than there are, and what
// [Policy.Check] refuses.
func SuggestPolicy(logs, witnesses []VerifierKey, quorum int) (Policy, error) {
	policy := Policy{Quorum: QuorumNone}
	for _, k := range logs {
		policy.Logs = append(policy.Logs, PolicyLog{Key: k})
	}
	keys := slices.Clone(witnesses)
	slices.SortStableFunc(keys, func(a, b VerifierKey) int {
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.Algorithm(), b.Algorithm()))
	})
	taken := map[string]bool{QuorumNone: true}
	free := func(name string) string {
		for taken[name] {
			name += "'"
		}
		taken[name] = true
		return name
	}
	all := PolicyGroup{Threshold: quorum}
	for len(keys) > 0 {
		name := keys[0].Name()
		n := slices.IndexFunc(keys, func(k VerifierKey) bool { return k.Name() != name })
		if n < 0 {
			n = len(keys)
		}
		all.Members = append(all.Members, policy.addWitness(name, keys[:n], free))
		keys = keys[n:]
	}
	if quorum < 0 || quorum > len(all.Members) {
		return Policy{}, &PolicyError{0, "the quorum asks for more witnesses than there are, or for fewer than none"}
	}
	if quorum > 0 {
		all.Name = free(witnessesGroup)
		policy.Groups, policy.Quorum = append(policy.Groups, all), all.Name
	}
	return policy, policy.Check()
}

// addWitness defines a witness by its keys and returns what the policy calls it.
func (p *Policy) addWitness(name string, keys []VerifierKey, free func(string) string) string {
	name = free(name)
	if len(keys) == 1 {
		p.Witnesses = append(p.Witnesses, PolicyWitness{Name: name, Key: keys[0]})
		return name
	}
	either := PolicyGroup{Name: name, Threshold: 1}
	for _, k := range keys {
		member := free(name + "/" + strings.ReplaceAll(k.Algorithm().String(), "/", "-"))
		p.Witnesses = append(p.Witnesses, PolicyWitness{Name: member, Key: k})
		either.Members = append(either.Members, member)
	}
	p.Groups = append(p.Groups, either)
	return name
}
