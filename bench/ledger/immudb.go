package main

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/codenotary/immudb/embedded/logger"
	"github.com/codenotary/immudb/embedded/store"
)

const immudbModule = "github.com/codenotary/immudb"

// immudbWriter is immudb's store inside this process, without its server and
// without an index, which it would build besides.
var immudbWriter = writer{
	system: system{
		name:    "immudb",
		setting: "embedded store, no index; Synced with SyncFrequency 5 ms, one transaction a record; committed",
		version: moduleVersion(immudbModule),
	},
	open: openImmudb,
}

// immudbSync is how often it syncs: its own default, 20 ms, would have every
// writer wait longer; Tessera gets the same.
const immudbSync = 5 * time.Millisecond

func openImmudb(_ context.Context, folder string, writers int) (*openLedger, error) {
	options := store.DefaultOptions().WithSynced(true).WithSyncFrequency(immudbSync).
		WithMaxConcurrency(writers).WithLogger(logger.NewMemoryLoggerWithLevel(logger.LogError))
	s, err := store.Open(folder, options)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint64, writers)
	return &openLedger{
		write: func(ctx context.Context, writer int, record []byte) error {
			tx, err := s.NewWriteOnlyTx(ctx)
			if err != nil {
				return err
			}
			numbers[writer]++
			var key [16]byte
			binary.BigEndian.PutUint64(key[:8], uint64(writer))
			binary.BigEndian.PutUint64(key[8:], numbers[writer])
			if err := tx.Set(key[:], nil, record); err != nil {
				return err
			}
			_, err = tx.AsyncCommit(ctx) // committed and synced; only an index would not have it yet
			return err
		},
		close: s.Close,
	}, nil
}
