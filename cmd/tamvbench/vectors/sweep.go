package vectors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"tamv.internal/tamv/tap"
)

// Parameters are the same for all contestants.
type Parameters struct {
	Base, Query, Truth string // files
	Metric             string // cosine, ip or l2
	M                  int    // links of a node
	EfConstruction     int    // candidates for them
	Threads            int    // that build; one searches
}

// Metrics are the names that Parameters.Metric may have.
var Metrics = []string{"cosine", "ip", "l2"}

// Contestant is an index under measurement.
type Contestant interface {
	Name() string
	// Build makes the index of the base; it is called once.
	Build(ctx context.Context) (Built, error)
	// Pass answers all queries once, one after the other.
	Pass(ctx context.Context, ef int) (Pass, error)
	// Close releases everything, built or not.
	Close() error
}

// Built says what an index is and what it took.
type Built struct {
	Version string  `json:"version"`
	Setting string  `json:"setting,omitempty"` // what a reader should know, such as how it was compiled
	Rows    int     `json:"rows"`
	Dim     int     `json:"dim"`
	CPU     float64 `json:"build_cpu_s"`
	Bytes   float64 `json:"bytes_per_vector"`
}

// Pass is how well and how fast all queries were answered.
type Pass struct {
	EF     int     `json:"ef"`
	Recall float64 `json:"recall10"` // 0..1
	CPU    float64 `json:"cpu_s"`    // of all queries together
}

// ladder is the numbers of candidates that are tried, up to the first whose
// recall is enough.
var ladder = []int{10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}

const enough = 0.995

// run is one index in one comparison: the best pass of each ef.
type run struct {
	name    string
	built   Built
	best    []Pass // by ascending ef
	enough  bool
	contest Contestant
}

// pass does one pass and keeps it if it is the fastest with its ef.
func (r *run) pass(ctx context.Context, ef int) error {
	p, err := r.contest.Pass(ctx, ef)
	if err != nil {
		return fmt.Errorf("%s, ef %d: %w", r.name, ef, err)
	}
	i, found := slices.BinarySearchFunc(r.best, ef, func(p Pass, ef int) int { return p.EF - ef })
	if !found {
		r.best = slices.Insert(r.best, i, p)
	} else if p.CPU < r.best[i].CPU {
		r.best[i] = p
	}
	r.enough = r.enough || p.Recall >= enough
	return nil
}

// due reports whether an ef of the ladder is to be measured in this round: in the
// first, until recall is enough; later, what the first round measured.
func (r *run) due(round, ef int) bool {
	if round == 0 {
		return !r.enough
	}
	return slices.ContainsFunc(r.best, func(p Pass) bool { return p.EF == ef })
}

// turn is how many passes an index does in a row: in the first the processor's
// caches are full of the other index.
const turn = 3

// measure builds the contestants one after the other and lets them take turns. It
// closes them.
func measure(ctx context.Context, rounds int, progress io.Writer, contestants ...Contestant) (_ []*run, err error) {
	var runs []*run
	defer func() {
		for _, c := range contestants {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, c := range contestants {
		fmt.Fprintf(progress, "%s: building ...\n", c.Name())
		built, err := c.Build(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name(), err)
		}
		fmt.Fprintf(progress, "%s: built in %.1f s of CPU, %.0f bytes a vector\n", c.Name(), built.CPU, built.Bytes)
		runs = append(runs, &run{name: c.Name(), built: built, contest: c})
	}
	for round := range rounds {
		for _, ef := range ladder {
			for _, r := range runs {
				if ctx.Err() != nil {
					return nil, tap.AsError(ctx.Err())
				}
				if !r.due(round, ef) {
					continue
				}
				for range turn {
					if err := r.pass(ctx, ef); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return runs, nil
}

// Recall is the share of the K true neighbours among found, of all queries.
func Recall(found, truth [][]int32) float64 {
	hits := 0
	for q, rows := range found {
		for _, row := range rows {
			if slices.Contains(truth[q][:K], row) {
				hits++
			}
		}
	}
	return float64(hits) / float64(K*len(truth))
}
