package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/vector"
)

// Config is what the pod needs.
type Config struct {
	Embedder model.Embedder
	// Dir is where indexes are saved, in folders of the pod's own; it is made when
	// it is not there. Empty: they are not, and there are no markers.
	Dir string
	// Tier says what is kept of vectors in main memory. It holds for an index from
	// its next marker on, which the leader then proposes. The nodes of a site should
	// have the same; the leader's counts. [vector.Bits] is for indexes of at least
	// 768 dimensions; smaller ones are [vector.Full] then.
	Tier vector.Tier
	// Progress, when set, is told by Load how many documents can be searched: every
	// progressStep of them and at the end.
	Progress func(documents int)
	// Log takes what nobody waits for. Nil = nothing is logged.
	Log *slog.Logger
}

// progressStep is how many documents pass between two reports of a load.
const progressStep = 10_000

// Pod is the memory pod. It is safe for concurrent use.
type Pod struct {
	config   Config
	embedder model.Embedder
	indexes  *indexes
	atOnce   int        // see the constant
	view     store.View // set by Load, before anything is served

	running    context.Context // ends with the pod
	stop       context.CancelFunc
	background sync.WaitGroup
	jobs       atomic.Int64  // that are not at their end
	made, all  atomic.Int64  // documents of these jobs: so far, and in the end
	turn       chan struct{} // held by the one that builds
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
	if c.Tier > vector.Bits {
		return nil, fmt.Errorf("memory: there is no tier %d", c.Tier)
	}
	if c.Progress == nil {
		c.Progress = func(int) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pod{
		config: c, embedder: c.Embedder, indexes: newIndexes(c.Embedder.ID(), c.Embedder.Dim()),
		turn: make(chan struct{}, 1),
	}
	p.atOnce = math.MaxInt
	if c.Dir != "" {
		p.indexes.consolidate, p.atOnce = consolidateLate, atOnce
	}
	p.running, p.stop = context.WithCancel(context.Background())
	return p, nil
}

// Close ends what runs in the background and saves indexes that have changed much.
// It is called when Apply has ended and before the state is closed. Searching goes
// on working. What cannot be saved costs the next start some time and nothing else:
// it is logged, and there is no error.
func (p *Pod) Close() error {
	p.stop()
	p.background.Wait()
	for _, one := range p.indexes.spaces() {
		if err := p.saveAtEnd(one.tenant, one.space); err != nil {
			p.config.Log.Warn("an index of memory cannot be saved", "tenant", one.tenant, "model", one.space.model, "error", err)
		}
	}
	return nil
}

// Space is the key space that [Pod.ObserveChanges] must be fed from.
const Space = space

// ObserveChanges keeps the index in step with the store. It is the store's
// observer of the space "doc", called from within Apply. After a reset the whole
// state is loaded again.
func (p *Pod) ObserveChanges(changes []store.Change, reset bool) {
	if reset {
		p.endJobs()
		p.indexes.clear()
		if p.view != nil {
			// An unreadable state has its own alarm; what could be read is indexed.
			_ = p.Load(p.view)
		}
		return
	}
	p.indexes.apply(changes)
}

// endJobs waits until no index is being made. The state has become another one.
func (p *Pod) endJobs() {
	for _, one := range p.indexes.spaces() {
		t := p.indexes.tenant(one.tenant)
		t.mu.RLock()
		j := t.vectors[one.space].job
		t.mu.RUnlock()
		if j != nil {
			j.end()
			<-j.done
		}
	}
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
