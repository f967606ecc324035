package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forms are how much of the cluster test runs. In a long form each scenario is
// repeated, and its faults last longer.
var forms = map[string]struct {
	scenarios []string // beginnings of their names; empty = all
	rounds    int
	hold      time.Duration
}{
	"smoke": {[]string{"kill -9 of the leader"}, 1, time.Second},
	"short": {nil, 1, 2 * time.Second},
	"long":  {nil, 12, 8 * time.Second},
}

// TestCluster breaks a site of three nodes in every way there is, and prints what
// became of what was promised:
//
//	go test ./faults -run TestCluster -form short -v
func TestCluster(parent *testing.T) {
	f, ok := forms[*form]
	if !ok {
		parent.Fatalf("-form is smoke, short or long, not %q", *form)
	}
	chosen := *seed
	if chosen == 0 {
		chosen = rand.Uint64()
	}
	parent.Logf("-form %s -seed %d", *form, chosen)
	var rows []Row
	var site *Site
	for number, sc := range Scenarios() {
		wanted := len(f.scenarios) == 0 && strings.Contains(sc.Name, *only)
		for _, beginning := range f.scenarios {
			wanted = wanted || strings.HasPrefix(sc.Name, beginning)
		}
		if !wanted {
			continue
		}
		parent.Run(sc.Name, func(t *testing.T) {
			if site == nil {
				site = threeNodes(t, parent)
			}
			row := site.Try(t.Context(), sc, fmt.Sprintf("run%d", number), f.rounds, f.hold, chosen+uint64(number))
			rows = append(rows, row)
			if !row.Good() {
				t.Errorf("%+v", row)
				site = nil // what comes next starts from a sound site
			}
		})
	}
	report(parent, rows)
}

// threeNodes is a site that ends with its owner; its first node has a small disk
// where that can be had.
func threeNodes(t, owner testing.TB) *Site {
	t.Helper()
	dir := owner.TempDir()
	unmount, err := MountSmall(filepath.Join(dir, "n1"), SmallDisk)
	if err == nil {
		owner.Cleanup(func() {
			if err := unmount(); err != nil {
				owner.Error(err)
			}
		})
	} else if !errors.Is(err, ErrSkipped) {
		t.Fatal(err)
	}
	s := foundIn(t, owner, dir, 3)
	if err == nil {
		s.SetSmall(s.Nodes()[0])
	}
	return s
}

// report prints the table, and writes it where the flag says.
func report(t *testing.T, rows []Row) {
	t.Helper()
	var table strings.Builder
	if err := WriteTable(&table, rows); err != nil {
		t.Error(err)
	}
	t.Logf("\n%s", table.String())
	if *results == "" {
		return
	}
	f, err := os.Create(*results)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(WriteJSON(f, rows), f.Close()); err != nil {
		t.Error(err)
	}
}
