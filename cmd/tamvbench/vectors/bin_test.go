package vectors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

// bin is a file of either format.
func bin(n, dim int32, cells ...uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(n))
	b = binary.LittleEndian.AppendUint32(b, uint32(dim))
	for _, c := range cells {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	return b
}

func bits(f float32) uint32 { return math.Float32bits(f) }

// randomRows are n vectors of length 1.
func randomRows(seed uint64, n, dim int) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	all := make([][]float32, n)
	for i := range all {
		all[i] = make([]float32, dim)
		for j := range all[i] {
			all[i][j] = float32(rng.NormFloat64())
		}
		normalise(all[i])
	}
	return all
}

func write(t *testing.T, name string, all [][]float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := WriteRows(path, len(all), len(all[0]), func(i int) []float32 { return all[i] }); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRowsComeBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dim := rapid.IntRange(1, 20).Draw(r, "dim")
		all := rapid.SliceOfN(rapid.SliceOfN(rapid.Float32(), dim, dim), 1, 30).Draw(r, "rows")
		path := filepath.Join(t.TempDir(), "rows.fbin")
		if err := WriteRows(path, len(all), dim, func(i int) []float32 { return all[i] }); err != nil {
			r.Fatal(err)
		}
		rows, err := OpenRows(path)
		if err != nil {
			r.Fatal(err)
		}
		defer rows.Close()
		limit := rapid.IntRange(1, 40).Draw(r, "limit")
		for at := 0; ; {
			block, err := rows.Next(limit)
			if errors.Is(err, io.EOF) {
				if at != len(all) {
					r.Fatalf("%d rows of %d", at, len(all))
				}
				return
			}
			if err != nil || len(block) > limit {
				r.Fatal(len(block), err)
			}
			for _, row := range block {
				if !slices.Equal(row, all[at]) {
					r.Fatalf("row %d: %v instead of %v", at, row, all[at])
				}
				at++
			}
		}
	})
}

func TestTruthComesBack(t *testing.T) {
	want := [][]int32{{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 11}}
	path := filepath.Join(t.TempDir(), "t.ibin")
	if err := WriteTruth(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTruth(path, 2, 12)
	if err != nil || !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, %v", got, err)
	}
	for name, wrong := range map[string][2]int{"another number of queries": {3, 12}, "a smaller base": {2, 11}} {
		if _, err := ReadTruth(path, wrong[0], wrong[1]); !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongFilesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":              {nil, "shorter than a header"},
		"half a header":      {[]byte{1, 0, 0, 0, 1}, "shorter than a header"},
		"no rows":            {bin(0, 1), "claims 0 rows"},
		"negative rows":      {bin(-1, 1), "claims -1 rows"},
		"negative columns":   {bin(1, -1), "of -1 numbers"},
		"too many columns":   {bin(1, MaxDim+1), "of 4097 numbers"},
		"too many rows":      {bin(MaxRows+1, 1), "rows of 1"},
		"big-endian":         {bin(1<<24, 2<<24, 0, 0), "little-endian"},
		"a byte is missing":  {bin(1, 2, bits(1), bits(2))[:15], "15 bytes, but 1 rows of 2 numbers take 16"},
		"a byte too much":    {append(bin(1, 1, bits(1)), 0), "make or copy it again"},
		"not a number":       {bin(2, 1, bits(1), bits(float32(math.NaN()))), "component 0 of row 1 is not a finite"},
		"infinite":           {bin(1, 2, bits(1), bits(float32(math.Inf(-1)))), "component 1 of row 0"},
		"a huge claim alone": {bin(1<<29, 4096), "take 8796093022216"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.fbin")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadRows(path)
			if !tap.IsKind(err, tap.Invalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	if _, err := ReadRows(filepath.Join(t.TempDir(), "absent")); !tap.IsKind(err, tap.NotFound) {
		t.Error(err)
	}
	if _, err := ReadRows(t.TempDir()); !tap.IsKind(err, tap.Invalid) {
		t.Error(err)
	}
	twice := bin(1, 10, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	if _, err := DecodeTruth(bytes.NewReader(twice), int64(len(twice)), "t", 1, 20); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
	few := bin(1, 2, 1, 2)
	if _, err := DecodeTruth(bytes.NewReader(few), int64(len(few)), "t", 1, 20); err == nil || !strings.Contains(err.Error(), "at least 10") {
		t.Error(err)
	}
}

// What is written under a name is complete.
func TestAnInterruptedWriteLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "x.fbin")
	if err := WriteRows(path, 2, 3, func(i int) []float32 { return make([]float32, 3-i) }); err == nil {
		t.Error("a row of the wrong length was written")
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := WriteTruth(filepath.Join(folder, "absent", "x"), [][]int32{{1}}); !tap.IsKind(err, tap.Invalid) {
		t.Error(err)
	}
}

func FuzzRows(f *testing.F) {
	f.Add(bin(2, 3, 1, 2, 3, 4, 5, 6), 1)
	f.Add(bin(1, 1, bits(float32(math.Inf(1)))), 2)
	f.Add(bin(-1, -1), 0)
	f.Add([]byte{1, 2, 3}, 7)
	f.Fuzz(func(t *testing.T, file []byte, limit int) {
		rows, err := NewRows(bytes.NewReader(file), int64(len(file)), "fuzz")
		if err != nil {
			return
		}
		limit = max(1, limit)
		seen := 0
		for {
			block, err := rows.Next(limit)
			if err != nil {
				if errors.Is(err, io.EOF) && seen != rows.N {
					t.Errorf("%d rows of %d", seen, rows.N)
				}
				return
			}
			for i, row := range block {
				if len(row) != rows.Dim {
					t.Fatalf("row %d has %d of %d components", seen+i, len(row), rows.Dim)
				}
				for j, c := range row {
					if at := headerBytes + 4*((seen+i)*rows.Dim+j); bits(c) != binary.LittleEndian.Uint32(file[at:]) || c-c != 0 {
						t.Fatalf("component %d of row %d is %v", j, seen+i, c)
					}
				}
			}
			seen += len(block)
		}
	})
}

func FuzzTruth(f *testing.F) {
	f.Add(bin(1, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 1, 10)
	f.Add(bin(1, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8), 1, 10)
	f.Add(bin(2, 3), 2, 5)
	f.Fuzz(func(t *testing.T, file []byte, queries, rows int) {
		truth, err := DecodeTruth(bytes.NewReader(file), int64(len(file)), "fuzz", queries, rows)
		if err != nil {
			return
		}
		if len(truth) != queries {
			t.Fatalf("%d queries of %d", len(truth), queries)
		}
		for _, near := range truth {
			sorted := slices.Clone(near)
			slices.Sort(sorted)
			if len(near) < K || sorted[0] < 0 || int(sorted[len(sorted)-1]) >= rows || len(slices.Compact(sorted)) != len(near) {
				t.Fatalf("%v of %d rows", near, rows)
			}
		}
	})
}
