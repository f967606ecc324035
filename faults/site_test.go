package faults

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// found makes a site that ends with the test.
func found(t *testing.T, nodes int) *Site {
	t.Helper()
	return foundIn(t, t, t.TempDir(), nodes)
}

// foundIn makes a site for a test that ends with its owner, which may be the test
// around it.
func foundIn(t, owner testing.TB, dir string, nodes int) *Site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := NewSite(ctx, dir, nodes)
	owner.Cleanup(func() {
		if err := s.Close(); err != nil {
			owner.Errorf("closing the site: %v", err)
		}
	})
	if err == nil {
		err = s.EnrolHarness(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// One node has nobody to hand over to, but must keep its word as well.
func TestOneNodeKeepsItsWord(t *testing.T) {
	s := found(t, 1)
	for _, sc := range []Scenario{
		{Name: "killed", Break: killAll},
		{Name: "stopped", Break: func(ctx context.Context, t *Trial) error {
			n := t.Nodes()[0]
			t.Fault("SIGSTOP")
			if err := n.Pause(); err != nil {
				return err
			}
			t.Wait(ctx, 1)
			if err := n.Resume(); err != nil {
				return err
			}
			return t.Recovered(ctx, "the stop")
		}},
	} {
		row := s.Try(t.Context(), sc, sc.Name, Scale{Rounds: 1, Hold: 300 * time.Millisecond}, 1)
		if !row.Good() || len(row.Faults) != 1 || row.Operations.Acknowledged == 0 || row.Recovery == 0 {
			t.Errorf("%+v", row)
		}
		t.Logf("%+v", row)
	}
}

// A node that comes back with the state of an hour ago has lost what it
// acknowledged since. If the harness did not see that, it would see nothing.
func TestHarnessSeesLoss(t *testing.T) {
	s := found(t, 1)
	n := s.Nodes()[0]
	backup := filepath.Join(t.TempDir(), "backup")
	row := s.Try(t.Context(), Scenario{Name: "rolled back", Break: func(ctx context.Context, t *Trial) error {
		if err := errors.Join(n.Kill(), os.CopyFS(backup, os.DirFS(n.Spec.Data)), restart(ctx, n), t.Recovered(ctx, "the copy")); err != nil {
			return err
		}
		t.Wait(ctx, 1)
		if err := errors.Join(n.Kill(), os.RemoveAll(n.Spec.Data), os.CopyFS(n.Spec.Data, os.DirFS(backup))); err != nil {
			return err
		}
		// Keys must be their owner's alone.
		err := filepath.WalkDir(n.Spec.Data, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				err = os.Chmod(path, 0o600)
			}
			return err
		})
		return errors.Join(err, os.Chmod(n.Spec.Data, 0o700), restart(ctx, n), t.Recovered(ctx, "the roll back"))
	}}, "rolledback", Scale{Rounds: 1, Hold: 300 * time.Millisecond}, 1)
	if row.Failure != "" || row.Verdict.Lost == 0 || row.Verdict.Stale == 0 || row.Good() {
		t.Errorf("%+v", row)
	}
	t.Logf("%+v", row.Verdict)
}
