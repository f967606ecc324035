package appliance

import (
	"context"
	"time"

	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// condition is one named thing that must hold for the node to be ready. A nil
// error means that it holds.
type condition struct {
	name  string
	check func() error
}

// conditions lists what /ready reports, in order.
func conditions(node *consensus.Node, s *store.Store, classifier bool) []condition {
	return []condition{
		{"leader-known", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := node.Read(ctx, consensus.Leader); err != nil {
				return replicationError(err)
			}
			return nil
		}},
		{"state-machine-running", func() error {
			if err := node.Err(); err != nil {
				return replicationError(err)
			}
			return nil
		}},
		{"state-reaches-disk", s.Health},
		{"audit-model-loaded", func() error {
			if !classifier {
				return tap.E("appliance.ready", tap.Unavailable, "the audit has rules only; what they do not clear is held for a guardian")
			}
			return nil
		}},
	}
}

// conditionReport is one row of /ready.
type conditionReport struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

func report(all []condition) (ready bool, rows []conditionReport) {
	ready = true
	for _, c := range all {
		row := conditionReport{Name: c.name, OK: true}
		if err := c.check(); err != nil {
			ready, row.OK, row.Message = false, false, tap.AsError(err).Message
		}
		rows = append(rows, row)
	}
	return ready, rows
}
