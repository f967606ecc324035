package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"tamv.internal/tamv/store/bookpi"
)

// trust says which checkpoints to believe.
type trust struct {
	policy  bookpi.Policy
	history bookpi.KeyHistory // without records if the log has none
}

// follow learns the log's other keys from its key history, if it has one.
func (t *trust) follow(text []byte) error {
	history, err := bookpi.ParseKeyHistory(text)
	if err != nil {
		return broken(bookpi.PartKeys, err)
	}
	if !slices.ContainsFunc(t.policy.Logs, func(l bookpi.PolicyLog) bool { return history.Has(l.Key) }) {
		return broken(bookpi.PartKeys, errors.New("no trusted key is in the key history"))
	}
	t.history = history
	return nil
}

// open reads a checkpoint. Only the newest has to be cosigned as the policy asks.
func (t *trust) open(note []byte, newest bool) (bookpi.Checkpoint, []bookpi.Cosignature, error) {
	p := t.policy
	if !newest {
		p.Quorum = bookpi.QuorumNone
	}
	if len(t.history.Records) > 0 {
		cp, err := t.history.OpenCheckpoint(note)
		if err != nil {
			return cp, nil, broken(bookpi.PartCheckpoint, err)
		}
		p.Logs = []bookpi.PolicyLog{{Key: t.history.At(cp.Size)[0]}}
	}
	cp, by, err := bookpi.VerifyCheckpoint(note, p)
	if err != nil {
		return cp, nil, broken(bookpi.PartCheckpoint, err)
	}
	return cp, by, nil
}

// broken is damage that is not of one entry.
func broken(part string, err error) error {
	return &bookpi.BrokenError{Part: part, Reason: err.Error(), Err: err}
}

// brokenAt is damage at an entry, or in the bundle that it begins.
func brokenAt(position uint64, part string, err error) error {
	return &bookpi.BrokenError{Position: position, HasPosition: true, Part: part, Reason: err.Error(), Err: err}
}

// optional fetches a file that a log need not have.
func optional(ctx context.Context, src bookpi.Source, path string, limit int64) ([]byte, error) {
	data, err := src.Fetch(ctx, path, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
