package faults

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// skewedClock is the machine's wall clock moved by the offset that a file holds.
type skewedClock struct {
	file   string
	offset atomic.Int64 // nanoseconds
}

// now has no monotonic reading: a jump of the wall clock must show.
func (c *skewedClock) now() time.Time {
	return time.Now().Round(0).Add(time.Duration(c.offset.Load()))
}

// read takes the offset from the file. One that is missing or does not parse
// leaves the clock as it is.
func (c *skewedClock) read() {
	raw, err := os.ReadFile(c.file)
	if err != nil {
		return
	}
	if offset, err := time.ParseDuration(string(raw)); err == nil {
		c.offset.Store(int64(offset))
	}
}

// follow reads the file again and again until ctx ends.
func (c *skewedClock) follow(ctx context.Context) {
	ticker := time.NewTicker(clockPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.read()
		case <-ctx.Done():
			return
		}
	}
}

// writeClock writes the file in one step, so that nobody reads half an offset.
func writeClock(file string, offset time.Duration) error {
	scratch := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	if err := os.WriteFile(scratch, []byte(offset.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(scratch, file)
}
