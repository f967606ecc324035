package vector

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The power series is the cosine, and a sum of signs that is as likely as not to be
// exceeded stands for the angle itself, less the allowance.
func TestReach(t *testing.T) {
	for i := range 1000 {
		if x := math.Pi * float64(i) / 999; math.Abs(cosine(x)-math.Cos(x)) > 1e-12 {
			t.Errorf("cosine(%v) = %v", x, cosine(x))
		}
	}
	for n := 64; n <= 4096; n *= 2 {
		reach := newReach(n)
		if !slices.IsSortedFunc(reach, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) || len(reach) != n+1 || reach[0] != 1 {
			t.Errorf("%d signs: %v", n, reach)
		}
		for differing, most := range reach {
			p := float64(differing) / float64(n)
			if allowance := math.Pi * siftSigmas / math.Sqrt(float64(n)); most < math.Cos(math.Pi*p)-1e-12 || most > math.Cos(math.Pi*max(0, p-allowance)) {
				t.Errorf("%d of %d signs: cosine up to %v", differing, n, most)
			}
		}
	}
}

// signsWithin is the place of a cosine in reach.
func TestSignsWithin(t *testing.T) {
	c := &coder{reach: newReach(512)}
	rapid.Check(t, func(t *rapid.T) {
		cosine := rapid.Float64Range(-1.1, 1.1).Draw(t, "cosine")
		within := c.signsWithin(cosine)
		for differing, most := range c.reach {
			if (most > cosine) != (uint32(differing) < within) {
				t.Fatalf("%d signs reach %v; within %d signs there may be more than %v", differing, most, within, cosine)
			}
		}
	})
}

// Sifting passes over most of what is too far and hardly any of what is near,
// whatever the directions that vectors use: all evenly, or a few above all.
func TestSift(t *testing.T) {
	for _, uneven := range []bool{false, true} {
		all := clustered(5, 3000, siftDim, 40)
		if uneven {
			for _, vec := range all {
				for j := range vec {
					vec[j] *= float32(1 / (1 + float64(j)/8))
				}
			}
		}
		x := build(t, Config{Dim: siftDim, M: 8, EfConstruction: 40}, all)
		v := x.current.Load()
		if !v.sifts() {
			t.Fatal("a long vector is not sifted")
		}
		s := x.borrow(v)
		var near, nearKept, far, farKept int
		for i := range 40 {
			unit, err := x.prepare(nil, all[i*70])
			if err != nil {
				t.Fatal(err)
			}
			s.query.ask(v, unit)
			rows := make([]uint32, batchRows)
			for j := range rows {
				rows[j] = uint32(i+j*11) % uint32(v.rows)
			}
			keys := slices.Clone(v.measure(s, &s.query, rows))
			bar := slices.Sorted(slices.Values(keys))[batchRows/10]
			s.rows = append(s.rows[:0], rows...)
			v.sift(s, &s.query, bar)
			for j, row := range rows {
				kept := slices.Contains(s.rows, row)
				if keys[j] < bar {
					near++
					nearKept += b2i(kept)
				} else {
					far++
					farKept += b2i(kept)
				}
			}
		}
		t.Logf("uneven %v: %d of %d near ones kept, %d of %d far ones", uneven, nearKept, near, farKept, far)
		if nearKept*100 < near*88 || farKept*100 > far*60 {
			t.Errorf("uneven %v: %d of %d near ones are kept, %d of %d far ones", uneven, nearKept, near, farKept, far)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Who sifts, and what it costs in hits: a walk of many candidates finds what
// there is.
func TestSiftedSearch(t *testing.T) {
	const n, k = 2500, 10
	r := rand.New(rand.NewPCG(8, 8))
	all := clustered(9, n+20, siftDim, 25)
	for _, c := range []struct {
		cfg  Config
		sift bool
	}{
		{Config{Dim: siftDim}, true},
		{Config{Dim: siftDim, Tier: Codes}, true},
		{Config{Dim: siftDim, Tier: Bits}, false},
		{Config{Dim: siftDim, Metric: InnerProduct}, false},
		{Config{Dim: siftDim, EfConstruction: Unlinked}, false},
	} {
		x := build(t, c.cfg, all[:n])
		x.advantage = 0 // always walk
		x.publish()
		if v := x.current.Load(); v.sifts() != c.sift || (len(v.bits) > 0) != (c.sift || c.cfg.Tier == Bits) {
			t.Errorf("%+v: sifts %v, %d words", c.cfg, v.sifts(), len(v.bits))
		}
		found := 0
		for _, q := range all[n:] {
			want := search(t, x, q, Options{K: k, Recall: 1})
			for _, h := range search(t, x, q, Options{K: k, EF: 200 + r.IntN(10)}) {
				if slices.ContainsFunc(want, func(w Hit) bool { return w.ID == h.ID }) {
					found++
				}
			}
		}
		if found < 20*k*97/100 {
			t.Errorf("%+v: %d of %d found", c.cfg, found, 20*k)
		}
		x.Close()
	}
}
