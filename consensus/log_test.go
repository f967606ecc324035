package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/consensus/wal"
)

func TestOpenLogRefuses(t *testing.T) {
	former := t.TempDir()
	if err := os.WriteFile(filepath.Join(former, formerLog), []byte("bbolt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(former); err == nil {
		t.Error("a folder of an earlier build was opened")
	}
	if _, err := os.Stat(filepath.Join(former, logFolder)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a log was made beside the earlier one: %v", err)
	}

	dir := t.TempDir()
	log, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("open twice: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, logFolder, "meta"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(dir); !errors.Is(err, ErrDamaged) || !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
}
