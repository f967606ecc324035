package appliance

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/consensus"
	evidence "tamv.internal/tamv/pods/bookpi"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/store/keyring"
	"tamv.internal/tamv/tap"
)

const (
	keyringFolder  = "keyring"
	sealingKeyFile = "keyring.seal"

	// purposeKeys is the first byte of connections on which members hand each
	// other what must never be in the log.
	purposeKeys byte = 'K'
)

// secrets is what this node keeps outside of the replicated state, and how it
// shares that with the other members.
type secrets struct {
	ring     *keyring.Ring
	exchange *keyring.Exchange
	sealer   *keyring.Sealer
}

// openKeyring opens the node's ring. It comes before the state, whose erasures
// it follows.
func (n *node) openKeyring() error {
	seal, err := openSealingKey(n.cfg.path(sealingKeyFile), n.cfg.path(keyringFolder))
	if err != nil {
		return err
	}
	ring, err := keyring.Open(keyring.Config{Dir: n.cfg.path(keyringFolder), Sealing: seal, Logger: n.cfg.Logger})
	if err != nil {
		return err
	}
	n.onStop(ring.Close)
	n.secrets.ring = ring
	return nil
}

// shareKeyring joins the ring with those of the other members. What the exchange
// needs of the log it asks only when it is used.
func (n *node) shareKeyring() {
	n.secrets.exchange = keyring.NewExchange(keyring.ExchangeConfig{
		Ring: n.secrets.ring, Self: n.settings.Node, Members: n.memberIDs, Voters: n.voterIDs, Changed: n.engines.members.Changed, Logger: n.cfg.Logger,
		Dial: func(ctx context.Context, member string) (net.Conn, error) {
			if c := n.replica.Load(); c != nil {
				return c.DialMember(ctx, member, purposeKeys)
			}
			return nil, tap.E("appliance.keyring", tap.Unavailable, "this node is starting").WithCode("starting")
		},
	})
	n.secrets.sealer = keyring.NewSealer(n.secrets.exchange)
}

// purposes are the kinds of connections between members that consensus does not
// know itself.
func (n *node) purposes() map[byte]consensus.PurposeHandler {
	return map[byte]consensus.PurposeHandler{
		purposeKeys: func(conn net.Conn, _ string) { n.secrets.exchange.Serve(conn) }, // whoever gets here is a member
	}
}

// memberIDs are the site's members, this node among them even before its record is.
func (n *node) memberIDs() []string {
	ids := []string{n.settings.Node}
	for _, m := range n.engines.members.Members() {
		if m.ID != n.settings.Node {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// voterIDs are those of them that are no observers: these may be away for long.
func (n *node) voterIDs() []string {
	return slices.DeleteFunc(n.memberIDs(), func(id string) bool {
		m, known := n.engines.members.Member(id)
		return known && m.Observer
	})
}

// checkKeyring fails while an erased key is not overwritten yet.
func (n *node) checkKeyring() error {
	if s := n.secrets.ring.Status(); s.Err != nil {
		return tap.Wrap("appliance.ready", tap.Unavailable, s.Err, "%d erased keys are still on disk; they are unusable, and overwritten once the disk takes it", s.Wiping).WithCode("keyring_write")
	}
	return nil
}

// newNotary signs checkpoints with the keys of the ledger: the first ones from
// their file, and those of rotations from the ring.
func (n *node) newNotary() *evidence.Notary {
	return evidence.NewNotary(evidence.NotaryConfig{
		Tenant: n.cfg.Tenant, Ledger: n.store, View: n.store, Writer: n.writer, Now: n.clock.Now, Log: n.cfg.Logger,
		Keys: n.keysNumbered, Rotate: n.rotateKeys, Leads: n.leads, Anew: n.cfg.NewLedgerKey,
	})
}

// leads says whether this node leads the site and answers.
func (n *node) leads() bool {
	return n.serving.Load() && n.consensus.State().Role == consensus.RoleLeader
}

// keysNumbered are the ledger's keys with a number that this node has.
func (n *node) keysNumbered(number uint64) []bookpi.LogKeys {
	if number == 0 {
		return []bookpi.LogKeys{n.ledgerKeys}
	}
	var found []bookpi.LogKeys
	for _, text := range n.secrets.ring.LogKeys(number) {
		if keys, err := bookpi.ParseLogKeys(text); err == nil {
			found = append(found, keys)
		}
	}
	return found
}

// rotateKeys makes keys and returns once a majority of the members keeps them.
func (n *node) rotateKeys(ctx context.Context, number uint64) (bookpi.LogKeys, error) {
	if made := n.keysNumbered(number); len(made) > 0 { // by a try that did not get further
		return made[0], n.secrets.exchange.Store(ctx, keyring.LogSecret(number, made[0].Text()))
	}
	keys, err := bookpi.GenerateKeys(rand.Reader, n.ledgerKeys.Origin())
	if err != nil {
		return keys, tap.Wrap("appliance.logkey", tap.Internal, err, "no new keys for the ledger")
	}
	return keys, n.secrets.exchange.Store(ctx, keyring.LogSecret(number, keys.Text()))
}

// openSealingKey reads the key that wraps this node's ring, or makes one for a
// node that has no ring yet. It never leaves the node.
func openSealingKey(path, folder string) (key keyring.SealingKey, err error) {
	const op = "appliance.keyring"
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !absent(folder):
		return key, tap.Wrap(op, tap.Unavailable, err,
			"the sealing key %s is gone and with it this node's ring; remove the folder %s to get the keys from the other members, or put back the copy you kept", path, folder)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := rand.Read(key[:]); err != nil {
			return key, tap.Wrap(op, tap.Internal, err, "no sealing key")
		}
		return key, cluster.WritePrivate(path, []byte(hex.EncodeToString(key[:])+"\n"))
	case err != nil:
		return key, tap.Wrap(op, tap.Unavailable, err, "the sealing key %s cannot be read", path)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if copy(key[:], secret); err != nil || len(secret) != len(key) {
		return key, tap.E(op, tap.Unavailable, "the sealing key %s is damaged; put back the copy you kept", path)
	}
	return key, nil
}
