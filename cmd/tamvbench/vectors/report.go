package vectors

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector/simd"
)

// Report is what a comparison found.
type Report struct {
	Bench      string     `json:"bench"`
	Machine    Machine    `json:"machine"`
	Parameters Conditions `json:"parameters"`
	Indexes    []Index    `json:"indexes"`
	Ratios     []Ratio    `json:"ratios"`
	Points     []Point    `json:"points"`
	Skipped    []Skipped  `json:"skipped"`
}

// Machine is what the figures were measured on.
type Machine struct {
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Kernels string `json:"kernels"` // instruction sets that package vector uses
	Flags   string `json:"flags"`   // of the processor, as far as vector search could use them
	Go      string `json:"go"`
}

// Conditions are what all indexes had in common.
type Conditions struct {
	Rows           int    `json:"rows"`
	Dim            int    `json:"dim"`
	Queries        int    `json:"queries"`
	K              int    `json:"k"`
	Metric         string `json:"metric"`
	M              int    `json:"m"`
	EfConstruction int    `json:"ef_construction"`
	BuildThreads   int    `json:"build_threads"`
	Passes         int    `json:"passes"` // of which the best counts
	// LID is how hard the set is, see LocalDimension; 0 if that is not known.
	LID float64 `json:"lid"`
}

// Index is one index over the whole comparison: of several builds and passes the
// best.
type Index struct {
	Name      string   `json:"index"`
	Version   string   `json:"version"`
	Setting   string   `json:"setting,omitempty"`
	BuildCPU  float64  `json:"build_cpu_s"`
	PerInsert float64  `json:"build_cpu_us_per_insert"`
	Bytes     float64  `json:"bytes_per_vector"`
	At90      *float64 `json:"qps_per_cpu_s_at_90"` // null where the recall was not reached
	At95      *float64 `json:"qps_per_cpu_s_at_95"`
	At99      *float64 `json:"qps_per_cpu_s_at_99"`
}

// Ratio sets ours against a peer, both measured in alternation.
type Ratio struct {
	Peer  string   `json:"peer"`
	At90  *float64 `json:"qps_at_90"` // ours over its; null where either did not reach the recall
	At95  *float64 `json:"qps_at_95"`
	At99  *float64 `json:"qps_at_99"`
	Build float64  `json:"build_cpu"` // ours over its
	Bytes float64  `json:"bytes"`     // ours over its
}

// Point is one measured point of an index.
type Point struct {
	Index  string  `json:"index"`
	EF     int     `json:"ef"`
	Recall float64 `json:"recall10"`
	QPS    float64 `json:"qps_per_cpu_s"`
}

// Skipped is a peer that was not measured, and why.
type Skipped struct {
	Peer string `json:"peer"`
	Why  string `json:"why"`
}

// Compare measures ours alone or, once per peer, beside it. newOurs makes ours
// anew for each.
func Compare(ctx context.Context, p Parameters, rounds int, newOurs func() Contestant, peers []Contestant, progress io.Writer) (Report, error) {
	r := Report{Bench: "vector", Machine: machine()}
	var all []*run
	var failed []error
	for _, peer := range peers {
		pair, err := measure(ctx, rounds, progress, newOurs(), peer)
		if ctx.Err() != nil {
			return r, tap.AsError(ctx.Err())
		}
		if err != nil {
			r.Skipped, failed = append(r.Skipped, Skipped{peer.Name(), err.Error()}), append(failed, err)
			continue
		}
		all = append(all, pair...)
		r.Ratios = append(r.Ratios, ratio(pair[0], pair[1]))
	}
	if len(all) == 0 {
		alone, err := measure(ctx, rounds, progress, newOurs())
		if err != nil {
			return r, errors.Join(err, errors.Join(failed...))
		}
		all = alone
	}
	queries, err := OpenRows(p.Query)
	if err != nil {
		return r, err
	}
	r.Parameters = Conditions{
		Rows: all[0].built.Rows, Dim: all[0].built.Dim, Queries: queries.N, K: K, Metric: p.Metric,
		M: p.M, EfConstruction: p.EfConstruction, BuildThreads: p.Threads, Passes: rounds * turn,
	}
	for _, run := range mergeRuns(all) {
		points := run.points(queries.N)
		r.Points = append(r.Points, points...)
		r.Indexes = append(r.Indexes, Index{
			Name: run.name, Version: run.built.Version, Setting: run.built.Setting,
			BuildCPU: round3(run.built.CPU), PerInsert: round3(run.built.CPU * 1e6 / float64(run.built.Rows)), Bytes: math.Round(run.built.Bytes),
			At90: whole(At(points, .9)), At95: whole(At(points, .95)), At99: whole(At(points, .99)),
		})
	}
	return r, queries.Close()
}

// ratio compares the two of a pair by what was measured in alternation.
func ratio(mine, its *run) Ratio {
	at := func(recall float64) *float64 {
		a, b := At(mine.points(1), recall), At(its.points(1), recall)
		if a == nil || b == nil {
			return nil
		}
		quotient := round3(*a / *b)
		return &quotient
	}
	return Ratio{
		Peer: its.name, At90: at(.9), At95: at(.95), At99: at(.99),
		Build: round3(mine.built.CPU / its.built.CPU), Bytes: round3(mine.built.Bytes / its.built.Bytes),
	}
}

