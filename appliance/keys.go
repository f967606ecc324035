package appliance

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"

	"tamv.internal/tamv/cluster"
	"tamv.internal/tamv/pods/anubis"
	"tamv.internal/tamv/store"
	"tamv.internal/tamv/store/bookpi"
	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

const (
	operatorName = "operator"
	logKeyFile   = "log.key"
	contextFile  = "context.json"

	operatorKeyFile   = "operator.key"
	certificateFolder = "ca"
)

// openLedgerKey loads the ledger's key; with another, it makes a new one in the
// place of one that is lost.
func openLedgerKey(path, origin string, another bool) (bookpi.LogKeys, error) {
	if absent(path) && another {
		if _, err := makeLedgerKey(path, origin); err != nil {
			return bookpi.LogKeys{}, err
		}
	}
	return readLedgerKey(path)
}

// makeLedgerKey makes the keys of a ledger that nobody has seen yet, unless a
// start that was cut off has left them.
func makeLedgerKey(path, origin string) (bookpi.LogKeys, error) {
	if absent(path) {
		keys, err := bookpi.GenerateKeys(rand.Reader, origin)
		if err != nil {
			return bookpi.LogKeys{}, tap.Wrap("appliance.logkey", tap.Internal, err, "no key for the ledger")
		}
		if err := cluster.WritePrivate(path, []byte(keys.Text())); err != nil {
			return bookpi.LogKeys{}, err
		}
	}
	return readLedgerKey(path)
}

// readLedgerKey reads what makeLedgerKey wrote.
func readLedgerKey(path string) (bookpi.LogKeys, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return bookpi.LogKeys{}, tap.Wrap("appliance.logkey", tap.Unavailable, err,
			"the ledger key %s is gone; put back the copy you kept. Auditors know this ledger by its key; when it is lost for good, --new-log-key makes another", path)
	}
	if err != nil {
		return bookpi.LogKeys{}, tap.Wrap("appliance.logkey", tap.Unavailable, err, "the ledger key %s cannot be read", path)
	}
	keys, err := bookpi.ParseLogKeys(string(raw))
	if err != nil {
		return bookpi.LogKeys{}, tap.Wrap("appliance.logkey", tap.Unavailable, err, "the ledger key %s is damaged; put back the copy you kept", path)
	}
	return keys, nil
}

// enrolOperator makes the first identity of a new site and writes its key. It
// holds every role, because there is nobody else yet; it is meant to enrol people
// with one role each and to be revoked then.
func (n *node) enrolOperator(ctx context.Context) error {
	tenant, known := n.cfg.Tenant, false
	if err := n.store.Scan(store.K(tenant, anubis.SpaceIdentity).Prefix(), "", func(store.Item) bool { known = true; return false }); err != nil || known {
		return err
	}
	key, err := openOperatorKey(n.cfg.path(operatorKeyFile))
	if err != nil {
		return err
	}
	batch, err := anubis.Enrolment{
		Tenant: tenant, Name: operatorName, Key: key.Public().(ed25519.PublicKey), Roles: tap.Roles(),
		By: "system", At: n.clock.Now(), RequestID: newRequestID(),
	}.Batch()
	if err != nil {
		return err
	}
	_, err = n.writer.Commit(ctx, batch)
	return err
}

// openOperatorKey loads the operator's key when a start was cut off between
// writing and enrolling it, else makes it.
func openOperatorKey(path string) (ed25519.PrivateKey, error) {
	if absent(path) {
		return client.GenerateKeyFile(path)
	}
	key, err := client.ReadKeyFile(path)
	if err != nil {
		return nil, tap.Wrap("appliance.operator", tap.Unavailable, err, "the operator key %s cannot be used; put back the copy you kept", path)
	}
	return key, nil
}

// writeContext tells tamvctl how to reach this node and the other members. A
// node that joined has no operator's key: people there bring their own.
func (n *node) writeContext() error {
	c := client.Context{Address: "https://" + n.settings.Advertise, CA: n.cfg.path(certificateFolder, cluster.AuthorityFile)}
	for _, m := range n.engines.members.Members() {
		if m.ID != n.settings.Node {
			c.Addresses = append(c.Addresses, "https://"+m.Address)
		}
	}
	if !n.settings.Joined {
		c.Identity, c.Key = tap.JoinKeyID(n.cfg.Tenant, operatorName), n.cfg.path(operatorKeyFile)
	}
	return c.Save(n.cfg.path(contextFile))
}

// absent says whether there is no file at path.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
