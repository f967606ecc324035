package keyring

import (
	"maps"
	"sync"
	"time"

	"tamv.internal/tamv/tap"
)

// How long a key that could not be fetched counts as such.
const (
	erasedFor  = time.Minute
	unknownFor = 2 * time.Second
	maxAbsent  = 4096 // keys that are remembered
)

// absences remembers why keys could not be fetched.
type absences struct {
	mu   sync.Mutex
	keys map[ID]absence // guarded by mu
}

type absence struct {
	err   *tap.Error
	until time.Time
}

// lookup is why a key was not found a moment ago; nil when nobody asked. The error is
// the caller's.
func (a *absences) lookup(id ID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.keys[id]
	if !ok || !time.Now().Before(known.until) {
		return nil
	}
	err := *known.err
	err.Details = maps.Clone(err.Details)
	return &err
}

func (a *absences) remember(id ID, err error, life time.Duration) {
	kept := *tap.AsError(err)
	kept.Details = maps.Clone(kept.Details)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.keys) >= maxAbsent || a.keys == nil {
		a.keys = map[ID]absence{}
	}
	a.keys[id] = absence{&kept, time.Now().Add(life)}
}
