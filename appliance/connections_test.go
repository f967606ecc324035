package appliance

import (
	"testing"
	"time"

	"tamv.internal/tamv/consensus"
)

// A node that was cut off must not refuse the leader that came meanwhile.
func TestWhoKnowsTheMembers(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known := func(id string) bool { return id == "alfa" }
	for name, c := range map[string]struct {
		status consensus.Status
		want   bool
	}{
		"follows a member":            {consensus.Status{ID: "beta", LeaderID: "alfa"}, true},
		"leads":                       {consensus.Status{ID: "beta", LeaderID: "beta"}, true},
		"follows somebody new":        {consensus.Status{ID: "beta", LeaderID: "delta", LastContact: now}, false},
		"between two leaders":         {consensus.Status{ID: "beta", LastContact: now.Add(-leaderless / 2)}, true},
		"without a leader for long":   {consensus.Status{ID: "beta", LastContact: now.Add(-leaderless)}, false},
		"has never heard of a leader": {consensus.Status{ID: "beta"}, false},
	} {
		if got := knowsMembers(c.status, now, known); got != c.want {
			t.Errorf("a node that %s: %v", name, got)
		}
	}
}
