package bookpi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A suggested policy is a C2SP policy file, and is satisfied exactly by checkpoints that as
// many witnesses cosigned as it asks for.
func TestSuggestPolicy(t *testing.T) {
	names := []string{"none", "witnesses", "witnesses'", "w", "w/ml-dsa-44", "w/cosignature-v1", "plaza.test/a", "plaza.test/b"}
	log := testSigningKey("log.test", AlgorithmEd25519, 1).Verifier()
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, -1, rapid.ID).Draw(t, "names")
		var keys []VerifierKey
		for _, name := range chosen {
			seed := byte(10 + 2*slices.Index(names, name))
			which := rapid.IntRange(1, 3).Draw(t, "keys of "+name)
			if which&1 != 0 {
				keys = append(keys, testSigningKey(name, AlgorithmMLDSA44, seed).Verifier())
			}
			if which&2 != 0 {
				keys = append(keys, testSigningKey(name, AlgorithmCosignatureEd25519, seed+1).Verifier())
			}
		}
		quorum := rapid.IntRange(0, len(chosen)).Draw(t, "quorum")
		p, err := SuggestPolicy([]VerifierKey{log}, rapid.Permutation(keys).Draw(t, "order"), quorum)
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParsePolicy(p.Encode())
		if err != nil {
			t.Fatalf("%s: %v", p.Encode(), err)
		}
		if again, err := SuggestPolicy([]VerifierKey{log}, keys, quorum); err != nil || string(again.Encode()) != string(p.Encode()) {
			t.Errorf("the order of the keys matters: %s", again.Encode())
		}
		var cosigned []string
		who := map[string]bool{}
		for _, w := range read.Witnesses {
			if rapid.Bool().Draw(t, w.Name+" cosigned") {
				cosigned = append(cosigned, w.Name)
				who[w.Key.Name()] = true
			}
		}
		if got := read.Satisfied(cosigned...); got != (len(who) >= quorum) {
			t.Errorf("%d of %d cosigned, %d needed: %v\n%s", len(who), len(chosen), quorum, got, read.Encode())
		}
	})
}

func TestSuggestPolicyRefuses(t *testing.T) {
	log := testSigningKey("log.test", AlgorithmEd25519, 1).Verifier()
	witness := testSigningKey("w", AlgorithmCosignatureEd25519, 2).Verifier()
	long := strings.Repeat("w", 250)
	var many []VerifierKey
	for i := range MaxPolicyEntries + 1 {
		many = append(many, testSigningKey(fmt.Sprint("w", i), AlgorithmCosignatureEd25519, byte(10+i)).Verifier())
	}
	for name, in := range map[string]struct {
		logs, witnesses []VerifierKey
		quorum          int
	}{
		"fewer than none":          {[]VerifierKey{log}, []VerifierKey{witness}, -1},
		"more than there are":      {[]VerifierKey{log}, []VerifierKey{witness}, 2},
		"a log that cosigns":       {[]VerifierKey{log}, []VerifierKey{log}, 1},
		"a witness that logs":      {[]VerifierKey{witness}, nil, 0},
		"a witness twice":          {[]VerifierKey{log}, []VerifierKey{witness, witness}, 1},
		"no key":                   {[]VerifierKey{{}}, nil, 0},
		"names that get too long":  {nil, []VerifierKey{testSigningKey(long, AlgorithmCosignatureEd25519, 3).Verifier(), testSigningKey(long, AlgorithmMLDSA44, 4).Verifier()}, 1},
		"more than a policy takes": {nil, many, 1},
	} {
		if _, err := SuggestPolicy(in.logs, in.witnesses, in.quorum); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
