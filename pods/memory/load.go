package memory

import (
	"runtime"
	"sync"

	"tamv.internal/tamv/store"
)

// loadChunk is how many records are read before they are parsed together.
const loadChunk = 256

// Load indexes every document that the view holds, of every tenant. It is called
// once, after the state is open and before batches are applied. Records are read
// in order and parsed on every processor; the index takes them in order.
func (p *Pod) Load(view store.View) error {
	p.view = view
	p.indexes.clear()
	l := loader{indexes: p.indexes, progress: p.progress}
	from := store.Key("")
	for {
		tenant, found := "", false
		err := view.Scan("", from, func(i store.Item) bool {
			tenant, found = i.Key.Tenant(), true
			return false
		})
		if err != nil || !found {
			l.flush()
			l.progress(l.documents)
			return err
		}
		err = view.Scan(store.K(tenant, space).Prefix(), "", func(i store.Item) bool {
			l.add(store.Change{Key: i.Key, Value: i.Value, Version: i.Version})
			return true
		})
		if err != nil {
			return err
		}
		from = store.Key(tenant + "\x01") // behind every key of this tenant
	}
}

// loader collects records for [Pod.Load].
type loader struct {
	indexes   *indexes
	progress  func(int)
	chunk     []store.Change
	documents int
}

func (l *loader) add(c store.Change) {
	if l.chunk = append(l.chunk, c); len(l.chunk) == loadChunk {
		l.flush()
	}
}

// flush parses the chunk, a share on each processor, and indexes it.
func (l *loader) flush() {
	ready := make([]parsed, len(l.chunk))
	workers := min(runtime.GOMAXPROCS(0), len(l.chunk))
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(l.chunk); i += workers {
				ready[i] = l.indexes.parse(&l.chunk[i])
			}
		})
	}
	group.Wait()
	l.indexes.put(ready)
	before := l.documents / progressStep
	if l.documents += len(ready); l.documents/progressStep > before {
		l.progress(l.documents)
	}
	l.chunk = l.chunk[:0]
}
