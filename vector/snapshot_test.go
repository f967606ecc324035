package vector

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func save(t testing.TB, x *Index, dir string) Digest {
	t.Helper()
	d, err := x.Save(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t testing.TB, dir string, cfg Config) *Index {
	t.Helper()
	x, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func TestSnapshotBringsEverythingBack(t *testing.T) {
	for _, c := range []struct {
		cfg Config
		n   int
	}{
		{Config{Dim: 16}, 0},
		{Config{Dim: 16, Range: 1}, 0},
		{Config{Dim: 16}, 40},
		{Config{Dim: 3, Metric: L2}, 400},
		{Config{Dim: 16}, sized(1500, 600)},
		{Config{Dim: 16, Metric: InnerProduct, Tier: Codes}, sized(1000, 400)},
		{Config{Dim: 130, Tier: Bits}, sized(1000, 400)},
	} {
		t.Run(fmt.Sprintf("%v/%v/%d/%d", c.cfg.Metric, c.cfg.Tier, c.cfg.Dim, c.n), func(t *testing.T) {
			c.cfg = sparse(c.cfg)
			all := clustered(41, c.n+20, c.cfg.Dim, 11)
			x := build(t, c.cfg, nil)
			batch := items(0, all[:c.n])
			for i := range batch {
				batch[i].Tag, batch[i].Kind, batch[i].Time = uint32(i%5), uint16(i%2), int64(i)
			}
			if err := x.AddBatch(batch); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < c.n; i += 9 {
				x.Delete(batch[i].ID)
			}
			dir := t.TempDir()
			digest := save(t, x, dir)
			y := open(t, dir, c.cfg)
			if a, b := x.Stats(), y.Stats(); a.Vectors != b.Vectors || a.Dead != b.Dead || a.Groups != b.Groups || a.Range != b.Range || a.EF != b.EF {
				t.Errorf("stats %+v, want %+v", b, a)
			}
			for i, q := range all {
				o := Options{K: 7}
				if i%2 == 1 {
					o.Filter = Filter{Tags: []uint32{uint32(i % 5)}, From: 10, Until: int64(c.n / 2)}
					o.Filter.Until = max(o.Filter.Until, 10)
				}
				if got, want := search(t, y, q, o), search(t, x, q, o); !slices.Equal(got, want) {
					t.Fatalf("query %d: %v, want %v", i, got, want)
				}
			}
			if again := save(t, y, t.TempDir()); again != digest {
				t.Errorf("digest %x after loading, %x before", again, digest)
			}
			// What was loaded can be written to, without touching the file.
			if err := y.AddBatch(items(c.n, all[c.n:])); err != nil {
				t.Fatal(err)
			}
			if err := y.Consolidate(); err != nil {
				t.Fatal(err)
			}
			if again := save(t, open(t, dir, c.cfg), t.TempDir()); again != digest {
				t.Error("writing to a loaded index changed its snapshot")
			}
		})
	}
}

func TestSnapshotOfAnotherConfigurationIsRefused(t *testing.T) {
	cfg := Config{Dim: 16, Seed: [32]byte{1}}
	x := build(t, cfg, clustered(1, 20, 16, 2))
	dir := t.TempDir()
	save(t, x, dir)
	for _, change := range []func(*Config){
		func(c *Config) { c.Dim = 17 }, func(c *Config) { c.Metric = L2 }, func(c *Config) { c.Tier = Codes },
		func(c *Config) { c.M = 8 }, func(c *Config) { c.EfConstruction = 99 }, func(c *Config) { c.Seed[31] = 1 },
		func(c *Config) { c.Range = 0.5 }, func(c *Config) { c.Dim = 0 },
	} {
		other := cfg
		change(&other)
		if _, err := Open(dir, other); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v, want ErrConfig", other, err)
		}
	}
	cfg.Threads, cfg.Capacity = 3, 1000
	open(t, dir, cfg)
	if _, err := Open(t.TempDir(), cfg); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := x.Save(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory that is not there: %v", err)
	}
}

// Every bit of a snapshot is covered, or does not matter.
func TestDamagedSnapshot(t *testing.T) {
	cfg := Config{Dim: 8, Range: 1, M: 4}
	all := clustered(43, 60, 8, 5)
	x := build(t, cfg, all)
	x.Delete("doc-000003")
	dir := t.TempDir()
	save(t, x, dir)
	file, err := os.OpenFile(filepath.Join(dir, snapshotName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	whole, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := decodeHeader(whole[:pageSize])
	if err != nil {
		t.Fatal(err)
	}
	// A page is seldom full; what fills it up is all that is not covered.
	covered := func(at int) bool {
		for _, s := range decoded.Segments {
			if at >= int(s.Offset) && at < int(s.Offset+s.Length) {
				return true
			}
		}
		return at < binary.Size(decoded)+4
	}
	for at := range whole {
		if !covered(at) && at%97 != 0 {
			continue
		}
		if _, err := file.WriteAt([]byte{whole[at] ^ 1<<(at%8)}, int64(at)); err != nil {
			t.Fatal(err)
		}
		y, err := Open(dir, cfg)
		switch {
		case covered(at):
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d: %v, want ErrDamaged", at, err)
			}
		case err != nil:
			t.Fatalf("byte %d does not matter: %v", at, err)
		default:
			got, want := y.segments(), x.segments()
			same := func(a, b content) bool { return bytes.Equal(slices.Concat(a...), slices.Concat(b...)) }
			if !slices.EqualFunc(got[:], want[:], same) {
				t.Fatalf("byte %d is not covered and matters", at)
			}
			y.Close()
		}
		if _, err := file.WriteAt(whole[at:at+1], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	for _, length := range []int{0, 1, 100, pageSize - 1, pageSize, len(whole) / 2, len(whole) - 1} {
		if _, err := openBytes(t, dir, whole[:length], cfg); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v", length, err)
		}
	}
	if _, err := openBytes(t, dir, append(bytes.Clone(whole), 0), cfg); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
}

func openBytes(t testing.TB, dir string, content []byte, cfg Config) (*Index, error) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, snapshotName), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return Open(dir, cfg)
}

// A header may be wrong although its checksum is right.
func TestHeaderThatLies(t *testing.T) {
	cfg := Config{Dim: 8, Range: 1}
	x := build(t, cfg, clustered(44, 30, 8, 5))
	dir := t.TempDir()
	save(t, x, dir)
	whole, err := os.ReadFile(filepath.Join(dir, snapshotName))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lie  func(*header)
		want error
	}{
		"magic":       {func(h *header) { h.Magic[0] = 'X' }, ErrDamaged},
		"version":     {func(h *header) { h.Version++ }, ErrConfig},
		"byte order":  {func(h *header) { h.Mark = 0x04030201 }, ErrConfig},
		"more rows":   {func(h *header) { h.Rows++ }, ErrDamaged},
		"more text":   {func(h *header) { h.TextEnd += 7 }, ErrDamaged},
		"overlap":     {func(h *header) { h.Segments[3].Offset -= pageSize }, ErrDamaged},
		"huge":        {func(h *header) { h.Segments[3].Length = 1 << 63 }, ErrDamaged},
		"many rows":   {func(h *header) { h.Rows = MaxRows + 1 }, ErrDamaged},
		"long text":   {func(h *header) { h.TextEnd = 1 << 63 }, ErrDamaged},
		"odd table":   {func(h *header) { h.TableLen-- }, ErrDamaged},
		"entry":       {func(h *header) { h.Entry = 30 }, ErrDamaged},
		"no codes":    {func(h *header) { h.Coded = 0 }, ErrDamaged},
		"other space": {func(h *header) { h.Dim = 9 }, ErrConfig},
	} {
		h, err := decodeHeader(whole[:pageSize])
		if err != nil {
			t.Fatal(err)
		}
		c.lie(h)
		if _, err := openBytes(t, dir, append(h.encode(), whole[pageSize:]...), cfg); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// The same for the lists of groups.
	for _, words := range [][]uint32{{1}, {0, 0, 1, 2, 0}, {0, 0, 1, 1 << 31}} {
		if err := new(Index).restorePostings(words); !errors.Is(err, ErrDamaged) {
			t.Errorf("lists %v: %v", words, err)
		}
	}
}

// A crash while a snapshot is written leaves the one before.
func TestCrashWhileSavingLeavesTheOldSnapshot(t *testing.T) {
	cfg := Config{Dim: 8}
	all := clustered(45, 40, 8, 5)
	x := build(t, cfg, all[:20])
	dir := t.TempDir()
	save(t, x, dir)
	if err := x.AddBatch(items(20, all[20:])); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves: a part of the new file under its temporary name.
	other := t.TempDir()
	save(t, x, other)
	whole, err := os.ReadFile(filepath.Join(other, snapshotName))
	if err != nil {
		t.Fatal(err)
	}
	for _, written := range []int{0, 1, pageSize, len(whole)} {
		temporary := filepath.Join(dir, snapshotName+".tmp")
		if err := os.WriteFile(temporary, whole[:written], 0o600); err != nil {
			t.Fatal(err)
		}
		if y := open(t, dir, cfg); y.Len() != 20 {
			t.Errorf("%d bytes written: %d vectors, want 20", written, y.Len())
		}
	}
	save(t, x, dir) // over the rest of the crash
	if y := open(t, dir, cfg); y.Len() != 40 {
		t.Errorf("%d vectors after saving again", y.Len())
	}
	// A save that fails removes what it wrote and keeps the old one.
	blocked := t.TempDir()
	if err := os.Mkdir(filepath.Join(blocked, snapshotName), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blocked, snapshotName, "in the way"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Save(blocked); err == nil {
		t.Error("a snapshot replaced a directory")
	}
}

// What is written while a snapshot is being saved does not show in it, though
// slots that were free are used again.
func TestSaveShowsOneMoment(t *testing.T) {
	for _, cfg := range []Config{{Dim: 12, Range: 1}, {Dim: 12, Metric: L2, Tier: Codes}, {Dim: 120, Tier: Bits}} {
		cfg = sparse(cfg)
		all := clustered(91, 500, cfg.Dim, 9)
		x := build(t, cfg, all[:400])
		for i := 0; i < 400; i += 3 {
			x.Delete(fmt.Sprintf("doc-%06d", i))
		}
		if err := x.Consolidate(); err != nil {
			t.Fatal(err)
		}
		if s := x.Stats(); s.Free != 134 {
			t.Fatalf("%d free slots", s.Free)
		}
		want := save(t, x, t.TempDir())

		im, err := x.capture()
		if err != nil {
			t.Fatal(err)
		}
		if err := x.AddBatch(items(350, all[350:])); err != nil { // updates, slots used again
			t.Fatal(err)
		}
		x.Delete("doc-000001")
		consolidated := make(chan error)
		before := x.current.Load()
		go func() { consolidated <- x.Consolidate() }()
		for x.current.Load() == before { // until it waits for the snapshot
			runtime.Gosched()
		}
		dir := t.TempDir()
		got, err := im.save(dir)
		if err != nil || got != want {
			t.Errorf("%v: digest %x, want %x, %v", cfg.Tier, got, want, err)
		}
		select {
		case <-consolidated:
			t.Error("Consolidate did not wait")
		default:
		}
		im.view.release()
		if err := <-consolidated; err != nil {
			t.Fatal(err)
		}
		y := open(t, dir, cfg)
		if y.Len() != 266 || y.Stats().Free != 134 {
			t.Errorf("%+v", y.Stats())
		}
		checkGraph(t, y)
		if x.Len() != 266-33+150-1 {
			t.Errorf("%d vectors in the index that went on", x.Len())
		}
	}
}

func FuzzOpen(f *testing.F) {
	cfg := Config{Dim: 8, Range: 1, M: 4}
	x := build(f, cfg, clustered(46, 12, 8, 2))
	dir := f.TempDir()
	save(f, x, dir)
	whole, err := os.ReadFile(filepath.Join(dir, snapshotName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte(snapshotMagic))
	f.Add(uint32(48), []byte{8, 0, 0, 0})
	f.Add(uint32(pageSize+5), []byte{0xff})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		content := bytes.Clone(whole)
		copy(content[int(at)%len(content):], patch)
		// Let changes through the header's checksum, to what lies behind it.
		size := binary.Size(header{})
		binary.LittleEndian.PutUint32(content[size:], crc32.Checksum(content[:size], castagnoli))
		y, err := openBytes(t, dir, content, cfg)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrConfig) {
				t.Fatal(err)
			}
			return
		}
		y.Close()
	})
}
