package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tamv.internal/tamv/cmd/tamvbench/vectors"
	"tamv.internal/tamv/tap"
)

// vectorFiles writes a small base and queries and answers them with the command.
func vectorFiles(t *testing.T) (base, query, truth string) {
	t.Helper()
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	rng := rand.New(rand.NewPCG(1, 2))
	for name, n := range map[string]int{"b.fbin": 5000, "q.fbin": 40} {
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
	base, query, truth = path("b.fbin"), path("q.fbin"), path("t.ibin")
	if _, complaint, code := bench(t, "vector", "truth", "--base", base, "--query", query, "--out", truth, "--metric", "l2"); code != 0 {
		t.Fatal(complaint)
	}
	return base, query, truth
}

// bench runs a command line.
func bench(t *testing.T, args ...string) (out, complaint string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

func TestVectorCommand(t *testing.T) {
	base, query, truth := vectorFiles(t)
	picture := filepath.Join(t.TempDir(), "p.svg")
	peers := filepath.Join(t.TempDir(), "peers")
	script := `#!/bin/sh
[ "$1" = list ] && { echo '[{"name":"shell","version":"1"},{"name":"gone","missing":"not installed: ask"}]'; exit; }
echo '{"version":"1","rows":5000,"dim":12,"build_cpu_s":1000,"bytes_per_vector":9}'
while read ef; do echo "{\"ef\":$ef,\"recall10\":0.999,\"cpu_s\":1000}"; done
`
	if err := os.WriteFile(peers, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	line := []string{"vector", "--base", base, "--query", query, "--truth", truth, "--metric", "l2", "--rounds", "1", "--peers-program", peers}
	out, complaint, code := bench(t, append(line, "--peers", "shell,gone", "-o", "json", "--picture", picture)...)
	if code != 0 {
		t.Fatal(complaint)
	}
	var r vectors.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(r.Indexes) != 2 || r.Indexes[0].At99 == nil || r.Parameters.Rows != 5000 || len(r.Ratios) != 1 || *r.Ratios[0].At99 < 1000 || r.Ratios[0].Build > 1 {
		t.Errorf("%s", out)
	}
	if len(r.Skipped) != 1 || r.Skipped[0] != (vectors.Skipped{Peer: "gone", Why: "not installed: ask"}) {
		t.Errorf("%+v", r.Skipped)
	}
	if svg, err := os.ReadFile(picture); err != nil || !bytes.Contains(svg, []byte("shell")) {
		t.Errorf("%s, %v", svg, err)
	}
	out, complaint, code = bench(t, append(line, "--peers", "gone")...)
	if code != 0 || !strings.Contains(out, "5000 x 12, l2") || !strings.Contains(out, "skipped: gone: not installed: ask") {
		t.Errorf("%s%s", out, complaint)
	}
	out, complaint, code = bench(t, append(line, "--peers", "coder", "--peers-program", "./absent")...)
	if code != 0 || !strings.Contains(out, "skipped: coder: bench.vector.peer: ./absent") {
		t.Errorf("%s%s", out, complaint)
	}
	t.Setenv("PATH", t.TempDir())
	out, complaint, code = bench(t, append(line, "--peers", "all", "--peers-program", "./absent")...)
	if code != 0 || !strings.Contains(out, "skipped: hnswlib: no C++ compiler") || !strings.Contains(out, "skipped: Go libraries and pgvector: ") {
		t.Errorf("%s%s", out, complaint)
	}
}

func TestVectorCommandRefuses(t *testing.T) {
	base, query, truth := vectorFiles(t)
	ok := []string{"vector", "--base", base, "--query", query, "--truth", truth}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"vector"}, "--base, --query and --truth are needed"},
		{append(ok[:len(ok):len(ok)], "--metric", "hamming"), "--metric"},
		{append(ok[:len(ok):len(ok)], "--m", "3"), "--m must"},
		{append(ok[:len(ok):len(ok)], "--ef-construction", "2"), "--ef-construction"},
		{append(ok[:len(ok):len(ok)], "--threads", "0"), "--threads"},
		{append(ok[:len(ok):len(ok)], "--rounds", "0"), "--rounds"},
		{append(ok[:len(ok):len(ok)], "--tier", "half"), "--tier"},
		{append(ok[:len(ok):len(ok)], "-o", "xml"), "--output"},
		{append(ok[:len(ok):len(ok)], "--rounds", "1", "--metric", "l2", "--picture", "/nowhere/at/all.svg"), "picture"},
		{append(ok[:len(ok):len(ok)], "--base", query), "base of 40 rows"},
		{[]string{"vector", "data"}, "--out DIR"},
		{[]string{"vector", "data", "--out", "x", "--rows", "5"}, "--rows"},
		{[]string{"vector", "data", "--out", "x", "--large", "5"}, "--large"},
		{[]string{"vector", "data", "--out", "x", "--archive", base}, "SHA-256"},
		{[]string{"vector", "data", "--out", t.TempDir(), "--registry", "http://127.0.0.1:1"}, "--archive"},
		{[]string{"vector", "truth"}, "--out"},
		{[]string{"vector", "truth", "--base", base, "--query", query, "--out", truth, "--metric", "x"}, "--metric"},
	} {
		if _, complaint, code := bench(t, c.args...); code == 0 || !strings.Contains(complaint, c.says) {
			t.Errorf("%v: %d %s", c.args, code, complaint)
		}
	}
	unknown := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(unknown, []byte("#!/bin/sh\necho '[]'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, complaint, code := bench(t, append(ok, "--peers", "oracle", "--peers-program", unknown)...); code != tap.Invalid.Traits().ExitCode || !strings.Contains(complaint, "oracle") {
		t.Errorf("%d %s", code, complaint)
	}
}
