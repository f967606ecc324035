package faults

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"path/filepath"
	"sync"
)

const (
	fillAction  = "faults.fill"
	fillClients = 32
	fillMost    = 1 << 20 // entries: as many as there is time for
	fillStep    = 1 << 10

	smallEntry = 16       // bytes of payload
	largeEntry = 16 << 10 // so that the log grows fast
)

// fill appends so many entries to the ledger, as fast as it goes, or until ctx
// ends. They are nobody's operations: the table does not count them.
func (t *Trial) fill(ctx context.Context, entries, payload int) {
	caller := Caller{Nodes: t.As(auditor), Journal: NewJournal()}
	var all sync.WaitGroup
	for client := range fillClients {
		all.Go(func() {
			random := make([]byte, payload/4*3) // packs are compressed, and the log must grow
			for n := client; n < entries && ctx.Err() == nil; n += fillClients {
				rand.Read(random) // never fails
				body := map[string]any{"action": fillAction, "outcome": "ok", "data": base64.StdEncoding.EncodeToString(random)}
				caller.Do(ctx, Operation{Method: "POST", Path: "/v1/evidence", Body: body, Repeat: true}, n)
			}
		})
	}
	all.Wait()
}

// seal fills the ledger until so many of its segments are sealed.
func (t *Trial) seal(ctx context.Context, segments, payload int) error {
	leader, err := t.Leader(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		sealed, err := filepath.Glob(filepath.Join(leader.Spec.Data, ledgerFiles))
		if err != nil || len(sealed) >= segments {
			return err
		}
		t.fill(ctx, fillStep, payload)
	}
	return ctx.Err()
}

// joinLongLedger makes the ledger long and adds a node, to which all of it travels
// while the others serve. Afterwards the node leaves again.
func joinLongLedger(ctx context.Context, t *Trial) error {
	if err := t.seal(ctx, t.Segments, t.Payload); err != nil {
		return err
	}
	t.Fault("a node joins a ledger of %d segments", t.Segments)
	n, err := t.Add(ctx)
	if err != nil {
		return err
	}
	if err := t.Recovered(ctx, "a join"); err != nil {
		return err
	}
	t.Fault("remove %s", n.Name)
	return errors.Join(t.Remove(ctx, n), t.Recovered(ctx, "its removal"))
}
