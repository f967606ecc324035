package disk

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// On a real small file system: filled to the last byte, the reserve lets work
// that is under way finish; space freed, or a larger file system, ends the
// episode.
func TestFullFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=50m"); errors.Is(err, syscall.EPERM) {
		t.Skip("this root may not mount a tmpfs")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := New(Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if s := w.State(); s.Low || s.Reserve != mib || s.Total != 50*mib || s.Free != 49*mib || w.Health() != nil {
		t.Fatalf("%+v, %v", s, w.Health())
	}
	filler := filepath.Join(dir, "filler")
	write := func(size int) error { return os.WriteFile(filler, make([]byte, size), 0o600) }
	if err := write(60 * mib); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("60 MiB fit into 50: %v", err)
	}
	last := func() error { return os.WriteFile(filepath.Join(dir, "last"), make([]byte, mib), 0o600) }
	if err := last(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	w.Check()
	if s := w.State(); !s.Low || s.Reserve != 0 || w.Health() == nil {
		t.Fatalf("full: %+v", s)
	}
	if err := last(); err != nil {
		t.Errorf("work under way: %v", err)
	}
	w.Check()
	if err := write(20 * mib); err != nil {
		t.Fatal(err)
	}
	w.Check()
	if s := w.State(); s.Low || s.Reserve != mib || held(w.file) != mib || w.Health() != nil {
		t.Errorf("freed: %+v, %v", s, w.Health())
	}
	if err := write(47 * mib); err != nil {
		t.Fatal(err)
	}
	if w.Check(); !w.State().Low {
		t.Errorf("%+v", w.State())
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=100m"); err != nil {
		t.Fatal(err)
	}
	if w.Check(); w.State().Low || w.State().Mark != 5*mib {
		t.Errorf("a larger disk: %+v", w.State())
	}
}