// mergeRuns unites the runs of one index: its cheapest build and its best passes.
func mergeRuns(all []*run) []*run {
	var merged []*run
	for _, r := range all {
		i := slices.IndexFunc(merged, func(m *run) bool { return m.name == r.name })
		if i < 0 {
			one := *r
			one.best = slices.Clone(r.best)
			merged = append(merged, &one)
			continue
		}
		if r.built.CPU < merged[i].built.CPU {
			merged[i].built = r.built
		}
		for j := range min(len(r.best), len(merged[i].best)) {
			merged[i].best[j].CPU = min(merged[i].best[j].CPU, r.best[j].CPU)
		}
	}
	return merged
}

func (r *run) points(queries int) []Point {
	points := make([]Point, len(r.best))
	for i, p := range r.best {
		points[i] = Point{Index: r.name, EF: p.EF, Recall: p.Recall, QPS: float64(queries) / p.CPU}
	}
	return points
}

// At returns the QPS at a recall, as the package comment says; nil if no point
// reaches it.
func At(points []Point, recall float64) *float64 {
	front := frontier(points)
	i := slices.IndexFunc(front, func(p Point) bool { return p.Recall >= recall })
	if i < 0 {
		return nil
	}
	qps := front[i].QPS
	if i > 0 {
		a, b := front[i-1], front[i]
		part := (recall - a.Recall) / (b.Recall - a.Recall)
		qps = math.Exp(math.Log(a.QPS) + part*(math.Log(b.QPS)-math.Log(a.QPS)))
	}
	return &qps
}

// frontier returns the points that no other beats in recall and QPS, by
// ascending recall.
func frontier(points []Point) []Point {
	sorted := slices.Clone(points)
	slices.SortFunc(sorted, func(a, b Point) int {
		switch { // best recall first, of equal ones the fastest
		case a.Recall > b.Recall || a.Recall == b.Recall && a.QPS > b.QPS:
			return -1
		case a.Recall == b.Recall && a.QPS == b.QPS:
			return 0
		}
		return 1
	})
	var front []Point
	for _, p := range sorted {
		if len(front) == 0 || p.QPS > front[len(front)-1].QPS {
			front = append(front, p)
		}
	}
	slices.Reverse(front)
	return front
}

func round3(f float64) float64 { return math.Round(f*1000) / 1000 }

func whole(f *float64) *float64 {
	if f == nil {
		return nil
	}
	rounded := math.Round(*f)
	return &rounded
}

// Table writes the report for people.
func (r Report) Table(w io.Writer) error {
	c, m := r.Parameters, r.Machine
	fmt.Fprintf(w, "%d x %d, %s, %d queries, recall@%d; M=%d, efConstruction=%d; best of %d passes\n", c.Rows, c.Dim, c.Metric, c.Queries, c.K, c.M, c.EfConstruction, c.Passes)
	if c.LID > 0 {
		fmt.Fprintf(w, "local intrinsic dimension %.1f: an index has to look the further the larger it is\n", c.LID)
	}
	fmt.Fprintf(w, "%s, %d CPUs; kernels %s; %s\n\n", m.CPU, m.CPUs, m.Kernels, m.Go)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "index\tbuild CPU s\tµs/insert\tB/vector\tQPS/CPU-s @.90\t@.95\t@.99\tours/it @.90\t@.95\t@.99\tbuild\tbytes\t")
	for _, x := range r.Indexes {
		fmt.Fprintf(t, "%s\t%.1f\t%.0f\t%.0f\t%s\t%s\t%s\t", x.Name, x.BuildCPU, x.PerInsert, x.Bytes, show(x.At90, 0), show(x.At95, 0), show(x.At99, 0))
		i := slices.IndexFunc(r.Ratios, func(q Ratio) bool { return q.Peer == x.Name })
		if i < 0 {
			fmt.Fprintln(t, "\t\t\t\t\t")
			continue
		}
		q := r.Ratios[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f\t\n", show(q.At90, 2), show(q.At95, 2), show(q.At99, 2), q.Build, q.Bytes)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "index\tef\trecall@10\tQPS/CPU-s\t")
	for _, p := range r.Points {
		fmt.Fprintf(t, "%s\t%d\t%.4f\t%.0f\t\n", p.Index, p.EF, p.Recall, p.QPS)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nCPU time of the process, user and system, one thread searching; ours/it from passes in alternation; - = recall not reached")
	for _, x := range r.Indexes {
		fmt.Fprintf(w, "%s: %s, %s\n", x.Name, x.Version, x.Setting)
	}
	for _, s := range r.Skipped {
		if _, err := fmt.Fprintf(w, "skipped: %s: %s\n", s.Peer, s.Why); err != nil {
			return err
		}
	}
	return nil
}

func show(f *float64, digits int) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, *f)
}

// machine describes the processor; where /proc does not, by architecture only.
func machine() Machine {
	m := Machine{CPU: runtime.GOARCH, CPUs: runtime.NumCPU(), Kernels: simd.Features(), Go: runtime.Version()}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	m.read(bytes.NewReader(info))
	return m
}

// usable are the processor's flags that matter to vector search.
var usable = []string{"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_vpopcntdq", "asimd", "asimddp", "i8mm", "sve"}

func (m *Machine) read(info io.Reader) {
	for lines := bufio.NewScanner(info); lines.Scan(); {
		key, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		switch string(bytes.TrimSpace(key)) {
		case "model name":
			m.CPU = string(bytes.TrimSpace(value))
		case "flags", "Features":
			var found []byte
			for _, flag := range bytes.Fields(value) {
				if slices.Contains(usable, string(flag)) {
					found = append(append(found, ' '), flag...)
				}
			}
			m.Flags = string(bytes.TrimSpace(found))
			return
		}
	}
}
