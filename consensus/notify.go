package consensus

import "sync"

// broadcast lets any number of goroutines wait for a condition that others change: take changed(), test the condition,
// then wait on the channel. Waking costs nothing while nobody waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // closed at the next wake; nil while nobody waits
}

// changed returns a channel that the next wake closes.
func (b *broadcast) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// wake releases everyone who waits.
func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
