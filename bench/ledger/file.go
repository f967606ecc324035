package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// fileWriter is no ledger: it is what this disk and kernel let any ledger do that
// takes everything waiting, writes it and syncs it.
var fileWriter = writer{
	system: system{
		name:    "file",
		setting: "no ledger: what waits is appended to one file and synced together; no hash, no chain, no index",
		version: func() (string, error) { return runtime.GOOS, nil },
	},
	open: openFile,
}

// waiting is a record on its way into the file.
type waiting struct {
	record []byte
	done   chan error // holds one
}

func openFile(_ context.Context, folder string, writers int) (*openLedger, error) {
	f, err := os.Create(filepath.Join(folder, "records"))
	if err != nil {
		return nil, err
	}
	queue, ended := make(chan waiting, writers), make(chan struct{})
	go func() {
		defer close(ended)
		for first := range queue {
			appendGroup(f, first, queue)
		}
	}()
	return &openLedger{
		write: func(_ context.Context, _ int, record []byte) error {
			w := waiting{record, make(chan error, 1)}
			queue <- w
			return <-w.done
		},
		close: func() error {
			close(queue)
			<-ended
			return errors.Join(f.Close())
		},
	}, nil
}

// appendGroup writes a record and whatever waits behind it.
func appendGroup(f *os.File, first waiting, queue <-chan waiting) {
	runtime.Gosched() // as consensus does: those just answered come along
	group, data := []waiting{first}, []byte(nil)
	for more := true; more; {
		select {
		case w, ok := <-queue:
			if more = ok; ok {
				group = append(group, w)
			}
		default:
			more = false
		}
	}
	for _, w := range group {
		data = binary.BigEndian.AppendUint16(data, uint16(len(w.record)))
		data = append(data, w.record...)
	}
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	for _, w := range group {
		w.done <- err
	}
}
