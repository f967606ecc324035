package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

// tree is a small command with one of everything.
func tree(lang tap.Lang) (*cobra.Command, *bytes.Buffer) {
	out := &bytes.Buffer{}
	root := &cobra.Command{Use: "tamvx", Short: "An example."}
	group := &cobra.Command{Use: "thing", Short: "Things."}
	verb := &cobra.Command{
		Use: "make NAME", Short: "Make one.", Args: cobra.ExactArgs(1), DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	verb.Flags().Int("count", 1, "how many")
	verb.Flags().Duration("within", time.Second, "how soon")
	verb.Flags().IPSlice("from", nil, "from where")
	verb.Flags().String("kind", "", "which")
	_ = verb.MarkFlagRequired("kind")
	group.AddCommand(verb)
	root.AddCommand(group)
	root.SetOut(out)
	root.SetErr(out)
	Prepare(root, lang)
	return root, out
}

func TestMistakesInTheCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"thing make a --kind k":                     "",
		"thng":                                      `unknown command "thng" for tamvx; did you mean thing?`,
		"thing unmake":                              `unknown command "unmake" for tamvx thing`,
		"thing make":                                "values given: 0; the command is: tamvx thing make NAME",
		"thing make a b":                            "values given: 2; the command is: tamvx thing make NAME",
		"thing make a":                              "required flags are not given: --kind; the command is: tamvx thing make NAME",
		"thing make a --kin k":                      "unknown flag: --kin",
		"thing make -1":                             "unknown flag: -1; values that begin with a hyphen come last, behind --",
		"thing make --kind k -- -1":                 "",
		"thing make a --kind":                       "--kind needs a value",
		"thing make a --kind k --count x":           `--count "x" is not a whole number`,
		"thing make a --kind k --within soon":       `--within "soon" is not a time such as 30s, 5m or 2h`,
		"thing make a --kind k --from here":         `--from "here": `,
		"thing make a --kind k --=x":                "bad flag syntax: --=x",
		"completion bash --no-descriptions garbage": "values given: 1; the command is: tamvx completion bash",
	} {
		root, _ := tree(tap.English)
		root.SetArgs(strings.Fields(line))
		err := root.Execute()
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", line, err)
			}
			continue
		}
		if e := tap.AsError(err); e == nil || e.Kind != tap.Invalid || e.Code != CodeUsage || !strings.HasPrefix(e.Message, want) {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func TestHelpInBothLanguages(t *testing.T) {
	for lang, wants := range map[tap.Lang][]string{
		tap.English: {"An example.", "Usage:", "Commands:", "Flags:", "Exit codes: 0 ok", "show this help", "Show the help of a command.", "Print a script"},
		tap.Spanish: {"An example.", "Uso:", "Órdenes:", "Opciones:", "Códigos de salida: 0 ok", "muestra esta ayuda", "Muestra la ayuda de una orden.", "Imprime un guion"},
	} {
		for _, line := range []string{"--help", "help"} {
			root, out := tree(lang)
			root.SetArgs(strings.Fields(line))
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			for _, want := range wants {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s, %q: no %q in\n%s", lang, line, want, out.String())
				}
			}
		}
	}
	for _, line := range []string{"", "thing"} { // a command that only holds others
		root, out := tree(tap.Spanish)
		root.SetArgs(strings.Fields(line))
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), "Uso:") {
			t.Errorf("%q: %v %s", line, err, out.String())
		}
	}
	root, out := tree(tap.Spanish)
	root.SetArgs([]string{"completion", "fish", "--help"})
	if err := root.Execute(); err != nil || !strings.Contains(out.String(), "tamvx completion fish | source") || !strings.Contains(out.String(), "sin descripciones") {
		t.Errorf("%v %s", err, out.String())
	}
}
