package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"tamv.internal/tamv/cmd/tamvbench/vectors"
	"tamv.internal/tamv/vector"
)

// files writes a small set with its truth.
func files(t *testing.T, metric vector.Metric) (args []string) {
	t.Helper()
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	rng := rand.New(rand.NewPCG(1, 2))
	for name, n := range map[string]int{"b.fbin": 2000, "q.fbin": 30} {
		row := make([]float32, 12)
		err := vectors.WriteRows(path(name), n, len(row), func(int) []float32 {
			for j := range row {
				row[j] = float32(rng.NormFloat64())
			}
			return row
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := vectors.MakeTruth(path("b.fbin"), path("q.fbin"), path("t.ibin"), metric, 2); err != nil {
		t.Fatal(err)
	}
	return []string{"--base", path("b.fbin"), "--query", path("q.fbin"), "--truth", path("t.ibin"), "--metric", metric.String()[:min(6, len(metric.String()))]}
}

// Every installed peer speaks the protocol, and finds nearly everything with
// many candidates under each metric, but for one that never does.
func TestPeers(t *testing.T) {
	for _, p := range all {
		if _, err := p.locate(t.Context()); err != nil {
			t.Logf("%s: %v", p.name, err)
			continue
		}
		for _, metric := range []vector.Metric{vector.Cosine, vector.L2} {
			t.Run(p.name+"/"+metric.String(), func(t *testing.T) {
				var out bytes.Buffer
				if err := run(t.Context(), append([]string{"run", p.name}, files(t, metric)...), strings.NewReader("10\n400\n"), &out); err != nil {
					t.Fatal(err)
				}
				d := json.NewDecoder(&out)
				var b vectors.Built
				var few, many vectors.Pass
				for _, into := range []any{&b, &few, &many} {
					if err := d.Decode(into); err != nil {
						t.Fatal(err)
					}
				}
				if b.Rows != 2000 || b.Dim != 12 || b.Version == "" || b.CPU <= 0 {
					t.Errorf("%+v", b)
				}
				if few.EF != 10 || many.EF != 400 || few.Recall > many.Recall+.05 || p.name != coder.name && many.Recall < .98 {
					t.Errorf("%+v, then %+v", few, many)
				}
			})
		}
	}
}

func TestList(t *testing.T) {
	t.Setenv("PGHOST", "/nowhere/at/all")
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	if err := run(t.Context(), []string{"list"}, nil, &out); err != nil {
		t.Fatal(err)
	}
	var found []vectors.Listing
	if err := json.Unmarshal(out.Bytes(), &found); err != nil || len(found) != len(all) {
		t.Fatalf("%s, %v", out.String(), err)
	}
	for _, l := range found {
		if (l.Name == coder.name) != (l.Missing == "") {
			t.Errorf("in an empty path: %+v", l)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	set := files(t, vector.Cosine)
	for _, args := range [][]string{
		nil,
		{"run"},
		{"list", "all"},
		append([]string{"run", "oracle"}, set...),
		append(append([]string{"run", "coder"}, set...), "--metric", "hamming"),
		append(append([]string{"run", "coder"}, set...), "--metric", "ip"),
		append(append([]string{"run", "coder"}, set...), "extra"),
		{"run", "coder", "--base", "absent", "--query", "absent", "--truth", "absent"},
		{"run", "coder", "--base", "b"},
		{"run", "coder", "--unknown"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), args, strings.NewReader(""), &out); err == nil || out.Len() != 0 {
			t.Errorf("%v: %v %s", args, err, out.String())
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), append([]string{"run", "coder"}, set...), strings.NewReader("many\n"), &out); err == nil {
		t.Error("an ef in words was taken")
	}
}
