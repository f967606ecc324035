package bookpi

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The example of the specification, with keys filled in.
func examplePolicy() string {
	var b strings.Builder
	fmt.Fprintf(&b, "log %s\n\n", testLogKeys("log.test", 1).Verifiers()[0])
	for _, group := range []string{"X", "Y"} {
		for i := 1; i <= 3; i++ {
			a := AlgorithmCosignatureEd25519
			if i == 3 {
				a = AlgorithmMLDSA44
			}
			name := fmt.Sprintf("%s%d", group, i)
			fmt.Fprintf(&b, "witness %s %s\n", name, testSigningKey(name+".test", a, group[0]*2+byte(i)).Verifier())
		}
		rule := map[string]string{"X": "2", "Y": "any"}[group]
		fmt.Fprintf(&b, "group %s-witnesses %s %s1 %s2 %s3\n\n", group, rule, group, group, group)
	}
	return b.String() + "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
}

func TestPolicyExample(t *testing.T) {
	text := examplePolicy()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for witnesses, want := range map[string]bool{
		"":               false,
		"X1 Y1":          false,
		"X1 X2":          false,
		"X1 X2 Y3":       true,
		"X2 X3 Y1 Y2":    true,
		"Y1 Y2 Y3 X2":    false,
		"X1 X2 Z1":       false,
		"X1 X1 Y1":       false,
		"X-witnesses Y1": false,
		"X-and-Y":        false,
	} {
		if got := p.Satisfied(strings.Fields(witnesses)...); got != want {
			t.Errorf("%q: %v", witnesses, got)
		}
	}
	// Its one spelling, and the same policy spelt freely.
	encoded := p.Encode()
	if want := strings.ReplaceAll(text, "\n\n", "\n"); len(encoded) != len(want) {
		t.Errorf("%q", encoded)
	}
	free := "# for the example\n\n" + strings.ReplaceAll(strings.ReplaceAll(text, " ", " \t "), "group", "\t group") + "  # end\n"
	again, err := ParsePolicy([]byte(free))
	if err != nil || !bytes.Equal(again.Encode(), encoded) {
		t.Error(err)
	}
	reread, err := ParsePolicy(encoded)
	if err != nil || !reflect.DeepEqual(reread, p) || p.Check() != nil {
		t.Error(err)
	}
}

