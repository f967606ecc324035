package bookpi

import (
	"sync"

	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
)

// Checkpointer signs what the ledger is. It is safe for concurrent use.
type Checkpointer struct {
	ledger store.Ledger
	signer bookpi.Signer

	mu      sync.Mutex        // guards all below
	text    []byte            // the last one signed
	last    bookpi.Checkpoint // what text says
	largest bookpi.Checkpoint // of all signed
}

// NewCheckpointer makes a checkpointer. The signer's name is the log's origin.
func NewCheckpointer(l store.Ledger, s bookpi.Signer) *Checkpointer {
	return &Checkpointer{ledger: l, signer: s}
}

// Current returns a signed checkpoint of the ledger as it stands. An unchanged
// ledger gives the same bytes again. It refuses, with the code "split_view", to
// sign a ledger that is no extension of what it signed before.
func (k *Checkpointer) Current() (bookpi.Checkpoint, []byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	size, root := k.ledger.Size()
	cp := bookpi.Checkpoint{Origin: k.signer.Name(), Size: size, Root: root}
	if k.text != nil && cp == k.last {
		return cp, k.text, nil
	}
	if err := k.extends(cp); err != nil {
		return bookpi.Checkpoint{}, nil, tap.Wrap("bookpi.checkpoint", tap.Internal, err,
			"the ledger contradicts a checkpoint that was signed before; nothing is signed").WithCode("split_view")
	}
	text, err := bookpi.SignCheckpoint(cp, k.signer)
	if err != nil {
		return bookpi.Checkpoint{}, nil, tap.Wrap("bookpi.checkpoint", tap.Internal, err, "the checkpoint cannot be signed")
	}
	k.text, k.last = text, cp
	if cp.Size >= k.largest.Size {
		k.largest = cp
	}
	return cp, text, nil
}

// extends proves that cp and the largest checkpoint belong to one history.
func (k *Checkpointer) extends(cp bookpi.Checkpoint) error {
	if k.text == nil {
		return nil
	}
	older, newer := k.largest, cp
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	proof, err := bookpi.ConsistencyProof(older.Size, newer.Size, k.ledger)
	if err != nil {
		return err
	}
	return bookpi.VerifyConsistency(older.Size, newer.Size, older.Root, newer.Root, proof)
}
