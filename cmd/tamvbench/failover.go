package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvbench/load"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

// failoverSettings is the failover command's line.
type failoverSettings struct {
	comparison
	writers int
}

// kill is one leader that was killed.
type kill struct {
	System  string `json:"system"`
	Version string `json:"version"`
	Nodes   int    `json:"nodes"`
	Writers int    `json:"writers"`
	load.Failover
}

// failoverReport is what the failover command found.
type failoverReport struct {
	Rows    []failoverRow `json:"rows"`
	Skipped []skipped     `json:"skipped"`
	Kills   []kill        `json:"kills"`
}

// failoverRow sums up: times in milliseconds without an acknowledged write.
type failoverRow struct {
	System  string  `json:"system"`
	Nodes   int     `json:"nodes"`
	Kills   int     `json:"kills"`
	Resumed int     `json:"resumed"`
	Best    float64 `json:"best_gap_ms"`
	Median  float64 `json:"median_gap_ms"`
	Worst   float64 `json:"worst_gap_ms"`
	Before  float64 `json:"undisturbed_median_gap_ms"` // the noise in the other three
}

func failoverCommand(stdout, stderr io.Writer) *cobra.Command {
	s := failoverSettings{comparison: comparison{progress: stderr}}
	var nodes int
	c := &cobra.Command{
		Use: "failover", Args: cobra.NoArgs,
		Short: "How long writes stop when the leader is killed, beside the peers that are installed.",
	}
	s.flags(c, 5)
	c.Flags().IntVar(&nodes, "nodes", 3, "size of the cluster")
	c.Flags().IntVar(&s.writers, "writers", 16, "writers, spread over the nodes")
	c.RunE = func(c *cobra.Command, _ []string) error {
		s.sizes = []int{nodes}
		if err := s.validate(); err != nil {
			return err
		}
		report, err := killLeaders(c.Context(), s, nodes)
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

func (s failoverSettings) validate() error {
	switch {
	case s.writers < 1 || s.writers > 256:
		return tap.E("bench", tap.Invalid, "--writers must be 1 to 256")
	case s.sizes[0] < 3:
		return tap.E("bench", tap.Invalid, "--nodes must be 3 to 5: fewer do not survive the loss of one")
	}
	return s.comparison.validate()
}

// killLeaders kills one leader of each system in every round.
func killLeaders(ctx context.Context, s failoverSettings, nodes int) (failoverReport, error) {
	here, absent := s.present(ctx)
	r := failoverReport{Skipped: absent}
	for round := range s.rounds {
		one, err := s.appliance(ctx, nodes)
		if err != nil {
			return r, err
		}
		r.Kills = append(r.Kills, one)
		for _, l := range here {
			if !l.Failover || !slices.Contains(l.Nodes, nodes) {
				continue
			}
			s.say("%s, %d nodes ...", l.Name, nodes)
			var one kill
			err := runPeers(ctx, s.peers, &one, "failover", l.Name, "--nodes", fmt.Sprint(nodes), "--writers", fmt.Sprint(s.writers),
				"--record", fmt.Sprint(s.record), "--dir", s.dir)
			if ctx.Err() != nil {
				return r, tap.AsError(ctx.Err())
			}
			if err != nil {
				r.Skipped = append(r.Skipped, skipped{fmt.Sprintf("%s, round %d", l.Name, round+1), err.Error()})
				continue
			}
			r.Kills = append(r.Kills, one)
		}
	}
	r.Rows = failoverRows(r.Kills)
	return r, nil
}

// appliance starts ours, lets it write and kills its leader.
func (s failoverSettings) appliance(ctx context.Context, nodes int) (_ kill, err error) {
	k := kill{System: ours, Version: tap.Release, Nodes: nodes, Writers: s.writers}
	s.say("%s, %d nodes ...", ours, nodes)
	a, err := startDaemon(ctx, s.tamvd, s.dir, nodes)
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	site, err := openSite(ctx, settings{context: a.context, clients: s.writers})
	if err != nil {
		return k, err
	}
	defer site.operator.Close()
	devices, err := site.enrolAll(ctx, s.writers, tap.Device)
	if err != nil {
		return k, err
	}
	var workers []load.Worker
	for i, d := range devices {
		w := &roamer{site: site, who: d, number: i, next: records(i, s.record)}
		defer w.close()
		workers = append(workers, w.write)
	}
	k.Failover, err = load.MeasureFailover(ctx, workers, func() error { return killLeader(ctx, a, site) })
	return k, err
}

// killLeader asks every node for its role and kills the process of the one that
// leads.
func killLeader(ctx context.Context, a *daemon, site *site) error {
	nodes, err := a.nodes()
	if err != nil {
		return err
	}
	for i := range site.nodes {
		c, err := site.as(i, identity{site.config.KeyID, site.config.Key})
		if err != nil {
			return err
		}
		reply, err := c.Do(ctx, "GET", "/v1/status", nil, nil)
		c.Close()
		if err != nil {
			return err
		}
		var status struct {
			Node string `json:"node"`
			Role string `json:"role"`
		}
		if err := reply.Decode(&status); err != nil {
			return err
		}
		at := slices.IndexFunc(nodes, func(n devNode) bool { return n.Node == status.Node })
		if status.Role != "leader" || at < 0 {
			continue
		}
		process, err := os.FindProcess(nodes[at].PID)
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			return tap.Wrap("bench.kill", tap.Internal, err, "the leader cannot be killed")
		}
		return nil
	}
	return tap.E("bench.kill", tap.Unavailable, "no node leads")
}

// roamer is a writer that goes to the next node when its own fails. Only one
// goroutine uses it.
type roamer struct {
	site    *site
	who     identity
	number  int // of the node, counted on
	next    func() []byte
	session *client.Session
}

// dialLimit is how long a node may take to accept a session.
const dialLimit = time.Second

func (r *roamer) write(ctx context.Context) error {
	if r.session == nil {
		// Not the attempt's own limit: with all writers at the door at once a
		// handshake may take longer, and would begin anew each time.
		dialing, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialLimit)
		defer cancel()
		session, err := r.site.dial(dialing, "wss", r.number, r.who)
		if err != nil {
			r.number++
			return err
		}
		r.session = session
	}
	err := recordOnce(ctx, r.session, r.next())
	if err != nil && ctx.Err() == nil { // refused, or the connection ended
		r.close()
		r.number++
	}
	return err
}

