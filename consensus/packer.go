package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// packer turns waiting proposals into log entries, one entry at a time. Its goroutine owns every field below raft.
//
// Raft must outlive the packer: a future that Raft drops at shutdown is never answered.
type packer struct {
	intake
	raft *raft.Raft

	encoder   *packEncoder
	now       func() time.Time
	lastStamp int64
}

func newPacker(cfg Config, r *raft.Raft, f *fsm, m *metrics, stop <-chan struct{}) (*packer, error) {
	encoder, err := newPackEncoder(cfg.CompressAbove)
	if err != nil {
		return nil, err
	}
	return &packer{intake: newIntake(cfg, f, m, stop), raft: r, encoder: encoder, now: cfg.Clock}, nil
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

// commit replicates one pack and answers its proposals.
func (p *packer) commit(batch []*proposal) {
	if len(batch) == 0 {
		return
	}
	start := time.Now()
	entry, outcomes, err := p.replicate(commandsOf(batch))
	if err != nil {
		answer(batch, proposalResult{err: err})
		return
	}
	p.metrics.latency.observe(uint64(time.Since(start).Microseconds()))
	for _, prop := range batch {
		r := proposalResult{entry: entry}
		switch {
		case prop.tick:
		case prop.group != nil:
			entry.number += len(prop.group)
		default:
			r.outcome = outcomes[entry.number]
			entry.number++
		}
		prop.done <- r
	}
}

// replicate stamps and encodes the commands and waits until they are committed and applied here.
func (p *packer) replicate(commands [][]byte) (entry position, outcomes []any, err error) {
	if err := p.fsm.err(); err != nil {
		return entry, nil, err
	}
	p.lastStamp = max(p.now().UnixMicro(), p.lastStamp+1, p.fsm.clock.Load()+1)
	term := p.raft.CurrentTerm()
	data := p.encoder.encode(pack{p.lastStamp, commands})
	future := p.raft.Apply(data, 0)
	if err := future.Error(); err != nil {
		return entry, nil, proposeError(err)
	}
	result := future.Response().(applyResult)
	if result.err != nil {
		return entry, nil, result.err
	}
	p.metrics.pack(commands, len(data))
	if p.raft.CurrentTerm() != term {
		term = 0
	}
	return position{term: term, index: future.Index()}, result.outcomes, nil
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
