package appliance

import (
	"context"
	"sync/atomic"
	"time"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/linear"
	"tamv.internal/tamv/model/static"
	"tamv.internal/tamv/pods/anubis"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/pods/memory"
	"tamv.internal/tamv/pods/spatial"
	"tamv.internal/tamv/pods/subject"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
	"tamv.internal/tamv/vector"
)

// memoryFolder holds what memory needs not make again at every start.
const memoryFolder = "vector"

// engines is what lives in memory beside the state and follows it from inside
// Apply: the directory of identities, that of the site's members, the erased
// subjects, the watchlist, the index of memory, the rooms' fan-out.
type engines struct {
	embedder   model.Embedder
	classifier model.Classifier
	directory  *anubis.Directory
	members    *members.Directory
	memory     *memory.Pod
	subjects   *subject.Directory
	watchlist  *anubis.Watchlist
	hub        *atomic.Pointer[hub.Hub] // set once the hub is there
}

func loadEngines(cfg Config, keys subject.Keys) (engines, error) {
	const op = "appliance.models"
	embedder, err := static.Default()
	if err != nil {
		return engines{}, tap.Wrap(op, tap.Internal, err, "the built-in embedder cannot be loaded")
	}
	classifier, err := linear.Default()
	if err != nil {
		return engines{}, tap.Wrap(op, tap.Internal, err, "the built-in audit classifier cannot be loaded")
	}
	tier, err := memoryTier(cfg.MemoryTier)
	if err != nil {
		return engines{}, err
	}
	m, err := memory.New(memory.Config{Embedder: embedder, Dir: cfg.path(memoryFolder), Tier: tier, Log: cfg.Logger, Progress: func(documents int) {
		cfg.Logger.Info("memory is being indexed", "documents", documents)
	}})
	if err != nil {
		return engines{}, err
	}
	return engines{
		embedder: embedder, classifier: classifier, memory: m,
		directory: anubis.NewDirectory(), members: members.NewDirectory(cfg.Tenant), subjects: subject.NewDirectory(keys),
		watchlist: anubis.NewWatchlist(cfg.Tenant), hub: new(atomic.Pointer[hub.Hub]),
	}, nil
}

// memoryTier is the tier with a name.
func memoryTier(name string) (vector.Tier, error) {
	for _, t := range []vector.Tier{vector.Full, vector.Codes, vector.Bits} {
		if name == t.String() || name == "" {
			return t, nil
		}
	}
	return 0, tap.E("appliance.config", tap.Invalid, "memory has no tier %q: it is full, codes or bits", name)
}

func (e engines) observers() map[string][]store.Observer {
	return map[string][]store.Observer{
		anubis.SpaceIdentity: {e.directory.ObserveChanges},
		members.Space:        {e.members.ObserveChanges},
		memory.Space:         {e.memory.ObserveChanges},
		memory.SpaceIndex:    {e.memory.ObserveIndexes},
		store.SpaceErasure:   {e.subjects.ObserveChanges},
		anubis.SpaceAlert:    {e.watchlist.ObserveChanges},
		anubis.SpaceBlocked:  {e.watchlist.ObserveChanges},
		anubis.SpaceSecurity: {e.watchlist.ObserveChanges},
		spatial.SpaceHistory: {func(changes []store.Change, reset bool) {
			switch h := e.hub.Load(); {
			case h == nil:
			case reset:
				h.Replaced()
			default:
				relay(h, changes)
			}
		}},
	}
}

// load fills the engines from a state that was just opened.
func (e engines) load(view store.View) error {
	if err := e.directory.Load(view); err != nil {
		return err
	}
	if err := e.members.Load(view); err != nil {
		return err
	}
	if err := e.subjects.Load(view); err != nil {
		return err
	}
	if err := e.watchlist.Load(view); err != nil {
		return err
	}
	return e.memory.Load(view)
}

// maintainEvery is the time between two looks at what the indexes need.
const maintainEvery = 5 * time.Second

// maintain proposes, while this node leads, what the indexes of memory need.
func (n *node) maintain(ctx context.Context) {
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !n.leads() {
			continue
		}
		if err := n.engines.memory.Maintain(ctx, n.writer); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("the indexes of memory are not maintained", "error", err)
		}
	}
}
