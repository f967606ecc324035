package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// console is what a command line runs in.
type console struct {
	in          io.Reader
	out, errOut io.Writer
	getenv      func(string) string
	dir         string // where relative paths start; empty = the working directory
	terminal    bool   // errOut is a person's screen
}

// app is one run of the command.
type app struct {
	console
	lang tap.Lang

	contextFile string
	output      string
	timeout     time.Duration
	consistency string // of everything that is read; empty = the appliance's default

	open *client.Client // as the context says; nil until a verb needs it
	as   *client.Context
}

// The output forms.
const (
	asTable = "table"
	asJSON  = "json"
	asYAML  = "yaml"
)

var (
	outputs       = []string{asTable, asJSON, asYAML}
	consistencies = []string{"local", "leader", "linearizable"}
)

// defaultTimeout is enough for a bundle of ten thousand entries.
const defaultTimeout = 30 * time.Second

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, c console) int {
	out := &cli.Output{W: c.out}
	c.in, c.out = cli.Input(ctx, c.in), out
	a := &app{console: c, lang: cli.Language(args, c.getenv), output: asTable}
	root := a.root()
	root.SetArgs(args)
	err := cli.Outcome(ctx, root.ExecuteContext(ctx), out)
	if a.open != nil {
		a.open.Close()
	}
	if err == nil {
		return 0
	}
	// What is wrong with the command line was found before --output was read.
	if form, given := cli.OutputForm(args); given && slices.Contains(outputs, form) {
		a.output = form
	}
	return a.fail(err)
}

// root is the whole tree of verbs.
func (a *app) root() *cobra.Command {
	root := a.group("tamvctl", textRoot,
		a.identityCommand(), a.intentCommand(), a.memoryCommand(), a.tcepCommand(), a.evidenceCommand(), a.witnessCommand(),
		a.subjectCommand(), a.securityCommand(), a.guardianCommand(), a.roomCommand(), a.clusterCommand(), a.statusCommand(), a.readyCommand(), a.apiCommand(), a.demoCommand(), a.contextCommand(), a.versionCommand())
	root.Version = tap.Release
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	flags := root.PersistentFlags()
	flags.StringVar(&a.contextFile, "context", "", textFlagContext.In(a.lang))
	flags.StringVarP(&a.output, "output", "o", asTable, textFlagOutput.In(a.lang))
	lang := flags.String("lang", "", textFlagLang.In(a.lang))
	flags.DurationVar(&a.timeout, "timeout", defaultTimeout, textFlagTimeout.In(a.lang))
	flags.StringVar(&a.consistency, "consistency", "", textFlagConsistency.In(a.lang))
	complete(root, "output", outputs...)
	complete(root, "consistency", consistencies...)
	complete(root, "lang", string(tap.English), string(tap.Spanish))
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch {
		case !slices.Contains(outputs, a.output):
			given := a.output
			a.output = asTable
			return usage("--output %q is not table, json or yaml", given)
		case *lang != "" && *lang != string(tap.English) && *lang != string(tap.Spanish):
			return usage("--lang %q is not en or es", *lang)
		case a.consistency != "" && !slices.Contains(consistencies, a.consistency):
			return usage("--consistency %q is not local, leader or linearizable", a.consistency)
		case a.timeout <= 0:
			return usage("--timeout %s is not a time to wait", a.timeout)
		}
		return nil
	}
	cli.Prepare(root, a.lang)
	return root
}

// group is a command that only holds others.
func (a *app) group(use string, short tap.Text, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short.In(a.lang)}
	c.AddCommand(verbs...)
	return c
}

// verb is a command that does something. Whatever it returns is an error with a
// kind; what cobra itself finds wrong is none, and that is how fail knows it.
func (a *app) verb(use string, short tap.Text, positional cobra.PositionalArgs, do func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short.In(a.lang), Args: positional, DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			err := do(c.Context(), args)
			var typed *tap.Error
			if err == nil || errors.As(err, &typed) {
				return err
			}
			return tap.AsError(err)
		},
	}
}

// complete offers the values of a flag to the shell.
func complete(c *cobra.Command, flag string, values ...string) {
	// The error is that of a flag that does not exist: a defect that the test
	// of the completions finds.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// require marks flags without which a verb makes no sense.
func require(c *cobra.Command, flags ...string) *cobra.Command {
	for _, name := range flags {
		_ = c.MarkFlagRequired(name) // as in complete
	}
	return c
}

// path resolves a file name of the command line.
func (a *app) path(name string) string {
	if name == "" || a.dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(a.dir, name)
}

// progress shows a person how far a long work is; the empty text ends it.
func (a *app) progress(format string, args ...any) {
	if !a.terminal {
		return
	}
	const clearLine = "\r\x1b[K"
	fmt.Fprintf(a.errOut, clearLine+format, args...)
}
