package main

import (
	"context"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const tesseraModule = "github.com/transparency-dev/tessera"

// tesseraWriter is the reference implementation of tile-based logs, on files.
var tesseraWriter = writer{
	system: system{
		name:    "tessera",
		setting: "POSIX storage; batches of 256 or 5 ms, checkpoints each 100 ms, no deduplication; its index is assigned",
		version: moduleVersion(tesseraModule),
	},
	open: openTessera,
}

const (
	tesseraBatch      = 256
	tesseraAge        = 5 * time.Millisecond
	tesseraCheckpoint = 100 * time.Millisecond
	tesseraOrigin     = "tamv.test/ledger"
	tesseraStop       = 20 * time.Second
)

func openTessera(ctx context.Context, folder string, _ int) (*openLedger, error) {
	secret, _, err := note.GenerateKey(nil, tesseraOrigin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		cancel()
		return nil, err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(tesseraCheckpoint).
		WithBatching(tesseraBatch, tesseraAge).WithPushback(1 << 20)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		cancel()
		return nil, err
	}
	return &openLedger{
		write: func(ctx context.Context, _ int, record []byte) error {
			_, err := appender.Add(ctx, tessera.NewEntry(record))()
			return err
		},
		close: func() error {
			defer cancel()
			ending, end := context.WithTimeout(context.WithoutCancel(ctx), tesseraStop)
			defer end()
			return shutdown(ending)
		},
	}, nil
}
