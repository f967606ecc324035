package disk

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tamv.internal/tamv/tap"
)

const mib = 1 << 20

// volume is a file system of which the test says how full it is. The reserve in
// its folder takes space, as on a real one.
type volume struct {
	dir string

	mu    sync.Mutex // guards what follows
	total uint64
	used  uint64 // by others than the reserve
	err   error
}

func newVolume(t testing.TB, total, used uint64) *volume {
	return &volume{dir: t.TempDir(), total: total, used: used}
}

func (v *volume) stat(string) (Usage, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.used + v.reserve()
	return Usage{Total: v.total, Free: v.total - min(v.total, taken)}, v.err
}

func (v *volume) reserve() uint64 {
	info, err := os.Lstat(filepath.Join(v.dir, "reserve"))
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

// leave has others use so much that this many bytes are free.
func (v *volume) leave(free uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.used = v.total - v.reserve() - free
}

func (v *volume) watch(change func(*Config)) *Watch {
	c := Config{Dir: v.dir, Stat: v.stat, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	return New(c)
}

func TestMarks(t *testing.T) {
	for _, c := range []struct{ total, minFree, mark, reserve uint64 }{
		{100 * mib, 0, 5 * mib, 2 * mib},
		{100 * mib, 1 * mib, 5 * mib, 2 * mib},
		{100 * mib, 30 * mib, 30 * mib, 2 * mib},
		{1 << 40, 0, 1 << 30, 64 * mib},
		{1 << 40, 3 << 30, 3 << 30, 64 * mib},
		{0, 0, 0, 0},
	} {
		v := newVolume(t, c.total, 0)
		w := v.watch(func(d *Config) { d.MinFree = c.minFree })
		s := w.State()
		if s.Mark != c.mark || s.Reserve != c.reserve || v.reserve() != c.reserve || s.Low || w.Health() != nil {
			t.Errorf("%+v: %+v, %d bytes on disk, %v", c, s, v.reserve(), w.Health())
		}
	}
}

// The whole way down and up again: refused below the mark, the reserve given
// back at the end, and nothing flaps on the way.
func TestEpisode(t *testing.T) {
	v := newVolume(t, 100*mib, 0)
	w := v.watch(nil)
	for _, step := range []struct {
		free    uint64
		low     bool
		reserve uint64
	}{
		{50 * mib, false, 2 * mib},
		{5 * mib, false, 2 * mib},
		{5*mib - 1, true, 2 * mib},
		{6 * mib, true, 2 * mib}, // not yet enough
		{25 * mib / 4, false, 2 * mib},
		{4 * mib, true, 2 * mib},
		{5*mib/4 - 1, true, 0},
		{2 * mib, true, 0},
		{7 * mib, true, 0}, // two of them are owed
		{25*mib/4 + 2*mib, false, 2 * mib},
	} {
		v.leave(step.free)
		w.Check()
		s := w.State()
		if s.Low != step.low || s.Reserve != step.reserve || v.reserve() != step.reserve {
			t.Fatalf("%d bytes free: %+v, reserve %d", step.free, s, v.reserve())
		}
		err := w.Health()
		if e := tap.AsError(err); (err != nil) != step.low || step.low && (e.Kind != tap.Unavailable || e.Code != CodeFull || e.RetryAfter == 0) {
			t.Errorf("%d bytes free: %v", step.free, err)
		}
	}
}

// Run looks each second; who waits for a change hears of the beginning and of the
// end of an episode.
func TestRunTellsOfEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolume(t, 100*mib, 0)
		w := v.watch(nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.Run(ctx); close(ended) }()
		began := time.Now()
		for range 2 {
			changed := w.Changed()
			v.leave(1)
			<-changed
			if !w.State().Low {
				t.Error("told of a change, and not low")
			}
			for range 5 {
				<-time.After(time.Second)
			}
			changed = w.Changed()
			v.leave(80 * mib)
			<-changed
			if w.State().Low {
				t.Error("told of a change, and still low")
			}
		}
		cancel()
		<-ended
		if since := w.State().Since.Sub(began); since < 10*time.Second || since > 15*time.Second {
			t.Errorf("the last change was after %s", since)
		}
	})
}

