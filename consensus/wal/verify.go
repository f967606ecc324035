package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// verifyStep is how many bytes are verified between two calls of pace.
const verifyStep = 256 << 10

// Verify reads every entry and the file meta again, and returns a *DamageError for the first that is not what was written. A
// damaged copy of meta is replaced by the other one. pace is told how many bytes were read; it may wait, and an error of it
// ends the work. Appends and removals go on meanwhile; entries that are removed are left out.
func (l *Log) Verify(ctx context.Context, pace func(bytes int) error) error {
	if err := l.verifyHeaders(); err != nil {
		return err
	}
	first, last, err := l.bounds()
	if err != nil {
		return err
	}
	var b []byte
	bytes := 0
	for index := first; index <= last && index != 0; index++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := l.read(index, &b)
		if errors.Is(err, raft.ErrLogNotFound) {
			if first, _, err = l.bounds(); err != nil {
				return err
			}
			index = max(index, first-1) // the entries before were removed; those behind may be, too
			continue
		}
		if err != nil {
			return err
		}
		bytes += f.size()
		if bytes >= verifyStep || index == last {
			if err := pace(bytes); err != nil {
				return err
			}
			bytes = 0
		}
	}
	return nil
}

// verifyHeaders reads meta and the headers of all segments again.
func (l *Log) verifyHeaders() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	if err := l.meta.check(); err != nil {
		return err
	}
	var b [headerSize]byte
	for _, s := range l.segments {
		if _, err := readFull(s.f, b[:], 0); err != nil {
			return fmt.Errorf("wal: read %s: %w", s.name, err)
		}
		if h, ok := decodeHeader(b[:]); !ok || h != s.header {
			return &DamageError{Segment: s.name, Index: s.first, LastIndex: l.last, Reason: "not the header that was written"}
		}
	}
	return nil
}
