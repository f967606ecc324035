package consensus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// record is what proposers and readers were told, for comparison with what was applied.
type record struct {
	mu      sync.Mutex
	acked   map[string]string // command to outcome
	refused map[string]bool   // commands that cannot be in the log
	unsure  int
	count   uint64 // the greatest position that was acknowledged
	errs    []error
}

func newRecord() *record {
	return &record{acked: map[string]string{}, refused: map[string]bool{}}
}

func (r *record) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// propose proposes one command once and notes what was answered.
func (r *record) propose(ctx context.Context, m member, command string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	outcome, err := m.Propose(ctx, []byte(command))
	var position uint64
	if err == nil {
		if _, err := fmt.Sscanf(outcome.(string), "%d:", &position); err != nil || !strings.HasSuffix(outcome.(string), ":"+command) {
			r.fail("%s: outcome %q for %q", m.cfg.ID, outcome, command)
		}
		if seen := m.chain.read().Count; seen < position {
			r.fail("%s acknowledged position %d and has applied %d", m.cfg.ID, position, seen)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.acked[command] = outcome.(string)
		r.count = max(r.count, position)
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrBusy):
		r.refused[command] = true
	case errors.Is(err, ErrUncertain), errors.Is(err, context.DeadlineExceeded):
		r.unsure++
	default:
		r.errs = append(r.errs, fmt.Errorf("%s: propose: %w", m.cfg.ID, err))
	}
}

// read reads once and compares with what had been acknowledged before.
func (r *record) read(ctx context.Context, m member, c Consistency) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r.mu.Lock()
	count := r.count
	r.mu.Unlock()
	if err := m.Read(ctx, c); err != nil {
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, context.DeadlineExceeded) {
			r.fail("%s: %v read: %w", m.cfg.ID, c, err)
		}
		return
	}
	if seen := m.chain.read().Count; seen < count {
		r.fail("%s: a %v read saw %d commands, %d were acknowledged before it began", m.cfg.ID, c, seen, count)
	}
}

// check compares with the log of a member that has applied everything.
func (r *record) check(t *testing.T, m member) {
	t.Helper()
	for _, err := range r.errs {
		t.Error(err)
	}
	at := map[string]int{}
	for i, command := range m.chain.commands {
		if first, twice := at[command]; twice {
			t.Errorf("%q was applied as %d and as %d", command, first, i+1)
		}
		at[command] = i + 1
	}
	for command, outcome := range r.acked {
		if want := fmt.Sprintf("%d:%s", at[command], command); outcome != want {
			t.Errorf("%q was acknowledged as %q and applied as %q", command, outcome, want)
		}
	}
	for command := range r.refused {
		if at[command] != 0 {
			t.Errorf("%q was refused and applied", command)
		}
	}
	t.Logf("%d acknowledged, %d refused, %d of unknown outcome, %d applied", len(r.acked), len(r.refused), r.unsure, len(at))
}

// load proposes and reads on every member until stop is closed; what returns waits for its end.
func (r *record) load(t *testing.T, members []member, stop <-chan struct{}, reads ...Consistency) (wait func()) {
	var wg sync.WaitGroup
	until := func(act func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				act(i)
				<-time.After(40 * time.Millisecond)
			}
		})
	}
	for _, m := range members {
		for p := range 2 {
			until(func(i int) { r.propose(t.Context(), m, fmt.Sprintf("%s/%d/%d", m.cfg.ID, p, i)) })
		}
		for _, c := range reads {
			until(func(int) { r.read(t.Context(), m, c) })
		}
	}
	return wg.Wait
}

// memoryLog is a log that needs no disk, for long runs in virtual time.
type memoryLog struct{ *raft.InmemStore }

func (memoryLog) Close() error { return nil }

func openMemoryLog(string) (LogStore, error) { return memoryLog{raft.NewInmemStore()}, nil }
