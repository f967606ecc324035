package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	bolterrors "go.etcd.io/bbolt/errors"

	"tamv.internal/tamv/tap"
)

// ErrDamaged is the cause of every error that means the files on disk are not
// what was written.
var ErrDamaged = errors.New("store: damaged data")

// What can be damaged: a segment is fetched again ([Store.RepairSegment]), the
// state file is rebuilt from a snapshot.
const (
	DamagedState   = "state"
	DamagedSegment = "segment"
)

// Damage is one place on disk that is not as it was written. It is an error
// whose cause is [ErrDamaged]; find it with errors.As on a *Damage.
type Damage struct {
	Kind   string // DamagedState or DamagedSegment
	Number uint64 // of the segment; of the page of state.db, 0 = unknown
	Detail string
}

func (d *Damage) Error() string {
	if d.Kind == DamagedSegment {
		return fmt.Sprintf("ledger segment %d is damaged: %s", d.Number, d.Detail)
	}
	if d.Number != 0 {
		return fmt.Sprintf("page %d of the state is damaged: %s", d.Number, d.Detail)
	}
	return "the state is damaged: " + d.Detail
}

// Unwrap makes every damage an ErrDamaged.
func (d *Damage) Unwrap() error { return ErrDamaged }

// report is the damage as callers and clients see it.
func (d *Damage) report() error {
	const op = "store.read"
	if d.Kind == DamagedSegment {
		return tap.Wrap(op, tap.Unavailable, d, "segment %d of the ledger is damaged on this node; it is mended from another node or a backup", d.Number).
			WithCode("damaged").WithRetryAfter(tap.DefaultRetryAfter)
	}
	return tap.Wrap(op, tap.Unavailable, d, "the state is damaged on this node: %s; it is rebuilt from a snapshot or another node", d.Detail).WithCode("damaged")
}

// damaged reports damage of the state file.
func damaged(format string, args ...any) error {
	return (&Damage{Kind: DamagedState, Detail: fmt.Sprintf(format, args...)}).report()
}

func damagedSegment(number uint64, format string, args ...any) error {
	return (&Damage{Kind: DamagedSegment, Number: number, Detail: fmt.Sprintf(format, args...)}).report()
}

func unreadable(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return tap.Wrap("store.read", tap.Unavailable, err, "the store is closed")
	}
	return tap.Wrap("store.read", tap.Internal, err, "the state cannot be read")
}

// guarded runs fn, which goes through pages that bbolt maps. On a page that
// changed under it bbolt panics, or follows a number out of the file, which is
// a fault; both become damage. fn sets *calling while the caller's own code
// runs, whose panics are its own; nil when there is none.
func guarded(calling *bool, fn func() error) (err error) {
	faults := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(faults)
		if calling != nil && *calling {
			return
		}
		if r := recover(); r != nil {
			err = damaged("reading it failed: %v", r)
		}
	}()
	return fn()
}
