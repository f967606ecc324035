package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/model/quality"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// run executes one command line and returns the exit code. It speaks English only:
// figures are read by those who develop and judge.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &cli.Output{W: stdout}
	root := &cobra.Command{
		Use: "tamvbench", Short: "Measure a running appliance, and the models inside it.", Version: tap.Release,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(
		loadCommand("intent", "POST /v1/kernel/intent: signed text questions in English and Spanish.", out, intentLoad),
		loadCommand("evidence", "evidence_record frames over TAP, each acknowledged when durable.", out, evidenceLoad),
		loadCommand("search", "POST /v1/memory/search: signed searches by vector among the documents that it stores first.", out, searchLoad),
		clusterCommand(stdout, stderr),
		failoverCommand(stdout, stderr),
		ledgerCommand(stdout, stderr),
		vectorCommand(stdout, stderr),
		qualityCommand(stdout),
	)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	cli.Prepare(root, tap.English)
	err := cli.Outcome(ctx, root.ExecuteContext(ctx), out)
	if err == nil {
		return 0
	}
	if form, _ := cli.OutputForm(args); form != "json" {
		return cli.Reporter{Program: "tamvbench", Lang: tap.English, Hint: hint}.Report(stderr, err)
	}
	body := tap.AsError(err).Body("", time.Now(), tap.English)
	body.Error.Message, body.Error.Hint = cli.Plain(err), hint(tap.AsError(err)).EN
	_ = json.NewEncoder(stderr).Encode(body) // there is nowhere left to report to
	return cli.ExitCode(err)
}

// hint is what to do after an error.
func hint(e *tap.Error) tap.Text {
	switch {
	case e.Code == client.CodeUnreachable:
		return tap.Text{EN: "Is tamvd running at the address in the context file? `tamvd dev` starts one."}
	case e.Kind == tap.Invalid && e.Code != cli.CodeUsage, e.Kind == tap.NotFound:
		return tap.Text{EN: "Correct the value or the file that the message names; --help shows what the command takes."}
	case e.Kind == tap.Timeout, e.Kind == tap.Unavailable && e.Code == "":
		return tap.Text{EN: "Look whether the appliance and its peers are well, then measure again."}
	}
	return cli.Hint(e)
}

// settings is what the load commands have in common.
type settings struct {
	context   string
	clients   int
	duration  time.Duration
	warmup    time.Duration
	transport string
	pipeline  int
	record    int
	fsyncDir  string
	base      string // of search: the vectors to store
	query     string // of search: the vectors to look for
	output    string
}

func (s settings) validate() error {
	switch {
	case s.clients < 1 || s.clients > 4096:
		return tap.E("bench", tap.Invalid, "--clients must be 1 to 4096")
	case s.duration < 100*time.Millisecond || s.duration > time.Hour:
		return tap.E("bench", tap.Invalid, "--duration must be 100ms to 1h")
	case s.warmup < 0 || s.warmup > time.Minute:
		return tap.E("bench", tap.Invalid, "--warmup must be 0 to 1m")
	case s.pipeline < 1 || s.pipeline > 256:
		return tap.E("bench", tap.Invalid, "--pipeline must be 1 to 256")
	case s.record < minRecord || s.record > maxRecord:
		return tap.E("bench", tap.Invalid, "--record must be %d to %d bytes", minRecord, maxRecord)
	case s.transport != "wss" && s.transport != "quic":
		return tap.E("bench", tap.Invalid, "--transport must be wss or quic")
	}
	return validOutput(s.output)
}

func validOutput(o string) error {
	if o != "json" && o != "table" {
		return tap.E("bench", tap.Invalid, "--output must be json or table")
	}
	return nil
}

func loadCommand(name, short string, stdout io.Writer, prepare preparation) *cobra.Command {
	var s settings
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	f := c.Flags()
	f.StringVar(&s.context, "context", "", "context file; empty = TAMV_CONTEXT")
	f.IntVar(&s.clients, "clients", 64, "clients, each with an identity of its own")
	f.DurationVar(&s.duration, "duration", 10*time.Second, "length of the measurement")
	f.DurationVar(&s.warmup, "warmup", time.Second, "load before the measurement begins")
	f.StringVar(&s.fsyncDir, "fsync-dir", "", "folder whose fsync rate stands beside the figures; empty = the temporary folder")
	f.StringVarP(&s.output, "output", "o", "table", "json or table")
	s.transport, s.pipeline, s.record = "wss", 1, 256
	if name == "evidence" {
		f.StringVar(&s.transport, "transport", "wss", "wss or quic")
		f.IntVar(&s.pipeline, "pipeline", 1, "records outstanding per client")
		f.IntVar(&s.record, "record", 256, "bytes of a record")
	}
	if name == "search" {
		f.StringVar(&s.base, "base", "", "fbin file with the vectors to store")
		f.StringVar(&s.query, "query", "", "fbin file with the vectors to look for")
		_ = c.MarkFlagRequired("base")
		_ = c.MarkFlagRequired("query")
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := s.validate(); err != nil {
			return err
		}
		report, err := measure(c.Context(), name, s, prepare)
		if err != nil {
			return err
		}
		return show(stdout, s.output, report)
	}
	return c
}

func qualityCommand(stdout io.Writer) *cobra.Command {
	var data, output string
	c := &cobra.Command{
		Use: "quality", Short: "Similarity, retrieval, audit and intent accuracy of the built-in models on public sets.", Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&data, "data", "", "folder with the sets")
	c.Flags().StringVarP(&output, "output", "o", "markdown", "json or markdown")
	c.RunE = func(*cobra.Command, []string) error {
		if data == "" || output != "json" && output != "markdown" {
			return tap.E("bench.quality", tap.Invalid, "--data DIR is needed, and --output is json or markdown")
		}
		report, err := quality.Measure(data)
		if err != nil {
			return tap.Wrap("bench.quality", tap.Invalid, err, "the sets in %s cannot be measured", data)
		}
		if output == "markdown" {
			_, err = io.WriteString(stdout, report.Markdown())
			return err
		}
		return show(stdout, output, report)
	}
	return c
}

// show prints a report: JSON, or a line per field.
func show(w io.Writer, output string, report any) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	v := reflect.ValueOf(report)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !f.Anonymous {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fmt.Fprintf(t, "%s\t%v\n", name, v.FieldByIndex(f.Index).Interface())
		}
	}
	return t.Flush()
}
