package faults

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func TestFlipBytes(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	full, empty := filepath.Join(dir, "full"), filepath.Join(dir, "empty")
	// A head of data in a file that is mostly empty, as a log is.
	before := append(bytes.Repeat([]byte{7}, 1000), make([]byte, 9000)...)
	if err := errors.Join(os.WriteFile(full, before, 0o600), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := FlipBytes([]string{empty, full}, 200, random); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i := range before {
		if before[i] != after[i] {
			changed++
			if after[i] != ^before[i] {
				t.Fatalf("byte %d is %d", i, after[i])
			}
		}
	}
	if changed < 150 || changed > 200 || !bytes.Equal(before[1000:], after[1000:]) || len(after) != len(before) {
		t.Errorf("%d bytes changed, of %d", changed, len(after))
	}
	for name, files := range map[string][]string{"no files": nil, "an empty file": {empty}, "a missing file": {filepath.Join(dir, "x")}, "a folder": {dir}} {
		if FlipBytes(files, 1, random) == nil {
			t.Errorf("%s was damaged", name)
		}
	}
}

func TestFill(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "filler")
	const most = 3<<20 + 17
	if err := Fill(file, most); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() != most {
		t.Errorf("%v, %v", info, err)
	}
	if Fill(folder, 1) == nil {
		t.Error("a folder was filled like a file")
	}
	small := filepath.Join(folder, "small")
	unmount, err := MountSmall(small, 2<<20)
	if errors.Is(err, ErrSkipped) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	}()
	if err := Fill(filepath.Join(small, "filler"), most); err != nil {
		t.Fatal(err)
	}
	if os.WriteFile(filepath.Join(small, "more"), []byte("x"), 0o600) == nil {
		t.Error("there is room on a full disk")
	}
}

// A scenario without what it needs says so and is no failure.
func TestScenarioThatCannotBeDone(t *testing.T) {
	trial := &Trial{Site: &Site{}, Journal: NewJournal()}
	if err := fullDisk(t.Context(), trial); !errors.Is(err, ErrSkipped) {
		t.Error(err)
	}
}
