package vectors

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// stub is a contestant that does nothing but notes when.
type stub struct {
	name   string
	cpu    func(pass, ef int) float64
	recall func(ef int) float64
	log    *[]string
	passes int
	broken error
	closed bool
}

func (s *stub) Name() string { return s.name }

func (s *stub) Build(context.Context) (Built, error) {
	return Built{Version: "1", Rows: 100, Dim: 8, CPU: 2, Bytes: 50}, s.broken
}

func (s *stub) Pass(_ context.Context, ef int) (Pass, error) {
	s.passes++
	*s.log = append(*s.log, fmt.Sprintf("%s%d", s.name, ef))
	return Pass{EF: ef, Recall: s.recall(ef), CPU: s.cpu(s.passes, ef)}, nil
}

func (s *stub) Close() error { s.closed = true; return nil }

func steady(pass, ef int) float64 { return float64(ef) }

func TestMeasureTakesTurns(t *testing.T) {
	var log []string
	quick := &stub{name: "a", log: &log, recall: func(ef int) float64 { return min(1, float64(ef)/12) }, cpu: func(pass, ef int) float64 { return float64(ef) + 1/float64(pass) }}
	slow := &stub{name: "b", log: &log, recall: func(ef int) float64 { return min(1, float64(ef)/16) }, cpu: steady}
	runs, err := measure(t.Context(), 2, io.Discard, quick, slow)
	if err != nil {
		t.Fatal(err)
	}
	round := "a10 a10 a10 b10 b10 b10 a12 a12 a12 b12 b12 b12 b16 b16 b16"
	if got := strings.Join(log, " "); got != round+" "+round {
		t.Errorf("passes: %s", got)
	}
	if !quick.closed || !slow.closed {
		t.Error("not closed")
	}
	if best := runs[0].best; len(best) != 2 || best[0].CPU != 10+1.0/9 || best[1].CPU != 12+1.0/12 {
		t.Errorf("not the best of all passes: %+v", best)
	}
}

