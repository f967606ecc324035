package appliance

import (
	"time"

	"tamv.internal/tamv/consensus"
)

// leaderless is how long a node may hear of no leader before it counts as one
// that does not know the members any more.
const leaderless = time.Minute

// settled says whether this node knows who the members are, so that whoever it
// does not know is a stranger.
func (n *node) settled() bool {
	return n.serving.Load() && knowsMembers(n.consensus.State(), time.Now(), func(id string) bool {
		_, ok := n.engines.members.Member(id)
		return ok || n.counts(id)
	})
}

// knowsMembers says whether a node that has caught up once still has. One that
// was cut off while members came and went must listen to a leader that it has
// never heard of, or it would stay behind for ever.
func knowsMembers(s consensus.Status, now time.Time, known func(id string) bool) bool {
	if s.LeaderID != "" {
		return s.LeaderID == s.ID || known(s.LeaderID)
	}
	return now.Sub(s.LastContact) < leaderless
}
