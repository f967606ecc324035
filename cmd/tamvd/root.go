package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
)

// app is one run of the command.
type app struct {
	lang           tap.Lang
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{tap.LocaleLang(os.Getenv), stdin, stdout, stderr}
	root := &cobra.Command{
		Use: "tamvd", Short: shortTexts.In(a.lang),
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(a.initCommand(), a.joinCommand(), a.runCommand(), a.recoverCommand(), a.devCommand(), &cobra.Command{
		Use: "version", Short: versionTexts.In(a.lang), Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(stdout, "tamvd", tap.Release) },
	})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	e := tap.AsError(err)
	if e.Kind == tap.Internal && e.Op == "" { // cobra's own: a wrong flag or command
		e = tap.E("", tap.Invalid, "%v", err)
		fmt.Fprintf(stderr, "tamvd: %v\n%s\n", err, usageTexts.In(a.lang))
	} else {
		fmt.Fprintf(stderr, "tamvd: %v\n%s\n", err, e.Kind.Traits().Hint.In(a.lang))
	}
	return e.Kind.Traits().ExitCode
}

// node is the settings of a node as its flags give them.
type node struct {
	appliance.Config
	verbose bool
}

// flags adds the flags that every command about a node has. folder is the
// default of --data.
func (n *node) flags(a *app, c *cobra.Command, folder string) {
	c.Flags().StringVar(&n.Data, "data", folder, dataTexts.In(a.lang))
	c.Flags().StringVar(&n.Listen, "listen", "", listenTexts.In(a.lang))
	c.Flags().StringVar(&n.MemoryTier, "memory-tier", "", memoryTierTexts.In(a.lang))
	c.Flags().BoolVar(&n.OpenLog, "open-log", false, openLogTexts.In(a.lang))
	c.Flags().BoolVar(&n.verbose, "verbose", false, verboseTexts.In(a.lang))
}

// naming adds the flags that a node is given once.
func (n *node) naming(a *app, c *cobra.Command) {
	c.Flags().StringVar(&n.Node, "node", "", nodeTexts.In(a.lang))
	c.Flags().StringVar(&n.Advertise, "advertise", "", advertiseTexts.In(a.lang))
}

// config is the settings, ready to run.
func (n *node) config(a *app) (appliance.Config, error) {
	level := slog.LevelWarn
	if n.verbose {
		level = slog.LevelDebug
	}
	n.Logger = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	data, err := filepath.Abs(n.Data)
	if err != nil {
		return appliance.Config{}, tap.Wrap("tamvd.data", tap.Invalid, err, "the data folder has no absolute path")
	}
	n.Data = data
	n.Ready = func(r appliance.Running) { banner(a.stdout, a.lang, r) }
	return n.Config, nil
}

// defaultData is where a node of a site keeps everything.
const defaultData = "/var/lib/tamv"
