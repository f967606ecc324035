package simd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of this package pass on arm64 too, under QEMU's user mode emulation
// (Debian: apt-get install qemu-user), on a processor with the dot product
// extension and on one without.
func TestUnderARM64Emulation(t *testing.T) {
	emulator, err := exec.LookPath("qemu-aarch64")
	if err != nil {
		t.Skip("qemu-aarch64 is not installed")
	}
	if testing.Short() {
		t.Skip("compiles and runs the tests for another architecture")
	}
	noteSources(t)
	binary := filepath.Join(t.TempDir(), "simd.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	for _, c := range []struct{ processor, features, tests string }{
		{"max", "neon+dotprod", "."},
		{"cortex-a53", "neon", "TestFeatures|TestNoRows|TestPanics"},
	} {
		t.Run(c.processor, func(t *testing.T) {
			run := exec.CommandContext(t.Context(), emulator, "-cpu", c.processor, binary, "-test.v", "-test.run", c.tests)
			out, err := run.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v\n%s", run, err, out)
			}
			if !strings.Contains(string(out), ": "+c.features+"\n") {
				t.Errorf("Features() is not %q in\n%s", c.features, out)
			}
		})
	}
}

// noteSources looks at every source here: only the files that a test itself
// touches make the go command forget a cached pass.
func noteSources(t *testing.T) {
	sources, err := filepath.Glob("*.[gsh]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if _, err := os.Stat(source); err != nil {
			t.Fatal(err)
		}
	}
}
