package disk

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/tap"
)

// Usage is what a file system says of itself, in bytes.
type Usage struct {
	Total uint64
	Free  uint64 // what a process without privileges can still write
}

const (
	defaultEvery   = time.Second
	defaultReserve = 64 << 20
	maxMark        = 1 << 30
	// reserveRetry is how long a reserve that could not be made waits.
	reserveRetry = time.Minute
	// retryAfter is what a refused client is told: a person has to act.
	retryAfter = 30 * time.Second
)

// CodeFull is the code of the error when there is too little room.
const CodeFull = "disk_full"

// Config says what to watch. Every field but Dir has a default.
type Config struct {
	Dir     string                          // the data folder; it exists
	MinFree uint64                          // low when fewer bytes are free, also where 5 % would be less
	Reserve uint64                          // size of the reserve file; 0 = 64 MiB; never more than 2 % of the file system
	Every   time.Duration                   // 0 = 1 s
	Stat    func(dir string) (Usage, error) // nil = statfs(2)
	Logger  *slog.Logger                    // nil = slog.Default()
}

// State is what the watch saw last.
type State struct {
	Usage
	Mark    uint64    // low below this many free bytes
	Reserve uint64    // bytes that the reserve file holds now
	Low     bool      // writes are refused
	Since   time.Time // when Low last changed, or the watch began
}

// view is all that readers see, replaced as a whole.
type view struct {
	State
	statErr    error // why the file system could not be asked
	reserveErr error // why there is no reserve
}

// Watch watches the disk. It is safe for concurrent use.
type Watch struct {
	config Config
	file   string // path of the reserve
	view   atomic.Pointer[view]

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed when Low changes

	checking sync.Mutex // serialises Check and guards what follows
	owed     uint64     // bytes of the reserve given back in this episode
	retry    time.Time  // when to try again to make the reserve
}

// New looks at the disk for the first time and makes the reserve.
func New(c Config) *Watch {
	if c.Reserve == 0 {
		c.Reserve = defaultReserve
	}
	if c.Every == 0 {
		c.Every = defaultEvery
	}
	if c.Stat == nil {
		c.Stat = stat
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	w := &Watch{config: c, file: filepath.Join(c.Dir, "reserve"), changed: make(chan struct{})}
	w.view.Store(&view{State: State{Since: time.Now(), Reserve: held(w.file)}})
	w.Check()
	return w
}

// Run watches until the context ends.
func (w *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(w.config.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.Check()
		}
	}
}

// Check looks now. Run does it by itself; whoever met a full disk need not wait
// for the next second.
func (w *Watch) Check() {
	w.checking.Lock()
	defer w.checking.Unlock()
	v := *w.view.Load()
	var usage Usage
	if usage, v.statErr = w.config.Stat(w.config.Dir); v.statErr != nil {
		w.view.Store(&v) // nothing is known that would justify a change
		return
	}
	v.Usage, v.Mark = usage, max(min(usage.Total/20, maxMark), w.config.MinFree)
	before, available := v.Low, usage.Free-min(usage.Free, w.owed)
	switch {
	case available < v.Mark:
		v.Low = true
	case available >= v.Mark/4*5:
		v.Low = false
	}
	if v.Low && usage.Free < v.Mark/4 {
		w.giveBack(&v)
	}
	turned := v.Low != before
	if turned {
		v.Since = time.Now()
	}
	shown := v // making the reserve may take a while, and readers must not wait
	w.view.Store(&shown)
	if turned {
		w.announce(&v)
	}
	if !v.Low && w.keepReserve(&v) {
		w.view.Store(&v)
	}
}

// announce tells that Low changed.
func (w *Watch) announce(v *view) {
	w.mu.Lock()
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	facts := []any{"free", v.Free, "mark", v.Mark, "total", v.Total}
	if v.Low {
		w.config.Logger.Warn("the disk is nearly full: writes are refused", facts...)
	} else {
		w.config.Logger.Info("the disk has room again: writes are accepted", facts...)
	}
}

// giveBack returns the reserve to the file system. checking is locked.
func (w *Watch) giveBack(v *view) {
	if v.Reserve == 0 {
		return
	}
	if v.reserveErr = remove(w.file); v.reserveErr != nil {
		return
	}
	w.config.Logger.Warn("the disk is full: the reserve is given back", "bytes", v.Reserve)
	w.owed += v.Reserve
	v.Free += v.Reserve
	v.Reserve = 0
}

// keepReserve makes the reserve when there is none, or one of another size, and
// room for it; it says whether it tried. Some file systems change their total
// all the time, so about the right size is right. checking is locked.
func (w *Watch) keepReserve(v *view) bool {
	size := min(w.config.Reserve, v.Total/50)
	if v.Reserve >= size/2 && v.Reserve <= 2*size || time.Now().Before(w.retry) {
		return false
	}
	w.owed = 0
	if v.reserveErr = w.makeReserve(v, size); v.reserveErr != nil {
		w.retry = time.Now().Add(reserveRetry)
	}
	return true
}

func (w *Watch) makeReserve(v *view, size uint64) error {
	if err := remove(w.file); err != nil {
		return err
	}
	v.Free += v.Reserve
	v.Reserve = 0
	if v.Free < v.Mark/4*5+size {
		return errors.New("it would fill the disk to the mark")
	}
	if err := fill(w.file, size); err != nil {
		return err
	}
	v.Free -= size
	v.Reserve = size
	return nil
}

// Changed returns a channel that is closed when Low next changes.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// State is what the watch saw last.
func (w *Watch) State() State { return w.view.Load().State }

// full is the error while there is too little room: Unavailable, code CodeFull.
func (w *Watch) full() error {
	s := w.State()
	if !s.Low {
		return nil
	}
	return tap.E("disk.full", tap.Unavailable, "the disk of this node is nearly full: %d MiB are free, %d MiB are needed; free space on it, writes resume by themselves",
		s.Free>>20, s.Mark>>20+1).
		WithCode(CodeFull).WithRetryAfter(retryAfter).WithDetail("free", s.Free).WithDetail("mark", s.Mark)
}

// Health is nil when there is room, a reserve, and a file system that answers;
// else the Unavailable error that names what is missing, for a condition: code
// CodeFull when writes are refused, disk_reserve or disk_unwatched when only the
// protection is missing.
func (w *Watch) Health() error {
	if err := w.full(); err != nil {
		return err
	}
	v := w.view.Load()
	switch {
	case errors.Is(v.statErr, errors.ErrUnsupported):
		return tap.E("disk.health", tap.Unavailable, "free space is watched on Linux only").WithCode("disk_unwatched")
	case v.statErr != nil:
		return tap.Wrap("disk.health", tap.Unavailable, v.statErr, "the file system of the data folder does not say how much is free").WithCode("disk_unwatched")
	case v.reserveErr != nil:
		return tap.Wrap("disk.health", tap.Unavailable, v.reserveErr, "no space is held in reserve for a full disk").WithCode("disk_reserve")
	}
	return nil
}
