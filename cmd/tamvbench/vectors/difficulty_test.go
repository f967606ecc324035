package vectors

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/vector"
)

// Points that fill a few dimensions of many have about so many, in any metric that
// is a distance, and wherever their directions lead.
func TestLocalDimension(t *testing.T) {
	const n, dim, filled, queries = 20000, 12, 4, 60
	r := rand.New(rand.NewPCG(4, 4))
	all := make([][]float32, n+queries)
	for i := range all {
		all[i] = make([]float32, dim)
		for j := range filled {
			all[i][j] = float32(r.Float64() - 0.5)
		}
		all[i][dim-1] = 3 // cosine has one dimension less for points that do not share a length
	}
	p := Parameters{Base: write(t, "b.fbin", all[:n]), Query: write(t, "q.fbin", all[n:]), Truth: filepath.Join(t.TempDir(), "t.ibin")}
	for metric, m := range map[string]vector.Metric{"cosine": vector.Cosine, "l2": vector.L2} {
		if err := MakeTruth(p.Base, p.Query, p.Truth, m, 2); err != nil {
			t.Fatal(err)
		}
		p.Metric = metric
		got, err := LocalDimension(p)
		if err != nil || math.Abs(got-filled) > 0.6 {
			t.Errorf("%s: %.2f, want about %d; %v", metric, got, filled, err)
		}
	}
	p.Metric = "ip"
	if got, err := LocalDimension(p); got != 0 || err != nil {
		t.Error(got, err)
	}
	for _, absent := range []*string{&p.Truth, &p.Base, &p.Query} {
		p.Metric, *absent = "l2", "absent"
		if _, err := LocalDimension(p); err == nil {
			t.Error("a file is absent")
		}
	}
}

// Equal vectors and neighbours that are all as far do not break the estimate.
func TestLevinaBickel(t *testing.T) {
	for _, c := range []struct {
		distances []float64
		want      float64
	}{
		{[]float64{0, 0, 0}, 0},
		{[]float64{2, 2}, 0},
		{[]float64{0, 1, math.E, math.E}, 1},
		{[]float64{1, 1, math.Sqrt(math.E)}, 2},
	} {
		if got := levinaBickel(c.distances); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v: %v, want %v", c.distances, got, c.want)
		}
	}
}
