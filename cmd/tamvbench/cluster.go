package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/tap"
)

// comparison is what cluster and failover have in common.
type comparison struct {
	tamvd, peers string // programs
	dir          string
	sizes        []int
	rounds       int
	record       int
	output       string
	progress     io.Writer
}

func (c comparison) validate() error {
	for _, n := range c.sizes {
		if n < 1 || n > 5 {
			return tap.E("bench", tap.Invalid, "--nodes must be 1 to 5")
		}
	}
	switch {
	case c.rounds < 1 || c.rounds > 100:
		return tap.E("bench", tap.Invalid, "--rounds must be 1 to 100")
	case c.record < minRecord || c.record > maxRecord:
		return tap.E("bench", tap.Invalid, "--record must be %d to %d bytes", minRecord, maxRecord)
	}
	return validOutput(c.output)
}

func (c *comparison) flags(cmd *cobra.Command, rounds int) {
	f := cmd.Flags()
	f.StringVar(&c.tamvd, "tamvd", beside("tamvd"), "the appliance's program")
	f.StringVar(&c.peers, "peers", beside("tamvpeers"), "the program that runs the peers; empty = no peers")
	f.StringVar(&c.dir, "dir", "", "folder for the systems' own; empty = the temporary folder")
	f.IntVar(&c.rounds, "rounds", rounds, "how often each system is measured")
	f.IntVar(&c.record, "record", 512, "bytes of a record")
	f.StringVarP(&c.output, "output", "o", "table", "json or table")
}

// say tells a person what is measured now.
func (c comparison) say(format string, args ...any) { fmt.Fprintf(c.progress, format+"\n", args...) }

// listing is one element of what the peers program lists.
type listing struct {
	Name     string `json:"name"`
	Nodes    []int  `json:"nodes"`
	Failover bool   `json:"failover"`
	Missing  string `json:"missing"`
}

// skipped is a peer that was not measured.
type skipped struct {
	System string `json:"system"`
	Why    string `json:"why"`
}

// present asks which peers are here. Without the program all are skipped.
func (c comparison) present(ctx context.Context) (here []listing, absent []skipped) {
	if c.peers == "" {
		return nil, []skipped{{"all peers", "--peers is empty"}}
	}
	var all []listing
	if err := runPeers(ctx, c.peers, &all, "list"); err != nil {
		return nil, []skipped{{"all peers", err.Error()}}
	}
	for _, l := range all {
		if l.Missing != "" {
			absent = append(absent, skipped{l.Name, l.Missing})
		} else {
			here = append(here, l)
		}
	}
	return here, absent
}

// loadRun is one system under the load once.
type loadRun struct {
	load.Result
	Round  int     `json:"round"`
	Fsyncs float64 `json:"fsync_per_s"` // of the same disk, directly before the run
}

const (
	ours        = "tamv"
	oursSetting = "evidence_record over wss: TLS 1.3, authenticated frames, request ids, hash chain; acknowledged when durable"
)

// clusterSettings is the cluster command's line.
type clusterSettings struct {
	comparison
	clients  int
	warmup   time.Duration
	duration time.Duration
}

