package appliance

import (
	"context"
	"slices"
	"time"

	members "tamv.internal/tamv/pods/cluster"
)

const (
	clocksCompared = time.Second
	// A node that starts looks for the other members' clocks more often, and
	// waits for them a moment: without a majority nobody tells it the time.
	clocksSought = 50 * time.Millisecond
	clocksAwait  = 2 * time.Second
	// clocksEnough make a median.
	clocksEnough = 3
)

// compareClocks steers this node's clock by those of the other members. Until
// the node serves, it sets it: a leader with a wrong clock would date what it
// leads, and let expire what is not due.
func (n *node) compareClocks(ctx context.Context) {
	for {
		wait := clocksCompared
		if n.serving.Load() {
			n.clock.Offsets(n.clockOffsets())
		} else {
			n.setClock()
			wait = clocksSought
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// clockOffsets are the other members' clocks minus this node's.
func (n *node) clockOffsets() []time.Duration {
	var offsets []time.Duration
	for _, p := range n.consensus.Peers() {
		if time.Since(p.Heard) <= heardLately {
			offsets = append(offsets, p.ClockOffset)
		}
	}
	return offsets
}

// setClock sets the clock of a node that starts: by the median, or by that of a
// member which serves already.
func (n *node) setClock() (sure bool) {
	if n.clock.Set(n.clockOffsets()) {
		return true
	}
	for _, p := range n.consensus.Peers() {
		told, err := members.ParseReport(p.Report.Detail)
		serves := err == nil && slices.ContainsFunc(told.Conditions, func(c members.Condition) bool { return c.Name == conditionCaughtUp && c.OK })
		if serves && time.Since(p.Heard) <= heardLately {
			n.clock.Follow(p.ClockOffset)
		}
	}
	return false
}

// learnTime waits for the members' clocks, if there are enough members: the
// first requests are judged by this node's clock.
func (n *node) learnTime(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clocksAwait)
	defer cancel()
	for len(n.consensus.State().Members) >= clocksEnough && !n.setClock() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(clocksSought):
		}
	}
}
