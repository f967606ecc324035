package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// forms are how much of the cluster test runs. In a long form each scenario is
// repeated, and its faults last longer.
var forms = map[string]struct {
	scenarios []string // beginnings of their names; empty = all
	scale     Scale
}{
	"smoke": {[]string{"kill -9 of the leader"}, Scale{1, time.Second, 0, 0}},
	"short": {nil, Scale{1, 2 * time.Second, 2, smallEntry}},
	"long":  {nil, Scale{12, 8 * time.Second, 8, 16 << 10}}, // 2 GiB
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
	var shared *Site
	next := sync.OnceValues(func() (string, error) { return buildNext(parent.Context(), parent.TempDir()) })
	if *form != "smoke" && strings.Contains("two releases", *only) {
		go func() { _, _ = next() }() // it takes a while; who needs it gets the error
	}
	for number, sc := range Scenarios() {
		wanted := len(f.scenarios) == 0 && strings.Contains(sc.Name, *only)
		for _, beginning := range f.scenarios {
			wanted = wanted || strings.HasPrefix(sc.Name, beginning)
		}
		if !wanted {
			continue
		}
		parent.Run(sc.Name, func(t *testing.T) {
			site, scale := shared, f.scale
			switch {
			case sc.Apart:
				scale.Rounds = 1
				site = foundIn(t, t, t.TempDir(), 3)
				site.SetNext(next)
			case site == nil:
				shared = threeNodes(t, parent)
				site = shared
			}
			row := site.Try(t.Context(), sc, fmt.Sprintf("run%d", number), scale, chosen+uint64(number))
			rows = append(rows, row)
			if !row.Good() {
				t.Errorf("%+v", row)
				shared = nil // what comes next starts from a sound site
			}
		})
	}
	report(parent, rows)
}

// threeNodes is a site that ends with its owner; its disks are small where that can
// be had.
func threeNodes(t, owner testing.TB) *Site {
	t.Helper()
	dir, small := owner.TempDir(), true
	for i := range 3 {
		unmount, err := MountSmall(filepath.Join(dir, fmt.Sprintf("n%d", i+1)), SmallDisk)
		switch {
		case err == nil:
			owner.Cleanup(func() {
				if err := unmount(); err != nil {
					owner.Error(err)
				}
			})
		case errors.Is(err, ErrSkipped):
			small = false
		default:
			t.Fatal(err)
		}
	}
	s := foundIn(t, owner, dir, 3)
	for _, n := range s.Nodes() {
		if small {
			s.SetSmall(n)
		}
	}
	return s
}

// buildNext compiles this test with the next release of the nodes.
func buildNext(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "next.test")
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "tamv_next", "-o", binary, ".").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w: there is no compiler here", ErrSkipped)
	}
	if err != nil {
		return "", fmt.Errorf("the next release: %w: %s", err, out)
	}
	return binary, nil
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
