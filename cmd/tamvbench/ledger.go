package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/tap"
)

// The tests of the ledger command.
const (
	testAppend = "append" // records into a ledger, without a network
	testSite   = "site"   // records into a site of several nodes, by its clients' protocols
	testVerify = "verify" // a whole log checked
	testProve  = "prove"  // proofs of inclusion
)

var ledgerTests = []string{testAppend, testSite, testVerify, testProve}

// ledgerSettings is the ledger command's line.
type ledgerSettings struct {
	comparison       // of it: tamvd, peers (the program), dir, rounds, record, output
	tests, rivals    []string
	nodes            int
	clients, crowd   int
	entries          int
	warmup, duration time.Duration
	work             time.Duration
	knownRivals      []ledgerListing // what the program lists
}

func ledgerCommand(stdout, stderr io.Writer) *cobra.Command {
	s := ledgerSettings{comparison: comparison{progress: stderr}}
	c := &cobra.Command{
		Use: "ledger", Args: cobra.NoArgs,
		Short: "The evidence ledger beside its peers: appending, a site under load, verification, proofs.",
		Long: `Measures, in alternation and in every round:

  append  durable records by --clients writers in one process: the appliance's raft log
          and store beside Tessera, immudb, and a bare file, which is the disk's limit
  site    the same records into a site of --nodes nodes over authenticated sessions (wss)
          and as signed requests (https), beside a hash-chain trigger in Postgres; and
          --crowd clients at once, who wait when they are told that the site is busy
  verify  entries checked per second of one core, beside Tessera's fsck and bare SHA-256
  prove   inclusion proofs per second of one core, beside x/mod tlog and Tessera

Every peer is measured between two measurements of ours, and its ratio is to these two.`,
	}
	f := c.Flags()
	f.StringVar(&s.tamvd, "tamvd", beside("tamvd"), "the appliance's program")
	f.StringVar(&s.peers, "program", beside("tamvledger"), "the program that runs the ledgers in one process")
	f.StringSliceVar(&s.tests, "tests", ledgerTests, "which tests")
	f.StringSliceVar(&s.rivals, "peers", []string{"all"}, "names of peers, or all; empty = none")
	f.StringVar(&s.dir, "dir", "", "folder for the systems' own; empty = the temporary folder")
	f.IntVar(&s.rounds, "rounds", 3, "how often each peer is measured")
	f.IntVar(&s.record, "record", 281, "bytes of a record")
	f.IntVar(&s.entries, "entries", 1<<20, "entries of the log that is verified and proves")
	f.IntVar(&s.nodes, "nodes", 3, "nodes of the site")
	f.IntVar(&s.clients, "clients", 64, "writers, or clients of the site")
	f.IntVar(&s.crowd, "crowd", 1024, "clients of the site at once; 0 leaves this out")
	f.DurationVar(&s.warmup, "warmup", time.Second, "load before each measurement begins")
	f.DurationVar(&s.duration, "duration", 4*time.Second, "length of each load")
	f.DurationVar(&s.work, "work", 2*time.Second, "length of each verification and proving, at least")
	f.StringVarP(&s.output, "output", "o", "table", "json or table")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := s.validate(); err != nil {
			return err
		}
		report, err := s.measure(c.Context())
		if err != nil {
			return err
		}
		if s.output == "json" {
			return show(stdout, s.output, report)
		}
		return report.table(stdout)
	}
	return c
}

func (s *ledgerSettings) validate() error {
	for _, t := range s.tests {
		if !slices.Contains(ledgerTests, t) {
			return tap.E("bench.ledger", tap.Invalid, "--tests are %s", strings.Join(ledgerTests, ", "))
		}
	}
	switch {
	case s.clients < 1 || s.clients > 256:
		return tap.E("bench.ledger", tap.Invalid, "--clients must be 1 to 256")
	case s.crowd < 0 || s.crowd > 4096:
		return tap.E("bench.ledger", tap.Invalid, "--crowd must be 0 to 4096")
	case s.entries < 1024 || s.entries > 1<<24:
		return tap.E("bench.ledger", tap.Invalid, "--entries must be 1024 to 16777216")
	case s.work < 0 || s.work > time.Hour:
		return tap.E("bench.ledger", tap.Invalid, "--work is at most 1h")
	}
	s.sizes = []int{s.nodes}
	return errors.Join(s.comparison.validate(), s.loadOf(s.clients, "").validate())
}

// loadOf is the evidence command's load with so many clients.
func (s *ledgerSettings) loadOf(clients int, context string) settings {
	return settings{
		context: context, clients: clients, duration: s.duration, warmup: s.warmup,
		transport: "wss", pipeline: 1, record: s.record, output: s.output,
	}
}

