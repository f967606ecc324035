package appliance

import (
	"context"
	"time"

	"tamv.internal/tamv/appliance/disk"
	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/tap"
)

// diskSpace says whether the site's disks have room for more.
type diskSpace uint32

const (
	enough     diskSpace = iota
	leaderFull           // somebody else should lead
	siteFull             // a majority of the voters has no room: nothing can be committed safely
)

const (
	// disksInterval is how often the members' disks are looked at; this node's
	// own is followed at once.
	disksInterval = time.Second
	// stepAsideInterval is the time between two tries to hand over what nobody
	// took.
	stepAsideInterval = 10 * time.Second
)

// watchDisks keeps n.diskSpace up to date, and hands the leadership over when this
// node leads on a full disk: another member can still write.
func (n *node) watchDisks(ctx context.Context) {
	ticker := time.NewTicker(disksInterval)
	defer ticker.Stop()
	var tried time.Time
	for {
		changed := n.disk.Changed()
		now := n.judgeDisks()
		n.diskSpace.Store(uint32(now))
		if now == leaderFull && n.consensus.State().Role == consensus.RoleLeader && time.Since(tried) >= stepAsideInterval {
			tried = time.Now()
			n.stepAside(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

// judgeDisks asks whose disk is full. A member that was not heard counts as one
// with room: that it is missing is another matter.
func (n *node) judgeDisks() diskSpace {
	state := n.consensus.State()
	low := map[string]bool{state.ID: n.disk.State().Low}
	for _, p := range n.consensus.Peers() {
		report, err := members.ParseReport(p.Report.Detail)
		low[p.ID] = err == nil && report.Disk.Low && time.Since(p.Heard) <= heardLately
	}
	return judgeSpace(state.Members, state.LeaderID, low)
}

func judgeSpace(all []consensus.Member, leader string, low map[string]bool) diskSpace {
	voters, full := 0, 0
	for _, m := range all {
		if m.Voter {
			voters++
			if low[m.ID] {
				full++
			}
		}
	}
	switch {
	case full > 0 && 2*(voters-full) <= voters:
		return siteFull
	case low[leader]:
		return leaderFull
	}
	return enough
}

// stepAside hands the leadership over to a member with room.
func (n *node) stepAside(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := n.consensus.Transfer(ctx, ""); err != nil {
		n.cfg.Logger.Warn("the disk is nearly full and no other member can lead: writes are refused", "error", err)
	}
}

// refuseFull refuses what the disks have no space for. While only the leader's is
// full, the error is also consensus.ErrNotLeader: another one will lead soon.
func (n *node) refuseFull() error {
	const op = "appliance.disks"
	switch diskSpace(n.diskSpace.Load()) {
	case siteFull:
		return tap.E(op, tap.Unavailable, "the disks of the cluster are nearly full; free space on them, writes resume by themselves").
			WithCode(disk.CodeFull).WithRetryAfter(diskRetryAfter)
	case leaderFull:
		return tap.Wrap(op, tap.Unavailable, consensus.ErrNotLeader, "the disk of the leading node is nearly full, and no other node has taken over yet").
			WithCode(disk.CodeFull).WithRetryAfter(tap.DefaultRetryAfter)
	}
	return nil
}

// diskRetryAfter is what a refused client is told: a person has to act.
const diskRetryAfter = 30 * time.Second