func (r *roamer) close() {
	if r.session != nil {
		_ = r.session.Close() // it has failed, or the measurement is over
		r.session = nil
	}
}

func failoverRows(kills []kill) []failoverRow {
	var order []string
	by := map[string][]kill{}
	for _, k := range kills {
		if by[k.System] == nil {
			order = append(order, k.System)
		}
		by[k.System] = append(by[k.System], k)
	}
	var all []failoverRow
	for _, system := range order {
		var gaps, before []float64
		r := failoverRow{System: system, Nodes: by[system][0].Nodes, Kills: len(by[system])}
		for _, k := range by[system] {
			gaps, before = append(gaps, k.Gap), append(before, k.Before)
			if k.Resumed {
				r.Resumed++
			}
		}
		r.Best, r.Median, r.Worst, r.Before = slices.Min(gaps), load.Median(gaps), slices.Max(gaps), load.Median(before)
		all = append(all, r)
	}
	return all
}

// table writes the report for people.
func (f failoverReport) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "system\tnodes\tkills\tresumed\tbest ms\tmedian ms\tworst ms\tundisturbed ms\t")
	for _, r := range f.Rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t\n", r.System, r.Nodes, r.Kills, r.Resumed, r.Best, r.Median, r.Worst, r.Before)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nlongest time without an acknowledged write, over all writers, after the leader's kill -9")
	return writeSkipped(w, f.Skipped)
}
