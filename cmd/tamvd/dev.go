package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
)

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	lang := locale()
	root := &cobra.Command{
		Use: "tamvd", Short: shortTexts.In(lang),
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(devCommand(lang, stdout, stderr), &cobra.Command{
		Use: "version", Short: versionTexts.In(lang), Args: cobra.NoArgs,
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
		fmt.Fprintf(stderr, "tamvd: %v\n%s\n", err, usageTexts.In(lang))
	} else {
		fmt.Fprintf(stderr, "tamvd: %v\n%s\n", err, e.Kind.Traits().Hint.In(lang))
	}
	return e.Kind.Traits().ExitCode
}

var (
	shortTexts = tap.Text{
		EN: "The TAMV appliance: a whole backend in one process.",
		ES: "El sistema TAMV: un backend completo en un solo proceso.",
	}
	devTexts = tap.Text{
		EN: "Run a one-node appliance that needs nothing; without --data its folder is temporary.",
		ES: "Ejecuta un sistema de un nodo que no necesita nada; sin --data su carpeta es temporal.",
	}
	versionTexts = tap.Text{EN: "Print the release.", ES: "Muestra la versión."}
	usageTexts   = tap.Text{EN: "Run tamvd --help.", ES: "Ejecute tamvd --help."}
	nextTexts    = tap.Text{EN: "Next", ES: "Ahora"}
	stopTexts    = tap.Text{EN: "Ctrl-C stops it.", ES: "Ctrl-C lo detiene."}
)

// locale is the language of the person at the terminal, by POSIX precedence.
func locale() tap.Lang {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			return tap.ParseLang(v)
		}
	}
	return tap.English
}

func devCommand(lang tap.Lang, stdout, stderr io.Writer) *cobra.Command {
	var cfg appliance.Config
	var verbose bool
	c := &cobra.Command{Use: "dev", Short: devTexts.In(lang), Args: cobra.NoArgs}
	c.Flags().StringVar(&cfg.Data, "data", "", "data folder")
	c.Flags().StringVar(&cfg.Listen, "listen", appliance.DefaultListen, "HOST:PORT, TCP and UDP; port 0 = any")
	c.Flags().BoolVar(&cfg.NewLedgerKey, "new-log-key", false, "make a new ledger key when log.key is lost for good")
	c.Flags().BoolVar(&verbose, "verbose", false, "log at debug level")
	c.RunE = func(c *cobra.Command, _ []string) error {
		level := slog.LevelWarn
		if verbose {
			level = slog.LevelDebug
		}
		cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
		if cfg.Data == "" {
			folder, err := os.MkdirTemp("", "tamvd-")
			if err != nil {
				return tap.Wrap("tamvd.dev", tap.Unavailable, err, "no temporary folder")
			}
			defer os.RemoveAll(folder)
			cfg.Data = folder
		}
		data, err := filepath.Abs(cfg.Data)
		if err != nil {
			return tap.Wrap("tamvd.dev", tap.Invalid, err, "the data folder has no absolute path")
		}
		cfg.Data = data
		cfg.Ready = func(r appliance.Running) { banner(stdout, lang, r) }
		return appliance.Run(c.Context(), cfg)
	}
	return c
}

// banner says what runs, where, and what to do next.
func banner(w io.Writer, lang tap.Lang, r appliance.Running) {
	fmt.Fprintf(w, "tamvd %s  node %s  ready in %d ms   data %s\n", tap.Release, r.Node, r.Took.Round(time.Millisecond).Milliseconds(), r.Data)
	fmt.Fprintf(w, "  API   https://%s\n", r.Address)
	fmt.Fprintf(w, "  TAP   wss://%s/tap   quic://%s\n", r.Address, r.Address)
	fmt.Fprintf(w, "  %-5s tamvctl --context %s demo\n", nextTexts.In(lang), r.Context)
	fmt.Fprintln(w, stopTexts.In(lang))
}
