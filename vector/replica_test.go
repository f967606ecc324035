package vector

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// history makes the same calls on an index as on any other: batches of several
// sizes, updates, equal vectors, deletions and consolidations.
func history(t testing.TB, x *Index) Digest {
	t.Helper()
	all := clustered(31, 900, x.Dim(), 12)
	all[700], all[701], all[800] = all[3], all[3], all[3]
	batches := 0
	for i, size := 0, 1; i < len(all); size = size*3%401 + 1 {
		end := min(i+size, len(all))
		batch := items(i, all[i:end])
		for j := range batch {
			batch[j].Tag, batch[j].Kind, batch[j].Time = uint32(j%3), uint16(i%2), int64(i)
			if (i+j)%11 == 10 {
				batch[j].ID = fmt.Sprintf("doc-%06d", (i+j)/2) // an update, some within the batch
			}
		}
		if err := x.AddBatch(batch); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for j := i / 2; j < end; j += 4 {
			ids = append(ids, fmt.Sprintf("doc-%06d", j))
		}
		x.DeleteBatch(ids)
		if batches++; batches%2 == 0 {
			if err := x.Consolidate(); err != nil {
				t.Fatal(err)
			}
		}
		i = end
	}
	digest, err := x.Save(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

var replicaConfigs = []Config{
	{Dim: 19, Seed: [32]byte{5}},
	{Dim: 19, Metric: L2, M: 6, EfConstruction: 40},
	{Dim: 19, Metric: InnerProduct, Tier: Codes},
	{Dim: 19, Tier: Bits, Range: 1},
	{Dim: siftDim + 3, M: 4, EfConstruction: 20},
}

func digests(t testing.TB, threads int) string {
	var out strings.Builder
	for _, cfg := range replicaConfigs {
		cfg.Threads = threads
		x, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%x\n", history(t, x))
		x.Close()
	}
	return out.String()
}

// wantDigests pins the format and the algorithm: replicas of different releases
// or processors must not disagree unnoticed.
const wantDigests = `7014c39e6aba696c147afdf26ca851ce02daadf93c04b8b0bdd1830c45615c03
59a9b7ac24d0d66804318777bed63f5642a40daae12d31064c4188914827a37b
679eea12b77f23b4fcb86b4f55536e4a1411fbc5c3e9567599a4d4cb314d997f
8fb78882cc08c579bb9c2d78c7f27af98ebbb352c36cb8a37ffebedd082872fb
b088c7fa03ed9af3fdc0d09d93f2ba2ea578069c3f690547f6c3160c1eab3e5a
`

func TestDigestsArePinned(t *testing.T) {
	if racing {
		t.Skip("one thread does not race; TestThreadsDoNotShow compares the same digests")
	}
	if got := digests(t, 1); got != wantDigests {
		t.Errorf("digests on %s\n%s, want\n%s", runtime.GOARCH, got, wantDigests)
	}
}

func TestThreadsDoNotShow(t *testing.T) {
	for _, threads := range []int{2, 8}[:sized(2, 1)] {
		if got := digests(t, threads); got != wantDigests {
			t.Errorf("%d threads: digests\n%s, want\n%s", threads, got, wantDigests)
		}
	}
	other := replicaConfigs[0]
	other.Seed[0]++
	x, err := New(other)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if strings.Contains(wantDigests, fmt.Sprintf("%x", history(t, x))) {
		t.Error("another seed makes the same graph")
	}
}

// A replica that restarts from a snapshot goes on as the others do.
func TestReplicaThatRestartsStaysEqual(t *testing.T) {
	cfg := sparse(replicaConfigs[0])
	all := clustered(33, 900, 19, 12)
	steady, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer steady.Close()
	restarting, dir := steady, t.TempDir()
	for i := 0; i < len(all); i += 90 {
		for _, x := range []*Index{steady, restarting} {
			if err := x.AddBatch(items(i, all[i:i+90])); err != nil {
				t.Fatal(err)
			}
			for j := i / 2; j < i/2+30; j++ {
				x.Delete(fmt.Sprintf("doc-%06d", j))
			}
			if i%180 == 0 {
				if err := x.Consolidate(); err != nil {
					t.Fatal(err)
				}
			}
			if x == restarting && x == steady {
				break // the first round: they have not parted yet
			}
		}
		want, err := steady.Save(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		got, err := restarting.Save(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("after %d vectors: %x, want %x", i+90, got, want)
		}
		if restarting != steady {
			restarting.Close()
		}
		if restarting, err = Open(dir, cfg); err != nil {
			t.Fatal(err)
		}
	}
	restarting.Close()
}

// The same on the other processor family, if there is an emulator.
func TestReplicaOnArm64(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and emulates another processor: not with -short")
	}
	qemu, err := exec.LookPath("qemu-aarch64")
	if err != nil || runtime.GOARCH == "arm64" {
		t.Skip("qemu-aarch64 is not installed (Debian: qemu-user), or this is arm64")
	}
	binary := filepath.Join(t.TempDir(), "vector.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOARCH=arm64", "GOOS=linux", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(qemu, binary, "-test.run=^TestDigestsArePinned$", "-test.v").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestDigestsArePinned")) {
		t.Errorf("on arm64: %v\n%s", err, out)
	}
}
