package wal

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// Errors of a Log; match them with errors.Is. An index outside the log is raft.ErrLogNotFound.
var (
	// ErrLocked means that another process has the log open.
	ErrLocked = errors.New("wal: in use by another process")
	// ErrDamaged means that files are missing or do not hold what was written; the error is a *DamageError.
	ErrDamaged = errors.New("wal: damaged")
	// ErrFull means that the disk has no space for the entries. Nothing changed.
	ErrFull = errors.New("wal: disk full")
	// ErrPoisoned means that the disk failed to make something durable, now or earlier. The log can be read, and written
	// again once it is opened anew.
	ErrPoisoned = errors.New("wal: the disk failed; open the log again")
	// ErrOrder means that entries do not follow each other and the last one without a gap, or that a removal would leave a gap.
	ErrOrder = errors.New("wal: entries out of order")
	// ErrTooLarge means that an append, a key or a value does not fit the format.
	ErrTooLarge = errors.New("wal: too large")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("wal: closed")
	// ErrKeyNotFound means that a key was never set. Its text is what raft compares with.
	ErrKeyNotFound = errors.New("not found")
)

// DamageError says where the log does not hold what was written.
type DamageError struct {
	Segment   string // name of the file
	Offset    int64  // in bytes, of the first frame that is not good
	Index     uint64 // of the entry that should be there; 0 when it is not about an entry
	LastIndex uint64 // the last index of which there is a trace; see Inspect
	Reason    string
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d, entry %d of %d: %s", ErrDamaged, e.Segment, e.Offset, e.Index, e.LastIndex, e.Reason)
}

// Unwrap makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Unwrap() error { return ErrDamaged }

// diskError names what failed and recognises a full disk.
func diskError(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %s: %w", ErrFull, what, err)
	}
	return fmt.Errorf("wal: %s: %w", what, err)
}

// poison remembers the first failed sync of a file that matters.
type poison struct {
	mu  sync.Mutex
	err error // guarded by mu
}

// set poisons the log and returns the error to report.
func (p *poison) set(what string, cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s: %w", ErrPoisoned, what, cause)
	}
	return p.err
}

func (p *poison) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