// ledgerListing is one element of what the program lists.
type ledgerListing struct {
	Name    string `json:"name"`
	Test    string `json:"test"`
	Server  bool   `json:"server"`
	Missing string `json:"missing"`
}

// contestant measures one system once, in one test.
type contestant struct {
	name    string
	measure func(ctx context.Context) (ledgerRun, error)
}

// measure lets every test run its rounds.
func (s *ledgerSettings) measure(ctx context.Context) (ledgerReport, error) {
	r := ledgerReport{CPUs: runtime.NumCPU()}
	if err := runPeers(ctx, s.peers, &s.knownRivals, "list"); err != nil {
		return r, err // ours runs in that program too
	}
	for _, l := range s.knownRivals {
		if l.Missing != "" && s.wanted(l.Name) {
			r.Skipped = append(r.Skipped, skipped{l.Name, l.Missing})
		}
	}
	for round := range s.rounds {
		for _, test := range s.tests {
			first, rivals := s.contestants(test)
			if err := s.alternate(ctx, &r, round, test, first, rivals); err != nil {
				return r, err
			}
		}
	}
	r.Rows = ledgerRows(r.Runs)
	r.Targets = ledgerTargets(r.Rows)
	return r, nil
}

func (s *ledgerSettings) wanted(name string) bool {
	return slices.Contains(s.rivals, name) || slices.Equal(s.rivals, []string{"all"})
}

// contestants are ours and the others in a test.
func (s *ledgerSettings) contestants(test string) (first contestant, rivals []contestant) {
	first = s.program(test, ours)
	if test == testSite {
		first = contestant{ours, func(ctx context.Context) (ledgerRun, error) { return s.site(ctx, siteSessions, s.clients) }}
		rivals = append(rivals, contestant{siteSigned.name, func(ctx context.Context) (ledgerRun, error) { return s.site(ctx, siteSigned, s.clients) }})
		if s.crowd > 0 {
			rivals = append(rivals, contestant{siteCrowd.name, func(ctx context.Context) (ledgerRun, error) { return s.site(ctx, siteCrowd, s.crowd) }})
		}
	}
	for _, l := range s.knownRivals {
		server := l.Test == testAppend && l.Server // beside a site, not beside a library
		here := l.Test == test && !server || test == testSite && server
		if here && l.Name != ours && l.Missing == "" && s.wanted(l.Name) {
			rivals = append(rivals, s.program(l.Test, l.Name))
		}
	}
	return first, rivals
}

// alternate measures ours, then each of the others with ours after it, so that
// whatever else the machine does meets all alike.
func (s *ledgerSettings) alternate(ctx context.Context, r *ledgerReport, round int, test string, first contestant, rivals []contestant) error {
	order := []contestant{first}
	for _, rival := range rivals {
		order = append(order, rival, first)
	}
	for _, c := range order {
		s.say("round %d, %s: %s ...", round+1, test, c.name)
		average := loadAverage()
		fsyncs, _, err := fsyncRate(s.dir, min(fsyncSpan, s.duration))
		if err != nil {
			return err
		}
		run, err := c.measure(ctx)
		if ctx.Err() != nil {
			return tap.AsError(ctx.Err())
		}
		if err != nil && c.name == ours {
			return err
		}
		if err != nil {
			r.Skipped = append(r.Skipped, skipped{fmt.Sprintf("%s, %s, round %d", c.name, test, round+1), err.Error()})
			continue
		}
		run.Test, run.Round, run.Fsyncs, run.LoadAverage = test, round, load.Round(fsyncs), average
		r.Runs = append(r.Runs, run)
	}
	return nil
}

// program has one system measured by the program beside us.
func (s *ledgerSettings) program(test, name string) contestant {
	args := []string{test, name, "--dir", s.dir}
	switch test {
	case testAppend:
		args = append(args, "--clients", fmt.Sprint(s.clients), "--record", fmt.Sprint(s.record), "--warmup", s.warmup.String(), "--duration", s.duration.String())
	default:
		args = append(args, "--entries", fmt.Sprint(s.entries), "--duration", s.work.String())
	}
	return contestant{name, func(ctx context.Context) (run ledgerRun, err error) {
		err = runPeers(ctx, s.peers, &run, args...)
		run.System = name
		return run, err
	}}
}

// loadAverage is the kernel's, over the last minute: what else this machine does.
func loadAverage() (average float64) {
	raw, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		_, err = fmt.Sscan(string(raw), &average)
	}
	if err != nil {
		return -1 // not Linux
	}
	return average
}