// A peer that fails is skipped with its reason; ours is measured all the same.
func TestCompareSkipsWhoFails(t *testing.T) {
	var log []string
	query := write(t, "q.fbin", randomRows(1, 20, 8))
	ours := func() Contestant {
		return &stub{name: Ours, log: &log, recall: func(int) float64 { return 1 }, cpu: steady}
	}
	broken := &stub{name: "broken", log: &log, broken: errors.New("out of order")}
	r, err := Compare(t.Context(), Parameters{Query: query}, 1, ours, []Contestant{broken}, io.Discard)
	if err != nil || len(r.Indexes) != 1 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Why, "out of order") || !broken.closed {
		t.Errorf("%+v, %v", r, err)
	}
	good := &stub{name: "good", log: &log, recall: func(int) float64 { return 1 }, cpu: func(_, ef int) float64 { return 3 * float64(ef) }}
	low := &stub{name: "low", log: &log, recall: func(int) float64 { return .1 }, cpu: steady}
	r, err = Compare(t.Context(), Parameters{Query: query}, 1, ours, []Contestant{good, low}, io.Discard)
	if err != nil || len(r.Ratios) != 2 || *r.Ratios[0].At95 != 3 || r.Ratios[1].At95 != nil || r.Ratios[0].Build != 1 || r.Parameters.Queries != 20 {
		t.Errorf("%+v, %v", r, err)
	}
	if len(r.Indexes) != 3 || r.Indexes[0].PerInsert != 20000 || *r.Indexes[0].At99 != 2 || r.Indexes[2].At90 != nil {
		t.Errorf("%+v", r.Indexes)
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil || !strings.Contains(table.String(), "3.00") || !strings.Contains(table.String(), "low") {
		t.Errorf("%v\n%s", err, table.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, Parameters{Query: query}, 1, ours, []Contestant{good}, io.Discard); err == nil {
		t.Error("a comparison went on when it was cancelled")
	}
	if _, err := Compare(t.Context(), Parameters{Query: "absent"}, 1, ours, nil, io.Discard); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
	if _, err := Compare(t.Context(), Parameters{Query: query}, 1, func() Contestant { return broken }, nil, io.Discard); err == nil {
		t.Error("ours failed and nobody said so")
	}
}

func TestAt(t *testing.T) {
	points := []Point{{EF: 1, Recall: .90, QPS: 1000}, {EF: 2, Recall: .95, QPS: 500}, {EF: 3, Recall: .94, QPS: 400}, {EF: 4, Recall: .99, QPS: 125}}
	for recall, want := range map[float64]float64{.5: 1000, .90: 1000, .925: math.Sqrt(1000 * 500), .95: 500, .97: math.Sqrt(500 * 125), .99: 125} {
		if got := At(points, recall); got == nil || math.Abs(*got-want) > 1e-6 {
			t.Errorf("at %v: %v instead of %v", recall, got, want)
		}
	}
	if At(points, .991) != nil || At(nil, .5) != nil {
		t.Error("a recall that nobody reached has a speed")
	}
	// A point with the same recall and less speed changes nothing.
	if got := At(append(points, Point{Recall: .90, QPS: 1}), .925); math.Abs(*got-math.Sqrt(1000*500)) > 1e-6 {
		t.Errorf("got %v", *got)
	}
}

func TestRecall(t *testing.T) {
	truth := [][]int32{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {20, 21, 22, 23, 24, 25, 26, 27, 28, 29}}
	found := [][]int32{{9, 0, 10}, {20, 21, 22, 23, 24, 25, 26, 27, 28, 29}}
	if got := Recall(found, truth); got != .6 {
		t.Errorf("got %v", got)
	}
}

// files writes a set with its truth.
func files(t *testing.T, n, dim int) Parameters {
	t.Helper()
	p := Parameters{
		Base: write(t, "b.fbin", randomRows(1, n, dim)), Query: write(t, "q.fbin", randomRows(2, 30, dim)),
		Truth: filepath.Join(t.TempDir(), "t.ibin"), Metric: "cosine", M: 8, EfConstruction: 40, Threads: 2,
	}
	if err := MakeTruth(p.Base, p.Query, p.Truth, vector.Cosine, 2); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOurs(t *testing.T) {
	p := files(t, 6000, 16)
	c := NewOurs(p, vector.Full)
	built, err := c.Build(t.Context())
	if err != nil || built.Rows != 6000 || built.Dim != 16 || built.Bytes < 16*5 || built.CPU <= 0 || !strings.Contains(built.Setting, "kernels") {
		t.Fatalf("%+v, %v", built, err)
	}
	few, err := c.Pass(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	many, err := c.Pass(t.Context(), 100)
	if err != nil || many.Recall < .98 || many.Recall < few.Recall || few.Recall < .5 || many.EF != 100 {
		t.Errorf("%+v and %+v, %v", few, many, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Pass(t.Context(), 10); err == nil {
		t.Error("a closed index answered")
	}
	if name := NewOurs(p, vector.Codes).Name(); name != "tamv-codes" {
		t.Error(name)
	}
	wrong := p
	wrong.Metric = "hamming"
	bad := []Parameters{wrong, {Base: "absent"}, {Base: p.Base, Query: "absent"}, {Base: p.Base, Query: p.Query, Truth: "absent"}, {Base: p.Base, Query: write(t, "q", randomRows(1, 2, 3))}}
	for _, p := range bad {
		c := NewOurs(p, vector.Full)
		if _, err := c.Build(t.Context()); err == nil {
			t.Errorf("%+v was measured", p)
		}
		c.Close()
	}
	zero := p
	zero.Base = write(t, "z.fbin", [][]float32{make([]float32, 16)})
	zero.Truth = filepath.Join(t.TempDir(), "t")
	if _, err := NewOurs(zero, vector.Full).Build(t.Context()); err == nil {
		t.Error("a zero vector under cosine was measured")
	}
}

// program writes a peer in shell.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const willing = `[ "$1" = list ] && { echo '[{"name":"shell","version":"1"},{"name":"gone","missing":"not installed"}]'; exit; }
[ "$1 $2 $3 $4" = "run shell --base B" ] || { echo "got $*" >&2; exit 1; }
echo '{"version":"1","rows":5,"dim":2,"build_cpu_s":0.5,"bytes_per_vector":9}'
while read ef; do echo "{\"ef\":$ef,\"recall10\":0.5,\"cpu_s\":0.25}"; done
`

func TestPeer(t *testing.T) {
	path := program(t, willing)
	known, err := ListPeers(t.Context(), path)
	if err != nil || len(known) != len(natives)+2 || known[len(natives)+1] != (Listing{Name: "gone", Missing: "not installed"}) {
		t.Errorf("%+v, %v", known, err)
	}
	p := NewPeer(path, "shell", Parameters{Base: "B"})
	built, err := p.Build(t.Context())
	if err != nil || built.Bytes != 9 || p.Name() != "shell" {
		t.Fatalf("%+v, %v", built, err)
	}
	for _, ef := range []int{10, 20} {
		if got, err := p.Pass(t.Context(), ef); err != nil || got != (Pass{ef, .5, .25}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestPeerThatFails(t *testing.T) {
	for name, script := range map[string]string{
		"complains":       "echo 'no memory' >&2; exit 1",
		"says nothing":    "exit 0",
		"talks":           "echo hello",
		"talks too much":  "yes | tr -d '\\n'",
		"claims nonsense": `echo '{"rows":0}'`,
	} {
		p := NewPeer(program(t, script), "shell", Parameters{})
		_, err := p.Build(t.Context())
		if !tap.IsKind(err, tap.Unavailable) || name == "complains" && !strings.Contains(err.Error(), "no memory") {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ListPeers(t.Context(), program(t, "echo hello")); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
	absent := NewPeer("/nowhere/at/all", "shell", Parameters{})
	if _, err := absent.Build(t.Context()); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
	if err := absent.Close(); err != nil {
		t.Error(err)
	}
	lies := strings.Replace(willing, "0.5,\\\"cpu_s", "1.5,\\\"cpu_s", 1)
	for _, script := range []string{lies, strings.Replace(willing, "while", "exit; while", 1)} {
		p := NewPeer(program(t, script), "shell", Parameters{Base: "B"})
		if _, err := p.Build(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Pass(t.Context(), 10); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("%+v, %v", got, err)
		}
		p.Close()
	}
}

// Who cancels does not wait for a peer that hangs.
func TestPeerIsCancelled(t *testing.T) {
	p := NewPeer(program(t, "sleep 1000"), "shell", Parameters{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Build(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestPicture(t *testing.T) {
	r := Report{
		Parameters: Conditions{Rows: 1234567, Dim: 100, Metric: "cosine", K: 10},
		Indexes:    []Index{{Name: "tamv"}, {Name: "<peer> & co"}, {Name: "low"}},
		Points: []Point{
			{"tamv", 10, .85, 40000},
			{"tamv", 20, .95, 20000},
			{"tamv", 40, 1, 9000},
			{"<peer> & co", 10, .79, 90000},
			{"<peer> & co", 20, .9, 3000},
			{"low", 10, .1, 10000},
		},
	}
	for name, report := range map[string]Report{"full": r, "empty": {}, "one point": {Indexes: r.Indexes[:1], Points: []Point{{"tamv", 10, .9, 2000}}}} {
		var b bytes.Buffer
		if err := report.Picture(&b); err != nil {
			t.Fatal(err)
		}
		lines, marks := 0, 0
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				switch e.Name.Local {
				case "polyline":
					lines++
				case "path":
					marks++
				}
				for _, a := range e.Attr {
					if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
						t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
					}
				}
			}
		}
		if name == "full" && (lines != 2 || marks != 4+2) {
			t.Errorf("%d lines, %d marks", lines, marks)
		}
	}
	var b bytes.Buffer
	if err := r.Picture(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1,234,567 vectors", "below recall 0.8 throughout: low", "&lt;peer&gt; &amp; co", "50,000"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the picture lacks %q", want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct{ value, low, high float64 }{{1, 1, 2}, {1.5, 1, 2}, {2, 2, 5}, {3, 2, 5}, {700, 500, 1000}, {1000, 1000, 2000}} {
		low, high := math.Pow(10, floorTick(math.Log10(c.value))), math.Pow(10, ceilTick(math.Log10(c.value)))
		if math.Abs(low/c.low-1) > 1e-9 || math.Abs(high/c.high-1) > 1e-9 {
			t.Errorf("%v lies between %v and %v", c.value, low, high)
		}
	}
}

func TestMachine(t *testing.T) {
	var m Machine
	m.read(strings.NewReader("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 fma bmi1 avx512f\n\nprocessor\t: 1\n"))
	if m.CPU != "Some CPU" || m.Flags != "avx2 fma avx512f" {
		t.Errorf("%+v", m)
	}
	if own := machine(); own.CPUs < 1 || own.Kernels == "" || own.CPU == "" {
		t.Errorf("%+v", own)
	}
	raw, err := json.Marshal(Report{Indexes: []Index{{}}})
	if err != nil || !bytes.Contains(raw, []byte(`"qps_per_cpu_s_at_95":null`)) {
		t.Errorf("%s, %v", raw, err)
	}
}
