package bookpi

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/fstest"
)

func TestDirSource(t *testing.T) {
	src := DirSource(fstest.MapFS{
		"checkpoint":           {Data: []byte("12345")},
		"tile/0/000":           {Data: []byte("hash")},
		"checkpoints/16384":    {},
		"checkpoints/900":      {},
		"checkpoints/900.part": {},
		"checkpoints/007":      {},
		"checkpoints/.900":     {},
	})
	ctx := t.Context()
	if data, err := src.Fetch(ctx, "checkpoint", 5); string(data) != "12345" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := src.Fetch(ctx, CheckpointsPath, 100); string(data) != "900\n16384\n" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	for _, c := range []struct {
		path string
		want error
	}{
		{"checkpoint", ErrOversize},
		{"missing", fs.ErrNotExist},
		{"tile/0", fs.ErrInvalid},
	} {
		_, err := src.Fetch(ctx, c.path, 4)
		wantIs(t, err, c.want)
	}
	_, err := DirSource(fstest.MapFS{}).Fetch(ctx, CheckpointsPath, 100)
	wantIs(t, err, fs.ErrNotExist)
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, err = src.Fetch(ctx, "checkpoint", 5)
	wantIs(t, err, context.Canceled)
}

// Workers is a promise about memory: no bundle is asked for more than that many bundles
// ahead of the one that was checked last. And when the audit is over, nobody reads on.
func TestAuditReadsNotFarAhead(t *testing.T) {
	l := newLedger(1, 20*TileWidth)
	m := l.mirror()
	const workers = 3
	var checked atomic.Uint64 // bundles
	var over atomic.Bool
	src := scripted{m, func(path string) ([]byte, error, bool) {
		if over.Load() {
			t.Errorf("%s is fetched after the end", path)
		}
		if index, _, err := ParseEntriesPath(path); err == nil && index > checked.Load()+workers {
			t.Errorf("bundle %d is fetched after %d", index, checked.Load())
		}
		return nil, nil, false
	}}
	opts := AuditOptions{VerifierKey: l.key, Workers: workers, Progress: func(done, _ uint64) { checked.Store(done / TileWidth) }}
	if _, err := Audit(t.Context(), src, opts); err != nil {
		t.Fatal(err)
	}
	m[EntriesPath(4, TileWidth)] = nil
	checked.Store(0)
	_, err := Audit(t.Context(), src, opts)
	over.Store(true)
	wantBroken(t, err, 4*TileWidth, PartEntry)
	if errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
