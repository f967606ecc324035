package consensus

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hashicorp/raft"
)

// proposal is one command on its way, or a tick: a proposal of time alone.
type proposal struct {
	ctx     context.Context
	command []byte
	tick    bool
	done    chan proposalResult // holds one
}

type proposalResult struct {
	index   uint64 // of the entry that carried the proposal
	outcome any
	err     error
}

// packer turns waiting proposals into log entries, one entry at a time. Its goroutine owns every field below queue.
//
// Raft must outlive the packer: a future that Raft drops at shutdown is never answered.
type packer struct {
	raft  *raft.Raft
	fsm   *fsm
	stop  <-chan struct{} // when closed, what waits is still committed, then run returns
	done  chan struct{}   // closed when run has returned
	queue chan *proposal

	encoder     *packEncoder
	now         func() time.Time
	maxCommands int
	maxBytes    int
	lastStamp   int64
	metrics     *metrics
}

func newPacker(cfg Config, r *raft.Raft, f *fsm, m *metrics, stop <-chan struct{}) (*packer, error) {
	encoder, err := newPackEncoder(cfg.CompressAbove)
	if err != nil {
		return nil, err
	}
	return &packer{
		raft:        r,
		fsm:         f,
		stop:        stop,
		done:        make(chan struct{}),
		queue:       make(chan *proposal, cfg.QueueLength),
		encoder:     encoder,
		now:         cfg.Clock,
		maxCommands: cfg.MaxPackCommands,
		maxBytes:    cfg.MaxPackBytes,
		metrics:     m,
	}, nil
}

// propose queues a proposal and waits for its result. If the queue is full it answers ErrBusy, or waits when patient.
func (p *packer) propose(ctx context.Context, command []byte, tick, patient bool) proposalResult {
	prop := &proposal{ctx: ctx, command: command, tick: tick, done: make(chan proposalResult, 1)}
	select {
	case p.queue <- prop:
	default:
		if !patient {
			p.metrics.busy.Add(1)
			return proposalResult{err: ErrBusy}
		}
		select {
		case p.queue <- prop:
		case <-ctx.Done():
			return proposalResult{err: contextError(ctx)}
		case <-p.done:
			return proposalResult{err: p.ended()}
		}
	}
	select {
	case r := <-prop.done:
		return r
	case <-ctx.Done():
		return proposalResult{err: contextError(ctx)}
	case <-p.done:
	}
	// The packer ended. Either it answered before, or it never saw the proposal.
	select {
	case r := <-prop.done:
		return r
	default:
		return proposalResult{err: p.ended()}
	}
}

// ended says why the packer takes nothing more.
func (p *packer) ended() error {
	if err := p.fsm.err(); err != nil {
		return err
	}
	return ErrClosed
}

// run commits packs until the node stops or halts.
func (p *packer) run() {
	defer close(p.done)
	var next *proposal // taken from the queue, but too large for the pack it came with
	for {
		if next == nil {
			next = p.wait()
		}
		if next == nil {
			return
		}
		var batch []*proposal
		batch, next = p.collect(next)
		p.commit(batch)
	}
}

// wait returns the next proposal, or nil when the packer has to end.
func (p *packer) wait() *proposal {
	select {
	case prop := <-p.queue:
		return prop
	case <-p.fsm.halted:
	case <-p.stop:
	}
	select {
	case prop := <-p.queue:
		return prop
	default:
		return nil
	}
}

// collect takes everything that waits, up to the limits of a pack. It also returns a proposal that did not fit.
func (p *packer) collect(first *proposal) (batch []*proposal, next *proposal) {
	// Those who were just answered are about to propose again: let them, so that they share this pack and not the next.
	runtime.Gosched()
	size, commands := 0, 0
	for prop := first; ; {
		switch need := commandSize(len(prop.command)); {
		case prop.ctx.Err() != nil:
			prop.done <- proposalResult{err: contextError(prop.ctx)} // nobody waits for it any more: spare the work
		case prop.tick:
			batch = append(batch, prop)
		case size+need > p.maxBytes || commands == p.maxCommands:
			return batch, prop
		default:
			batch = append(batch, prop)
			size += need
			commands++
		}
		select {
		case prop = <-p.queue:
		default:
			return batch, nil
		}
	}
}

// commit replicates one pack and answers its proposals.
func (p *packer) commit(batch []*proposal) {
	if len(batch) == 0 {
		return
	}
	commands := make([][]byte, 0, len(batch))
	for _, prop := range batch {
		if !prop.tick {
			commands = append(commands, prop.command)
		}
	}
	start := time.Now()
	index, outcomes, err := p.replicate(commands)
	if err != nil {
		for _, prop := range batch {
			prop.done <- proposalResult{err: err}
		}
		return
	}
	p.metrics.latency.observe(uint64(time.Since(start).Microseconds()))
	for _, prop := range batch {
		r := proposalResult{index: index}
		if !prop.tick {
			r.outcome, outcomes = outcomes[0], outcomes[1:]
		}
		prop.done <- r
	}
}

// replicate stamps and encodes the commands and waits until they are committed and applied here.
func (p *packer) replicate(commands [][]byte) (index uint64, outcomes []any, err error) {
	if err := p.fsm.err(); err != nil {
		return 0, nil, err
	}
	p.lastStamp = max(p.now().UnixMicro(), p.lastStamp+1, p.fsm.clock.Load()+1)
	entry := p.encoder.encode(pack{p.lastStamp, commands})
	future := p.raft.Apply(entry, 0)
	if err := future.Error(); err != nil {
		return 0, nil, proposeError(err)
	}
	result := future.Response().(applyResult)
	if result.err != nil {
		return 0, nil, result.err
	}
	p.metrics.pack(commands, len(entry))
	return future.Index(), result.outcomes, nil
}

// proposeError translates Raft's answer to a proposed entry. Only the errors that Raft gives before it appends the entry are certain.
func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	default:
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
}

// contextError keeps the context's own error recognisable.
func contextError(ctx context.Context) error {
	return fmt.Errorf("consensus: gave up waiting: %w", ctx.Err())
}
