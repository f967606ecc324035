package consensus

import (
	"context"
	"fmt"
	"runtime"
)

// proposal is one command on its way, or a tick: a proposal of time alone, or a group: commands that another member
// forwards, which stay together in one pack.
type proposal struct {
	ctx     context.Context
	command []byte
	group   [][]byte // instead of command; not empty
	tick    bool
	done    chan proposalResult // holds one
}

// proposalResult is what became of a proposal.
type proposalResult struct {
	entry   position
	outcome any // of a command; nil for ticks and groups
	err     error
}

// position says where in the log a proposal stands.
type position struct {
	term   uint64 // in which it was committed; 0 if that is not certain
	index  uint64 // of the entry
	number int    // within the entry's pack, of the command or of the first of a group
}

// size is the number of commands of a proposal and the room they take in a pack.
func (p *proposal) size() (commands, bytes int) {
	switch {
	case p.tick:
		return 0, 0
	case p.group == nil:
		return 1, commandSize(len(p.command))
	}
	for _, command := range p.group {
		bytes += commandSize(len(command))
	}
	return len(p.group), bytes
}

// intake is the line in which proposals wait to be put together, for the log or for the way to the leader. One goroutine
// takes them; it closes done when it takes nothing more, and must have answered all it took before.
type intake struct {
	queue       chan *proposal
	done        chan struct{}
	stop        <-chan struct{} // when closed, what waits is still taken
	fsm         *fsm
	metrics     *metrics
	maxCommands int
	maxBytes    int
}

func newIntake(cfg Config, f *fsm, m *metrics, stop <-chan struct{}) intake {
	return intake{
		queue:       make(chan *proposal, cfg.QueueLength),
		done:        make(chan struct{}),
		stop:        stop,
		fsm:         f,
		metrics:     m,
		maxCommands: cfg.MaxPackCommands,
		maxBytes:    cfg.MaxPackBytes,
	}
}

// propose queues a proposal and waits for its result. If the queue is full it answers ErrBusy, or waits when patient.
func (q *intake) propose(prop *proposal, patient bool) proposalResult {
	prop.done = make(chan proposalResult, 1)
	select {
	case q.queue <- prop:
	default:
		if !patient {
			q.metrics.busy.Add(1)
			return proposalResult{err: ErrBusy}
		}
		select {
		case q.queue <- prop:
		case <-prop.ctx.Done():
			return proposalResult{err: contextError(prop.ctx)}
		case <-q.done:
			return proposalResult{err: q.ended()}
		}
	}
	select {
	case r := <-prop.done:
		return r
	case <-prop.ctx.Done():
		return proposalResult{err: contextError(prop.ctx)}
	case <-q.done:
	}
	// Nothing more is taken. Either the proposal was answered before, or it was never seen.
	select {
	case r := <-prop.done:
		return r
	default:
		return proposalResult{err: q.ended()}
	}
}

// ended says why nothing more is taken.
func (q *intake) ended() error {
	if err := q.fsm.err(); err != nil {
		return err
	}
	return ErrClosed
}

// wait returns the next proposal, or nil when there is none and none will come.
func (q *intake) wait() *proposal {
	select {
	case prop := <-q.queue:
		return prop
	case <-q.fsm.halted:
	case <-q.stop:
	}
	select {
	case prop := <-q.queue:
		return prop
	default:
		return nil
	}
}

// maxYields bounds gather: a queue that never stands still must not be waited for.
const maxYields = 16

// gather lets those propose who are about to, because they were just answered: they share this pack then, and do not wait for
// the whole of it to enter the next. It goes on while that brings any and there is room: of 64 writers 51 shared a pack, after
// a single yield 44.
func (q *intake) gather() {
	for waiting, yields := -1, 0; yields < maxYields; yields++ {
		runtime.Gosched()
		now := len(q.queue)
		if now == waiting || now >= q.maxCommands {
			return
		}
		waiting = now
	}
}

// collect takes everything that waits, up to the limits of a pack. It also returns a proposal that did not fit.
func (q *intake) collect(first *proposal) (batch []*proposal, next *proposal) {
	q.gather()
	size, count := 0, 0
	for prop := first; ; {
		commands, bytes := prop.size()
		switch {
		case prop.ctx.Err() != nil:
			prop.done <- proposalResult{err: contextError(prop.ctx)} // nobody waits for it any more: spare the work
		case commands > q.maxCommands || bytes > q.maxBytes:
			prop.done <- proposalResult{err: fmt.Errorf("%w: %d commands, %d bytes", ErrTooLarge, commands, bytes)}
		case size+bytes > q.maxBytes || count+commands > q.maxCommands:
			return batch, prop
		default:
			batch = append(batch, prop)
			size += bytes
			count += commands
		}
		select {
		case prop = <-q.queue:
		default:
			return batch, nil
		}
	}
}

// commandsOf returns the commands of a batch in order.
func commandsOf(batch []*proposal) [][]byte {
	commands := make([][]byte, 0, len(batch))
	for _, prop := range batch {
		switch {
		case prop.tick:
		case prop.group != nil:
			commands = append(commands, prop.group...)
		default:
			commands = append(commands, prop.command)
		}
	}
	return commands
}

// answer gives every proposal of a batch the same result.
func answer(batch []*proposal, r proposalResult) {
	for _, prop := range batch {
		prop.done <- r
	}
}

// contextError keeps the context's own error recognisable.
func contextError(ctx context.Context) error {
	return fmt.Errorf("consensus: gave up waiting: %w", ctx.Err())
}
