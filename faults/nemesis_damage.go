package faults

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// The files of a node's folder, by what damage to them means; patterns as of
// filepath.Glob.
const (
	logFiles      = "raft/wal/*.wal" // not the vote: without that a node may not take part at all
	snapshotFiles = "raft/snapshots/*"
	incomingFiles = "raft/staging/*" // for an install
	stateFiles    = "state.db"
	ledgerFiles   = "ledger/*.segment"
)

// flips is how many bytes are flipped at once: some of them hit what is free.
const flips = 16

// damage flips bytes in a stopped follower's files and starts it. It must repair
// itself from the others, and never show or send what it found.
func damage(pattern string) func(ctx context.Context, t *Trial) error {
	return func(ctx context.Context, t *Trial) error {
		n, err := t.spoil(ctx, pattern)
		if err != nil {
			return err
		}
		return errors.Join(restart(ctx, n), t.Recovered(ctx, "damage to a follower"))
	}
}

// damageLedger damages what is sealed of the ledger. The node must mend it from
// the others while it runs.
func damageLedger(ctx context.Context, t *Trial) error {
	if err := t.seal(ctx, 1, smallEntry); err != nil {
		return err
	}
	n, err := t.spoil(ctx, ledgerFiles)
	if err != nil {
		return err
	}
	err = errors.Join(restart(ctx, n), t.Recovered(ctx, "damage to a follower"))
	return errors.Join(err, until(ctx, MaxRecovery, func() error {
		_, err := readLedger(ctx, t.Client(auditor, n), fillAction)
		return err
	}))
}

// spoil kills a follower and flips bytes in its files.
func (t *Trial) spoil(ctx context.Context, pattern string) (*Node, error) {
	n, err := t.follower(ctx)
	if err != nil {
		return nil, err
	}
	t.Fault("kill -9 %s", n.Name)
	if err := n.Kill(); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(n.Spec.Data, pattern))
	if err != nil {
		return nil, err
	}
	t.Fault("flip %d bytes of %s in %s", flips, pattern, n.Name)
	return n, FlipBytes(files, flips, t.Rand)
}

// FlipBytes turns all bits over in a number of bytes, chosen at random among those
// that are not zero: a preallocated file is mostly empty. Files without such a byte
// are passed over; it is an error when there is no other.
func FlipBytes(files []string, count int, random *rand.Rand) error {
	var full []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if len(written(raw)) > 0 {
			full = append(full, file)
		}
	}
	if len(full) == 0 {
		return errors.New("faults: there is no file to damage")
	}
	for range count {
		if err := flipOne(full[random.IntN(len(full))], random); err != nil {
			return err
		}
	}
	return nil
}

// written is a file's content without the zeros at its end.
func written(raw []byte) []byte { return bytes.TrimRight(raw, "\x00") }

// flipOne flips one byte of a file that holds one that is not zero.
func flipOne(file string, random *rand.Rand) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	raw = written(raw)
	at := random.IntN(len(raw))
	for raw[at] == 0 { // ends at the last byte
		at++
	}
	_, err = f.WriteAt([]byte{^raw[at]}, int64(at))
	return err
}
