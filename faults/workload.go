package faults

import (
	"context"
	"sync"
	"time"
)

// pace is how often one client begins an operation at most: enough to meet every
// moment of a fault, and not so much that the processes starve each other.
const pace = 8 * time.Millisecond

// Workload is a set of clients with what they were promised.
type Workload interface {
	// Prepare makes what the clients need, before anything is broken.
	Prepare(ctx context.Context) error
	// Run lets the clients work until load ends; operations that were begun are
	// seen through, which life bounds.
	Run(load, life context.Context)
	// Check holds the nodes to what they acknowledged, once all faults are healed
	// and every node is up to date.
	Check(ctx context.Context) (Verdict, error)
}

// clients runs one loop for each client, at the pace, until load ends. Each round
// is told its client's number and how many rounds that client did.
func clients(load context.Context, count int, round func(client, n int)) {
	var all sync.WaitGroup
	for client := range count {
		all.Go(func() {
			ticker := time.NewTicker(pace)
			defer ticker.Stop()
			for n := 0; ; n++ {
				select {
				case <-load.Done():
					return
				case <-ticker.C:
					round(client, n)
				}
			}
		})
	}
	all.Wait()
}

// home is the number of the node that a client asks first: half of the clients stay
// at one, so that a node that answers nobody does not hold up all; the others go
// from node to node.
func home(client, n int) int {
	if client/2%2 == 0 {
		return client
	}
	return client + n
}

// repeats says whether a client repeats what was not answered: every second one.
func repeats(client int) bool { return client%2 == 0 }
