package server

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server that ends, or never answers, is reported with what it said.
func TestAwait(t *testing.T) {
	g, err := NewGroup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	ended, err := g.Launch("", syscall.SIGTERM, exec.Command("sh", "-c", "echo out of order; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	silent := errors.New("connection refused")
	never := func(context.Context) error { return silent }
	if err := ended.Await(t.Context(), never); err == nil || !strings.HasSuffix(err.Error(), "out of order") {
		t.Errorf("got %v", err)
	}
	hangs, err := g.Launch("", syscall.SIGTERM, exec.Command("sleep", "100"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := hangs.Await(ctx, never); !errors.Is(err, silent) {
		t.Errorf("got %v", err)
	}
	if _, err := g.Launch("", syscall.SIGTERM, exec.Command(filepath.Join(g.Folder, "absent"))); err == nil {
		t.Error("a program that does not exist was started")
	}
	g.Stop()
	if err := hangs.Await(t.Context(), never); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it still runs: %v", err)
	}
}

func TestFreeAddressesDiffer(t *testing.T) {
	found, err := FreeAddresses(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, address := range found {
		seen[address] = true
	}
	if len(seen) != 20 {
		t.Errorf("%v", found)
	}
}