func TestPolicyRefuses(t *testing.T) {
	logKey := testLogKeys("log.test", 1).Verifiers()
	w1 := testSigningKey("w.test", AlgorithmCosignatureEd25519, 1).Verifier().String()
	w2 := testSigningKey("w.test", AlgorithmMLDSA44, 2).Verifier().String()
	sameKey := testSigningKey("another.test", AlgorithmCosignatureEd25519, 1).Verifier().String()
	logAsWitness := testSigningKey("log.test", AlgorithmMLDSA44, 7)
	for name, tc := range map[string]struct {
		text string
		line int
	}{
		"empty":                     {"", 0},
		"no quorum":                 {"log " + logKey[0] + "\n", 0},
		"last line without end":     {"quorum none", 1},
		"two quorums":               {"quorum none\nquorum none\n", 2},
		"quorum of two names":       {"quorum none none\n", 1},
		"quorum of nobody":          {"\nquorum w1\n", 2},
		"quorum before its witness": {"quorum w1\nwitness w1 " + w1 + "\n", 1},
		"unknown word":              {"logs " + logKey[0] + "\n", 1},
		"capital word":              {"Quorum none\n", 1},
		"comment behind a line":     {"quorum none # all\n", 1},
		"carriage return":           {"quorum none\r\n", 1},
		"null byte":                 {"# \x00\nquorum none\n", 1},
		"delete":                    {"# \x7f\nquorum none\n", 1},
		"Unicode space":             {"quorum\u00a0none\n", 1},
		"log without key":           {"log\n", 1},
		"log with too much":         {"log " + logKey[0] + " u v\n", 1},
		"log twice":                 {"log " + logKey[0] + "\nlog " + logKey[0] + "\n", 2},
		"log with a witness's key":  {"log " + w1 + "\n", 1},
		"damaged log key":           {"log " + logKey[0][1:] + "\n", 1},
		"witness without name":      {"witness " + w1 + "\n", 1},
		"witness with a log's key":  {"witness w1 " + logKey[0] + "\n", 1},
		"damaged witness key":       {"witness w1 " + w1 + "=\n", 1},
		"witness twice":             {"witness w1 " + w1 + "\nwitness w2 " + w1 + "\n", 2},
		"key under two names":       {"witness w1 " + w1 + "\nwitness w2 " + sameKey + "\n", 2},
		"name twice":                {"witness w1 " + w1 + "\nwitness w1 " + w2 + "\n", 2},
		"witness called none":       {"witness none " + w1 + "\n", 1},
		"group called none":         {"witness w1 " + w1 + "\ngroup none any w1\n", 2},
		"log as its own witness":    {"log " + logAsWitness.Verifier().String() + "\nwitness w1 " + logAsWitness.Verifier().String() + "\n", 2},
		"group without members":     {"group g any\n", 1},
		"group of nobody":           {"group g any x\n", 1},
		"group of itself":           {"group g any g\n", 1},
		"group of none":             {"group g any none\n", 1},
		"group with name of member": {"witness w1 " + w1 + "\ngroup w1 any w1\n", 2},
		"member twice":              {"witness w1 " + w1 + "\ngroup g any w1 w1\n", 2},
		"member of two groups":      {"witness w1 " + w1 + "\ngroup g any w1\ngroup h any w1\n", 3},
		"threshold 0":               {"witness w1 " + w1 + "\ngroup g 0 w1\n", 2},
		"threshold beyond":          {"witness w1 " + w1 + "\ngroup g 2 w1\n", 2},
		"threshold with zero":       {"witness w1 " + w1 + "\ngroup g 01 w1\n", 2},
		"threshold some":            {"witness w1 " + w1 + "\ngroup g some w1\n", 2},
		"long name":                 {"witness " + strings.Repeat("x", maxPolicyName+1) + " " + w1 + "\n", 1},
		"long URL":                  {"witness w1 " + w1 + " " + strings.Repeat("x", maxPolicyURL+1) + "\n", 1},
		"long file":                 {strings.Repeat("#\n", MaxPolicySize/2+1), 0},
	} {
		_, err := ParsePolicy([]byte(tc.text))
		var at *PolicyError
		if !errors.As(err, &at) || at.Line != tc.line || !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v, want line %d", name, err, tc.line)
		}
	}
}

func TestPolicyLimits(t *testing.T) {
	var logs, witnesses, groups strings.Builder
	for i := range MaxPolicyEntries + 1 {
		name := fmt.Sprintf("n%d", i)
		fmt.Fprintf(&logs, "log %s\n", testSigningKey(name, AlgorithmEd25519, byte(i)).Verifier())
		fmt.Fprintf(&witnesses, "witness %s %s\n", name, testSigningKey(name, AlgorithmCosignatureEd25519, byte(100+i)).Verifier())
		fmt.Fprintf(&groups, "group g%d any n%d\n", i, i)
	}
	first := func(b *strings.Builder, n int) string {
		return strings.Join(strings.SplitAfter(b.String(), "\n")[:n], "")
	}
	most := first(&logs, MaxPolicyEntries) + first(&witnesses, MaxPolicyEntries) + first(&groups, MaxPolicyEntries) + "quorum g3\n"
	if _, err := ParsePolicy([]byte(most)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		logs.String() + "quorum none\n",
		witnesses.String() + "quorum none\n",
	} {
		if _, err := ParsePolicy([]byte(bad)); !errors.Is(err, ErrPolicy) {
			t.Error(err)
		}
	}
	p, err := ParsePolicy([]byte(most))
	if err != nil {
		t.Fatal(err)
	}
	p.Groups = append(p.Groups, PolicyGroup{"h", 1, []string{"g1"}})
	if err := p.Check(); !errors.Is(err, ErrPolicy) {
		t.Error(err)
	}
}

