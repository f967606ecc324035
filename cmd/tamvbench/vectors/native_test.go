package vectors

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// smallSet writes a small set with its truth.
func smallSet(t *testing.T, metric string) Parameters {
	t.Helper()
	folder := t.TempDir()
	p := Parameters{
		Base: filepath.Join(folder, "b.fbin"), Query: filepath.Join(folder, "q.fbin"), Truth: filepath.Join(folder, "t.ibin"),
		Metric: metric, M: 16, EfConstruction: 200, Threads: 2,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for path, n := range map[string]int{p.Base: 2000, p.Query: 30} {
		row := make([]float32, 12)
		err := WriteRows(path, n, len(row), func(int) []float32 {
			for j := range row {
				row[j] = float32(rng.NormFloat64())
			}
			return row
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := ParseMetric(metric)
	if err != nil {
		t.Fatal(err)
	}
	if err := MakeTruth(p.Base, p.Query, p.Truth, m, 2); err != nil {
		t.Fatal(err)
	}
	return p
}

// Every installed library speaks the protocol, finds nearly everything with many
// candidates under each metric, and leaves nothing behind.
func TestNatives(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles C++")
	}
	for _, n := range natives {
		if _, err := n.locate(t.Context()); err != nil {
			t.Logf("%s: %v", n.name, err)
			continue
		}
		for _, metric := range []vector.Metric{vector.Cosine, vector.L2} {
			t.Run(n.name+"/"+metric.String(), func(t *testing.T) {
				set := smallSet(t, metric.String()[:min(6, len(metric.String()))])
				temporary := t.TempDir()
				t.Setenv("TMPDIR", temporary)
				p := NewPeer("/nowhere/at/all", n.name, set)
				b, err := p.Build(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if b.Rows != 2000 || b.Dim != 12 || b.Version == "" || b.CPU <= 0 {
					t.Errorf("%+v", b)
				}
				few, err := p.Pass(t.Context(), 10)
				if err != nil {
					t.Fatal(err)
				}
				many, err := p.Pass(t.Context(), 400)
				if err != nil {
					t.Fatal(err)
				}
				if few.Recall > many.Recall+.05 || many.Recall < .98 {
					t.Errorf("%+v, then %+v", few, many)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				if left, err := os.ReadDir(temporary); err != nil || len(left) != 0 {
					t.Errorf("left %v, %v", left, err)
				}
			})
		}
	}
}

// Without any compiler or program the natives say what to install.
func TestNativesThatAreMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	known, err := ListPeers(t.Context(), "/nowhere/at/all")
	if !tap.IsKind(err, tap.NotFound) || len(known) != len(natives) {
		t.Errorf("%+v, %v", known, err)
	}
	for _, l := range known {
		if !strings.Contains(l.Missing, "install") {
			t.Errorf("%+v", l)
		}
		p := NewPeer("/nowhere/at/all", l.Name, Parameters{})
		if _, err := p.Build(t.Context()); !tap.IsKind(err, tap.NotFound) {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
