package appliance

import (
	"context"
	"errors"
	"os"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/consensus"
	members "tamv.internal/tamv/pods/cluster"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/tap"
)

// recoveredFile marks a node that became its site's only member and has not
// said so in the ledger yet.
const recoveredFile = "recovered"

// Recover makes a stopped node the only member of its site, after the majority
// was lost for good. What this node had accepted stays, also what was not yet
// known to be committed; what only the others had is gone. When it runs again
// it removes the others' records and leaves the evidence of it. One lost node that
// is started all the same is refused by its key; a majority of them would go on
// as the old site.
func Recover(cfg Config) (err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	if !FoundedAt(cfg.Data) {
		return noNode(cfg.Data)
	}
	release, err := Occupy(cfg.Data)
	if err != nil {
		return err
	}
	defer release()
	settings, err := cluster.ReadSettings(cfg.Data)
	if err != nil {
		return err
	}
	s, err := store.Open(cfg.Data, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	// The mark comes first: a recovery that is cut off is repeated, and one
	// that is done is never forgotten.
	if err := cluster.WritePrivate(cfg.path(recoveredFile), nil); err != nil {
		return err
	}
	c := consensus.DefaultConfig()
	c.ID, c.Dir, c.Logger, c.Clock = settings.Node, cfg.path("raft"), cfg.Logger, cfg.Now
	if err := consensus.Recover(c, replicated{s}); err != nil {
		return tap.Wrap("appliance.recover", tap.Unavailable, err, "this node cannot become the only member")
	}
	return nil
}

// afterRecovery removes the lost members' records, once.
func (n *node) afterRecovery(ctx context.Context) error {
	path := n.cfg.path(recoveredFile)
	if absent(path) {
		return nil
	}
	if m := n.consensus.State().Members; len(m) != 1 || m[0].ID != n.settings.Node {
		// The recovery was cut off before it changed anything: the others are
		// members still.
		return os.Remove(path)
	}
	batch, err := members.RecoveredBatch(n.store, n.cfg.Tenant, n.settings.Node, n.clock.Now(), newRequestID())
	if err != nil {
		return err
	}
	if _, err := n.writer.Commit(ctx, batch); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return tap.Wrap("appliance.recover", tap.Unavailable, err, "the mark of the recovery cannot be removed")
	}
	return nil
}
