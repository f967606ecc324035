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
	"tamv.internal/tamv/cmd/cli"
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
	out := &cli.Output{W: stdout}
	a := &app{tap.LocaleLang(os.Getenv), cli.Input(ctx, stdin), out, stderr}
	root := &cobra.Command{
		Use: "tamvd", Short: shortTexts.In(a.lang), Version: tap.Release,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(a.initCommand(), a.joinCommand(), a.runCommand(), a.recoverCommand(), a.devCommand(), &cobra.Command{
		Use: "version", Short: versionTexts.In(a.lang), Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(a.stdout, "tamvd", tap.Release) },
	})
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(stderr)
	cli.Prepare(root, a.lang)
	if err := cli.Outcome(ctx, root.ExecuteContext(ctx), out); err != nil {
		return cli.Reporter{Program: "tamvd", Lang: a.lang, Hint: hint}.Report(stderr, err)
	}
	return 0
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
	if n.Data == "" { // a variable that is not set, rather than a wish to live here
		return appliance.Config{}, cli.Usage("--data names no folder")
	}
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
