package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// ourVersion is that of the appliance this module is built with.
func ourVersion() (string, error) { return tap.Release, nil }

// ourWriter is the appliance's ledger as a single node has it, without the
// network, the gate and the pods in front of it.
var ourWriter = writer{
	system: system{
		name:    "tamv",
		setting: "store.Writer on a raft log of one node and its state machine; request ids in order of time; committed to the fsynced log and applied",
		version: ourVersion,
	},
	open: openOurs,
}

func openOurs(ctx context.Context, folder string, _ int) (_ *openLedger, err error) {
	state, err := store.Open(filepath.Join(folder, "state"), nil)
	if err != nil {
		return nil, err
	}
	// As appliance.Run configures it.
	c := consensus.DefaultConfig()
	c.ID, c.Dir, c.MaxPackBytes = "n1", filepath.Join(folder, "raft"), 2*store.MaxBatchBytes
	node, err := consensus.Open(c, machine{state})
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	end := func() error {
		state.StopWaiting()
		return errors.Join(node.Close(), state.Close())
	}
	if err := node.WaitLeader(ctx); err != nil {
		return nil, errors.Join(err, end())
	}
	w := store.NewWriter(node, state)
	return &openLedger{
		write: func(ctx context.Context, _ int, record []byte) error {
			_, err := w.Commit(ctx, store.Batch{
				RequestID: uuid.Must(uuid.NewV7()), Tenant: "plaza", // as the appliance's clients make theirs
				Evidence: []store.Evidence{{Actor: "did:tamv:user:9f3c2a71", Action: "intent.execute", Outcome: "ok", Payload: record}},
			})
			return err
		},
		close: end,
	}, nil
}

// machine is the store as consensus sees it.
type machine struct{ *store.Store }

func (m machine) Snapshot() (consensus.Snapshot, error) {
	s, err := m.Store.Snapshot()
	if err != nil {
		return nil, err
	}
	return captured{s}, nil
}

func (m machine) Part(sum [32]byte) (*os.File, error) {
	f, err := m.Store.Part(sum)
	if tap.IsKind(err, tap.NotFound) {
		return nil, consensus.ErrNoPart
	}
	return f, err
}

// captured is a snapshot of the store as consensus sees it.
type captured struct{ *store.Snapshot }

func (c captured) WriteTo(dir string) ([]consensus.File, error) {
	written, err := c.Snapshot.WriteTo(dir)
	files := make([]consensus.File, len(written))
	for i, f := range written {
		files[i] = consensus.File(f)
	}
	return files, err
}
