package memory

import (
	"context"
	"errors"
	"fmt"
	"math"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// Config is what the pod needs.
type Config struct {
	Embedder model.Embedder
}

// Pod is the memory pod. It is safe for concurrent use.
type Pod struct {
	embedder model.Embedder
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
	return &Pod{embedder: c.Embedder, indexes: newIndexes(c.Embedder.ID(), c.Embedder.Dim())}, nil
}

// Load indexes every document that the view holds, of every tenant. It is called
// once, after the state is open and before batches are applied.
func (p *Pod) Load(view store.View) error {
	p.view = view
	p.indexes.clear()
	from := store.Key("")
	for {
		tenant, found := "", false
		err := view.Scan("", from, func(i store.Item) bool {
			tenant, found = i.Key.Tenant(), true
			return false
		})
		if err != nil || !found {
			return err
		}
		err = view.Scan(store.K(tenant, space).Prefix(), "", func(i store.Item) bool {
			p.indexes.apply([]store.Change{{Key: i.Key, Value: i.Value, Version: i.Version}})
			return true
		})
		if err != nil {
			return err
		}
		from = store.Key(tenant + "\x01") // behind every key of this tenant
	}
}

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

// Space is the key space that [Pod.ObserveChanges] must be fed from.
const Space = space

// Status counts the documents of all tenants.
func (p *Pod) Status() Status { return p.indexes.status() }

// Recall returns up to limit passages about the text, the most useful first,
// each with a cosine of at least threshold. A threshold of NaN means the
// embedder's own.
func (p *Pod) Recall(ctx context.Context, view store.View, tenant, text string, limit int, threshold float32) ([]pods.Passage, error) {
	return p.recall(ctx, view, tenant, text, "", limit, threshold)
}

func (p *Pod) recall(ctx context.Context, view store.View, tenant, text, kind string, limit int, threshold float32) ([]pods.Passage, error) {
	query, err := p.embed(ctx, []string{text})
	if err != nil {
		return nil, err
	}
	if math.IsNaN(float64(threshold)) {
		threshold = p.embedder.RelevanceThreshold()
	}
	matches, err := p.indexes.search(tenant, text, query[0], kind, threshold, limit)
	if err != nil {
		return nil, tap.Wrap("memory.search", tap.Internal, err, "the memory index refused the query")
	}
	passages := make([]pods.Passage, 0, len(matches))
	for _, m := range matches {
		item, ok, err := view.Get(store.K(tenant, space, m.id))
		if err != nil {
			return nil, err
		}
		if !ok { // removed since the index was asked
			continue
		}
		r, err := decodeRecord(item.Value)
		if err != nil {
			return nil, err
		}
		passages = append(passages, pods.Passage{
			DocumentID: m.id, DocumentType: r.Type, Content: r.Content, Similarity: m.similarity,
			Model: r.Model, Metadata: r.Metadata,
		})
	}
	return passages, nil
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
