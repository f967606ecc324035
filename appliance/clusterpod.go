package appliance

import (
	"context"
	"time"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/store"
)

// replication is consensus as the cluster pod sees it.
type replication struct{ *node }

// Status is what this node knows of the others now.
func (r replication) Status() members.Status {
	state := r.consensus.State()
	s := members.Status{
		Node: state.ID, Leader: state.LeaderID, Term: state.Term, Commit: state.CommitIndex, Version: r.store.ClusterVersion(),
	}
	for _, m := range state.Members {
		if m.ID == state.ID {
			s.Nodes = append(s.Nodes, r.self(m, state))
		}
	}
	for _, p := range r.consensus.Peers() {
		n := members.Node{
			ID: p.ID, Address: p.Address, Voter: p.Voter, Reachable: time.Since(p.Heard) <= heardLately, Heard: p.Heard,
			RoundTrip: p.RoundTrip, ClockOffset: p.ClockOffset, Applied: p.Applied, Version: p.Report.Version, Unfit: p.Report.Unfit,
		}
		// One that does not parse is shown as one that says nothing.
		n.Report, _ = members.ParseReport(p.Report.Detail)
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// self is this node in its own list.
func (r replication) self(m consensus.Member, state consensus.Status) members.Node {
	told := r.report()
	return members.Node{
		ID: m.ID, Address: m.Address, Voter: m.Voter, Reachable: true, Heard: r.clock.Now(), Applied: state.AppliedIndex,
		Version: told.Version, Unfit: told.Unfit, Report: r.detail(),
	}
}

// Transfer hands the leadership over.
func (r replication) Transfer(ctx context.Context, to string) error {
	if err := r.consensus.Transfer(ctx, to); err != nil {
		return replicationError(err)
	}
	if err := r.consensus.WaitLeader(ctx); err != nil {
		return replicationError(err)
	}
	return nil
}

// trust is the site's authority as the cluster pod sees it.
type trust struct{ *node }

// Secret derives what only this site's nodes can.
func (t trust) Secret(request []byte) []byte { return t.authority.Secret("invitation", request) }

// maxTokenAddresses is how many members a token names.
const maxTokenAddresses = 16

// Token is an invitation as people pass it on.
func (t trust) Token(secret []byte, expires time.Time) (string, error) {
	token := cluster.Token{Expires: expires, Fingerprint: t.authority.Fingerprint(), Secret: secret, Addresses: []string{t.settings.Advertise}}
	for _, m := range t.engines.members.Members() {
		if m.ID != t.settings.Node && len(token.Addresses) < maxTokenAddresses {
			token.Addresses = append(token.Addresses, m.Address)
		}
	}
	return token.Encode()
}

// Sign makes a machine's certificate and adds the keys that every member has.
func (t trust) Sign(csr []byte, node, address string) (members.Credentials, error) {
	chain, pin, err := t.authority.Sign(csr, node, address, t.clock.Now())
	if err != nil {
		return members.Credentials{}, err
	}
	_, key := t.authority.Keys()
	return members.Credentials{
		Site: t.settings.Site, Pin: pin, Certificate: string(chain), AuthorityKey: string(key), LedgerKey: t.ledgerKeys.Text(),
	}, nil
}

// refused counts a connection that was not let in.
func (n *node) refused(r cluster.Refusal) {
	n.refusals.Note(members.Refusal{Reason: string(r.Reason), Node: r.Node, Address: r.Address, Dialed: r.Dialed})
}

// late is a writer that is there by the time it is used.
type late struct{ writer **store.Writer }

func (l late) Commit(ctx context.Context, b store.Batch) (store.Receipt, error) {
	return (*l.writer).Commit(ctx, b)
}
