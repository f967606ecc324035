package memory

import (
	"context"
	"errors"
	"fmt"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// Config is what the pod needs.
type Config struct {
	Embedder model.Embedder
	// Progress, when set, is told by Load how many documents are indexed: every
	// progressStep of them and at the end.
	Progress func(documents int)
}

// progressStep is how many documents pass between two reports of a load.
const progressStep = 10_000

// Pod is the memory pod. It is safe for concurrent use.
type Pod struct {
	embedder model.Embedder
	progress func(documents int)
	indexes  *indexes
	view     store.View // set by Load, before anything is served
}

// New makes the pod with an empty index; see [Pod.Load]. It refuses an embedder
// whose vectors the index cannot hold.
func New(c Config) (*Pod, error) {
	if c.Embedder == nil {
		return nil, errors.New("memory: an embedder is needed")
	}
	if dim := c.Embedder.Dim(); dim < 1 || dim > vector.MaxDim {
		return nil, fmt.Errorf("memory: %d dimensions are not within 1..%d", dim, vector.MaxDim)
	}
	if c.Progress == nil {
		c.Progress = func(int) {}
	}
	return &Pod{embedder: c.Embedder, progress: c.Progress, indexes: newIndexes(c.Embedder.ID(), c.Embedder.Dim())}, nil
}

// Space is the key space that [Pod.ObserveChanges] must be fed from.
const Space = space

// ObserveChanges keeps the index in step with the store. It is the store's
// observer of the space "doc", called from within Apply. After a reset the whole
// state is loaded again.
func (p *Pod) ObserveChanges(changes []store.Change, reset bool) {
	if reset {
		p.indexes.clear()
		if p.view != nil {
			// An unreadable state has its own alarm; what could be read is indexed.
			_ = p.Load(p.view)
		}
		return
	}
	p.indexes.apply(changes)
}

// embed turns texts into vectors and the engine's errors into ours.
func (p *Pod) embed(ctx context.Context, texts []string) ([][]float32, error) {
	vectors, err := p.embedder.Embed(ctx, texts)
	switch {
	case err == nil:
		return vectors, nil
	case errors.Is(err, model.ErrNoText), errors.Is(err, model.ErrTooLong), errors.Is(err, model.ErrInvalidText):
		return nil, tap.Wrap("memory.embed", tap.Invalid, err, "the text is empty, too long or not valid").WithCode("text")
	case ctx.Err() != nil:
		return nil, tap.AsError(ctx.Err())
	}
	return nil, tap.Wrap("memory.embed", tap.Unavailable, err, "the embedder failed")
}
