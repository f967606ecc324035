package bookpi

import (
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// NewCheckpointer makes a notary that signs on demand and records nothing, for a
// ledger without a writer.
func NewCheckpointer(l store.Ledger, s bookpi.Signer) *Notary {
	return &Notary{c: NotaryConfig{Ledger: l}, unrecorded: s}
}

func (n *Notary) signUnrecorded() (bookpi.Checkpoint, []byte, error) {
	size, root := n.c.Ledger.Size()
	cp := bookpi.Checkpoint{Origin: n.unrecorded.Name(), Size: size, Root: root}
	note, err := bookpi.SignCheckpoint(cp, n.unrecorded)
	if err != nil {
		return bookpi.Checkpoint{}, nil, tap.Wrap("bookpi.checkpoint", tap.Internal, err, "the checkpoint cannot be signed")
	}
	return cp, note, nil
}