func clusterCommand(stdout, stderr io.Writer) *cobra.Command {
	s := clusterSettings{comparison: comparison{progress: stderr}}
	c := &cobra.Command{
		Use: "cluster", Args: cobra.NoArgs,
		Short: "Evidence records on one node and on three, beside the peers that are installed.",
	}
	s.flags(c, 2)
	c.Flags().IntSliceVar(&s.sizes, "nodes", []int{1, 3}, "sizes of the cluster")
	c.Flags().IntVar(&s.clients, "clients", 64, "clients, spread over the nodes")
	c.Flags().DurationVar(&s.warmup, "warmup", 2*time.Second, "load before each measurement begins")
	c.Flags().DurationVar(&s.duration, "duration", 5*time.Second, "length of each measurement")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := s.validate(); err != nil {
			return err
		}
		report, err := compare(c.Context(), s)
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

func (s clusterSettings) validate() error {
	if s.clients > 256 {
		return tap.E("bench", tap.Invalid, "--clients must be 1 to 256")
	}
	return errors.Join(s.comparison.validate(), s.load("").validate())
}

// load is the same load as the evidence command puts on the appliance.
func (s clusterSettings) load(context string) settings {
	return settings{
		context: context, clients: s.clients, duration: s.duration, warmup: s.warmup,
		transport: "wss", pipeline: 1, record: s.record, output: s.output,
	}
}

// compare measures each peer between two measurements of ours, in every round,
// so that whatever else the machine does meets all alike.
func compare(ctx context.Context, s clusterSettings) (clusterReport, error) {
	here, absent := s.present(ctx)
	r := clusterReport{CPUs: runtime.NumCPU(), Skipped: absent}
	for round := range s.rounds {
		for _, nodes := range s.sizes {
			if err := s.round(ctx, &r, here, round, nodes); err != nil {
				return r, err
			}
		}
	}
	r.Rows = rows(r.Runs)
	return r, nil
}

// round measures ours, and every rival of that size with ours again behind it. A
// rival that fails is skipped.
func (s clusterSettings) round(ctx context.Context, r *clusterReport, here []listing, round, nodes int) error {
	add := func(run loadRun) {
		run.Round = round
		r.Runs = append(r.Runs, run)
	}
	run, err := s.appliance(ctx, nodes)
	if err != nil {
		return err
	}
	add(run)
	for _, rival := range here {
		if !slices.Contains(rival.Nodes, nodes) {
			continue
		}
		theirs, err := s.peer(ctx, rival.Name, nodes)
		if ctx.Err() != nil {
			return tap.AsError(ctx.Err())
		}
		if err != nil {
			r.Skipped = append(r.Skipped, skipped{fmt.Sprintf("%s, %d nodes, round %d", rival.Name, nodes, round+1), err.Error()})
			continue
		}
		add(theirs)
		if run, err = s.appliance(ctx, nodes); err != nil {
			return err
		}
		add(run)
	}
	return nil
}

func (s clusterSettings) peer(ctx context.Context, name string, nodes int) (loadRun, error) {
	var r loadRun
	fsyncs, _, err := fsyncRate(s.dir, min(fsyncSpan, s.duration))
	if err != nil {
		return r, err
	}
	s.say("%s, %d nodes ...", name, nodes)
	err = runPeers(ctx, s.peers, &r, "load", name, "--nodes", fmt.Sprint(nodes), "--clients", fmt.Sprint(s.clients),
		"--record", fmt.Sprint(s.record), "--warmup", s.warmup.String(), "--duration", s.duration.String(), "--dir", s.dir)
	r.Fsyncs = load.Round(fsyncs)
	return r, err
}

func (s clusterSettings) appliance(ctx context.Context, nodes int) (_ loadRun, err error) {
	r := loadRun{Result: load.Result{System: ours, Version: tap.Release, Setting: oursSetting, Nodes: nodes, Clients: s.clients, Record: s.record}}
	fsyncs, _, err := fsyncRate(s.dir, min(fsyncSpan, s.duration))
	if err != nil {
		return r, err
	}
	r.Fsyncs = load.Round(fsyncs)
	s.say("%s, %d nodes ...", ours, nodes)
	a, err := startDaemon(ctx, s.tamvd, s.dir, nodes)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	settings := s.load(a.context)
	site, err := openSite(ctx, settings)
	if err != nil {
		return r, err
	}
	defer site.operator.Close() // no identity outlives the folder
	if len(site.nodes) != nodes {
		return r, tap.E("bench.cluster", tap.Internal, "the appliance runs %d nodes instead of %d: %s", len(site.nodes), nodes, strings.Join(site.nodes, " "))
	}
	workers, stop, err := evidenceLoad(ctx, settings, site)
	defer stop()
	if err != nil {
		return r, err
	}
	if s.warmup > 0 {
		load.Run(ctx, workers, s.warmup)
	}
	before, err := load.TreeCPU(a.command.Process.Pid)
	if err != nil {
		return r, tap.Wrap("bench.cluster", tap.Unavailable, err, "the processes cannot be measured")
	}
	own := load.OwnCPU()
	r.Figures = load.Run(ctx, workers, s.duration)
	r.ClientCPU = load.Round(load.OwnCPU() - own)
	after, err := load.TreeCPU(a.command.Process.Pid)
	if err != nil {
		return r, tap.Wrap("bench.cluster", tap.Unavailable, err, "the processes cannot be measured")
	}
	r.ServerCPU = load.Round(after - before)
	if ctx.Err() != nil {
		return r, tap.AsError(ctx.Err())
	}
	return r, nil
}
