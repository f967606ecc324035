package appliance_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/tap"
)

func TestFolderOfARunningNodeIsLeftAlone(t *testing.T) {
	running := start(t, t.TempDir())
	settings := filepath.Join(running.Data, "cluster.json")
	before, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	cfg := appliance.Config{Data: running.Data, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
	for what, err := range map[string]error{
		"run":     appliance.Run(t.Context(), cfg),
		"recover": appliance.Recover(cfg),
	} {
		if e := tap.AsError(err); e == nil || e.Kind != tap.Unavailable || e.Code != appliance.CodeInUse {
			t.Errorf("%s: %v", what, err)
		}
	}
	after, err := os.ReadFile(settings)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the running node's settings were %s and are %s (%v)", before, after, err)
	}
	if _, err := os.Stat(filepath.Join(running.Data, "recovered")); err == nil {
		t.Error("a running node is marked as recovered")
	}
}

func TestOccupyEndsWithItsRelease(t *testing.T) {
	folder := t.TempDir()
	for range 3 {
		release, err := appliance.Occupy(folder)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := appliance.Occupy(folder); !tap.IsKind(err, tap.Unavailable) {
			t.Errorf("occupied twice: %v", err)
		}
		release()
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
	if _, err := appliance.Occupy(filepath.Join(folder, "missing")); !tap.IsKind(err, tap.Unavailable) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestNothingIsMadeWhereNoNodeIs(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	cfg := appliance.Config{Data: folder, Existing: true, Logger: slog.New(slog.DiscardHandler)}
	for what, err := range map[string]error{"run": appliance.Run(t.Context(), cfg), "recover": appliance.Recover(cfg)} {
		if !tap.IsKind(err, tap.NotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("a folder was made")
	}
}

func TestFileIsNoDataFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := appliance.Config{Data: file, Logger: slog.New(slog.DiscardHandler)}
	_, founded := appliance.Init(cfg)
	for what, err := range map[string]error{
		"run": appliance.Run(t.Context(), cfg), "init": founded, "join": appliance.Join(t.Context(), cfg, ""), "recover": appliance.Recover(cfg),
	} {
		if !tap.IsKind(err, tap.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
