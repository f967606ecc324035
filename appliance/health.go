package appliance

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/consensus"
	"tamv.internal/tamv/tap"
)

// condition is one named thing that must hold. A nil error means that it does.
// A node is not ready while one fails that is not only a warning: something that
// an operator has to see to, while requests are served.
type condition struct {
	name    string
	warning bool
	check   func() error
}

// conditionReport is one row of /ready.
type conditionReport struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Warning bool   `json:"warning,omitempty"` // it does not make the node unready
	Message string `json:"message,omitempty"`
}

// health is the conditions of a node and what was last found of them.
type health struct {
	conditions []condition
	latest     atomic.Pointer[[]conditionReport]
	holds      *prometheus.GaugeVec
}

func newHealth(registry *prometheus.Registry, conditions []condition) *health {
	h := &health{conditions: conditions, holds: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "tamv", Name: "condition", Help: "1 while the named condition holds, else 0.",
	}, []string{"condition"})}
	h.latest.Store(new([]conditionReport))
	registry.MustRegister(h.holds)
	return h
}

// check asks every condition now.
func (h *health) check() (ready bool, rows []conditionReport) {
	ready = true
	for _, c := range h.conditions {
		row := conditionReport{Name: c.name, OK: true, Warning: c.warning}
		if err := c.check(); err != nil {
			row.OK, row.Message = false, tap.AsError(err).Message
			ready = ready && c.warning
		}
		holds := 0.0
		if row.OK {
			holds = 1
		}
		h.holds.WithLabelValues(c.name).Set(holds)
		rows = append(rows, row)
	}
	h.latest.Store(&rows)
	return ready, rows
}

// run asks every second, for the metrics and for what other members are told.
func (h *health) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		h.check()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// conditionCaughtUp is the condition that a node serves.
const conditionCaughtUp = "caught-up"

// conditions lists what /ready reports, in order.
func (n *node) conditions() []condition {
	return []condition{
		{"quorum", false, n.checkQuorum},
		{"member", false, n.checkMember},
		{conditionCaughtUp, false, n.checkCaughtUp},
		{"state-machine-running", false, func() error {
			if err := n.consensus.Err(); err != nil {
				return replicationError(err)
			}
			return nil
		}},
		{"state-reaches-disk", false, n.store.Health},
		{"audit-model-loaded", false, func() error {
			if n.engines.classifier == nil {
				return tap.E("appliance.ready", tap.Unavailable, "the audit has rules only; what they do not clear is held for a guardian")
			}
			return nil
		}},
		{"disk-has-room", true, n.disk.Health},
		{"clock-agrees", true, n.clock.Health},
		{"members-follow", true, n.checkMembers},
		{"certificate-renewed", true, n.checkCertificate},
		{"stored-data-sound", true, n.scrubbed.check},
		{"indexes-agree", true, n.engines.memory.Health},
		{"security-alerts", true, n.engines.watchlist.Health},
		{"erased-keys-overwritten", true, n.checkKeyring},
	}
}

// checkQuorum asks the leader for a sign of life.
func (n *node) checkQuorum() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := n.consensus.Read(ctx, consensus.Leader)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, consensus.ErrNotLeader) {
		return tap.Wrap("appliance.ready", tap.Unavailable, err, "no leader answers: a majority of the members must run and reach each other").WithCode("no_quorum")
	}
	if err != nil {
		return replicationError(err)
	}
	return nil
}

// checkMember fails on a node that was removed.
func (n *node) checkMember() error {
	if n.serving.Load() && !n.consensus.State().Member {
		return tap.E("appliance.ready", tap.Unavailable, "this node was removed from the site; stop it, and join under another name to come back").WithCode("removed")
	}
	return nil
}

// checkCaughtUp fails until the node has what the others have.
func (n *node) checkCaughtUp() error {
	if !n.serving.Load() {
		return tap.E("appliance.ready", tap.Unavailable, "this node is catching up with the others").WithCode("starting")
	}
	return nil
}

// lagging is how many log entries a member may be behind.
const lagging = 4096

// checkMembers names a member that does not answer or stays behind.
func (n *node) checkMembers() error {
	applied := n.consensus.State().AppliedIndex
	for _, p := range n.consensus.Peers() {
		switch {
		case time.Since(p.Heard) > heardLately:
			return tap.E("appliance.ready", tap.Unavailable, "member %s does not answer", p.ID).WithCode("member_silent")
		case p.Applied+lagging < applied:
			return tap.E("appliance.ready", tap.Unavailable, "member %s is %d log entries behind", p.ID, applied-p.Applied).WithCode("member_behind")
		}
	}
	return nil
}

// checkCertificate fails when the node's certificate should have been renewed.
func (n *node) checkCertificate() error {
	if left := n.certificates.Expires().Sub(n.clock.Now()); left < cluster.RenewBefore {
		return tap.E("appliance.ready", tap.Unavailable, "the node's certificate ends in %d days and is not renewed", int(left.Hours()/24)).WithCode("certificate")
	}
	return nil
}
