package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/docs/manual"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// verifier is the public key of a log that there is not.
const verifier = "example.test/log+bcf69852+ATjgSrl42aES8JjC/NeHLVOka7gO6pkY5FJTUlM+Eexp"

// arguments is a well-formed command line for every verb that asks an appliance.
var arguments = map[string]string{
	"identity create":          "x --roles citizen --public-key " + strings.Repeat("A", 43) + "=",
	"identity list":            "",
	"identity me":              "",
	"identity revoke":          "x --reason y",
	"identity show":            "x",
	"intent send":              "x",
	"intent show":              "x",
	"memory add":               "- --type NOTE",
	"memory export":            "-",
	"memory import":            "- --type NOTE",
	"memory list":              "",
	"memory remove":            "x",
	"memory search":            "x",
	"memory show":              "x",
	"tcep balances":            "",
	"tcep book":                "1.00 USD --source x --purpose y",
	"tcep currencies":          "",
	"tcep show":                "x",
	"evidence anchors add":     "-",
	"evidence anchors list":    "",
	"evidence anchors request": "x --out y",
	"evidence append":          "x ok --data 1",
	"evidence archive":         "0 --to .",
	"evidence segments":        "",
	"evidence audit":           "--key " + verifier,
	"evidence checkpoint":      "",
	"evidence export":          "x --out y",
	"evidence key":             "",
	"evidence list":            "",
	"evidence mirror":          "x --key " + verifier,
	"evidence policy":          "",
	"evidence proof":           "x",
	"evidence rotate-key":      "",
	"evidence show":            "x",
	"evidence tail":            "--timeout 1s",
	"evidence witness add":     verifier,
	"evidence witness list":    "",
	"evidence witness remove":  "x",
	"guardian approve":         "x --reason y",
	"guardian deny":            "x --reason y",
	"guardian list":            "",
	"guardian show":            "x",
	"cluster invitations":      "",
	"cluster invite":           "",
	"cluster promote":          "x",
	"cluster remove":           "x",
	"cluster status":           "",
	"cluster transfer":         "",
	"cluster withdraw":         "x",
	"security acknowledge":     "x",
	"security alerts":          "",
	"security blocks":          "",
	"security lift":            "192.0.2.1",
	"security policy":          "",
	"subject approve":          "x",
	"subject erase":            "x --reason y",
	"subject list":             "",
	"subject policy":           "",
	"subject show":             "x",
	"subject withdraw":         "x",
	"room act":                 "x put y --position 1,2,3",
	"room create":              "x --name y",
	"room history":             "x",
	"room list":                "",
	"room show":                "x",
	"status":                   "",
	"ready":                    "",
	"api":                      "GET /v1/status",
	"demo":                     "",
}

// offline are the verbs that ask nobody.
var offline = map[string]string{
	"evidence verify": "x --key y",
	"witness cosign":  "x y",
	"witness init":    "x y",
	"witness show":    "x",
	"witness trust":   "x y",
	"context show":    "",
	"version":         "",
}

// anyNumber are the verbs that take any number of files.
var anyNumber = []string{"evidence anchors add", "witness cosign"}

// verbs walks the command tree. A verb that neither table knows fails the test,
// so that every new one is tried here.
func verbs(t *testing.T) []string {
	t.Helper()
	var all []string
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		for _, sub := range c.Commands() {
			if path == "" && (sub.Name() == "help" || sub.Name() == "completion") {
				continue // cobra's own
			}
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
		if len(c.Commands()) == 0 {
			_, asks := arguments[path]
			_, alone := offline[path]
			if asks == alone {
				t.Errorf("the verb %q is in neither table, or in both", path)
			}
			all = append(all, path)
		}
	}
	walk((&app{console: console{getenv: func(string) string { return "" }}}).root(), "")
	if len(all) != len(arguments)+len(offline) {
		t.Errorf("%d verbs, but %d in the tables", len(all), len(arguments)+len(offline))
	}
	return all
}

