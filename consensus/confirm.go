package consensus

import (
	"context"
	"encoding/binary"

	"github.com/hashicorp/raft"
)

// confirm returns nil once a majority of the voters has answered, to a question asked after confirm was called, that its
// term is still term. A voter that helps to elect another leader is in a later term from then on, so no other leader had
// been elected when confirm was called, and this one, which leads in term, knew everything committed until then.
//
// Raft has VerifyLeader for this, but it also counts the answer to a heartbeat that was sent before: a leader that is
// paused between receiving such an answer and looking at it could serve a stale read when it wakes.
func (n *Node) confirm(ctx context.Context, term uint64) error {
	var others []raft.Server
	voters, agreed := 0, 0
	for _, server := range n.servers() {
		switch {
		case server.Suffrage != raft.Voter:
			continue
		case server.ID == raft.ServerID(n.cfg.ID):
			agreed++
		default:
			others = append(others, server)
		}
		voters++
	}
	majority := voters/2 + 1
	if agreed >= majority {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ElectionTimeout)
	defer cancel()
	answers := make(chan bool, len(others))
	for _, voter := range others {
		n.work.Go(func() { answers <- n.askTerm(ctx, voter) == term })
	}
	for open := len(others); agreed < majority; open-- {
		if agreed+open < majority {
			return ErrNotLeader
		}
		if <-answers {
			agreed++
		}
	}
	n.metrics.confirmRounds.Add(1)
	return nil
}

// askTerm returns the current term of a voter, or 0 if it gives no answer.
func (n *Node) askTerm(ctx context.Context, voter raft.Server) uint64 {
	reply, err := n.calls.call(ctx, string(voter.Address), callConfirm, nil)
	if err != nil {
		return 0
	}
	term, id, err := readTerm(reply)
	if err != nil || id != string(voter.ID) {
		return 0
	}
	return term
}

// tellTerm answers callConfirm: this member's term (8 bytes) and its id. Raft has the term on disk before it can be read.
func (n *Node) tellTerm(context.Context, []byte) ([]byte, error) {
	return appendBytes(binary.BigEndian.AppendUint64(nil, n.raft.CurrentTerm()), n.cfg.ID), nil
}

func readTerm(data []byte) (term uint64, id string, err error) {
	w := wire{data: data}
	term = w.uint64()
	id = string(w.bytes(maxID))
	return term, id, w.end()
}
