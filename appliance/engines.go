package appliance

import (
	"log/slog"
	"sync/atomic"

	"tamv.internal/tamv/model"
	"tamv.internal/tamv/model/linear"
	"tamv.internal/tamv/model/static"
	"tamv.internal/tamv/pods/anubis"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/pods/memory"
	"tamv.internal/tamv/pods/spatial"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/hub"
)

// engines is what lives in memory beside the state and follows it from inside
// Apply: the directory of identities, that of the site's members, the index of
// memory, the rooms' fan-out.
type engines struct {
	embedder   model.Embedder
	classifier model.Classifier
	directory  *anubis.Directory
	members    *members.Directory
	memory     *memory.Pod
	hub        *atomic.Pointer[hub.Hub] // set once the hub is there
}

func loadEngines(tenant string, log *slog.Logger) (engines, error) {
	const op = "appliance.models"
	embedder, err := static.Default()
	if err != nil {
		return engines{}, tap.Wrap(op, tap.Internal, err, "the built-in embedder cannot be loaded")
	}
	classifier, err := linear.Default()
	if err != nil {
		return engines{}, tap.Wrap(op, tap.Internal, err, "the built-in audit classifier cannot be loaded")
	}
	m, err := memory.New(memory.Config{Embedder: embedder, Progress: func(documents int) {
		log.Info("memory is being indexed", "documents", documents)
	}})
	if err != nil {
		return engines{}, err
	}
	return engines{embedder, classifier, anubis.NewDirectory(), members.NewDirectory(tenant), m, new(atomic.Pointer[hub.Hub])}, nil
}

func (e engines) observers() map[string][]store.Observer {
	return map[string][]store.Observer{
		anubis.SpaceIdentity: {e.directory.ObserveChanges},
		members.Space:        {e.members.ObserveChanges},
		memory.Space:         {e.memory.ObserveChanges},
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
	return e.memory.Load(view)
}
