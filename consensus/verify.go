package consensus

import (
	"context"
	"errors"
	"fmt"

	"tamv.internal/tamv/consensus/wal"
)

// verifier is a log that can be read through for damage.
type verifier interface {
	Verify(ctx context.Context, pace func(bytes int) error) error
}

// Verify reads the whole log while the node goes on, calling pace with the number of bytes before each piece. It returns an
// error that wraps ErrDamaged when an entry is not as it was written: the node must be closed, and repaired on the next
// start. A log that cannot be read through counts as sound.
func (n *Node) Verify(ctx context.Context, pace func(bytes int) error) error {
	v, ok := n.store.(verifier)
	if !ok {
		return nil
	}
	err := v.Verify(ctx, pace)
	if errors.Is(err, wal.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}
