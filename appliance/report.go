package appliance

import (
	"encoding/hex"
	"time"

	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// report is what this node tells the other members each second.
func (n *node) report() consensus.Report {
	r := consensus.Report{Version: store.Version}
	if n.disk.State().Low {
		r.Unfit = "the disk is nearly full"
	}
	r.Detail = n.detail().Encode()
	return r
}

// detail is what only people and the ledger's comparison need.
func (n *node) detail() members.Report {
	size, root := n.store.Size()
	disk := n.disk.State()
	d := members.Report{
		Release: tap.Release, Ledger: members.Ledger{Size: size, Root: hex.EncodeToString(root[:])},
		Disk: members.Disk{Free: disk.Free, Total: disk.Total, Low: disk.Low},
	}
	if h := n.health.Load(); h != nil {
		for _, row := range *h.latest.Load() {
			d.Conditions = append(d.Conditions, members.Condition{Name: row.Name, OK: row.OK, Message: row.Message})
		}
	}
	return d
}

// heardLately is how old a member's last answer may be to count for what it
// says.
const heardLately = 3 * time.Second