func TestPolicyCheck(t *testing.T) {
	s := newSite(1, 0)
	for name, change := range map[string]func(*Policy){
		"no key of a log":     func(p *Policy) { p.Logs[0].Key = VerifierKey{} },
		"no key of a witness": func(p *Policy) { p.Witnesses[0].Key = VerifierKey{} },
		"space in a name":     func(p *Policy) { p.Witnesses[0].Name = "a b" },
		"no name":             func(p *Policy) { p.Witnesses[0].Name = "" },
		"line feed in a URL":  func(p *Policy) { p.Witnesses[0].URL = "a\nquorum none" },
		"space in a URL":      func(p *Policy) { p.Logs[0].URL = "a b" },
		"no threshold":        func(p *Policy) { p.Groups[0].Threshold = 0 },
		"no quorum":           func(p *Policy) { p.Quorum = "" },
		"quorum of nobody":    func(p *Policy) { p.Quorum = "x" },
	} {
		p, err := ParsePolicy(s.policy.Encode())
		if err != nil {
			t.Fatal(err)
		}
		change(&p)
		var at *PolicyError
		if err := p.Check(); !errors.As(err, &at) || at.Line != 0 || at.Error() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Random policies: text and structure say the same, and Satisfied agrees with the
// definition read recursively.
func TestPolicyModel(t *testing.T) {
	var keys []VerifierKey
	for i := range 10 {
		a := []Algorithm{AlgorithmCosignatureEd25519, AlgorithmMLDSA44}[i%2]
		keys = append(keys, testSigningKey(fmt.Sprintf("w%d.test", i), a, byte(i)).Verifier())
	}
	rapid.Check(t, func(t *rapid.T) {
		var p Policy
		var free []string // not yet in a group
		for i := range rapid.IntRange(1, 10).Draw(t, "witnesses") {
			name := fmt.Sprintf("wé%d", i)
			p.Witnesses = append(p.Witnesses, PolicyWitness{name, keys[i], rapid.SampledFrom([]string{"", "https://w.test/"}).Draw(t, "url")})
			free = append(free, name)
		}
		all := append([]string{QuorumNone}, free...)
		for i := range rapid.IntRange(0, 6).Draw(t, "groups") {
			if len(free) == 0 {
				break
			}
			free = rapid.Permutation(free).Draw(t, "members")
			n := rapid.IntRange(1, len(free)).Draw(t, "n")
			g := PolicyGroup{fmt.Sprintf("g%d", i), rapid.IntRange(1, n).Draw(t, "k"), append([]string(nil), free[:n]...)}
			p.Groups = append(p.Groups, g)
			free = append(append([]string(nil), free[n:]...), g.Name)
			all = append(all, g.Name)
		}
		p.Quorum = rapid.SampledFrom(all).Draw(t, "quorum")
		parsed, err := ParsePolicy(p.Encode())
		if err != nil || !reflect.DeepEqual(parsed, p) || p.Check() != nil {
			t.Fatal(err)
		}

		var by []string
		for _, w := range p.Witnesses {
			if rapid.Bool().Draw(t, "cosigned") {
				by = append(by, w.Name)
			}
		}
		var reached func(name string) bool
		reached = func(name string) bool {
			for _, g := range p.Groups {
				if g.Name == name {
					count := 0
					for _, m := range g.Members {
						if reached(m) {
							count++
						}
					}
					return count >= g.Threshold
				}
			}
			return name == QuorumNone || strings.Contains(" "+strings.Join(by, " ")+" ", " "+name+" ")
		}
		if got, want := p.Satisfied(by...), reached(p.Quorum); got != want {
			t.Fatalf("satisfied %v, want %v", got, want)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(examplePolicy()))
	f.Add([]byte("quorum none\n"))
	f.Add([]byte("# \xff\n\tquorum\t none \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			wantIs(t, err, ErrPolicy)
			return
		}
		if err := p.Check(); err != nil {
			t.Fatalf("parsed, but %v", err)
		}
		again, err := ParsePolicy(p.Encode())
		if err != nil || !bytes.Equal(again.Encode(), p.Encode()) {
			t.Fatalf("%q is not stable: %v", text, err)
		}
	})
}
