package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tile", "0", "x001", "000")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("%d files, %v: nothing half written may stay", len(files), err)
	}
	secret := filepath.Join(dir, "private", "keys")
	if err := WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{secret: 0o600, filepath.Dir(secret): 0o700 | fs.ModeDir, path: 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(file, "below", "it"), nil, 0o600); err == nil {
		t.Error("a file is no folder")
	}
	if err := WriteFile(dir, nil, 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	if files, _ := os.ReadDir(filepath.Dir(dir)); len(files) != 1 {
		t.Errorf("%d files: the temporary one stayed", len(files))
	}
}

func TestWriteSoon(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tile", "0", "000")
	if err := errors.Join(WriteSoon(path, []byte("one"), 0o644), WriteSoon(path, []byte("two"), 0o644), Settle(dir)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "two" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := WriteSoon(filepath.Join(path, "below"), nil, 0o644); err == nil {
		t.Error("a file is no folder")
	}
	if err := Settle(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	if unlock, err = Lock(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := Lock(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