func TestFileSystemsThatDoNotAnswer(t *testing.T) {
	v := newVolume(t, 100*mib, 99*mib)
	w := v.watch(nil)
	v.leave(90 * mib)
	for _, err := range []error{errors.ErrUnsupported, fs.ErrPermission} {
		v.err = err
		w.Check()
		if !w.State().Low {
			t.Error("an episode ended on no knowledge")
		}
		v.err = nil
		w.Check()
		if w.Health() != nil {
			t.Errorf("afterwards: %v", w.Health())
		}
		v.err = err
		w.Check()
		if e := tap.AsError(w.Health()); e == nil || e.Code != "disk_unwatched" || w.State().Low {
			t.Errorf("%v: %v, %+v", err, w.Health(), w.State())
		}
		v.err = nil
		v.leave(1 * mib)
		w.Check()
		v.leave(90 * mib)
	}
}

// A reserve that cannot be made is a condition, and tried again each minute.
func TestNoReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolume(t, 100*mib, 92*mib) // above the mark, but not with a reserve
		w := v.watch(nil)
		if e := tap.AsError(w.Health()); w.State().Low || e == nil || e.Code != "disk_reserve" || v.reserve() != 0 {
			t.Errorf("no room: %v, %+v", e, w.State())
		}
		v.leave(50 * mib)
		w.Check()
		if w.Health() == nil {
			t.Error("tried again at once")
		}
		<-time.After(reserveRetry)
		w.Check()
		if w.Health() != nil || v.reserve() != 2*mib {
			t.Errorf("a minute later: %v", w.Health())
		}
	})
	v := newVolume(t, 100*mib, 0)
	if err := os.MkdirAll(filepath.Join(v.dir, "reserve", "not empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := v.watch(nil)
	if e := tap.AsError(w.Health()); e == nil || e.Code != "disk_reserve" || w.State().Low {
		t.Errorf("in the way: %v", e)
	}
}

// What an earlier run left is kept when it is whole.
func TestReserveOfAnEarlierRun(t *testing.T) {
	v := newVolume(t, 100*mib, 0)
	v.watch(nil)
	before, err := os.Stat(filepath.Join(v.dir, "reserve"))
	if err != nil {
		t.Fatal(err)
	}
	if w := v.watch(nil); w.State().Reserve != 2*mib {
		t.Errorf("%+v", w.State())
	}
	after, err := os.Stat(filepath.Join(v.dir, "reserve"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was made anew, %v", err)
	}
	for name, leave := range map[string]func(path string) error{
		"sparse":  func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 2*mib)) },
		"partial": func(path string) error { return os.WriteFile(path, []byte("half"), 0o600) },
		"link":    func(path string) error { return os.Symlink("/dev/full", path) },
		"larger":  func(path string) error { return os.WriteFile(path, make([]byte, 5*mib), 0o600) },
	} {
		v := newVolume(t, 100*mib, 0)
		path := filepath.Join(v.dir, "reserve")
		if err := leave(path); err != nil {
			t.Fatal(err)
		}
		w := v.watch(nil)
		info, err := os.Lstat(path)
		if err != nil || held(path) != 2*mib || w.State().Reserve != 2*mib || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes held, %+v, %v", name, held(path), w.State(), err)
		}
	}
}

// However the disk fills and empties, writes are refused when less than the mark
// is free, allowed from one and a quarter of it, and the reserve is there or
// owed.
func TestPropertyHysteresis(t *testing.T) {
	v := newVolume(t, 10*mib, 0)
	w := v.watch(nil)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			was := w.State().Low
			beside := v.total - v.reserve()
			v.leave(rapid.OneOf(rapid.Uint64Range(0, mib), rapid.Uint64Range(0, beside)).Draw(t, "free"))
			usage, _ := v.stat("")
			available := usage.Free - min(usage.Free, w.owed)
			w.Check()
			s := w.State()
			want := available < s.Mark || was && available < s.Mark/4*5
			if s.Low != want || (w.full() != nil) != want {
				t.Fatalf("%d of %d available, low before %v: %+v", available, s.Mark, was, s)
			}
			if s.Reserve != v.reserve() || s.Reserve+w.owed != v.total/50 {
				t.Fatalf("reserve %d, %d on disk, %d owed", s.Reserve, v.reserve(), w.owed)
			}
		}
	})
}