// errorOf decodes the error that -o json puts on standard error.
func errorOf(t *testing.T, r outcomeOf) tap.ErrorFields {
	t.Helper()
	var body tap.ErrorBody
	if err := json.Unmarshal([]byte(r.errOut), &body); err != nil {
		t.Fatalf("standard error is not an error body: %v\n%s", err, r.errOut)
	}
	if body.Error.Hint == "" || body.Error.Message == "" || r.out != "" {
		t.Errorf("no hint, no message, or something on standard output: %+v %q", body.Error, r.out)
	}
	return body.Error
}

func TestEveryVerbAgainstADeadServer(t *testing.T) {
	env := map[string]string{client.ContextVariable: deadContext(t)}
	results := map[string]*outcomeOf{}
	var all sync.WaitGroup // at once, because each waits out its retries
	for _, verb := range verbs(t) {
		line, asks := arguments[verb]
		if !asks {
			continue
		}
		r := new(outcomeOf)
		results[verb] = r
		all.Go(func() { *r = tamvctlIn(t, env, "a document", append(strings.Fields(verb+" "+line), "-o", "json")...) })
	}
	all.Wait()
	for verb, r := range results {
		if f := errorOf(t, *r); r.code != tap.Unavailable.Traits().ExitCode || f.Code != client.CodeUnreachable {
			t.Errorf("%s: exit code %d, %s", verb, r.code, f.Code)
		}
	}
}

func TestEveryVerbWithWrongInput(t *testing.T) {
	for _, verb := range verbs(t) {
		for name, args := range map[string][]string{
			"unknown flag":   {"--nonsense"},
			"too many words": {"a", "b", "c", "d"},
		} {
			if name == "too many words" && slices.Contains(anyNumber, verb) {
				continue
			}
			r := tamvctl(t, append(append([]string{"-o", "json"}, strings.Fields(verb)...), args...)...)
			if f := errorOf(t, r); r.code != tap.Invalid.Traits().ExitCode || f.Code != cli.CodeUsage {
				t.Errorf("%s, %s: exit code %d, %s", verb, name, r.code, f.Code)
			}
		}
	}
}

func TestEveryVerbWithoutContext(t *testing.T) {
	for verb, line := range arguments {
		r := tamvctlIn(t, nil, "a document", append([]string{"-o", "json"}, strings.Fields(verb+" "+line)...)...)
		f := errorOf(t, r)
		if r.code != tap.Invalid.Traits().ExitCode || f.Code != codeNoContext || !strings.Contains(f.Hint, client.ContextVariable) {
			t.Errorf("%s: exit code %d, %+v", verb, r.code, f)
		}
	}
}

var quotedCommand = regexp.MustCompile("`tamvctl ([^`]+)`")

// The manual teaches command lines; each must be one that this program takes.
func TestManualTeachesCommandsThatExist(t *testing.T) {
	seen := 0
	for _, lang := range manual.Languages() {
		passages, err := manual.Passages(lang)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range passages {
			for _, match := range quotedCommand.FindAllStringSubmatch(p.Content, -1) {
				seen++
				if err := takes(strings.TrimSuffix(match[1], " -")); err != nil {
					t.Errorf("%s/%s: %q: %v", lang, p.ID, match[0], err)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d command lines found in the manual", seen)
	}
}

var word = regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)

// takes says whether the command tree accepts a command line. One that names
// just the verb is a mention and not an example.
func takes(line string) error {
	line, _, _ = strings.Cut(line, " > ")
	args := word.FindAllString(line, -1)
	for i := range args {
		args[i] = strings.Trim(args[i], `"'`)
	}
	root := (&app{console: console{getenv: func(string) string { return "" }}}).root()
	root.InitDefaultCompletionCmd()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	given := 0
	c.Flags().Visit(func(*pflag.Flag) { given++ })
	if len(c.Flags().Args()) == 0 && given == 0 {
		return nil
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		return err
	}
	return c.ValidateRequiredFlags()
}
